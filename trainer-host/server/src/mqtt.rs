//! Northbound MQTT, optional: what other systems want to know goes to a broker; nothing is taken from it.
//!
//! Messages wait in one queue of fixed size; when it is full the newest is lost and counted. `published` counts what the broker has
//! acknowledged, not what was handed to the client. Everything that is retained is said anew after each connection.

mod message;

use crate::config::MqttConfig;
use crate::database::Database;
use crate::error::ServeError;
use alfred_wire::output::EventMessage;
use message::{EventKey, Message, OpenEvents};
use rumqttc::{AsyncClient, Event, EventLoop, LastWill, MqttOptions, Packet, QoS};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;

/// Messages that wait for the broker.
const QUEUE_MAX: usize = 1024;
/// Messages on their way to the broker, not yet acknowledged.
const IN_FLIGHT_MAX: u16 = 64;
/// How long the daemon waits before it tries a lost broker again.
const RETRY: Duration = Duration::from_secs(2);
/// How often thresholds and cameras are looked at.
const LOOK_PERIOD: Duration = Duration::from_secs(2);
/// How often somebody who waits for room looks again.
const ROOM_PERIOD: Duration = Duration::from_millis(20);
/// Largest packet, bytes; ours have a few hundred.
const PACKET_BYTES_MAX: usize = 64 * 1024;
/// How long the farewell may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// The daemon's end of the broker; clones of the `Arc` share it.
#[derive(Debug)]
pub(crate) struct Mqtt {
    config: MqttConfig,
    password: Option<String>,
    sender: Sender<Message>,
    receiver: Mutex<Option<Receiver<Message>>>,
    open: Mutex<OpenEvents>,
    is_connected: AtomicBool,
    connections: AtomicU64,
    pub(crate) published: AtomicU64,
    pub(crate) dropped: AtomicU64,
}

