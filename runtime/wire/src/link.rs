//! The messages between a device and its host, both directions, and how each is packed.
//!
//! A message travels in an envelope: 2 bytes `AF`, 1 byte version, 1 byte 0, 4 bytes length (little-endian), then the message in
//! postcard. Whoever reads checks the eight bytes first, the length against its direction's maximum before a single further byte is
//! read. Variants and error codes are only appended; anything else is a new version.
//!
//! Course: the device says [`Hello`], the host [`Welcome`] or [`Refused`]. Then each record of the device's journal gets a [`Receipt`] once
//! the host has committed it to its database, and only then the device frees it: a record may come twice, its id tells. Bundles come as a
//! [`BundleOffer`]; the device fetches its parts one by one, a [`BundleChunk`] for each [`BundleAsk`], so that it goes on where it was
//! after a new connection. Everything that becomes of the bundle it tells with [`BundleState`].

use crate::error_code::CodeNumber;
use crate::name::{Bytes, Name};
use crate::record::{Priority, RECORD_BYTES_MAX};
use core::fmt;
use postcard::experimental::max_size::MaxSize;
use serde::{Deserialize, Serialize};

/// Version of envelope and messages.
pub const LINK_VERSION: u8 = 1;
/// First bytes of every envelope.
pub const LINK_MAGIC: [u8; 2] = *b"AF";
/// Bytes before the message.
pub const ENVELOPE_BYTES: usize = 8;
/// Bytes of a bundle in one chunk: a bundle for STG-NF is one chunk.
pub const CHUNK_BYTES_MAX: usize = 4096;
/// Bytes of the largest message of a device.
pub const DEVICE_MESSAGE_BYTES_MAX: usize = DeviceMessage::POSTCARD_MAX_SIZE;
/// Bytes of the largest first message of a device: the variant's number and [`Hello`].
pub const HELLO_MESSAGE_BYTES_MAX: usize = 1 + Hello::POSTCARD_MAX_SIZE;
/// Bytes of the largest message of a host.
pub const HOST_MESSAGE_BYTES_MAX: usize = HostMessage::POSTCARD_MAX_SIZE;

/// A record's name in the world: the device's connection says which device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, MaxSize)]
pub struct RecordId {
    /// Random number of one start of the device's process: events and tracks are numbered anew with each.
    pub boot: u64,
    /// Number of the record in the journal; rises.
    pub sequence: u64,
}

/// A device introduces itself; the first message of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, MaxSize)]
pub struct Hello {
    /// The device.
    pub device: Name,
    /// Its camera.
    pub camera: Name,
    /// Random number of this start of its process.
    pub boot: u64,
    /// Fingerprint of windows, preprocessing and smoothing that a bundle must have been made for.
    pub fingerprint: u64,
    /// Revision of the bundle that is confirmed; 0: none, the model file runs.
    pub bundle_revision: u64,
    /// Nanoseconds of the monotonic clock.
    pub now_ns: u64,
}

/// Health of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, MaxSize)]
pub struct Heartbeat {
    /// Nanoseconds of the monotonic clock.
    pub now_ns: u64,
    /// Seconds since the process started.
    pub uptime_s: u64,
    /// Frames that entered the data path.
    pub frames: u64,
    /// Windows scored.
    pub windows_scored: u64,
    /// Events announced.
    pub events: u64,
    /// Frames whose decisions came after the deadline.
    pub deadline_misses: u64,
    /// Frames that waited and gave way to newer ones.
    pub frames_shed: u64,
    /// Messages refused at the input.
    pub messages_refused: u64,
    /// Events and frame lines that the output lost.
    pub output_lost: u64,
    /// Segment parts that the output lost.
    pub segments_lost: u64,
    /// Windows on which the model failed.
    pub score_faults: u64,
    /// Records that wait in the journal.
    pub journal_records: u32,
    /// Bytes of storage that they hold.
    pub journal_bytes: u64,
    /// Records that the journal gave up before the host had them: samples, band, events.
    pub journal_lost: [u64; 3],
    /// 99th percentile of the time from a frame's arrival to its decisions, microseconds.
    pub frame_to_decision_p99_us: u32,
    /// Hottest sensor of the board in thousandths of a degree Celsius; `None` where there is none.
    pub temperature_millicelsius: Option<i32>,
    /// Resident memory of the process, bytes.
    pub resident_bytes: Option<u64>,
    /// Revision of the bundle that scores now.
    pub bundle_revision: u64,
    /// Whether uploads rest because the host asked for it.
    pub is_paused: bool,
}

