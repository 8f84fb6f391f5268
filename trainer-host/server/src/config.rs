//! What the daemon is told at its start.

use crate::error::ServeError;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Settings of the daemon; a section of the host's configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerConfig {
    /// The database's file; made when it is not there.
    pub database: PathBuf,
    /// Where the review page and its API are served.
    #[serde(default = "http_default")]
    pub http: SocketAddr,
    /// The page is served in clear text: other addresses than the own machine's are only taken when this says so. Put a server that
    /// speaks TLS in front then.
    #[serde(default)]
    pub http_beyond_this_machine: bool,
    /// Cookies only travel over TLS; set it when a server in front speaks TLS.
    #[serde(default)]
    pub http_is_behind_tls: bool,
    /// HTTP connections at the same time; further ones are closed at once.
    #[serde(default = "connections_default")]
    pub http_connections_max: usize,
    /// Where devices connect; none: no device can.
    #[serde(default)]
    pub devices: Option<SocketAddr>,
    /// Folder with `authority.crt`, `host.crt` and `host.key` of an enrolment; without one devices come in clear text, and only from this
    /// machine.
    #[serde(default)]
    pub credentials: Option<PathBuf>,
    /// Devices at the same time; further ones try again later. Each takes up to 1.5 MB.
    #[serde(default = "connections_default")]
    pub devices_max: usize,
    /// Seconds between two heartbeats of a device.
    #[serde(default = "heartbeat_default")]
    pub heartbeat_period_s: u16,
    /// Hours until somebody has to log in again.
    #[serde(default = "session_default")]
    pub session_hours: u32,
}

fn http_default() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8710))
}

const fn connections_default() -> usize {
    256
}

const fn heartbeat_default() -> u16 {
    10
}

const fn session_default() -> u32 {
    12
}

impl ServerConfig {
    /// The usual settings with this database.
    #[must_use]
    pub fn new(database: PathBuf) -> Self {
        Self {
            database,
            http: http_default(),
            http_beyond_this_machine: false,
            http_is_behind_tls: false,
            http_connections_max: connections_default(),
            devices: None,
            credentials: None,
            devices_max: connections_default(),
            heartbeat_period_s: heartbeat_default(),
            session_hours: session_default(),
        }
    }

    /// Judges the settings.
    ///
    /// # Errors
    /// [`ServeError::Config`] names the setting and the mend.
    pub fn check(&self) -> Result<(), ServeError> {
        let refuse = |setting, mend| Err(ServeError::Config { setting, mend });
        if !self.http.ip().is_loopback() && !self.http_beyond_this_machine {
            return refuse("http", "use 127.0.0.1, or set http_beyond_this_machine and put a server that speaks TLS in front");
        }
        if self.http_connections_max == 0 || self.http_connections_max > 10_000 {
            return refuse("http_connections_max", "1 to 10,000");
        }
        if self.devices.is_some_and(|address| !address.ip().is_loopback()) && self.credentials.is_none() {
            return refuse("devices", "use 127.0.0.1, or enrol a device and name the folder of the host's certificate as credentials");
        }
        if self.devices_max == 0 || self.devices_max > 10_000 {
            return refuse("devices_max", "1 to 10,000");
        }
        if self.heartbeat_period_s == 0 || self.heartbeat_period_s > 3600 {
            return refuse("heartbeat_period_s", "1 to 3,600");
        }
        if self.session_hours == 0 || self.session_hours > 24 * 31 {
            return refuse("session_hours", "1 to 744");
        }
        Ok(())
    }
}
