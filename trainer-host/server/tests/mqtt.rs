//! Northbound MQTT against a real broker: events, alarm, threshold, discovery, last will, a broker that is away.

mod support;

use alfred_link::limits::Patience;
use alfred_link::session::{Link, Session};
use alfred_link::tcp::{TcpLink, TcpSession};
use alfred_server::config::MqttConfig;
use alfred_server::{Server, ServerConfig};
use alfred_wire::link::{DeviceMessage, Hello, HostMessage, JournalRecord, RecordId};
use alfred_wire::name::{Bytes, Name};
use alfred_wire::output::Kind;
use alfred_wire::record::Priority;
use rumqttc::{Client, Event, MqttOptions, Packet, QoS};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::records::{CAMERA, DEVICE, event};
use support::{Ground, Host};

const PATIENT: Duration = Duration::from_secs(60);
const FILE: &str = "ALFRED_MQTT_TEST_FILE";
const PORT: &str = "ALFRED_MQTT_TEST_PORT";
const PASSWORD: &str = "a secret, with spaces";

/// The daemon whose connection breaks: this test alone, started with a database. Without one it has nothing to do.
#[test]
fn daemon() {
    let (Ok(file), Ok(port)) = (std::env::var(FILE), std::env::var(PORT)) else { return };
    let mut config = ServerConfig { http: SocketAddr::from(([127, 0, 0, 1], 0)), ..ServerConfig::new(file.into()) };
    config.mqtt = Some(MqttConfig { client_id: "dying".into(), ..settings(port.parse().expect("a port"), None) });
    Server::bind(&config).expect("binds").run(&AtomicBool::new(false)).expect("serves");
}

/// mosquitto on a port of its own, with a user; ends with the value.
struct Broker {
    child: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_installed() -> bool {
    let found = ["mosquitto", "/usr/sbin/mosquitto"].iter().any(|program| Command::new(program).arg("-h").output().is_ok());
    if !found {
        eprintln!("SKIPPED: mosquitto is not here (Debian package mosquitto)");
    }
    found
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr()).expect("a port").port()
}

impl Broker {
    /// On this port; `None` when somebody else took it meanwhile.
    fn try_start(port: u16, has_user: bool) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let passwords = folder.path().join("passwords");
        let mut text = format!("listener {port} 127.0.0.1\npersistence false\n");
        if has_user {
            let made =
                Command::new("mosquitto_passwd").arg("-b").arg("-c").arg(&passwords).args(["host", PASSWORD]).output().expect("runs");
            assert!(made.status.success(), "{made:?}");
            text += &format!("allow_anonymous false\npassword_file {}\n", passwords.display());
        } else {
            text += "allow_anonymous true\n";
        }
        // Started by root it would become a user who cannot read the folder.
        text += "user root\n";
        let settings = folder.path().join("mosquitto.conf");
        std::fs::write(&settings, text).expect("written");
        let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
        let child = Command::new("mosquitto")
            .env("PATH", path)
            .arg("-c")
            .arg(&settings)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("mosquitto starts");
        let mut broker = Self { child, port, folder };
        let deadline = Instant::now() + PATIENT;
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            if broker.child.try_wait().expect("its state").is_some() {
                return None;
            }
            assert!(Instant::now() < deadline, "mosquitto does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(broker)
    }

    fn start(has_user: bool) -> Self {
        (0..10).find_map(|_| Self::try_start(free_port(), has_user)).expect("a broker on one of ten ports")
    }
}

fn settings(port: u16, password_file: Option<PathBuf>) -> MqttConfig {
    let user = password_file.is_some().then(|| "host".to_owned());
    MqttConfig { discovery_prefix: Some("homeassistant".to_owned()), keep_alive_s: 5, user, password_file, ..MqttConfig::new(port) }
}

/// What a subscriber has heard.
#[derive(Default)]
struct Notes {
    /// The latest by topic.
    latest: HashMap<String, String>,
    /// All of `alfred/events`.
    events: Vec<Value>,
}

/// A subscriber to everything.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Notes>>);

