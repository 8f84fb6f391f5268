//! Why the daemon does not start or go on.

use alfred_store::StoreError;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use thiserror::Error;

/// Why the daemon does not start or go on.
#[derive(Debug, Error)]
pub enum ServeError {
    /// A setting is out of range.
    #[error("server.{setting}: {mend}")]
    Config {
        /// Which setting.
        setting: &'static str,
        /// What is allowed.
        mend: &'static str,
    },
    /// An address is taken, or not this machine's.
    #[error("{address}: {source}; choose another address or end whoever listens there")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// A file that the settings name cannot be read.
    #[error("{path}: {source}; name a file that this user may read")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The devices' door: certificates or address.
    #[error(transparent)]
    Link(#[from] alfred_link::fault::LinkFault),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system gives no threads, or no random numbers.
    #[error("{0}; raise the limits of this process")]
    System(String),
}
