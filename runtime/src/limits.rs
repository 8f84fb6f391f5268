//! Capacities of the live process; those of the data path are in `alfred_core::limits`.

use std::time::Duration;

/// Frames between ingest and scoring, and in work. A full pool sheds the oldest waiting frame (socket) or blocks the source (stdin).
pub const FRAME_POOL: usize = 8;

/// Messages between scoring and output. When it is full, messages are lost and counted (socket), or scoring waits (stdin).
pub const OUTPUT_QUEUE: usize = 256;

/// Segment buffers between scoring and output. Without a free one a segment part is lost and counted (socket), or scoring waits (stdin).
pub const SEGMENT_BUFFERS: usize = 3;

/// Person-poses of one segment part; the flagged person's come first, the rest as room allows (counted in the message).
pub const SEGMENT_BUFFER_POSES_MAX: usize = 768;

/// Buffers of normal samples between scoring and output. Without a free one a sample is left out; the next one stands for its windows, too.
pub const SAMPLE_BUFFERS: usize = 4;

/// Bytes of the output's write buffer.
pub const OUTPUT_BUFFER_BYTES: usize = 32_768;

/// Stack of the ingest and of the output thread; 12 KiB of it are used in `alfred-edge bench`.
pub const IO_STACK_BYTES: usize = 64 * 1024;

/// Stack of the update thread: signatures, self-tests and folding of weights.
pub const UPDATE_STACK_BYTES: usize = 256 * 1024;

/// Stack of the supervisor thread.
pub const SUPERVISOR_STACK_BYTES: usize = 48 * 1024;

/// Bytes of the process that the memory map does not know: the program's and libraries' pages, the allocator, the kernel's share. With
/// them the map's ceiling becomes the unit's `MemoryMax=`.
pub const PROCESS_BYTES: u64 = 48 << 20;

/// Files of the inbox that one look takes notice of.
pub const BUNDLE_FILES_PER_LOOK_MAX: usize = 64;

/// Stack of the scoring thread with a native model.
pub const SCORING_STACK_BYTES: usize = 192 * 1024;

/// Stack of the scoring thread with an ONNX model: tract recurses through its graph.
pub const SCORING_STACK_ONNX_BYTES: usize = 2 * 1024 * 1024;

/// Bytes of a bundle that the link fetches: no device takes more.
pub const LINK_BUNDLE_BYTES_MAX: u32 = alfred_bundle::format::BUNDLE_BYTES_MAX as u32;

/// First and longest wait between two tries to reach the host; jitter takes up to half of it off.
pub const LINK_RETRY_FIRST: Duration = Duration::from_secs(1);
/// See [`LINK_RETRY_FIRST`].
pub const LINK_RETRY_LONGEST: Duration = Duration::from_secs(300);

/// How long the output thread waits for a free record buffer before an event's record is lost and counted: a slow disk, not a broken one.
pub const LINK_RECORD_PATIENCE: Duration = Duration::from_secs(5);

/// Bytes of a configuration file.
pub const CONFIG_BYTES_MAX: u64 = 64 * 1024;
