//! The live process's end of the link: events and segments go to the journal, health figures to the heartbeat, bundles to who judges them.
//!
//! The output thread feeds it, after the frame thread has long gone on; nothing that the network or the disk does reaches a frame. The
//! link's own threads allocate (TLS does, for each message): with a `[link]` section the health figure `allocations` counts them.

use crate::error::Error;
use crate::limits::{LINK_BUNDLE_BYTES_MAX, LINK_RECORD_PATIENCE, LINK_RETRY_FIRST, LINK_RETRY_LONGEST};
use crate::live::health::BoardHealth;
use crate::live::output::{Item, SegmentBuffer, StatsBuffer};
use crate::live::update::Withdrawal;
use alfred_board::hal::{Board, Clock, Memory};
use alfred_journal::journal::{Journal, Settings};
use alfred_link::client::{self, ClientSettings, DeviceSide};
use alfred_link::config::LinkConfig;
use alfred_link::fault::LinkFault;
use alfred_link::handle::{LinkHandle, Recorder};
use alfred_link::limits::Patience;
use alfred_link::tcp::TcpLink;
use alfred_wire::error_code::ErrorCode;
use alfred_wire::link::{BundleStage, BundleState, Configure, Heartbeat};
use alfred_wire::name::Name;
use alfred_wire::output::{EventMessage, Kind};
use alfred_wire::pose_codec::Detail;
use alfred_wire::record::{Content, Poses, Priority, RECORD_POSES_BYTES_MAX, Record, SegmentRecord};
use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Who takes bundles. Called on the link's thread.
pub trait Desk: Send {
    /// Takes a bundle that came whole; what becomes of it is told as [`Item::Bundle`].
    ///
    /// # Errors
    /// Why it is refused at once.
    fn offer(&mut self, bytes: &[u8]) -> Result<(), ErrorCode>;

    /// The host takes a bundle back.
    fn withdraw(&mut self, revision: u64);
}

/// A desk without slots: it refuses every bundle.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSlots;

impl Desk for NoSlots {
    fn offer(&mut self, _: &[u8]) -> Result<(), ErrorCode> {
        Err(ErrorCode::BundleNoKey)
    }
    fn withdraw(&mut self, _: u64) {}
}

/// Puts bundles into the update thread's inbox, whole or not at all, and hands it what the host takes back.
#[derive(Clone, Debug)]
pub struct Inbox {
    folder: PathBuf,
    withdrawal: Withdrawal,
}

impl Inbox {
    /// The folder in which bundles appear, and where withdrawals go.
    #[must_use]
    pub const fn new(folder: PathBuf, withdrawal: Withdrawal) -> Self {
        Self { folder, withdrawal }
    }

    fn put(&self, bytes: &[u8]) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let part = self.folder.join("link.part");
        let mut file = File::create(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        // One that waits there is older: it gives way.
        fs::rename(part, self.folder.join("link.bundle"))
    }
}

impl Desk for Inbox {
    fn offer(&mut self, bytes: &[u8]) -> Result<(), ErrorCode> {
        self.put(bytes).map_err(|error| {
            eprintln!("{}: {error}: a bundle from the host is refused; check the folder", self.folder.display());
            ErrorCode::SlotStorage
        })
    }
    fn withdraw(&mut self, revision: u64) {
        self.withdrawal.ask(revision);
    }
}

/// Which bundles decide, as the update thread tells it.
#[derive(Debug)]
struct Revisions {
    confirmed: AtomicU64,
    running: AtomicU64,
}

impl Revisions {
    fn follow(&self, state: &BundleState) {
        match state.stage {
            BundleStage::Trial => self.running.store(state.revision, Relaxed),
            BundleStage::Confirmed => {
                self.confirmed.store(state.revision, Relaxed);
                self.running.store(state.revision, Relaxed);
            }
            BundleStage::Reverted => self.running.store(self.confirmed.load(Relaxed), Relaxed),
            _ => {}
        }
    }
}

/// What the output thread gives to the journal.
pub struct LinkFeed {
    recorder: Recorder,
    health: Arc<Mutex<Heartbeat>>,
    clock: Arc<dyn Clock>,
    revisions: Arc<Revisions>,
    /// Threshold of the latest event: a segment follows its event.
    threshold: f32,
    poses: Box<[u8]>,
}

