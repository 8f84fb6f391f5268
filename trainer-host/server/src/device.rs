//! What the host does with a device's words: records into the database before their receipt, bundles as the database wants them.

use crate::clock::now_ms;
use crate::database::Database;
use crate::mqtt::Mqtt;
use alfred_link::host::HostSide;
use alfred_store::StoreError;
use alfred_store::record::{Incoming, Stored};
use alfred_store::rollout::Desired;
use alfred_wire::error_code::ErrorCode;
use alfred_wire::link::{
    BundleAsk, BundleOffer, BundleStage, BundleState, CHUNK_BYTES_MAX, Heartbeat, Hello, HostMessage, JournalRecord, RecordId, Refused,
    Welcome,
};
use alfred_wire::name::Name;
use alfred_wire::record::{Content, Priority, Record};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often the database is asked what a device shall run.
const LOOK_PERIOD: Duration = Duration::from_millis(500);
/// How long a device that could not take a bundle just now is left in peace.
const OFFER_AGAIN: Duration = Duration::from_secs(60);

/// A record until its commit.
#[derive(Debug)]
struct Taken {
    id: RecordId,
    priority: Priority,
    body: Vec<u8>,
}

/// The bundle that was offered on this connection.
#[derive(Clone, Copy, Debug)]
struct Offered {
    revision: u64,
    /// When the device refused it.
    refused_at: Option<Instant>,
}

/// One device's connection.
#[derive(Debug)]
pub(crate) struct DeviceSide {
    database: Database,
    is_proved: bool,
    heartbeat_period_s: u16,
    device: Option<(Name, Name)>,
    taken: Vec<Taken>,
    looked_at: Option<Instant>,
    offered: Option<Offered>,
    withdrawn: Option<u64>,
    mqtt: Option<Arc<Mqtt>>,
}

impl DeviceSide {
    pub(crate) const fn new(database: Database, is_proved: bool, heartbeat_period_s: u16, mqtt: Option<Arc<Mqtt>>) -> Self {
        Self {
            database,
            is_proved,
            heartbeat_period_s,
            device: None,
            taken: Vec::new(),
            looked_at: None,
            offered: None,
            withdrawn: None,
            mqtt,
        }
    }

    /// Tells the broker about events that were new to the database.
    fn tell(&self, device: &Name, camera: &Name, stored: &[Stored]) {
        let Some(mqtt) = &self.mqtt else { return };
        for (taken, _) in self.taken.iter().zip(stored).filter(|(_, stored)| **stored == Stored::New) {
            if let Ok(Record { content: Content::Event(event), .. }) = Record::decode(&taken.body) {
                mqtt.event(device.as_str(), camera.as_str(), taken.id.boot, &event);
            }
        }
    }

    /// What the database wants this device to be told, and was not told yet.
    fn news(&mut self, device: &Name, camera: Name) -> Option<HostMessage<'static>> {
        let desired = self.database.read_now(|store| store.desired(device.as_str()));
        let Desired { offer, withdraw } = desired.unwrap_or_else(|error| {
            complain(device, &error);
            Desired::default()
        });
        if let Some(revision) = withdraw.filter(|revision| self.withdrawn != Some(*revision)) {
            self.withdrawn = Some(revision);
            return Some(HostMessage::BundleWithdraw { revision });
        }
        let Some(offer) = offer else {
            // Wanted no more: should it be wanted again, it is offered again.
            self.offered = None;
            return None;
        };
        let is_told = self.offered.is_some_and(|offered| {
            offered.revision == offer.revision && offered.refused_at.is_none_or(|refused_at| refused_at.elapsed() < OFFER_AGAIN)
        });
        if is_told {
            return None;
        }
        self.offered = Some(Offered { revision: offer.revision, refused_at: None });
        self.withdrawn = None;
        let (revision, bytes, fingerprint, sha256) = (offer.revision, offer.bytes, offer.fingerprint, offer.sha256);
        Some(HostMessage::BundleOffer(BundleOffer { camera, revision, bytes, fingerprint, sha256 }))
    }
}

/// Faults of the database end up in the log of the service; the device keeps its records and comes again.
fn complain(device: &Name, error: &StoreError) {
    eprintln!("device {device}: {error}");
}