/// A record of the journal on its way; see `record` for what `body` holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, MaxSize)]
pub struct JournalRecord<'a> {
    /// Which record.
    pub id: RecordId,
    /// How dear it is.
    pub priority: Priority,
    /// Its content.
    #[serde(borrow)]
    pub body: Bytes<'a, RECORD_BYTES_MAX>,
}

/// How far a bundle has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, MaxSize)]
#[serde(rename_all = "snake_case")]
pub enum BundleStage {
    /// The device takes the offer and waits for chunks.
    Wanted,
    /// All bytes have come and are stored.
    Written,
    /// Signature, contents and self-test are right.
    Verified,
    /// It scores beside the live one.
    Shadow,
    /// It decides, on probation.
    Trial,
    /// It decides for good.
    Confirmed,
    /// It was refused before it decided anything.
    Refused,
    /// It decided, and the old one runs again.
    Reverted,
}

/// What became of a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, MaxSize)]
pub struct BundleState {
    /// Its revision; 0 when that could not be read.
    pub revision: u64,
    /// How far it has come.
    pub stage: BundleStage,
    /// Why it was refused or reverted.
    pub reason: Option<CodeNumber>,
    /// Windows seen in this stage.
    pub windows: u64,
    /// Windows that it flagged.
    pub flagged: u64,
    /// Windows that the live model flagged (shadow only).
    pub live_flagged: u64,
    /// Windows on which both decided otherwise (shadow only).
    pub disagreements: u64,
    /// Windows on which it failed.
    pub faults: u64,
    /// Frame from which on it decides, or the old one decides again; 0 in other stages.
    pub from_frame: u64,
}

/// The device wants a part of the offered bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, MaxSize)]
pub struct BundleAsk {
    /// The offer's revision.
    pub revision: u64,
    /// Bytes before the part: what the device has.
    pub offset: u32,
}

/// Something is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, MaxSize)]
pub struct Refused {
    /// Why.
    pub code: CodeNumber,
    /// The record, if it is about one.
    pub record: Option<RecordId>,
    /// The bundle's revision, if it is about one.
    pub revision: Option<u64>,
}

/// What a device says. Variants are only appended.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, MaxSize)]
#[allow(clippy::large_enum_variant, reason = "one at a time, on the stack: there is no heap to put the large one into")]
pub enum DeviceMessage<'a> {
    /// The first message.
    Hello(Hello),
    /// Health figures, every few seconds; lost ones are not sent again.
    Heartbeat(Heartbeat),
    /// A record that wants a receipt.
    #[serde(borrow)]
    Record(JournalRecord<'a>),
    /// What became of a bundle.
    BundleState(BundleState),
    /// A message of the host is refused.
    Refused(Refused),
    /// A part of the offered bundle is wanted.
    BundleAsk(BundleAsk),
}

/// The host takes a device's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, MaxSize)]
pub struct Welcome {
    /// The host's wall clock, milliseconds since 1970; for display only.
    pub wall_unix_ms: u64,
    /// Seconds between two heartbeats, at least 1.
    pub heartbeat_period_s: u16,
}

/// The host has committed a record: the device may forget it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, MaxSize)]
pub struct Receipt {
    /// Which record.
    pub id: RecordId,
}

/// A bundle is ready for the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, MaxSize)]
pub struct BundleOffer {
    /// The camera that it is for.
    pub camera: Name,
    /// Its revision.
    pub revision: u64,
    /// Its bytes.
    pub bytes: u32,
    /// What it was made for; see [`Hello::fingerprint`].
    pub fingerprint: u64,
    /// SHA-256 of its bytes: parts that were fetched before a cut belong to these bytes, or are fetched again.
    pub sha256: [u8; 32],
}

/// The part that was asked for: at most [`CHUNK_BYTES_MAX`] bytes, none only at the bundle's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, MaxSize)]
pub struct BundleChunk<'a> {
    /// The offer's revision.
    pub revision: u64,
    /// Bytes before this part.
    pub offset: u32,
    /// The part.
    #[serde(borrow)]
    pub bytes: Bytes<'a, CHUNK_BYTES_MAX>,
}

/// Settings that a host may change while the device runs; `None` leaves one as it is. Thresholds and weights only come in bundles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, MaxSize)]
pub struct Configure {
    /// Bytes of normal samples per hour; 0: none.
    pub sample_bytes_per_hour: Option<u32>,
    /// Seconds between two heartbeats, at least 1.
    pub heartbeat_period_s: Option<u16>,
}

