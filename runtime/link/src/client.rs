//! The device's side: one thread stores records in the journal, another takes them to the host, for as long as the process runs.
//!
//! They share the journal, and storage is quick: a network that hangs for a minute delays no record on its way to the journal.

use crate::backoff::Backoff;
use crate::fault::LinkFault;
use crate::handle::{Inner, LinkCounters, LinkHandle, queues};
use crate::limits::{HEARTBEAT_S, MESSAGES_IN_A_ROW_MAX, PAUSE_S_MAX, Patience, RECORDS_UNACKNOWLEDGED_MAX, TICK};
use crate::session::{Link, Session};
use crate::spool::Spool;
use crate::token_bucket::TokenBucket;
use crate::transfer::{Step, Transfer, Wanted, state};
use alfred_board::hal::Storage;
use alfred_journal::journal::Journal;
use alfred_wire::error_code::ErrorCode;
use alfred_wire::link::{BundleStage, Configure, DeviceMessage, Heartbeat, Hello, HostMessage, JournalRecord, RecordId, Refused, Welcome};
use alfred_wire::name::{Bytes, Name};
use alfred_wire::record::RECORD_BYTES_MAX;
use crossbeam::channel::{Receiver, RecvTimeoutError, TryRecvError, bounded};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Stack of the journal's thread.
const JOURNAL_STACK_BYTES: usize = 128 * 1024;
/// Stack of the link's thread: handshakes verify chains of certificates, and bundles are judged there.
const LINK_STACK_BYTES: usize = 1024 * 1024;

/// What the link needs of the device. Called on the link's thread.
pub trait DeviceSide: Send {
    /// Health figures; the journal's and `is_paused` are filled in by the link.
    fn heartbeat(&mut self) -> Heartbeat;

    /// Revision of the confirmed bundle; 0: none.
    fn bundle_revision(&self) -> u64;

    /// Judges a bundle that came whole. The host waits meanwhile: a few seconds at most.
    ///
    /// # Errors
    /// Why it is refused: the host is told.
    fn on_bundle(&mut self, bytes: &[u8]) -> Result<(), ErrorCode>;

    /// The host takes a bundle back.
    fn on_withdraw(&mut self, revision: u64);

    /// The host changes settings.
    fn on_configure(&mut self, settings: &Configure);

    /// The connection ended or did not come about; it is tried again. For a log: `is_first` of its kind since the start.
    fn on_fault(&mut self, fault: &LinkFault, is_first: bool);
}

/// Settings of the link.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// The device.
    pub device: Name,
    /// Its camera.
    pub camera: Name,
    /// Random number of this start of the process; the journal has the same.
    pub boot: u64,
    /// What bundles must have been made for.
    pub fingerprint: u64,
    /// Bytes per second, sent records and fetched parts, over time; 0: no cap.
    pub bytes_per_second_max: u32,
    /// Bytes of the largest bundle.
    pub bundle_bytes_max: u32,
    /// Folder of the spool.
    pub spool: PathBuf,
    /// How long to wait for the host.
    pub patience: Patience,
    /// The first wait between two tries.
    pub retry_first: Duration,
    /// The longest.
    pub retry_longest: Duration,
}

