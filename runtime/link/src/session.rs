//! The contract of a link: what carries messages between a device and its host. TCP is one ([`crate::tcp`]); a broker could be another.

use crate::fault::LinkFault;
use alfred_wire::link::{DeviceMessage, HostMessage};
use std::time::Duration;

/// Makes connections to the host.
pub trait Link: Send {
    /// A connection.
    type Session: Session;

    /// Connects, and returns once both ends have proved who they are.
    ///
    /// # Errors
    /// [`LinkFault`]; trying again later may help.
    fn connect(&mut self) -> Result<Self::Session, LinkFault>;
}

/// A device's end of a connection. After an error it is of no more use.
pub trait Session {
    /// Sends a message; returns its bytes on the way, for the bandwidth cap.
    ///
    /// # Errors
    /// [`LinkFault`]; the message may have arrived.
    fn send(&mut self, message: &DeviceMessage<'_>) -> Result<usize, LinkFault>;

    /// The next message; `None` when there is none after `wait`.
    ///
    /// # Errors
    /// [`LinkFault`].
    fn receive(&mut self, wait: Duration) -> Result<Option<HostMessage<'_>>, LinkFault>;
}
