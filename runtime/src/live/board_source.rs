//! Poses that the board itself makes, as a source of the live process.

use crate::error::Error;
use crate::live::ingest::{Flow, Ingest, PoseSource};
use alfred_board::hal::{self, Arrival};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fmt;
use std::os::fd::BorrowedFd;

/// A board's own pose source. A source that can wait: nothing of it is shed.
pub struct BoardSource(pub Box<dyn hal::PoseSource>);

/// The source has no frame at the moment; no message is refused by it.
struct NoFrame;

impl fmt::Display for NoFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the board has no frame")
    }
}

impl PoseSource for BoardSource {
    fn pump(mut self, ingest: &mut Ingest<'_>, stop: Option<BorrowedFd<'_>>) -> Result<(), Error> {
        loop {
            ingest.look();
            if ingest.should_stop() || is_readable(stop)? {
                return Ok(());
            }
            let mut arrival = Arrival::Nothing;
            let flow = ingest.take_if_any(|frame| {
                arrival = self.0.next(frame);
                if arrival == Arrival::Frame { Ok(0) } else { Err(NoFrame) }
            });
            if flow == Flow::Stop || arrival == Arrival::Ended {
                return Ok(());
            }
        }
    }
}

fn is_readable(stop: Option<BorrowedFd<'_>>) -> Result<bool, Error> {
    let Some(stop) = stop else { return Ok(false) };
    let mut fds = [PollFd::new(stop, PollFlags::POLLIN)];
    match poll(&mut fds, PollTimeout::ZERO) {
        Ok(_) => Ok(fds[0].any().unwrap_or(false)),
        Err(nix::errno::Errno::EINTR) => Ok(false),
        Err(error) => Err(Error::system("poll", error)),
    }
}