/// Starts the link: two threads, which end with the handle.
///
/// # Errors
/// [`LinkFault::Spool`], [`LinkFault::Broken`] when no thread can be started.
pub fn start<L, S, D>(link: L, journal: Journal<S>, side: D, settings: ClientSettings) -> Result<LinkHandle, LinkFault>
where
    L: Link + 'static,
    S: Storage + Send + 'static,
    D: DeviceSide + 'static,
{
    let counters = Arc::new(LinkCounters::default());
    let journal = Arc::new(Mutex::new(journal));
    let (recorder, Inner { queue, give_back, reports }) = queues(&counters);
    let (stop, stopped) = bounded(0);
    let keeper = Keeper { journal: Arc::clone(&journal), queue, give_back, counters: Arc::clone(&counters), stopped: stopped.clone() };
    let client = Client {
        link,
        journal,
        side,
        transfer: Transfer::new(Spool::open(&settings.spool).map_err(LinkFault::Spool)?),
        bucket: TokenBucket::new(settings.bytes_per_second_max, Duration::ZERO),
        backoff: Backoff::new(settings.retry_first, settings.retry_longest, settings.boot),
        origin: Instant::now(),
        heartbeat_every: Duration::from_secs(u64::from(HEARTBEAT_S)),
        paused_until: None,
        counters: Arc::clone(&counters),
        settings,
        reports,
        stopped,
        record: vec![0; RECORD_BYTES_MAX].into_boxed_slice(),
    };
    let spawn = |name: &str, stack, run: Box<dyn FnOnce() + Send>| {
        thread::Builder::new().name(name.into()).stack_size(stack).spawn(run).map_err(LinkFault::Broken)
    };
    let threads = vec![
        spawn("journal", JOURNAL_STACK_BYTES, Box::new(move || keeper.run()))?,
        spawn("link", LINK_STACK_BYTES, Box::new(move || client.run()))?,
    ];
    Ok(LinkHandle { recorder, counters, stop, threads })
}

/// Stores records.
struct Keeper<S> {
    journal: Arc<Mutex<Journal<S>>>,
    queue: Receiver<crate::handle::Pending>,
    give_back: crossbeam::channel::Sender<Box<[u8]>>,
    counters: Arc<LinkCounters>,
    stopped: Receiver<()>,
}

impl<S: Storage> Keeper<S> {
    fn run(self) {
        loop {
            match self.queue.recv_timeout(TICK) {
                Ok(pending) => self.store(pending),
                Err(RecvTimeoutError::Timeout) if !is_over(&self.stopped) => {}
                Err(_) => break,
            }
        }
    }

    fn store(&self, pending: crate::handle::Pending) {
        match lock(&self.journal).append(pending.priority, &pending.buffer[..pending.length]) {
            Ok(_) => LinkCounters::add(&self.counters.records_appended, 1),
            Err(error) => {
                // One that found no room is in the journal's own count.
                if !matches!(error, alfred_journal::journal::JournalError::Full { .. }) {
                    LinkCounters::add(&self.counters.records_lost[pending.priority as usize], 1);
                }
                self.counters.faults.count(LinkFault::Journal(error).kind());
            }
        }
        // The pool has room for each of its buffers.
        let _ = self.give_back.try_send(pending.buffer);
    }
}

fn lock<S>(journal: &Mutex<Journal<S>>) -> MutexGuard<'_, Journal<S>> {
    // A panic elsewhere left the journal as a power cut would: it is made for that.
    journal.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_over(stopped: &Receiver<()>) -> bool {
    stopped.try_recv() == Err(TryRecvError::Disconnected)
}

/// Takes records to the host.
struct Client<L, S, D> {
    link: L,
    journal: Arc<Mutex<Journal<S>>>,
    side: D,
    settings: ClientSettings,
    transfer: Transfer,
    bucket: TokenBucket,
    backoff: Backoff,
    /// From here the bucket's time counts.
    origin: Instant,
    heartbeat_every: Duration,
    paused_until: Option<Instant>,
    counters: Arc<LinkCounters>,
    reports: Receiver<alfred_wire::link::BundleState>,
    stopped: Receiver<()>,
    /// The record that is being sent.
    record: Box<[u8]>,
}

/// What belongs to one connection.
struct Conversation {
    /// Records without a receipt, and since when.
    under_way: Vec<(RecordId, Instant)>,
    /// Small messages that wait for their turn.
    outbox: Vec<DeviceMessage<'static>>,
    next_heartbeat: Instant,
    asked_at: Instant,
}

