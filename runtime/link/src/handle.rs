//! What the rest of the process sees of the link: bounded queues and counters. Nothing here waits for the network or for storage.

use crate::fault::{FaultCounters, LinkFault};
use crate::limits::{RECORD_BUFFERS, RECORD_BUFFERS_KEPT, REPORT_QUEUE};
use alfred_wire::link::BundleState;
use alfred_wire::record::{Priority, RECORD_BYTES_MAX, Record};
use crossbeam::channel::{Receiver, Sender, bounded};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

/// What happened on the link since the start. Every loss is in one of these or in the journal's own.
#[derive(Debug, Default)]
pub struct LinkCounters {
    /// Faults by kind.
    pub faults: FaultCounters,
    /// Connections on which the host said Welcome.
    pub welcomes: AtomicU64,
    /// Records that reached the journal.
    pub records_appended: AtomicU64,
    /// Records lost before the journal, by priority: no free buffer, too large, or storage failed.
    pub records_lost: [AtomicU64; 3],
    /// Records sent; one that is sent again counts again.
    pub records_sent: AtomicU64,
    /// Records that the host has committed.
    pub receipts: AtomicU64,
    /// Of them, those whose content the host could not read.
    pub records_unreadable: AtomicU64,
    /// Receipts for what was not on its way: ignored.
    pub receipts_unexpected: AtomicU64,
    /// Bytes sent.
    pub bytes_sent: AtomicU64,
    /// Reports about bundles that found no room in the queue.
    pub reports_lost: AtomicU64,
    /// Bundles that came whole.
    pub bundles_fetched: AtomicU64,
    /// Parts of bundles that came.
    pub bundle_parts: AtomicU64,
    /// Bundles refused, by offer, while they came, or when they were judged.
    pub bundles_refused: AtomicU64,
}

impl LinkCounters {
    pub(crate) fn add(counter: &AtomicU64, count: usize) {
        counter.fetch_add(count as u64, Relaxed);
    }

    /// Records lost before the journal: samples, band, events.
    #[must_use]
    pub fn lost(&self) -> [u64; 3] {
        std::array::from_fn(|place| self.records_lost[place].load(Relaxed))
    }
}

/// A record on its way to the journal.
pub(crate) struct Pending {
    pub(crate) priority: Priority,
    pub(crate) buffer: Box<[u8]>,
    pub(crate) length: usize,
}

/// Hands records to the journal's thread and reports to the link's. Clones share the buffers.
#[derive(Clone)]
pub struct Recorder {
    free: Receiver<Box<[u8]>>,
    give_back: Sender<Box<[u8]>>,
    queue: Sender<Pending>,
    reports: Sender<BundleState>,
    counters: Arc<LinkCounters>,
}

impl Recorder {
    /// Gives a record to the journal; false when it was lost (and counted). Allocates nothing, never waits.
    pub fn append(&self, priority: Priority, record: &Record<'_>) -> bool {
        let is_kept = priority == Priority::Sample && self.free.len() <= RECORD_BUFFERS_KEPT;
        let buffer = if is_kept { None } else { self.free.try_recv().ok() };
        self.queue(buffer, priority, record)
    }

    /// As [`Recorder::append`], but waits up to `patience` for a free buffer: for threads that may wait while storage is slow.
    pub fn append_within(&self, priority: Priority, record: &Record<'_>, patience: Duration) -> bool {
        let buffer = self.free.recv_timeout(patience).ok();
        self.queue(buffer, priority, record)
    }

    fn queue(&self, buffer: Option<Box<[u8]>>, priority: Priority, record: &Record<'_>) -> bool {
        let is_queued = buffer.is_some_and(|mut buffer| match record.encode(&mut buffer).map(<[u8]>::len) {
            Ok(length) => self.queue.try_send(Pending { priority, buffer, length }).is_ok(),
            Err(_) => {
                let _ = self.give_back.try_send(buffer);
                false
            }
        });
        if !is_queued {
            LinkCounters::add(&self.counters.records_lost[priority as usize], 1);
        }
        is_queued
    }

    /// Tells the host what became of a bundle, if it is connected soon; write a record, too, if it must not be lost. False: no room, counted.
    pub fn report(&self, state: BundleState) -> bool {
        let is_queued = self.reports.try_send(state).is_ok();
        if !is_queued {
            LinkCounters::add(&self.counters.reports_lost, 1);
        }
        is_queued
    }
}

/// Ends of the queues that the link's threads hold.
pub(crate) struct Inner {
    pub(crate) queue: Receiver<Pending>,
    pub(crate) give_back: Sender<Box<[u8]>>,
    pub(crate) reports: Receiver<BundleState>,
}

/// Bytes of memory that the queues hold.
pub const QUEUE_BYTES: usize = RECORD_BUFFERS * (RECORD_BYTES_MAX + size_of::<Pending>()) + REPORT_QUEUE * size_of::<BundleState>();

pub(crate) fn queues(counters: &Arc<LinkCounters>) -> (Recorder, Inner) {
    let (give_back, free) = bounded(RECORD_BUFFERS);
    for _ in 0..RECORD_BUFFERS {
        // There is room for every one of them.
        let _ = give_back.try_send(vec![0; RECORD_BYTES_MAX].into_boxed_slice());
    }
    let (queue_in, queue) = bounded(RECORD_BUFFERS);
    let (reports_in, reports) = bounded(REPORT_QUEUE);
    let recorder = Recorder { free, give_back: give_back.clone(), queue: queue_in, reports: reports_in, counters: Arc::clone(counters) };
    (recorder, Inner { queue, give_back, reports })
}

/// The running link. Dropping it without [`LinkHandle::stop`] asks the threads to end and does not wait for them.
pub struct LinkHandle {
    pub(crate) recorder: Recorder,
    pub(crate) counters: Arc<LinkCounters>,
    /// Nothing is ever sent: that it is gone means stop.
    pub(crate) stop: Sender<()>,
    pub(crate) threads: Vec<JoinHandle<()>>,
}

impl LinkHandle {
    /// For whoever writes records.
    #[must_use]
    pub fn recorder(&self) -> Recorder {
        self.recorder.clone()
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> &Arc<LinkCounters> {
        &self.counters
    }

    /// Ends the link: what was given to the journal is stored first. Takes as long as one patience of the link at most.
    ///
    /// # Errors
    /// [`LinkFault::Broken`] when a thread panicked.
    pub fn stop(self) -> Result<(), LinkFault> {
        drop(self.stop);
        let mut outcome = Ok(());
        for thread in self.threads {
            if thread.join().is_err() {
                outcome = Err(LinkFault::Broken(std::io::Error::other("a thread of the link panicked: please report this")));
            }
        }
        outcome
    }
}