impl Heard {
    /// Subscribes to everything.
    fn subscribe(port: u16, has_user: bool) -> Self {
        let heard = Self::default();
        let mut options = MqttOptions::new("listener", "127.0.0.1", port);
        options.set_keep_alive(Duration::from_secs(30));
        if has_user {
            options.set_credentials("host", PASSWORD);
        }
        let (client, mut connection) = Client::new(options, 16);
        client.subscribe("#", QoS::AtLeastOnce).expect("asked");
        let listening = heard.clone();
        std::thread::spawn(move || {
            for found in connection.iter() {
                let Ok(found) = found else { return };
                if let Event::Incoming(Packet::Publish(message)) = found {
                    let text = String::from_utf8(message.payload.to_vec()).expect("text");
                    let mut heard = listening.0.lock().expect("sound");
                    if message.topic == "alfred/events" {
                        heard.events.push(serde_json::from_str(&text).expect("JSON"));
                    }
                    heard.latest.insert(message.topic, text);
                }
            }
            drop(client);
        });
        heard
    }

    fn latest(&self, topic: &str) -> Option<String> {
        self.0.lock().expect("sound").latest.get(topic).cloned()
    }

    fn wait(&self, topic: &str, wanted: &str) {
        let deadline = Instant::now() + PATIENT;
        while self.latest(topic).as_deref() != Some(wanted) {
            assert!(Instant::now() < deadline, "{topic} is {:?}, not {wanted}", self.latest(topic));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn events(&self, at_least: usize) -> Vec<Value> {
        let deadline = Instant::now() + PATIENT;
        loop {
            let events = self.0.lock().expect("sound").events.clone();
            if events.len() >= at_least {
                return events;
            }
            assert!(Instant::now() < deadline, "{} events, not {at_least}", events.len());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn connect(address: SocketAddr) -> TcpSession {
    let name = |text| Name::new(text).expect("a name");
    let mut session = TcpLink::new(address.to_string(), None, Patience::USUAL).expect("a link").connect().expect("connects");
    let hello = Hello { device: name(DEVICE), camera: name(CAMERA), boot: 1, fingerprint: 9, bundle_revision: 0, now_ns: 0 };
    session.send(&DeviceMessage::Hello(hello)).expect("sent");
    assert!(matches!(session.receive(PATIENT), Ok(Some(HostMessage::Welcome(_)))));
    session
}

/// Sends an event's message and waits for its receipt.
fn tell(session: &mut TcpSession, sequence: u64, body: &[u8]) {
    let record = JournalRecord { id: RecordId { boot: 1, sequence }, priority: Priority::Event, body: Bytes::new(body).expect("fits") };
    session.send(&DeviceMessage::Record(record)).expect("sent");
    assert!(matches!(session.receive(PATIENT), Ok(Some(HostMessage::Receipt(_)))));
}

fn figure(host: &Host, name: &str) -> u64 {
    let (_, text) = support::Client::new(host.http).get_text("/metrics");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name} is missing in\n{text}"));
    line.trim().parse().expect("a number")
}

#[test]
fn events_alarms_thresholds_and_discovery_reach_the_broker() {
    if !is_installed() {
        return;
    }
    let broker = Broker::start(true);
    let password_file = broker.folder.path().join("password");
    std::fs::write(&password_file, format!("{PASSWORD}\n")).expect("written");
    let ground = Ground::new(&[], 0);
    let config = ServerConfig { mqtt: Some(settings(broker.port, Some(password_file))), ..ground.config() };
    let host = Host::start(&config);
    let heard = Heard::subscribe(broker.port, true);
    heard.wait("alfred/available", "online");
    heard.wait("alfred/gate/alarm/state", "OFF");
    let mut session = connect(host.devices);
    tell(&mut session, 1, &event(7, Kind::New, 2.0));
    heard.wait("alfred/gate/alarm/state", "ON");
    heard.wait("alfred/gate/threshold/state", "1");
    tell(&mut session, 2, &event(7, Kind::Update, 2.5));
    tell(&mut session, 2, &event(7, Kind::Update, 2.5));
    tell(&mut session, 3, &event(7, Kind::EndScoreFell, 2.5));
    heard.wait("alfred/gate/alarm/state", "OFF");
    let events = heard.events(3);
    let types: Vec<&Value> = events.iter().map(|event| &event["type"]).collect();
    assert_eq!(types, ["new", "update", "end"], "a record that comes twice is said once");
    assert_eq!((&events[1]["before"]["top_score"], &events[1]["after"]["top_score"]), (&json!(2.0), &json!(2.5)));
    assert_eq!((&events[0]["after"]["camera"], &events[0]["after"]["device"]), (&json!("gate"), &json!("device 1")));
    let found = heard.latest("homeassistant/binary_sensor/alfred_gate/alarm/config").expect("discovery");
    let found: Value = serde_json::from_str(&found).expect("JSON");
    assert_eq!((&found["state_topic"], &found["availability_topic"]), (&json!("alfred/gate/alarm/state"), &json!("alfred/available")));
    assert_eq!((figure(&host, "alfred_mqtt_connected "), figure(&host, "alfred_mqtt_dropped_total ")), (1, 0));
    assert!(figure(&host, "alfred_mqtt_published_total ") >= 8);
    drop(host);
    heard.wait("alfred/available", "offline");
}

#[test]
fn a_killed_daemon_is_offline_by_its_last_will() {
    if !is_installed() {
        return;
    }
    let broker = Broker::start(false);
    let ground = Ground::new(&[], 0);
    let heard = Heard::subscribe(broker.port, false);
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "daemon", "--nocapture"])
        .env(FILE, ground.file())
        .env(PORT, broker.port.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    heard.wait("alfred/available", "online");
    child.kill().expect("killed");
    child.wait().expect("ended");
    heard.wait("alfred/available", "offline");
}

#[test]
fn a_broker_that_is_away_costs_counted_messages_and_nothing_else() {
    if !is_installed() {
        return;
    }
    let port = free_port();
    let ground = Ground::new(&["anna"], 0);
    let host = Host::start(&ServerConfig { mqtt: Some(settings(port, None)), ..ground.config() });
    let mut session = connect(host.devices);
    for number in 1..=1100 {
        tell(&mut session, number, &event(number, Kind::New, 2.0));
    }
    let mqtt = host.client(&ground, "anna").get("/api/fleet").1["host"]["mqtt"].clone();
    // 1,100 events and the camera's alarm; 1,024 have room.
    assert_eq!((&mqtt["is_connected"], &mqtt["waiting"], &mqtt["dropped"]), (&json!(false), &json!(1024), &json!(77)));
    assert_eq!(support::number(&ground.file(), "SELECT count(*) FROM items"), 1100, "the database has them all");
    let Some(broker) = Broker::try_start(port, false) else {
        eprintln!("SKIPPED: port {port} was taken meanwhile");
        return;
    };
    let deadline = Instant::now() + PATIENT;
    while figure(&host, "alfred_mqtt_published_total ") < 1024 || figure(&host, "alfred_mqtt_waiting ") > 0 {
        assert!(Instant::now() < deadline, "what waited reaches the broker");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(figure(&host, "alfred_mqtt_dropped_total "), 77);
    drop(host);
    drop(broker);
}

#[test]
fn brokers_of_others_and_odd_topics_need_a_word() {
    let ground = Ground::new(&[], 0);
    let refused =
        |mqtt: MqttConfig| Server::bind(&ServerConfig { mqtt: Some(mqtt), ..ground.config() }).err().expect("refused").to_string();
    let usual = MqttConfig::new(1883);
    assert!(refused(MqttConfig { host: "broker.example".into(), ..usual.clone() }).contains("beyond_this_machine"));
    assert!(refused(MqttConfig { topic_prefix: "a/#".into(), ..usual.clone() }).contains("topic_prefix"));
    assert!(refused(MqttConfig { client_id: String::new(), ..usual.clone() }).contains("client_id"));
    assert!(refused(MqttConfig { keep_alive_s: 1, ..usual.clone() }).contains("keep_alive_s"));
    assert!(refused(MqttConfig { password_file: Some("x".into()), ..usual.clone() }).contains("user"));
    assert!(refused(MqttConfig { user: Some("u".into()), password_file: Some("nothing here".into()), ..usual }).contains("nothing here"));
}