impl Mqtt {
    /// Reads the password; connects later.
    pub(crate) fn new(config: &MqttConfig) -> Result<Self, ServeError> {
        let password = match &config.password_file {
            None => None,
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|source| ServeError::File { path: path.clone(), source })?;
                Some(text.trim_end_matches(['\r', '\n']).to_owned())
            }
        };
        let (sender, receiver) = channel(QUEUE_MAX);
        Ok(Self {
            config: config.clone(),
            password,
            sender,
            receiver: Mutex::new(Some(receiver)),
            open: Mutex::default(),
            is_connected: AtomicBool::new(false),
            connections: AtomicU64::new(0),
            published: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        })
    }

    /// State for the fleet page.
    pub(crate) fn state(&self) -> Value {
        json!({
            "is_connected": self.is_connected(), "published": self.published.load(Relaxed), "dropped": self.dropped.load(Relaxed),
            "waiting": self.waiting(),
        })
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.is_connected.load(Relaxed)
    }

    /// Messages that wait.
    pub(crate) fn waiting(&self) -> usize {
        QUEUE_MAX - self.sender.capacity()
    }

    /// Says that an event began, goes on, or ended; never waits.
    pub(crate) fn event(&self, device: &str, camera: &str, boot: u64, event: &EventMessage) {
        let key = EventKey { device: device.to_owned(), boot, number: event.id };
        let messages = self.open.lock().unwrap_or_else(PoisonError::into_inner).messages(&self.config.topic_prefix, camera, key, event);
        messages.into_iter().for_each(|message| self.offer(message));
    }

    fn offer(&self, message: Message) {
        if self.sender.try_send(message).is_err() {
            self.dropped.fetch_add(1, Relaxed);
        }
    }

    fn options(&self) -> MqttOptions {
        let config = &self.config;
        let mut options = MqttOptions::new(&config.client_id, &config.host, config.port);
        let will = message::available(&config.topic_prefix, false);
        options
            .set_keep_alive(Duration::from_secs(u64::from(config.keep_alive_s)))
            .set_inflight(IN_FLIGHT_MAX)
            .set_max_packet_size(PACKET_BYTES_MAX, PACKET_BYTES_MAX)
            .set_last_will(LastWill::new(will.topic, will.payload, QoS::AtLeastOnce, true));
        if let Some(user) = &config.user {
            options.set_credentials(user, self.password.clone().unwrap_or_default());
        }
        options
    }

    /// Starts the two tasks: one talks to the broker, one feeds it. They end with [`Running::end`].
    pub(crate) fn start(self: &Arc<Self>, database: Database) -> Option<Running> {
        let receiver = self.receiver.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        let (client, broker) = AsyncClient::new(self.options(), usize::from(IN_FLIGHT_MAX));
        let broker = tokio::spawn(Arc::clone(self).talk(broker));
        let feeder = tokio::spawn(Arc::clone(self).feed(client.clone(), receiver, database));
        Some(Running { mqtt: Arc::clone(self), client, broker, feeder })
    }

    async fn talk(self: Arc<Self>, mut broker: EventLoop) {
        let mut was_told = false;
        loop {
            match broker.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(_))) => {
                    self.connections.fetch_add(1, Relaxed);
                    self.is_connected.store(true, Relaxed);
                    was_told = false;
                }
                Ok(Event::Incoming(Packet::PubAck(_))) => drop(self.published.fetch_add(1, Relaxed)),
                Ok(_) => {}
                Err(error) => {
                    self.is_connected.store(false, Relaxed);
                    // Once until it is back: a broker that is away for a night must not fill the log.
                    if !was_told {
                        eprintln!("mqtt: {}:{}: {error}; trying again", self.config.host, self.config.port);
                        was_told = true;
                    }
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    async fn feed(self: Arc<Self>, client: AsyncClient, mut receiver: Receiver<Message>, database: Database) {
        let (mut said, mut connections) = (BTreeMap::new(), 0);
        let mut look = tokio::time::interval(LOOK_PERIOD);
        loop {
            tokio::select! {
                _ = look.tick() => {}
                message = receiver.recv(), if self.is_connected() => match message {
                    Some(message) => self.hand_over(&client, message).await,
                    None => return,
                },
            }
            let found = self.connections.load(Relaxed);
            if !self.is_connected() {
                continue;
            }
            if connections != found {
                connections = found;
                said.clear();
                self.hand_over(&client, message::available(&self.config.topic_prefix, true)).await;
            }
            for message in self.news(&database, &mut said).await {
                self.hand_over(&client, message).await;
            }
        }
    }

    /// Gives a message to the client, which has room for so many; waits while it has none.
    async fn hand_over(&self, client: &AsyncClient, message: Message) {
        while client.try_publish(&message.topic, QoS::AtLeastOnce, message.is_retained, message.payload.clone()).is_err() {
            tokio::time::sleep(ROOM_PERIOD).await;
        }
    }

    /// Retained messages that were not said yet on this connection: cameras that are new, thresholds that have changed, alarms whose message
    /// was lost.
    async fn news(&self, database: &Database, said: &mut BTreeMap<String, Said>) -> Vec<Message> {
        let found = database.read(|store| {
            let cameras = store.cameras()?.into_iter().map(|camera| {
                let live = store.live_bundle(&camera.name)?.map(|live| live.threshold);
                let threshold = live.map_or_else(|| store.latest_threshold(&camera.name), |live| Ok(Some(live)))?;
                Ok((camera.name, threshold))
            });
            cameras.collect::<Result<Vec<_>, alfred_store::StoreError>>()
        });
        // The log of the database's other users says what is wrong with it.
        let Some(Ok(cameras)) = found.await else { return Vec::new() };
        let (prefix, mut messages) = (&self.config.topic_prefix, Vec::new());
        for (camera, threshold) in cameras {
            let before = said.get(&camera).copied();
            if let (None, Some(home)) = (before, &self.config.discovery_prefix) {
                messages.extend(message::discovery(home, prefix, &camera));
            }
            let is_alarmed = self.open.lock().unwrap_or_else(PoisonError::into_inner).is_alarmed(&camera);
            if before.is_none_or(|before| before.is_alarmed != is_alarmed) {
                messages.push(message::alarm(prefix, &camera, is_alarmed));
            }
            if let Some(threshold) = threshold.filter(|threshold| before.and_then(|before| before.threshold) != Some(*threshold)) {
                messages.push(message::threshold(prefix, &camera, threshold));
            }
            said.insert(camera, Said { threshold, is_alarmed });
        }
        messages
    }
}

/// What was said about a camera on this connection.
#[derive(Clone, Copy, Debug)]
struct Said {
    threshold: Option<f64>,
    is_alarmed: bool,
}

/// The tasks that run.
pub(crate) struct Running {
    mqtt: Arc<Mqtt>,
    client: AsyncClient,
    broker: JoinHandle<()>,
    feeder: JoinHandle<()>,
}

impl Running {
    /// Says farewell, as far as the broker listens, and ends.
    pub(crate) async fn end(self) {
        self.feeder.abort();
        let farewell = async {
            if self.mqtt.is_connected() {
                let message = message::available(&self.mqtt.config.topic_prefix, false);
                let acknowledged = self.mqtt.published.load(Relaxed);
                self.mqtt.hand_over(&self.client, message).await;
                while self.mqtt.is_connected() && self.mqtt.published.load(Relaxed) == acknowledged {
                    tokio::time::sleep(ROOM_PERIOD).await;
                }
                let _ = self.client.disconnect().await;
            }
        };
        let _ = tokio::time::timeout(FAREWELL, farewell).await;
        self.broker.abort();
    }
}
