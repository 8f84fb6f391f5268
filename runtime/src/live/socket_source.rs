//! Binary pose messages from a Unix SOCK_SEQPACKET socket; see [`alfred_wire::pose_message`] for the layout.
//!
//! One pose estimator at a time: the next one is taken when the present one has gone. Only this process's own user, root, and the
//! users of `input.allow_uids` may connect (SO_PEERCRED). The frame number orders frames, so a new connection may go on or begin anew.

use crate::error::Error;
use crate::live::ingest::{Flow, Ingest, PoseSource};
use crate::live::line_source::{Wait, wait};
use alfred_wire::pose_message::{self, MESSAGE_BYTES_MAX};
use nix::errno::Errno;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, bind, connect, getsockopt, listen, recv, socket};
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;

/// A listening socket; its file is removed when it is dropped.
#[derive(Debug)]
pub struct SocketSource {
    /// std's listener does not ask what kind of socket it holds, and gives connections that close themselves.
    listener: UnixListener,
    path: PathBuf,
    allow_uids: Vec<u32>,
    buffer: Box<[u8]>,
}

impl SocketSource {
    /// Bytes of its buffer.
    pub const BUFFER_BYTES: usize = MESSAGE_BYTES_MAX;

    /// Listens at `path`. A socket that a dead process left behind is replaced; anything else there is left alone.
    ///
    /// # Errors
    /// One line that names the path and the mend.
    pub fn listen(path: &Path, allow_uids: &[u32]) -> Result<Self, Error> {
        let fault = |what: &str, error: Errno| Error::file(path, format!("{what}: {error}: is the folder there and writable?"));
        let address = UnixAddr::new(path).map_err(|error| fault("no path for a socket (at most 107 bytes)", error))?;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let open = || socket(AddressFamily::Unix, SockType::SeqPacket, flags, None);
        let listener = open().map_err(|error| fault("cannot make a socket", error))?;
        if let Ok(existing) = std::fs::symlink_metadata(path) {
            if !existing.file_type().is_socket() {
                return Err(Error::file(path, "something that is no socket is there: remove it, or set another input.socket"));
            }
            let probe = open().map_err(|error| fault("cannot make a socket", error))?;
            if !matches!(connect(probe.as_raw_fd(), &address), Err(Errno::ECONNREFUSED)) {
                return Err(Error::file(path, "another process listens there: stop it, or set another input.socket"));
            }
            std::fs::remove_file(path).map_err(|error| Error::file(path, error))?;
        }
        bind(listener.as_raw_fd(), &address).map_err(|error| fault("cannot listen", error))?;
        let source = Self {
            listener: UnixListener::from(listener),
            path: path.to_owned(),
            allow_uids: allow_uids.to_vec(),
            buffer: vec![0; Self::BUFFER_BYTES].into_boxed_slice(),
        };
        // Who may connect is decided by user, below; the file's mode keeps others from trying.
        let mode = if allow_uids.is_empty() { 0o600 } else { 0o666 };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(|error| Error::file(path, error))?;
        listen(&source.listener, Backlog::new(1).unwrap_or(Backlog::MAXCONN)).map_err(|error| fault("cannot listen", error))?;
        Ok(source)
    }

    /// Takes one waiting connection, if its user may connect.
    fn accept(&self, ingest: &Ingest<'_>) -> Result<Option<OwnedFd>, Error> {
        let accepted = self.listener.accept().and_then(|(connection, _)| {
            connection.set_nonblocking(true)?;
            Ok(OwnedFd::from(connection))
        });
        let connection = match accepted {
            Ok(connection) => connection,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => {
                return Ok(None);
            }
            Err(error) => return Err(Error::system(self.path.display(), error)),
        };
        let uid = getsockopt(&connection, PeerCredentials).map(|peer| peer.uid()).ok();
        let own_uid = nix::unistd::geteuid().as_raw();
        if !uid.is_some_and(|uid| uid == 0 || uid == own_uid || self.allow_uids.contains(&uid)) {
            if ingest.counters().connections_refused.fetch_add(1, Relaxed) == 0 {
                eprintln!(
                    "{}: user {uid:?} may not connect: add it to input.allow_uids; further ones are only counted",
                    self.path.display()
                );
            }
            return Ok(None);
        }
        ingest.counters().connections.fetch_add(1, Relaxed);
        Ok(Some(connection))
    }

    /// Reads messages until the connection has none left, or ends (`None`).
    fn read(&mut self, connection: OwnedFd, ingest: &mut Ingest<'_>) -> Result<Option<OwnedFd>, Flow> {
        loop {
            // MSG_TRUNC gives the message's true length, however short the buffer is.
            match recv(connection.as_raw_fd(), &mut self.buffer, MsgFlags::MSG_TRUNC) {
                Ok(0) => return Ok(None),
                Ok(length) if length > self.buffer.len() => {
                    ingest.refuse(format_args!("{length} bytes, the longest message has {MESSAGE_BYTES_MAX}"));
                }
                Ok(length) => {
                    let message = &self.buffer[..length];
                    if ingest.take(|frame| pose_message::decode(message, frame).map(|()| 0)) == Flow::Stop {
                        return Err(Flow::Stop);
                    }
                }
                Err(Errno::EAGAIN) => return Ok(Some(connection)),
                Err(Errno::EINTR) => {}
                Err(_) => return Ok(None),
            }
        }
    }
}

impl PoseSource for SocketSource {
    fn pump(mut self, ingest: &mut Ingest<'_>, stop: Option<BorrowedFd<'_>>) -> Result<(), Error> {
        let mut connection: Option<OwnedFd> = None;
        loop {
            let waiting_for = connection.as_ref().map_or(self.listener.as_fd(), AsFd::as_fd);
            match wait(waiting_for, stop, ingest)? {
                Wait::Stop => return Ok(()),
                Wait::Nothing => continue,
                Wait::Readable => {}
            }
            connection = match connection.take() {
                None => self.accept(ingest)?,
                Some(connection) => match self.read(connection, ingest) {
                    Ok(connection) => connection,
                    Err(_) => return Ok(()),
                },
            };
        }
    }
}

impl Drop for SocketSource {
    fn drop(&mut self) {
        // Best effort: a socket left behind is replaced at the next start.
        let _ = std::fs::remove_file(&self.path);
    }
}
