//! The default link: TCP with mutual TLS 1.3; without certificates only on the loopback interface.

use crate::credentials::{Credentials, device_name, host_name};
use crate::fault::LinkFault;
use crate::limits::{DEVICE_FRAME_BYTES_MAX, HELLO_BYTES_MAX, HOST_FRAME_BYTES_MAX, Patience};
use crate::session::{Link, Session};
use crate::transport::Transport;
use alfred_wire::link::{DeviceMessage, ENVELOPE_BYTES, HostMessage, decode};
use alfred_wire::name::Name;
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

/// A device's way to its host.
#[derive(Clone, Debug)]
pub struct TcpLink {
    address: String,
    tls: Option<Arc<ClientConfig>>,
    patience: Patience,
}

impl TcpLink {
    /// To `address` (`host:port`), with the credentials of an enrolment; without them only to the loopback interface.
    ///
    /// # Errors
    /// [`LinkFault::File`].
    pub fn new(address: String, credentials: Option<&Credentials>, patience: Patience) -> Result<Self, LinkFault> {
        Ok(Self { address, tls: credentials.map(Credentials::device).transpose()?, patience })
    }

    fn dial(&self) -> Result<TcpStream, LinkFault> {
        let unknown = |what: String| LinkFault::Address { address: self.address.clone(), what };
        let addresses = self.address.to_socket_addrs().map_err(|error| unknown(error.to_string()))?;
        let mut fault = unknown("it has no address".to_owned());
        for address in addresses {
            if self.tls.is_none() && !address.ip().is_loopback() {
                return Err(LinkFault::NotLoopback(address));
            }
            match TcpStream::connect_timeout(&address, self.patience.connect) {
                Ok(socket) => return Ok(socket),
                Err(error) => fault = LinkFault::Connect(error),
            }
        }
        Err(fault)
    }
}

impl Link for TcpLink {
    type Session = TcpSession;

    fn connect(&mut self) -> Result<TcpSession, LinkFault> {
        let socket = self.dial()?;
        let tls = match &self.tls {
            Some(config) => Some(ClientConnection::new(Arc::clone(config), host_name()?)?.into()),
            None => None,
        };
        let mut transport = Transport::new(socket, tls, self.patience, HOST_FRAME_BYTES_MAX, DEVICE_FRAME_BYTES_MAX)?;
        match transport.handshake() {
            Ok(()) => Ok(TcpSession { transport }),
            Err(fault) => {
                transport.farewell();
                Err(fault)
            }
        }
    }
}

/// A device's end of a connection.
pub struct TcpSession {
    transport: Transport,
}

impl Session for TcpSession {
    fn send(&mut self, message: &DeviceMessage<'_>) -> Result<usize, LinkFault> {
        match self.transport.send(message) {
            // The host may have said why before it hung up.
            Err(LinkFault::Broken(error)) => match self.receive(Duration::ZERO) {
                Ok(Some(HostMessage::Refused(refused))) => Err(LinkFault::Refused(refused.code)),
                Err(fault @ (LinkFault::Rejected(_) | LinkFault::Tls(_))) => Err(fault),
                _ => Err(LinkFault::Broken(error)),
            },
            sent => sent,
        }
    }

    fn receive(&mut self, wait: Duration) -> Result<Option<HostMessage<'_>>, LinkFault> {
        let body = self.transport.receive(wait)?;
        body.map(decode).transpose().map_err(LinkFault::from)
    }
}

/// A host's door.
#[derive(Clone, Debug)]
pub struct Acceptor {
    tls: Option<Arc<ServerConfig>>,
    patience: Patience,
}

impl Acceptor {
    /// With TLS: devices must show a certificate of the authority.
    ///
    /// # Errors
    /// [`LinkFault::File`].
    pub fn new(credentials: &Credentials, patience: Patience) -> Result<Self, LinkFault> {
        Ok(Self { tls: Some(credentials.host()?), patience })
    }

    /// Without TLS, for trials on one machine: listens and answers on the loopback interface only.
    #[must_use]
    pub const fn plain(patience: Patience) -> Self {
        Self { tls: None, patience }
    }

    /// How long it waits for devices.
    #[must_use]
    pub const fn patience(&self) -> &Patience {
        &self.patience
    }

    /// Listens.
    ///
    /// # Errors
    /// [`LinkFault::NotLoopback`] without TLS; [`LinkFault::Address`].
    pub fn listen(&self, address: SocketAddr) -> Result<TcpListener, LinkFault> {
        if self.tls.is_none() && !address.ip().is_loopback() {
            return Err(LinkFault::NotLoopback(address));
        }
        TcpListener::bind(address).map_err(|error| LinkFault::Address { address: address.to_string(), what: error.to_string() })
    }

    /// Lets a device in. Takes up to the handshake's patience: call it on the connection's own thread.
    ///
    /// # Errors
    /// [`LinkFault`]: who knocked was no device of this fleet.
    pub fn accept(&self, socket: TcpStream) -> Result<HostSession, LinkFault> {
        let address = socket.peer_addr().map_err(LinkFault::Broken)?;
        if self.tls.is_none() && !address.ip().is_loopback() {
            return Err(LinkFault::NotLoopback(address));
        }
        let tls = match &self.tls {
            Some(config) => Some(ServerConnection::new(Arc::clone(config))?.into()),
            None => None,
        };
        let mut transport = Transport::new(socket, tls, self.patience, ENVELOPE_BYTES + HELLO_BYTES_MAX, HOST_FRAME_BYTES_MAX)?;
        let name = transport.handshake().and_then(|()| transport.certificates().first().map(device_name).transpose());
        match name {
            Ok(device) => Ok(HostSession { transport, device, address }),
            Err(fault) => {
                transport.farewell();
                Err(fault)
            }
        }
    }
}

/// A host's end of a connection.
pub struct HostSession {
    transport: Transport,
    device: Option<Name>,
    address: SocketAddr,
}

impl HostSession {
    /// The device's name by its verified certificate; `None` without TLS: then only its word counts.
    #[must_use]
    pub const fn device(&self) -> Option<Name> {
        self.device
    }

    /// Where it calls from.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Allows messages of full size: after a proper Hello.
    pub fn allow_records(&mut self) {
        self.transport.allow(DEVICE_FRAME_BYTES_MAX);
    }

    /// Sends a message.
    ///
    /// # Errors
    /// [`LinkFault`]; the connection is of no more use.
    pub fn send(&mut self, message: &HostMessage<'_>) -> Result<usize, LinkFault> {
        self.transport.send(message)
    }

    /// The next message; `None` when there is none after `wait`.
    ///
    /// # Errors
    /// [`LinkFault`]; the connection is of no more use.
    pub fn receive(&mut self, wait: Duration) -> Result<Option<DeviceMessage<'_>>, LinkFault> {
        let body = self.transport.receive(wait)?;
        body.map(decode).transpose().map_err(LinkFault::from)
    }

    /// Hangs up so that the last message is read.
    pub fn farewell(mut self) {
        self.transport.farewell();
    }
}