/// What a host says. Variants are only appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, MaxSize)]
#[allow(clippy::large_enum_variant, reason = "one at a time, on the stack: there is no heap to put the large one into")]
pub enum HostMessage<'a> {
    /// The answer to `Hello`.
    Welcome(Welcome),
    /// A record is committed.
    Receipt(Receipt),
    /// A bundle is ready.
    BundleOffer(BundleOffer),
    /// A part of it.
    #[serde(borrow)]
    BundleChunk(BundleChunk<'a>),
    /// The bundle of this revision shall not be confirmed: end its shadow or trial.
    BundleWithdraw {
        /// Its revision.
        revision: u64,
    },
    /// Change settings.
    Configure(Configure),
    /// Send no records for so many seconds; 0: go on at once. Heartbeats go on.
    Pause {
        /// How long.
        seconds: u32,
    },
    /// A message of the device is refused.
    Refused(Refused),
}

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkError {
    /// The envelope does not begin with `AF`.
    Magic,
    /// Another version.
    Version(u8),
    /// More bytes than the direction allows, or than the buffer holds.
    TooLarge(usize),
    /// The bytes do not hold a message, or more than one.
    Malformed,
}

impl LinkError {
    /// The code that the other end is told.
    #[must_use]
    pub const fn code(self) -> crate::error_code::ErrorCode {
        use crate::error_code::ErrorCode;
        match self {
            Self::Version(_) => ErrorCode::LinkVersion,
            Self::TooLarge(_) => ErrorCode::LinkTooLarge,
            Self::Magic | Self::Malformed => ErrorCode::LinkMalformed,
        }
    }
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic => f.write_str("the stream does not begin with AF: is the other end a device or host of this project?"),
            Self::Version(version) => write!(f, "version {version} of the link, this build speaks {LINK_VERSION}: update the older end"),
            Self::TooLarge(bytes) => write!(
                f,
                "a message of {bytes} bytes: at most {DEVICE_MESSAGE_BYTES_MAX} (device) or {HOST_MESSAGE_BYTES_MAX} (host) are allowed"
            ),
            Self::Malformed => f.write_str("the bytes hold no message of this version: both ends must be builds of this project"),
        }
    }
}

impl core::error::Error for LinkError {}

/// Reads an envelope: the number of bytes that follow, at most `bytes_max`.
///
/// # Errors
/// [`LinkError`]; after one the connection cannot go on.
pub fn read_envelope(envelope: &[u8; ENVELOPE_BYTES], bytes_max: usize) -> Result<usize, LinkError> {
    let [magic_0, magic_1, version, reserved, length @ ..] = *envelope;
    if [magic_0, magic_1] != LINK_MAGIC {
        return Err(LinkError::Magic);
    }
    if version != LINK_VERSION {
        return Err(LinkError::Version(version));
    }
    if reserved != 0 {
        return Err(LinkError::Malformed);
    }
    let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if length > bytes_max { Err(LinkError::TooLarge(length)) } else { Ok(length) }
}

/// Writes envelope and message into `buffer`; returns what to send.
///
/// # Errors
/// [`LinkError::TooLarge`] when `buffer` is too small; [`ENVELOPE_BYTES`] and the direction's maximum are always enough.
pub fn encode<'b>(message: &impl Serialize, buffer: &'b mut [u8]) -> Result<&'b [u8], LinkError> {
    let room = buffer.len();
    let (envelope, rest) = buffer.split_first_chunk_mut::<ENVELOPE_BYTES>().ok_or(LinkError::TooLarge(ENVELOPE_BYTES))?;
    let length = postcard::to_slice(message, rest).map_err(|_| LinkError::TooLarge(room))?.len();
    let [l0, l1, l2, l3] = (length as u32).to_le_bytes();
    *envelope = [LINK_MAGIC[0], LINK_MAGIC[1], LINK_VERSION, 0, l0, l1, l2, l3];
    Ok(&buffer[..ENVELOPE_BYTES + length])
}

/// Reads the bytes after an envelope, all of them: [`DeviceMessage`] on the host, [`HostMessage`] on the device.
///
/// # Errors
/// [`LinkError::Malformed`].
pub fn decode<'b, M: Deserialize<'b>>(body: &'b [u8]) -> Result<M, LinkError> {
    let (message, rest) = postcard::take_from_bytes(body).map_err(|_| LinkError::Malformed)?;
    if rest.is_empty() { Ok(message) } else { Err(LinkError::Malformed) }
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
