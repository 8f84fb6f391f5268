//! Why the store refuses, and what to do about it.

use alfred_wire::name::NameError;
use std::path::PathBuf;
use thiserror::Error;

/// Why the store refuses.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The file cannot be opened.
    #[error("{path}: {source}; check that the folder exists and may be written")]
    Open {
        /// The database's file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// SQLite failed.
    #[error("the database: {0}; check free space and rights on its disk")]
    Database(#[from] rusqlite::Error),
    /// The file is a database of something else.
    #[error("{0}: an SQLite file of another program; name a new file")]
    NotOurs(PathBuf),
    /// A newer build wrote the file.
    #[error("{path}: schema version {found}, this build knows {known}; use the newer build")]
    TooNew {
        /// The database's file.
        path: PathBuf,
        /// Version of the file.
        found: i64,
        /// Newest version of this build.
        known: i64,
    },
    /// A name is no name.
    #[error("the {what}'s name: {source}")]
    Name {
        /// What is named.
        what: &'static str,
        /// What is wrong with it.
        source: NameError,
    },
    /// A value lies outside its range.
    #[error("{what} is out of range; allowed: {allowed}")]
    Range {
        /// Which value.
        what: &'static str,
        /// What is allowed.
        allowed: &'static str,
    },
    /// Something of this name or number is not there.
    #[error("there is no {what} {name:?}; list them to find the right one")]
    Unknown {
        /// What was looked for.
        what: &'static str,
        /// Its name or number.
        name: String,
    },
    /// Something of this name is there already.
    #[error("the {what} {name:?} is there already; choose another name")]
    Exists {
        /// What it is.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// The device was revoked.
    #[error("the device {0:?} was revoked; enrol it again")]
    Revoked(String),
    /// The device belongs to another camera.
    #[error("the device {device:?} is enrolled for camera {enrolled:?}, not {named:?}; mend its configuration or enrol it again")]
    WrongCamera {
        /// The device.
        device: String,
        /// Its camera on the host.
        enrolled: String,
        /// What it says.
        named: String,
    },
    /// The device must prove its name and did not.
    #[error("the device {0:?} was enrolled with a certificate and came without; let it connect with TLS")]
    Unproved(String),
    /// A request's key was used for another request.
    #[error("the request key {0:?} was used for something else; use a new random key for each request")]
    RequestReused(String),
    /// Nothing is left to take back.
    #[error("there is no verdict of {0:?} that could be taken back")]
    NothingToUndo(String),
    /// A bundle's revision is not above its camera's.
    #[error("revision {revision} of camera {camera:?} is not above {newest}; build the bundle with a higher one")]
    RevisionNotAbove {
        /// The camera.
        camera: String,
        /// The bundle's revision.
        revision: u64,
        /// The newest revision that the host has.
        newest: u64,
    },
    /// A confirmed bundle cannot be withdrawn.
    #[error("revision {revision} is confirmed on device {device:?}, which takes no lower one; build the old weights as a higher revision")]
    Confirmed {
        /// The device.
        device: String,
        /// The revision.
        revision: u64,
    },
    /// A stored record cannot be read.
    #[error("record {0} of the database cannot be read: its bytes were changed on the disk; restore a backup")]
    Damaged(i64),
    /// A table or object that was to be read is not in the documented form.
    #[error("line {line} of the verdicts: {what}; export shows the form")]
    Import {
        /// Which line, from 1; the heading counts.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// Reading or writing verdicts failed.
    #[error("the verdicts' file: {0}; check free space and rights")]
    Exchange(#[from] std::io::Error),
}

impl StoreError {
    /// Whether the caller's request is at fault, not the store.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        !matches!(self, Self::Open { .. } | Self::Database(_) | Self::Damaged(_) | Self::Exchange(_))
    }
}
