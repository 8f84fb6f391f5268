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
    /// A broker that is told about events, thresholds and cameras; none: nobody is.
    #[serde(default)]
    pub mqtt: Option<MqttConfig>,
}

/// A broker of MQTT 3.1.1, in clear text.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MqttConfig {
    /// Name or address of the broker.
    #[serde(default = "mqtt_host_default")]
    pub host: String,
    /// Its port.
    #[serde(default = "mqtt_port_default")]
    pub port: u16,
    /// Other brokers than the own machine's are only taken when this says so: names of cameras and events travel in clear text. A
    /// bridge of a broker on this machine can speak TLS instead.
    #[serde(default)]
    pub beyond_this_machine: bool,
    /// User at the broker; none: no login.
    #[serde(default)]
    pub user: Option<String>,
    /// File with the user's password in its first line.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// This host's name at the broker; two hosts need two.
    #[serde(default = "mqtt_name_default")]
    pub client_id: String,
    /// First level of all topics.
    #[serde(default = "mqtt_name_default")]
    pub topic_prefix: String,
    /// Where Home Assistant looks for new things, usually `homeassistant`; none: it is told nothing.
    #[serde(default)]
    pub discovery_prefix: Option<String>,
    /// Seconds of silence after which the broker takes this host for lost.
    #[serde(default = "keep_alive_default")]
    pub keep_alive_s: u16,
}

fn mqtt_host_default() -> String {
    "127.0.0.1".to_owned()
}

const fn mqtt_port_default() -> u16 {
    1883
}

fn mqtt_name_default() -> String {
    "alfred".to_owned()
}

const fn keep_alive_default() -> u16 {
    30
}

impl MqttConfig {
    /// The usual settings with a broker on this machine.
    #[must_use]
    pub fn new(port: u16) -> Self {
        Self {
            host: mqtt_host_default(),
            port,
            beyond_this_machine: false,
            user: None,
            password_file: None,
            client_id: mqtt_name_default(),
            topic_prefix: mqtt_name_default(),
            discovery_prefix: None,
            keep_alive_s: keep_alive_default(),
        }
    }

    fn check(&self) -> Result<(), ServeError> {
        let refuse = |setting, mend| Err(ServeError::Config { setting, mend });
        let is_here = self.host == "localhost" || self.host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback());
        if !is_here && !self.beyond_this_machine {
            return refuse("mqtt.host", "use 127.0.0.1, or set beyond_this_machine: events would travel in clear text");
        }
        let is_level =
            |text: &str| (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        if !is_level(&self.topic_prefix) || self.discovery_prefix.as_deref().is_some_and(|prefix| !is_level(prefix)) {
            return refuse("mqtt.topic_prefix or mqtt.discovery_prefix", "1 to 64 letters, digits, - and _");
        }
        if !is_level(&self.client_id) {
            return refuse("mqtt.client_id", "1 to 64 letters, digits, - and _");
        }
        if !(5..=3600).contains(&self.keep_alive_s) {
            return refuse("mqtt.keep_alive_s", "5 to 3,600");
        }
        if self.password_file.is_some() && self.user.is_none() {
            return refuse("mqtt.password_file", "name the user too");
        }
        Ok(())
    }
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
            mqtt: None,
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
        self.mqtt.as_ref().map_or(Ok(()), MqttConfig::check)
    }
}
