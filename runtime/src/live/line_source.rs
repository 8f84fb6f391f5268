//! JSON lines from a file descriptor: standard input, a pipe, a file.

use crate::error::Error;
use crate::live::ingest::{Flow, Ingest, PoseSource};
use alfred_wire::pose_line::{self, LINE_BYTES_MAX, PoseLineError};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Milliseconds after which a waiting source looks whether the output is still there.
pub(crate) const POLL_MS_MAX: u16 = 500;

/// One JSON line per frame; see [`pose_line`]. Ends with the end of the file.
#[derive(Debug)]
pub struct LineSource {
    input: OwnedFd,
    /// One line and its end; a longer one is skipped and counted.
    buffer: Box<[u8]>,
    held: usize,
    skipping: bool,
}

impl LineSource {
    /// Bytes of its buffer.
    pub const BUFFER_BYTES: usize = LINE_BYTES_MAX + 1;

    /// Reads from `input`.
    #[must_use]
    pub fn new(input: OwnedFd) -> Self {
        Self { input, buffer: vec![0; Self::BUFFER_BYTES].into_boxed_slice(), held: 0, skipping: false }
    }

    /// Hands out every complete line of the buffer and moves the rest to its front.
    fn hand_out(&mut self, ingest: &mut Ingest<'_>) -> Flow {
        let mut start = 0;
        while let Some(length) = self.buffer[start..self.held].iter().position(|byte| *byte == b'\n') {
            let line = &self.buffer[start..start + length];
            start += length + 1;
            if std::mem::take(&mut self.skipping) || line.trim_ascii().is_empty() {
                continue;
            }
            if ingest.take(|frame| pose_line::decode(line, frame)) == Flow::Stop {
                return Flow::Stop;
            }
        }
        self.buffer.copy_within(start..self.held, 0);
        self.held -= start;
        if self.held == self.buffer.len() {
            if !self.skipping {
                ingest.refuse(PoseLineError::TooLong);
            }
            self.skipping = true;
            self.held = 0;
        }
        Flow::Continue
    }
}

impl PoseSource for LineSource {
    fn pump(mut self, ingest: &mut Ingest<'_>, stop: Option<BorrowedFd<'_>>) -> Result<(), Error> {
        loop {
            match wait(self.input.as_fd(), stop, ingest)? {
                Wait::Stop => return Ok(()),
                Wait::Nothing => continue,
                Wait::Readable => {}
            }
            match nix::unistd::read(&self.input, &mut self.buffer[self.held..]) {
                Ok(0) => {
                    // A last line without its end is a line all the same.
                    if self.held > 0 && !self.skipping && self.held < self.buffer.len() {
                        self.buffer[self.held] = b'\n';
                        self.held += 1;
                        self.hand_out(ingest);
                    }
                    return Ok(());
                }
                Ok(count) => self.held += count,
                Err(Errno::EINTR | Errno::EAGAIN) => continue,
                Err(error) => return Err(Error::system("pose lines", error)),
            }
            if self.hand_out(ingest) == Flow::Stop {
                return Ok(());
            }
        }
    }
}

/// What a source waited for.
pub(crate) enum Wait {
    /// There is something to read, or the end.
    Readable,
    /// Time to look again.
    Nothing,
    /// The process is to end.
    Stop,
}

/// Waits until `input` or `stop` is readable.
pub(crate) fn wait(input: BorrowedFd<'_>, stop: Option<BorrowedFd<'_>>, ingest: &Ingest<'_>) -> Result<Wait, Error> {
    ingest.look();
    if ingest.should_stop() {
        return Ok(Wait::Stop);
    }
    let mut fds = [PollFd::new(input, PollFlags::POLLIN), PollFd::new(stop.unwrap_or(input), PollFlags::POLLIN)];
    match poll(&mut fds, PollTimeout::from(POLL_MS_MAX)) {
        Err(Errno::EINTR) | Ok(0) => Ok(Wait::Nothing),
        Err(error) => Err(Error::system("poll", error)),
        Ok(_) if stop.is_some() && fds[1].any().unwrap_or(false) => Ok(Wait::Stop),
        Ok(_) if fds[0].any().unwrap_or(false) => Ok(Wait::Readable),
        Ok(_) => Ok(Wait::Nothing),
    }
}
