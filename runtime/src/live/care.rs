//! What a board adds to the live process, put together: real time, supervision, alarms. Left at its default, nothing is added.

use crate::error::Error;
use crate::live::alarm::AlarmFeed;
use crate::live::health::BoardHealth;
use crate::live::link::LinkFeed;
use crate::live::output::BoardLine;
use crate::live::real_time::{RealTimeConfig, Role, enter};
use crate::live::supervisor::Supervisor;
use alfred_board::hal::Clock;
use std::sync::Arc;
use std::thread::{Builder, Scope, ScopedJoinHandle};

/// What a board adds.
#[derive(Default)]
pub struct Care {
    /// What is asked of the system for each thread.
    pub real_time: Arc<RealTimeConfig>,
    /// What the board's side knows and counts.
    pub health: Arc<BoardHealth>,
    /// Sensors, degrade ladder, watchdog; `None`: nobody looks after the process.
    pub supervisor: Option<Supervisor>,
    /// Alarms beside the board.
    pub alarms: Option<AlarmFeed>,
    /// Which board this is.
    pub board: BoardLine,
}

/// What surrounds the data path.
pub struct Surroundings {
    /// The board's clock.
    pub clock: Arc<dyn Clock>,
    /// What goes to the host.
    pub feed: Option<LinkFeed>,
    /// What the board adds.
    pub care: Care,
}

/// Starts threads that are on the memory map and know their role.
pub(crate) struct Starter<'s, 'e> {
    pub(crate) scope: &'s Scope<'s, 'e>,
    pub(crate) real_time: Arc<RealTimeConfig>,
    pub(crate) health: Arc<BoardHealth>,
}

impl<'s> Starter<'s, '_> {
    /// Starts a thread with a name for debuggers.
    pub(crate) fn start(
        &self,
        name: &str,
        role: Role,
        stack_bytes: usize,
        work: impl FnOnce() -> Result<(), Error> + Send + 's,
    ) -> Result<ScopedJoinHandle<'s, Result<(), Error>>, Error> {
        let (real_time, health) = (Arc::clone(&self.real_time), Arc::clone(&self.health));
        let builder = Builder::new().name(name.into()).stack_size(stack_bytes);
        let started = builder.spawn_scoped(self.scope, move || {
            enter(role, stack_bytes, &real_time, &health);
            work()
        });
        started.map_err(|error| Error::system("threads", error))
    }

    /// Starts an ordinary thread, if there is one to start.
    pub(crate) fn start_some(
        &self,
        name: &str,
        stack_bytes: usize,
        work: Option<impl FnOnce() + Send + 's>,
    ) -> Result<Option<ScopedJoinHandle<'s, Result<(), Error>>>, Error> {
        let Some(work) = work else { return Ok(None) };
        let start = self.start(name, Role::Ordinary, stack_bytes, move || {
            work();
            Ok(())
        });
        start.map(Some)
    }
}
