//! Frames over a socket, with or without TLS: every wait has an end, every buffer a size, whatever the other end does.
//!
//! The socket never blocks: a read that waits would be prolonged by a peer that sends a byte now and then, so all waiting is done here,
//! against deadlines for whole messages.

use crate::fault::LinkFault;
use crate::limits::Patience;
use alfred_wire::link::{ENVELOPE_BYTES, encode, read_envelope};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustls::Connection;
use serde::Serialize;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// How long somebody who was refused may take to read why.
const FAREWELL: Duration = Duration::from_millis(500);
/// Bytes that are thrown away meanwhile.
const FAREWELL_BYTES_MAX: usize = 256 * 1024;

/// One end of a connection.
pub(crate) struct Transport {
    socket: TcpStream,
    tls: Option<Box<Connection>>,
    /// The message that is being received, with its envelope.
    incoming: Vec<u8>,
    filled: usize,
    /// When the first byte came of what is not yet a whole message.
    started: Option<Instant>,
    outgoing: Vec<u8>,
    patience: Patience,
}

/// What a look at the socket brought.
enum Look {
    Bytes,
    Nothing,
}

impl Transport {
    /// Takes a connected socket. `incoming_bytes_max`, `outgoing_bytes_max`: of messages with their envelopes.
    pub(crate) fn new(
        socket: TcpStream,
        tls: Option<Connection>,
        patience: Patience,
        incoming_bytes_max: usize,
        outgoing_bytes_max: usize,
    ) -> Result<Self, LinkFault> {
        let prepare = || -> io::Result<()> {
            socket.set_nonblocking(true)?;
            socket.set_nodelay(true)
        };
        prepare().map_err(LinkFault::Broken)?;
        // A peer that vanished without a word is noticed although nothing is expected from it. Not every system has it.
        let unheard_ms = u32::try_from((patience.send + patience.message).as_millis()).unwrap_or(u32::MAX);
        let _ = nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::TcpUserTimeout, &unheard_ms);
        let _ = nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::KeepAlive, &true);
        let (incoming, outgoing) = (vec![0; incoming_bytes_max], vec![0; outgoing_bytes_max]);
        Ok(Self { socket, tls: tls.map(Box::new), incoming, filled: 0, started: None, outgoing, patience })
    }

    /// The verified certificates of the other end, its own first.
    pub(crate) fn certificates(&self) -> &[rustls::pki_types::CertificateDer<'static>] {
        self.tls.as_ref().and_then(|tls| tls.peer_certificates()).unwrap_or_default()
    }

    /// Allows larger messages from now on.
    pub(crate) fn allow(&mut self, incoming_bytes_max: usize) {
        if incoming_bytes_max > self.incoming.len() {
            self.incoming.resize(incoming_bytes_max, 0);
        }
    }

    /// Lets both ends prove who they are.
    pub(crate) fn handshake(&mut self) -> Result<(), LinkFault> {
        let end = Instant::now() + self.patience.handshake;
        loop {
            self.write_out(end, "the handshake")?;
            match &self.tls {
                Some(tls) if tls.is_handshaking() => {}
                _ => {
                    self.started = None;
                    return Ok(());
                }
            }
            match self.look()? {
                Look::Nothing => self.wait(PollFlags::POLLIN, end, "the handshake")?,
                Look::Bytes if end <= Instant::now() => return Err(LinkFault::Slow("the handshake")),
                Look::Bytes => {}
            }
        }
    }

    /// Sends a message; returns its bytes on the way.
    pub(crate) fn send(&mut self, message: &impl Serialize) -> Result<usize, LinkFault> {
        let end = Instant::now() + self.patience.send;
        if let Some(tls) = &mut self.tls {
            let frame = encode(message, &mut self.outgoing)?;
            // Everything sent before has left: there is room.
            tls.writer().write_all(frame).map_err(LinkFault::Broken)?;
            return self.write_out(end, "it does not read");
        }
        let length = encode(message, &mut self.outgoing)?.len();
        let mut sent = 0;
        while sent < length {
            match (&self.socket).write(&self.outgoing[sent..length]) {
                Ok(0) => return Err(LinkFault::Truncated),
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.wait(PollFlags::POLLOUT, end, "it does not read")?,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(LinkFault::Broken(error)),
            }
        }
        Ok(sent)
    }

    /// The next message without its envelope; `None` when none is complete after `wait`.
    pub(crate) fn receive(&mut self, wait: Duration) -> Result<Option<&[u8]>, LinkFault> {
        let end = Instant::now() + wait;
        loop {
            let needed = self.needed()?;
            if self.filled == needed && self.filled >= ENVELOPE_BYTES {
                (self.filled, self.started) = (0, None);
                return Ok(Some(&self.incoming[ENVELOPE_BYTES..needed]));
            }
            if self.take_plain(needed)? {
                continue;
            }
            let look = self.look()?;
            let now = Instant::now();
            let message_end = self.started.map(|started| started + self.patience.message);
            if message_end.is_some_and(|message_end| message_end <= now) {
                return Err(LinkFault::Slow("a message takes too long"));
            }
            if matches!(look, Look::Bytes) {
                continue;
            }
            if end <= now {
                return Ok(None);
            }
            let end = message_end.map_or(end, |message_end| message_end.min(end));
            self.poll(PollFlags::POLLIN, end)?;
        }
    }

    /// Tells what is left to tell, and gives the other end a moment to read it: closing at once would destroy it on the way.
    pub(crate) fn farewell(&mut self) {
        let end = Instant::now() + FAREWELL;
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
        }
        if self.write_out(end, "").is_err() || self.socket.shutdown(Shutdown::Write).is_err() {
            return;
        }
        let (mut bytes, mut scrap) = (0, [0; 4096]);
        while bytes < FAREWELL_BYTES_MAX && Instant::now() < end {
            match (&self.socket).read(&mut scrap) {
                Ok(0) => return,
                Ok(count) => bytes += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if !matches!(self.poll(PollFlags::POLLIN, end), Ok(true)) {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    }

    /// Bytes of the message that is being received, as far as they are known: its envelope is judged as soon as it is there.
    fn needed(&self) -> Result<usize, LinkFault> {
        match self.incoming.first_chunk::<ENVELOPE_BYTES>() {
            Some(envelope) if self.filled >= ENVELOPE_BYTES => {
                Ok(ENVELOPE_BYTES + read_envelope(envelope, self.incoming.len() - ENVELOPE_BYTES)?)
            }
            _ => Ok(ENVELOPE_BYTES),
        }
    }

    /// Moves decrypted bytes into the message; true if there were some.
    fn take_plain(&mut self, needed: usize) -> Result<bool, LinkFault> {
        let Some(tls) = &mut self.tls else { return Ok(false) };
        match tls.reader().read(&mut self.incoming[self.filled..needed]) {
            Ok(0) => Err(self.ended()),
            Ok(count) => {
                self.filled += count;
                self.started.get_or_insert_with(Instant::now);
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(LinkFault::Truncated),
            Err(error) => Err(LinkFault::Broken(error)),
        }
    }

    /// Reads what the socket has: into the message, or through TLS.
    fn look(&mut self) -> Result<Look, LinkFault> {
        let needed = self.needed()?;
        let read = match &mut self.tls {
            Some(tls) => tls.read_tls(&mut &self.socket),
            None => (&self.socket).read(&mut self.incoming[self.filled..needed]),
        };
        match read {
            Ok(0) if self.tls.is_none() => Err(self.ended()),
            Ok(count) => {
                if self.tls.is_none() {
                    self.filled += count;
                }
                self.process(count)?;
                Ok(Look::Bytes)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(Look::Nothing),
            Err(error) => Err(LinkFault::Broken(error)),
        }
    }

    /// Lets TLS look at what came.
    fn process(&mut self, count: usize) -> Result<(), LinkFault> {
        self.started.get_or_insert_with(Instant::now);
        let Some(tls) = &mut self.tls else { return Ok(()) };
        tls.process_new_packets().map_err(LinkFault::from)?;
        if count == 0 && tls.is_handshaking() {
            return Err(LinkFault::Truncated);
        }
        if tls.wants_write() && !tls.is_handshaking() {
            self.write_out(Instant::now() + self.patience.send, "it does not read")?;
        }
        Ok(())
    }

    fn ended(&self) -> LinkFault {
        if self.filled == 0 { LinkFault::Closed } else { LinkFault::Truncated }
    }

    /// Writes what TLS has to say; returns its bytes.
    fn write_out(&mut self, end: Instant, what: &'static str) -> Result<usize, LinkFault> {
        let mut sent = 0;
        while let Some(tls) = &mut self.tls
            && tls.wants_write()
        {
            match tls.write_tls(&mut &self.socket) {
                Ok(0) => return Err(LinkFault::Truncated),
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.wait(PollFlags::POLLOUT, end, what)?,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(LinkFault::Broken(error)),
            }
        }
        Ok(sent)
    }

    /// Waits for the socket, at most until `end`.
    fn wait(&self, what_for: PollFlags, end: Instant, what: &'static str) -> Result<(), LinkFault> {
        if self.poll(what_for, end)? || Instant::now() < end { Ok(()) } else { Err(LinkFault::Slow(what)) }
    }

    /// Waits for the socket; false when `end` came first.
    fn poll(&self, what_for: PollFlags, end: Instant) -> Result<bool, LinkFault> {
        let left = end.saturating_duration_since(Instant::now());
        // Rounded up: a wait of less than a millisecond must not become a busy loop.
        let left_ms = i32::try_from(left.as_millis().saturating_add(1)).unwrap_or(i32::MAX);
        let timeout = if left.is_zero() { PollTimeout::ZERO } else { PollTimeout::try_from(left_ms).unwrap_or(PollTimeout::MAX) };
        match poll(&mut [PollFd::new(self.socket.as_fd(), what_for)], timeout) {
            Ok(count) => Ok(count > 0),
            Err(nix::errno::Errno::EINTR) => Ok(true),
            Err(error) => Err(LinkFault::Broken(error.into())),
        }
    }
}
