//! Devices and cameras: who is enrolled, who was seen when, and how it is.

use crate::audit::note;
use crate::error::StoreError;
use crate::store::{Store, name, signed, unsigned};
use alfred_wire::link::{Heartbeat, Hello};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;

/// SHA-256 of something.
pub type Sha256 = [u8; 32];

/// A device as the host knows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// Its camera.
    pub camera: String,
    /// Whether it was enrolled with a certificate; without one it may only connect from the same machine.
    pub has_certificate: bool,
    /// Whether it may not connect any more.
    pub is_revoked: bool,
    /// When it was last heard, milliseconds since 1970.
    pub seen_ms: Option<i64>,
    /// Random number of the latest start of its process, in hexadecimal.
    pub boot: Option<String>,
    /// What a bundle must have been made for, in hexadecimal.
    pub fingerprint: Option<String>,
    /// Revision of the bundle that it runs; 0: its model file.
    pub bundle_revision: Option<u64>,
    /// Its latest health figures, as the link names them.
    pub health: Option<serde_json::Value>,
}

/// A camera.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Camera {
    /// Its name.
    pub name: String,
    /// Its devices.
    pub devices: u64,
    /// The bundle that its devices shall run.
    pub desired_revision: Option<u64>,
    /// Whether its bundle waits.
    pub is_paused: bool,
    /// Items that can be judged.
    pub items: u64,
    /// Items that nobody has judged yet.
    pub items_unjudged: u64,
}

const DEVICE: &str = "SELECT name, camera, has_certificate, is_revoked, seen_ms, boot, fingerprint, bundle_revision, health FROM devices";

fn device(row: &Row<'_>) -> rusqlite::Result<Device> {
    let hexadecimal = |value: Option<i64>| value.map(|value| format!("{:016x}", unsigned(value)));
    Ok(Device {
        name: row.get(0)?,
        camera: row.get(1)?,
        has_certificate: row.get(2)?,
        is_revoked: row.get(3)?,
        seen_ms: row.get(4)?,
        boot: hexadecimal(row.get(5)?),
        fingerprint: hexadecimal(row.get(6)?),
        bundle_revision: row.get::<_, Option<i64>>(7)?.map(unsigned),
        health: row.get::<_, Option<String>>(8)?.and_then(|text| serde_json::from_str(&text).ok()),
    })
}

/// Camera of a device that may speak.
pub(crate) fn camera_of(connection: &Connection, device: &str) -> Result<String, StoreError> {
    let mut select = connection.prepare_cached("SELECT camera, is_revoked FROM devices WHERE name = ?1")?;
    let found = select.query_row([device], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    match found {
        None => Err(StoreError::Unknown { what: "device", name: device.to_owned() }),
        Some((_, true)) => Err(StoreError::Revoked(device.to_owned())),
        Some((camera, false)) => Ok(camera),
    }
}

impl Store {
    /// Enrols a device, or enrols it anew for another camera. The camera is made when it is new. With `has_certificate` the device must
    /// prove its name from now on; without, it may only come from the same machine.
    ///
    /// # Errors
    /// [`StoreError::Name`].
    pub fn enrol(&mut self, device: &str, camera: &str, has_certificate: bool, who: &str, now_ms: i64) -> Result<(), StoreError> {
        name("device", device)?;
        name("camera", camera)?;
        let transaction = self.write()?;
        transaction.execute("INSERT INTO cameras (name, added_ms) VALUES (?1, ?2) ON CONFLICT DO NOTHING", params![camera, now_ms])?;
        transaction.execute(
            "INSERT INTO devices (name, camera, has_certificate, enrolled_ms) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (name) DO UPDATE
            SET camera = excluded.camera, has_certificate = excluded.has_certificate, enrolled_ms = excluded.enrolled_ms, is_revoked = 0",
            params![device, camera, has_certificate, now_ms],
        )?;
        note(&transaction, now_ms, who, "enrol device", &format!("{device} at {camera}"))?;
        Ok(transaction.commit()?)
    }

    /// Refuses a device from now on; what it sent stays.
    ///
    /// # Errors
    /// [`StoreError::Unknown`].
    pub fn revoke_device(&mut self, device: &str, who: &str, now_ms: i64) -> Result<(), StoreError> {
        let transaction = self.write()?;
        if transaction.execute("UPDATE devices SET is_revoked = 1 WHERE name = ?1", [device])? == 0 {
            return Err(StoreError::Unknown { what: "device", name: device.to_owned() });
        }
        note(&transaction, now_ms, who, "revoke device", device)?;
        Ok(transaction.commit()?)
    }

    /// Judges a device's first message. `is_proved`: its connection has proved its name with a certificate.
    ///
    /// # Errors
    /// [`StoreError::Unknown`], [`StoreError::Revoked`], [`StoreError::WrongCamera`], [`StoreError::Unproved`].
    pub fn hello(&mut self, hello: &Hello, is_proved: bool, now_ms: i64) -> Result<(), StoreError> {
        let device = hello.device.as_str();
        let transaction = self.write()?;
        let enrolled = camera_of(&transaction, device)?;
        if enrolled != hello.camera.as_str() {
            return Err(StoreError::WrongCamera { device: device.to_owned(), enrolled, named: hello.camera.as_str().to_owned() });
        }
        let must_prove: bool = transaction.query_row("SELECT has_certificate FROM devices WHERE name = ?1", [device], |row| row.get(0))?;
        if must_prove && !is_proved {
            return Err(StoreError::Unproved(device.to_owned()));
        }
        transaction.execute(
            "UPDATE devices SET seen_ms = ?2, boot = ?3, fingerprint = ?4, bundle_revision = ?5 WHERE name = ?1",
            params![device, now_ms, signed(hello.boot), signed(hello.fingerprint), signed(hello.bundle_revision)],
        )?;
        Ok(transaction.commit()?)
    }

    /// Keeps a device's latest health figures.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn heartbeat(&mut self, device: &str, heartbeat: &Heartbeat, now_ms: i64) -> Result<(), StoreError> {
        let health = serde_json::to_string(heartbeat).unwrap_or_default();
        self.connection.execute(
            "UPDATE devices SET seen_ms = ?2, health = ?3, bundle_revision = ?4 WHERE name = ?1",
            params![device, now_ms, health, signed(heartbeat.bundle_revision)],
        )?;
        Ok(())
    }

    /// All devices, by name.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn devices(&self) -> Result<Vec<Device>, StoreError> {
        let mut select = self.connection.prepare_cached(&format!("{DEVICE} ORDER BY name"))?;
        let found = select.query_map([], device)?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// All cameras, by name.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn cameras(&self) -> Result<Vec<Camera>, StoreError> {
        let mut select = self.connection.prepare_cached(
            "SELECT name, (SELECT count(*) FROM devices WHERE camera = cameras.name AND NOT is_revoked), desired_revision, is_paused,
            (SELECT count(*) FROM items WHERE camera = cameras.name),
            (SELECT count(*) FROM items WHERE camera = cameras.name AND NOT EXISTS (SELECT 1 FROM standing WHERE item = items.id))
            FROM cameras ORDER BY name",
        )?;
        let found = select.query_map([], |row| {
            Ok(Camera {
                name: row.get(0)?,
                devices: unsigned(row.get(1)?),
                desired_revision: row.get::<_, Option<i64>>(2)?.map(unsigned),
                is_paused: row.get(3)?,
                items: unsigned(row.get(4)?),
                items_unjudged: unsigned(row.get(5)?),
            })
        })?;
        Ok(found.collect::<Result<_, _>>()?)
    }
}