impl<L: Link, S: Storage, D: DeviceSide> Client<L, S, D> {
    fn run(mut self) {
        while !is_over(&self.stopped) {
            let Err(fault) = self.connect() else { return };
            let is_first = self.counters.faults.count(fault.kind());
            self.side.on_fault(&fault, is_first);
            let wait = if is_lasting(&fault) { self.backoff.wait_longest() } else { self.backoff.wait() };
            if self.stopped.recv_timeout(wait) == Err(RecvTimeoutError::Disconnected) {
                return;
            }
        }
    }

    /// One connection, from its beginning to its end; `Ok` only when the link is stopped.
    fn connect(&mut self) -> Result<(), LinkFault> {
        let mut session = self.link.connect()?;
        lock(&self.journal).rewind();
        self.transfer.reconnect();
        let welcome = match self.greet(&mut session)? {
            Some(welcome) => welcome,
            None => return Ok(()),
        };
        LinkCounters::add(&self.counters.welcomes, 1);
        self.pace(welcome.heartbeat_period_s);
        let now = Instant::now();
        let mut conversation = Conversation {
            under_way: Vec::with_capacity(RECORDS_UNACKNOWLEDGED_MAX),
            outbox: Vec::with_capacity(4 * MESSAGES_IN_A_ROW_MAX),
            next_heartbeat: now,
            asked_at: now,
        };
        while !is_over(&self.stopped) {
            self.speak(&mut session, &mut conversation)?;
            self.listen(&mut session, &mut conversation)?;
            self.check_patience(&conversation)?;
        }
        Ok(())
    }

    /// Hello and Welcome; `None` when the link is stopped meanwhile.
    fn greet(&mut self, session: &mut L::Session) -> Result<Option<Welcome>, LinkFault> {
        let hello = Hello {
            device: self.settings.device,
            camera: self.settings.camera,
            boot: self.settings.boot,
            fingerprint: self.settings.fingerprint,
            bundle_revision: self.side.bundle_revision(),
            now_ns: self.side.heartbeat().now_ns,
        };
        session.send(&DeviceMessage::Hello(hello))?;
        let end = Instant::now() + self.settings.patience.message;
        while !is_over(&self.stopped) {
            match session.receive(TICK)? {
                Some(HostMessage::Welcome(welcome)) => return Ok(Some(welcome)),
                Some(HostMessage::Refused(refused)) => return Err(LinkFault::Refused(refused.code)),
                Some(_) => return Err(LinkFault::Unexpected("the host must begin with Welcome")),
                None if Instant::now() >= end => return Err(LinkFault::Slow("it does not answer Hello")),
                None => {}
            }
        }
        Ok(None)
    }

    fn pace(&mut self, heartbeat_period_s: u16) {
        self.heartbeat_every = Duration::from_secs(u64::from(heartbeat_period_s.clamp(1, crate::limits::HEARTBEAT_S_MAX)));
    }

    fn is_paused(&self) -> bool {
        self.paused_until.is_some_and(|until| Instant::now() < until)
    }

    /// Sends what is due: heartbeats, answers, reports, then records as far as the cap and receipts allow.
    fn speak(&mut self, session: &mut L::Session, conversation: &mut Conversation) -> Result<(), LinkFault> {
        if Instant::now() >= conversation.next_heartbeat {
            conversation.next_heartbeat = Instant::now() + self.heartbeat_every;
            let heartbeat = self.heartbeat();
            self.send(session, &DeviceMessage::Heartbeat(heartbeat))?;
        }
        while let Ok(report) = self.reports.try_recv() {
            self.send(session, &DeviceMessage::BundleState(report))?;
        }
        // A question for a part waits until the last part is paid for.
        let may_ask = self.bucket.allows(self.origin.elapsed());
        let waiting = std::mem::take(&mut conversation.outbox);
        for message in &waiting {
            if matches!(message, DeviceMessage::BundleAsk(_)) {
                conversation.asked_at = Instant::now();
                if !may_ask {
                    conversation.outbox.push(*message);
                    continue;
                }
            }
            self.send(session, message)?;
        }
        while conversation.under_way.len() < RECORDS_UNACKNOWLEDGED_MAX && !self.is_paused() && self.bucket.allows(self.origin.elapsed()) {
            let Some(id) = self.send_record(session)? else { break };
            conversation.under_way.push((id, Instant::now()));
        }
        Ok(())
    }