impl LinkFeed {
    /// Takes what concerns the host. Losses are in the link's counters and in the heartbeat's `journal_lost`.
    pub(crate) fn take(&mut self, item: &Item) {
        match item {
            Item::Event(event) => self.event(event),
            Item::Segment(segment) => self.segment(segment),
            Item::Stats(stats) => self.stats(stats),
            Item::Bundle(state) => self.bundle(state),
            Item::Sample(sample) => {
                self.recorder.append(Priority::Sample, &self.record(Content::Sample(sample.record())));
            }
            Item::Frame(_) | Item::Degrade(_) => {}
        }
    }

    /// Beginnings and ends are records; what lies between is in the end's figures, and the heartbeat says that the device lives.
    fn event(&mut self, event: &EventMessage) {
        self.threshold = event.threshold;
        if event.kind != Kind::Update {
            self.keep(&self.record(Content::Event(*event)));
        }
    }

    fn segment(&mut self, segment: &SegmentBuffer) {
        let mut buffer = std::mem::take(&mut self.poses);
        let (poses, left_out) = Poses::write(segment.poses.iter(), Detail::Full, &mut buffer);
        let mut header = segment.header;
        header.poses_left_out = header.poses_left_out.saturating_add(left_out);
        let content = Content::Segment(SegmentRecord { header, threshold: self.threshold, poses });
        self.keep(&self.record(content));
        self.poses = buffer;
    }

    /// Told at once if the host is there, and kept for it in any case.
    fn bundle(&self, state: &BundleState) {
        self.revisions.follow(state);
        self.recorder.report(*state);
        self.keep(&self.record(Content::Bundle(*state)));
    }

    fn stats(&self, stats: &StatsBuffer) {
        let heartbeat = Heartbeat {
            uptime_s: stats.uptime_s,
            frames: stats.counters.frames,
            windows_scored: stats.counters.windows_scored,
            events: stats.counters.events,
            deadline_misses: stats.deadline_misses,
            frames_shed: stats.ingest.frames_shed,
            messages_refused: stats.ingest.messages_refused,
            output_lost: stats.output_lost,
            segments_lost: stats.segments_lost,
            score_faults: stats.counters.scores_engine_fault + stats.counters.scores_not_finite,
            frame_to_decision_p99_us: stats.frame_to_decision.p99_us as u32,
            ..Heartbeat::default()
        };
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = heartbeat;
    }

    /// Events must not be lost because the disk is slow for a moment: this thread may wait, the frame thread does not wait for it.
    fn keep(&self, record: &Record<'_>) {
        self.recorder.append_within(Priority::Event, record, LINK_RECORD_PATIENCE);
    }

    fn record<'a>(&self, content: Content<'a>) -> Record<'a> {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).ok();
        let wall_unix_ms = wall.and_then(|wall| u64::try_from(wall.as_millis()).ok());
        Record { written_ns: self.clock.now().0, wall_unix_ms, bundle_revision: self.revisions.running.load(Relaxed), content }
    }
}

/// What the link asks of the process.
struct Side<D> {
    desk: D,
    revisions: Arc<Revisions>,
    health: Arc<Mutex<Heartbeat>>,
    clock: Arc<dyn Clock>,
    memory: Box<dyn Memory + Send>,
    board_health: Arc<BoardHealth>,
    started_ns: u64,
    sample_bytes_per_hour: Option<Arc<AtomicU32>>,
}

impl<D: Desk> DeviceSide for Side<D> {
    /// Counts are those of the last health figures (`output.stats_period_s`); clock, uptime and memory are the moment's.
    fn heartbeat(&mut self) -> Heartbeat {
        let now_ns = self.clock.now().0;
        let last = *self.health.lock().unwrap_or_else(PoisonError::into_inner);
        Heartbeat {
            now_ns,
            uptime_s: now_ns.saturating_sub(self.started_ns) / 1_000_000_000,
            resident_bytes: self.memory.resident_bytes(),
            bundle_revision: self.revisions.running.load(Relaxed),
            temperature_millicelsius: self.board_health.temperature().map(|temperature| temperature.0),
            ..last
        }
    }
    fn bundle_revision(&self) -> u64 {
        self.revisions.confirmed.load(Relaxed)
    }
    fn on_bundle(&mut self, bytes: &[u8]) -> Result<(), ErrorCode> {
        self.desk.offer(bytes)
    }
    fn on_withdraw(&mut self, revision: u64) {
        self.desk.withdraw(revision);
    }
    fn on_configure(&mut self, settings: &Configure) {
        if let (Some(bytes), Some(in_force)) = (settings.sample_bytes_per_hour, &self.sample_bytes_per_hour) {
            in_force.store(bytes, Relaxed);
        }
    }
    fn on_fault(&mut self, fault: &LinkFault, is_first: bool) {
        if is_first {
            eprintln!("link: {fault}; it is tried again, further ones of this kind are only counted");
        }
    }
}

