//! Capacities and patience of the link: nothing that a peer does takes more.

use alfred_wire::link::{DEVICE_MESSAGE_BYTES_MAX, ENVELOPE_BYTES, HOST_MESSAGE_BYTES_MAX};
use alfred_wire::record::RECORD_BYTES_MAX;
use std::time::Duration;

/// Bytes of the largest message of a device with its envelope.
pub const DEVICE_FRAME_BYTES_MAX: usize = ENVELOPE_BYTES + DEVICE_MESSAGE_BYTES_MAX;
/// Bytes of the largest message of a host with its envelope.
pub const HOST_FRAME_BYTES_MAX: usize = ENVELOPE_BYTES + HOST_MESSAGE_BYTES_MAX;
/// Bytes of the first message of a device: nobody is given a larger buffer before it has said who it is.
pub const HELLO_BYTES_MAX: usize = 256;

/// Records that are on their way without a receipt. The host commits them in batches of [`COMMIT_RECORDS_MAX`].
pub const RECORDS_UNACKNOWLEDGED_MAX: usize = 32;
/// Records that the host commits at once.
pub const COMMIT_RECORDS_MAX: usize = 16;
/// Record buffers between whoever writes records and the journal's thread. Without a free one a record is lost and counted.
pub const RECORD_BUFFERS: usize = 8;
/// Of them, those that samples may not take: events find room.
pub const RECORD_BUFFERS_KEPT: usize = 4;
/// Reports about bundles that wait for the link. When it is full the newest is lost and counted.
pub const REPORT_QUEUE: usize = 16;
/// Messages that the device handles before it looks after its own sending again.
pub const MESSAGES_IN_A_ROW_MAX: usize = 64;
/// Bytes of a bundle that is fetched.
pub const BUNDLE_BYTES_MAX: u32 = 8 << 20;
/// Bytes of a file with certificates or keys, or of a configuration.
pub const FILE_BYTES_MAX: u64 = 64 * 1024;
/// Connections that a host serves at the same time, if its configuration does not say otherwise.
pub const CONNECTIONS_MAX: usize = 256;

/// How often a waiting end looks whether there is something to send.
pub const TICK: Duration = Duration::from_millis(50);
/// Seconds between two heartbeats until the host says otherwise.
pub const HEARTBEAT_S: u16 = 10;
/// Seconds between two heartbeats at most.
pub const HEARTBEAT_S_MAX: u16 = 3600;
/// Seconds for which a host may silence records at once.
pub const PAUSE_S_MAX: u32 = 3600;
/// Bundles of one connection that the device fetches in vain before it hangs up.
pub const TRANSFERS_FAILED_MAX: u32 = 3;

/// How long the ends wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Until a connection stands.
    pub connect: Duration,
    /// Until both ends have proved who they are.
    pub handshake: Duration,
    /// From a message's first byte to its last, and for the first message.
    pub message: Duration,
    /// Until a message that is sent has left.
    pub send: Duration,
    /// Until the host's receipt for a record.
    pub receipt: Duration,
    /// For a device's next message, beyond three heartbeats.
    pub silence: Duration,
}

impl Patience {
    /// For radio links that stall now and then.
    pub const USUAL: Self = Self {
        connect: Duration::from_secs(10),
        handshake: Duration::from_secs(10),
        message: Duration::from_secs(20),
        send: Duration::from_secs(20),
        receipt: Duration::from_secs(60),
        silence: Duration::from_secs(30),
    };
}

const _: () = assert!(COMMIT_RECORDS_MAX <= RECORDS_UNACKNOWLEDGED_MAX, "a batch would never fill");
const _: () = assert!(RECORD_BUFFERS_KEPT < RECORD_BUFFERS, "samples would never find room");
const _: () = assert!(RECORD_BYTES_MAX < DEVICE_MESSAGE_BYTES_MAX);
const _: () = assert!(alfred_wire::link::HELLO_MESSAGE_BYTES_MAX <= HELLO_BYTES_MAX);