    fn send(&mut self, session: &mut L::Session, message: &DeviceMessage<'_>) -> Result<(), LinkFault> {
        let bytes = session.send(message)?;
        self.bucket.take(bytes);
        LinkCounters::add(&self.counters.bytes_sent, bytes);
        Ok(())
    }

    /// Sends the dearest record that has not been sent.
    fn send_record(&mut self, session: &mut L::Session) -> Result<Option<RecordId>, LinkFault> {
        // The journal is free again before anything is sent.
        let handed = lock(&self.journal).next_unsent(&mut self.record)?.map(|handed| (handed.id, handed.priority, handed.body.len()));
        let Some((id, priority, length)) = handed else { return Ok(None) };
        let body = Bytes::new(&self.record[..length]).unwrap_or(Bytes::EMPTY);
        let bytes = session.send(&DeviceMessage::Record(JournalRecord { id, priority, body }))?;
        self.bucket.take(bytes);
        LinkCounters::add(&self.counters.bytes_sent, bytes);
        LinkCounters::add(&self.counters.records_sent, 1);
        Ok(Some(id))
    }

    fn heartbeat(&mut self) -> Heartbeat {
        let heartbeat = self.side.heartbeat();
        let lost = self.counters.lost();
        let journal = lock(&self.journal);
        let (waiting, losses) = (journal.waiting(), journal.losses().by_priority());
        Heartbeat {
            journal_records: waiting.records,
            journal_bytes: waiting.bytes,
            journal_lost: std::array::from_fn(|place| losses[place] + lost[place]),
            is_paused: self.is_paused(),
            ..heartbeat
        }
    }

    /// Takes in what the host says: waits for the first message, and goes on as long as there are more.
    fn listen(&mut self, session: &mut L::Session, conversation: &mut Conversation) -> Result<(), LinkFault> {
        let mut wait = TICK;
        for _ in 0..MESSAGES_IN_A_ROW_MAX {
            let Some(message) = session.receive(wait)? else { break };
            self.hear(&message, conversation)?;
            wait = Duration::ZERO;
        }
        Ok(())
    }

    fn hear(&mut self, message: &HostMessage<'_>, conversation: &mut Conversation) -> Result<(), LinkFault> {
        match message {
            HostMessage::Welcome(_) => return Err(LinkFault::Unexpected("a second Welcome")),
            HostMessage::Receipt(receipt) => self.received(receipt.id, conversation)?,
            HostMessage::Refused(refused) => self.refused(refused, conversation)?,
            HostMessage::BundleOffer(offer) => {
                let wanted = Wanted {
                    camera: self.settings.camera,
                    fingerprint: self.settings.fingerprint,
                    revision: self.side.bundle_revision(),
                    bytes_max: self.settings.bundle_bytes_max,
                };
                let step = self.transfer.offered(offer, &wanted)?;
                if matches!(step, Step::Ask(_)) {
                    let wanted = state(offer.revision, BundleStage::Wanted, None);
                    conversation.outbox.push(DeviceMessage::BundleState(wanted));
                }
                self.follow(step, conversation)?;
            }
            HostMessage::BundleChunk(chunk) => {
                self.bucket.take(chunk.bytes.get().len());
                LinkCounters::add(&self.counters.bundle_parts, 1);
                let step = self.transfer.part(chunk)?;
                self.follow(step, conversation)?;
            }
            HostMessage::BundleWithdraw { revision } => {
                self.transfer.withdrawn(*revision)?;
                conversation.outbox.retain(|message| !matches!(message, DeviceMessage::BundleAsk(ask) if ask.revision == *revision));
                self.side.on_withdraw(*revision);
            }
            HostMessage::Configure(settings) => {
                if let Some(period) = settings.heartbeat_period_s {
                    self.pace(period);
                }
                self.side.on_configure(settings);
            }
            HostMessage::Pause { seconds } => {
                let pause = Duration::from_secs(u64::from((*seconds).min(PAUSE_S_MAX)));
                self.paused_until = Some(Instant::now() + pause);
            }
        }
        Ok(())
    }