/// What a device's link is started with.
pub struct LinkSettings<'a> {
    /// The `[link]` section, its paths resolved.
    pub config: &'a LinkConfig,
    /// The board: its clock, memory and storage.
    pub board: &'a dyn Board,
    /// What is known of its sensors.
    pub board_health: Arc<BoardHealth>,
    /// The camera's name.
    pub camera: &'a str,
    /// Fingerprint of the data path that bundles must have been made for.
    pub fingerprint: u64,
    /// Threshold at which events are decided.
    pub threshold: f32,
    /// Revision of the confirmed bundle; 0: none, the model file runs.
    pub confirmed_revision: u64,
    /// Revision of the one that decides now.
    pub running_revision: u64,
    /// Bytes of normal samples per hour, which the host may change; `None`: there are no samples.
    pub sample_bytes_per_hour: Option<Arc<AtomicU32>>,
}

/// Opens the journal and starts the link's threads.
///
/// # Errors
/// A name, file or region that cannot be used.
pub fn start(settings: &LinkSettings<'_>, desk: impl Desk + 'static) -> Result<(LinkHandle, LinkFeed), Error> {
    let (config, clock) = (settings.config, settings.board.clock());
    let camera = Name::new(settings.camera).map_err(|error| Error::input("camera", error))?;
    let section = |error: LinkFault| Error::input("[link]", error);
    // Events and tracks are numbered anew with each start: together with this number they have a name in the world.
    let boot = RandomState::new().build_hasher().finish();
    let storage = settings.board.storage(&config.journal, config.journal_bytes).map_err(|error| Error::file(&config.journal, error))?;
    let (journal, report) =
        Journal::open(storage, Settings::new(config.device, boot)).map_err(|error| Error::file(&config.journal, error))?;
    if report.damaged > 0 {
        eprintln!("{}: {} damaged records were given up and counted: check the disk", config.journal.display(), report.damaged);
    }
    let credentials = config.credentials().map_err(section)?;
    let link = TcpLink::new(config.host.clone(), credentials.as_ref(), Patience::USUAL).map_err(section)?;
    let health = Arc::<Mutex<Heartbeat>>::default();
    let started_ns = clock.now().0;
    let revisions = Revisions { confirmed: settings.confirmed_revision.into(), running: settings.running_revision.into() };
    let revisions = Arc::new(revisions);
    let side = Side {
        desk,
        revisions: Arc::clone(&revisions),
        health: Arc::clone(&health),
        clock: Arc::clone(&clock),
        memory: settings.board.memory(),
        board_health: Arc::clone(&settings.board_health),
        started_ns,
        sample_bytes_per_hour: settings.sample_bytes_per_hour.clone(),
    };
    let client_settings = ClientSettings {
        device: config.device,
        camera,
        boot,
        fingerprint: settings.fingerprint,
        bytes_per_second_max: config.bytes_per_second_max,
        bundle_bytes_max: LINK_BUNDLE_BYTES_MAX,
        spool: config.spool.clone(),
        patience: Patience::USUAL,
        retry_first: LINK_RETRY_FIRST,
        retry_longest: LINK_RETRY_LONGEST,
    };
    let handle = client::start(link, journal, side, client_settings).map_err(section)?;
    let poses = vec![0; RECORD_POSES_BYTES_MAX].into_boxed_slice();
    let feed = LinkFeed { recorder: handle.recorder(), health, clock, revisions, threshold: settings.threshold, poses };
    Ok((handle, feed))
}