/// The code that a device is told.
fn code_of(error: &StoreError) -> ErrorCode {
    match error {
        StoreError::Unknown { .. } | StoreError::Revoked(_) => ErrorCode::LinkUnknownDevice,
        StoreError::WrongCamera { .. } => ErrorCode::LinkWrongCamera,
        StoreError::Unproved(_) => ErrorCode::LinkWrongDevice,
        _ => ErrorCode::HostStorage,
    }
}

impl HostSide for DeviceSide {
    fn hello(&mut self, hello: &Hello) -> Result<Welcome, ErrorCode> {
        let now_ms = now_ms();
        self.database.write_now(|store| store.hello(hello, self.is_proved, now_ms)).map_err(|error| {
            complain(&hello.device, &error);
            code_of(&error)
        })?;
        self.device = Some((hello.device, hello.camera));
        Ok(Welcome { wall_unix_ms: now_ms.unsigned_abs(), heartbeat_period_s: self.heartbeat_period_s })
    }

    fn record(&mut self, record: &JournalRecord<'_>) -> Result<(), ErrorCode> {
        let body = record.body.get();
        self.taken.push(Taken { id: record.id, priority: record.priority, body: body.to_vec() });
        if Record::decode(body).is_ok() { Ok(()) } else { Err(ErrorCode::LinkRecord) }
    }

    fn commit(&mut self) -> Result<(), ErrorCode> {
        let Some((device, camera)) = self.device else { return Err(ErrorCode::LinkUnexpected) };
        let records: Vec<Incoming<'_>> =
            self.taken.iter().map(|taken| Incoming { id: taken.id, priority: taken.priority, body: &taken.body }).collect();
        let stored = self.database.write_now(|store| store.take_records(device.as_str(), &records, now_ms())).map_err(|error| {
            complain(&device, &error);
            code_of(&error)
        })?;
        let aside = stored.iter().filter(|stored| **stored == Stored::Aside).count();
        if aside > 0 {
            eprintln!("device {device}: {aside} records came with the ids of others and were kept aside");
        }
        self.tell(&device, &camera, &stored);
        self.taken.clear();
        Ok(())
    }

    fn heartbeat(&mut self, heartbeat: &Heartbeat) {
        if let Some((device, _)) = self.device
            && let Err(error) = self.database.write_now(|store| store.heartbeat(device.as_str(), heartbeat, now_ms()))
        {
            complain(&device, &error);
        }
    }

    fn bundle_state(&mut self, state: &BundleState) {
        if let Some((device, _)) = self.device
            && let Err(error) = self.database.write_now(|store| store.report_bundle(device.as_str(), state, now_ms()))
        {
            complain(&device, &error);
        }
        if let Some(offered) = self.offered.as_mut().filter(|offered| offered.revision == state.revision) {
            offered.refused_at = (state.stage == BundleStage::Refused).then(Instant::now);
        }
    }

    fn refused(&mut self, refused: &Refused) {
        // About a bundle it is the same as a report; about anything else there is nothing to undo.
        if let Some(revision) = refused.revision {
            self.bundle_state(&BundleState {
                revision,
                stage: BundleStage::Refused,
                reason: Some(refused.code),
                windows: 0,
                flagged: 0,
                live_flagged: 0,
                disagreements: 0,
                faults: 0,
                from_frame: 0,
            });
        } else if let Some((device, _)) = self.device {
            eprintln!("device {device} refuses a message: {}", refused.code);
        }
    }

    fn part(&mut self, ask: &BundleAsk, part: &mut [u8; CHUNK_BYTES_MAX]) -> usize {
        let Some((device, camera)) = self.device else { return 0 };
        let read = self.database.read_now(|store| store.bundle_part(camera.as_str(), ask.revision, ask.offset, CHUNK_BYTES_MAX as u32));
        match read {
            Ok(bytes) => {
                let length = bytes.len().min(CHUNK_BYTES_MAX);
                part[..length].copy_from_slice(&bytes[..length]);
                length
            }
            Err(error) => {
                complain(&device, &error);
                0
            }
        }
    }

    fn next(&mut self) -> Option<HostMessage<'static>> {
        let (device, camera) = self.device?;
        if self.looked_at.is_some_and(|looked_at| looked_at.elapsed() < LOOK_PERIOD) {
            return None;
        }
        let news = self.news(&device, camera);
        // Perhaps there is more to say: look again at once after news.
        self.looked_at = news.is_none().then(Instant::now);
        news
    }
}