    /// The host has a record.
    fn received(&mut self, id: RecordId, conversation: &mut Conversation) -> Result<(), LinkFault> {
        let place = conversation.under_way.iter().position(|(under_way, _)| *under_way == id);
        let Some(place) = place else {
            // Nothing is freed on the word of a receipt for what was not sent.
            LinkCounters::add(&self.counters.receipts_unexpected, 1);
            return Ok(());
        };
        conversation.under_way.swap_remove(place);
        lock(&self.journal).receipt(id)?;
        LinkCounters::add(&self.counters.receipts, 1);
        self.backoff.reset();
        Ok(())
    }

    fn refused(&mut self, refused: &Refused, conversation: &mut Conversation) -> Result<(), LinkFault> {
        match refused.record {
            // Kept aside there: it will not become readable by being sent again.
            Some(id) if refused.code == ErrorCode::LinkRecord.number() => {
                if conversation.under_way.iter().any(|(under_way, _)| *under_way == id) {
                    LinkCounters::add(&self.counters.records_unreadable, 1);
                }
                self.received(id, conversation)
            }
            _ => Err(LinkFault::Refused(refused.code)),
        }
    }

    fn follow(&mut self, step: Step, conversation: &mut Conversation) -> Result<(), LinkFault> {
        match step {
            Step::Ask(ask) => {
                // Only the last question counts.
                conversation.outbox.retain(|message| !matches!(message, DeviceMessage::BundleAsk(_)));
                conversation.outbox.push(DeviceMessage::BundleAsk(ask));
                conversation.asked_at = Instant::now();
            }
            Step::Tell(state) => {
                LinkCounters::add(&self.counters.bundles_refused, 1);
                conversation.outbox.push(DeviceMessage::BundleState(state));
            }
            Step::Whole(revision, bytes) => {
                LinkCounters::add(&self.counters.bundles_fetched, 1);
                conversation.outbox.push(DeviceMessage::BundleState(state(revision, BundleStage::Written, None)));
                let judged = match self.side.on_bundle(&bytes) {
                    Ok(()) => state(revision, BundleStage::Verified, None),
                    Err(code) => {
                        LinkCounters::add(&self.counters.bundles_refused, 1);
                        state(revision, BundleStage::Refused, Some(code))
                    }
                };
                conversation.outbox.push(DeviceMessage::BundleState(judged));
                self.transfer.done()?;
            }
            Step::Ignore => {}
        }
        Ok(())
    }

    fn check_patience(&self, conversation: &Conversation) -> Result<(), LinkFault> {
        let patience = self.settings.patience.receipt;
        if conversation.under_way.iter().any(|(_, since)| since.elapsed() > patience) {
            return Err(LinkFault::NoReceipt);
        }
        if self.transfer.is_waiting() && conversation.asked_at.elapsed() > patience {
            return Err(LinkFault::Slow("it does not send the bundle's part"));
        }
        Ok(())
    }
}

/// Whether it will most likely be the same after a short wait.
fn is_lasting(fault: &LinkFault) -> bool {
    let lasting = [
        ErrorCode::LinkVersion.number(),
        ErrorCode::LinkUnknownDevice.number(),
        ErrorCode::LinkWrongCamera.number(),
        ErrorCode::LinkWrongDevice.number(),
    ];
    match fault {
        LinkFault::Refused(code) => lasting.contains(code),
        LinkFault::Message(_)
        | LinkFault::NotLoopback(_)
        | LinkFault::UnknownAuthority
        | LinkFault::Expired
        | LinkFault::WrongCertificate
        | LinkFault::Rejected(_)
        | LinkFault::Tls(_) => true,
        _ => false,
    }
}
