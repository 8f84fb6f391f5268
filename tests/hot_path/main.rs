//! The live path, whole and real: socket, three threads, JSON lines out; 100,000 frames without one allocation in the process.
//!
//! A binary of its own, since it installs a counting allocator. The feeder runs in the same process and must not allocate either.

use alfred_board::counting_allocator::{CountingAllocator, allocations_behind_the_first_thread};
use alfred_board::fake_tree::FakeTree;
use alfred_board::generic_linux::ProcessMemory;
use alfred_board::hal::Memory;
use alfred_board::linux::ServiceManager;
use alfred_board::select::select;
use alfred_board::sim::SimSettings;
use alfred_core::normalise::PixelScale;
use alfred_core::pipeline::{Pipeline, Sink, WindowScore};
use alfred_core::pose::{KeyPoint, PersonPose, PoseFrame};
use alfred_core::units::{FrameIndex, MonotonicNs, PersonId, Threshold};
use alfred_models::stg_nf::adjacency::Adjacency;
use alfred_models::stg_nf::parameters::{StgNfParameters, StgNfShape, TensorRole};
use alfred_models::stg_nf::scorer::{Lane, StgNfScorer};
use alfred_runtime::board_side;
use alfred_runtime::config::Config;
use alfred_runtime::limits::SCORING_STACK_BYTES;
use alfred_runtime::live::care::Surroundings;
use alfred_runtime::live::sampling::Sampling;
use alfred_runtime::live::slot_scorer::Decider;
use alfred_runtime::live::socket_source::SocketSource;
use alfred_runtime::live::{self, Deciding, LiveSettings, WhenFull};
use alfred_runtime::replay::HeapMemory;
use alfred_wire::pose_message::{MESSAGE_BYTES_MAX, encode};
use alfred_wire::sampler::SampleRules;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator(std::alloc::System);

const FRAMES: u64 = 100_000;
/// By then every thread has waited and woken in every way it can, and several events have come and gone.
const WARM_UP_FRAMES: u64 = 5_000;
const PERSONS: u32 = 8;
/// Pages that the kernel may still hand to stacks and buffers that exist: a quarter of a MiB.
const RESIDENT_GROWTH_BYTES_MAX: u64 = 256 * 1024;

/// Longest wait for the last frames' decisions; only a lost frame would need it.
const PATIENCE_MS: u32 = 60_000;

static LINES: AtomicU64 = AtomicU64::new(0);
static DECIDED: AtomicU64 = AtomicU64::new(0);

/// First bytes of the line of a decided frame.
const FRAME_LINE: &[u8] = b"{\"frame\":{";

/// Counts lines and frame lines, whose first bytes may come in two writes, and remembers nothing else.
#[derive(Default)]
struct Tally {
    /// Bytes of the present line that agree with [`FRAME_LINE`]; `None` once one did not.
    agreeing: Option<usize>,
}

impl Write for Tally {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for &byte in bytes {
            if byte == b'\n' {
                LINES.fetch_add(1, SeqCst);
                self.agreeing = Some(0);
                continue;
            }
            self.agreeing = self.agreeing.filter(|agreeing| FRAME_LINE.get(*agreeing) == Some(&byte)).map(|agreeing| agreeing + 1);
            if self.agreeing == Some(FRAME_LINE.len()) {
                DECIDED.fetch_add(1, SeqCst);
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn model() -> StgNfScorer {
    let mut parameters = StgNfParameters::zero(StgNfShape::new(24).expect("published"));
    let mut state = 1_u32;
    parameters.visit_mut(|tensor| {
        for value in tensor.values.iter_mut() {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let number = (state >> 8) as f32 / (1 << 23) as f32 - 1.0;
            *value = if tensor.role == TensorRole::RunningVariance { 0.6 + 0.5 * number } else { 0.5 * number };
        }
    });
    StgNfScorer::new(&parameters, &Adjacency::published(), Lane::Fast).expect("valid")
}

/// The score that one window in fifty exceeds over the first frames: events come and go, and most of the time is quiet.
fn threshold(scorer: &mut StgNfScorer, config: &Config) -> Threshold {
    #[derive(Default)]
    struct Scores(Vec<f32>);
    impl Sink for Scores {
        fn window(&mut self, window: &WindowScore) {
            self.0.push(window.score.value());
        }
    }
    let (mut scores, mut memory) = (Scores::default(), HeapMemory::default());
    let pipeline = config.pipeline(24, PixelScale::SQUARE, None).expect("defaults");
    let mut pipeline = Pipeline::new(pipeline, 24, memory.lend()).expect("defaults");
    let mut frame = Box::new(PoseFrame::new(FrameIndex(0), MonotonicNs(0)));
    for number in 0..2000 {
        write_frame(&mut frame, number);
        pipeline.step(&frame, scorer, &mut scores);
    }
    scores.0.sort_by(f32::total_cmp);
    Threshold::new(scores.0[scores.0.len() - scores.0.len() / 50]).expect("finite")
}

/// Eight people who walk; each throws up its hands now and then, leaves, comes back with another number, or loses key-points.
fn write_frame(frame: &mut PoseFrame, number: u64) {
    frame.frame = FrameIndex(number);
    frame.captured = MonotonicNs(1 + number * 33_333_333);
    frame.persons.clear();
    for person in 0..PERSONS {
        let phase = number + 97 * u64::from(person);
        if phase % 400 < 20 {
            continue;
        }
        let id = person + PERSONS * (phase / 4000) as u32;
        let mut pose = PersonPose { id: PersonId(id), score: 1.0, ..PersonPose::EMPTY };
        let wild = if phase % 900 < 90 { 25.0 } else { 2.0 };
        for (place, keypoint) in pose.keypoints.iter_mut().enumerate() {
            let swing = (phase as f32 * 0.21 + place as f32).sin();
            let x = 100.0 * person as f32 + (phase % 1000) as f32 * 0.5 + 4.0 * (place % 4) as f32 + wild * swing;
            *keypoint = KeyPoint { x, y: 100.0 + 9.0 * place as f32 + wild * swing, confidence: 0.8 };
        }
        if phase.is_multiple_of(501) {
            pose.keypoints[4].x = f32::NAN;
        }
        frame.persons.push(pose).expect("eight fit");
    }
}

/// Sends frames; returns allocations and resident bytes after the warm-up and at the end, each once everything sent is decided.
fn feed(path: &std::path::Path, delay: u64) -> [(u64, u64); 2] {
    use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, send, socket};
    let socket = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::empty(), None).expect("socket");
    connect(socket.as_raw_fd(), &UnixAddr::new(path).expect("short path")).expect("the live path listens");
    let mut memory = ProcessMemory::open();
    let (mut frame, mut message) = (Box::new(PoseFrame::new(FrameIndex(0), MonotonicNs(0))), [0; MESSAGE_BYTES_MAX]);
    let mut marks = [(0, 0); 2];
    for number in 0..FRAMES {
        write_frame(&mut frame, number);
        let length = encode(&frame, &mut message).expect("fits");
        send(socket.as_raw_fd(), &message[..length], MsgFlags::empty()).expect("the live path reads");
        // A message that is refused is part of the live path too.
        if number % 1000 == 999 {
            send(socket.as_raw_fd(), &message[..length - 1], MsgFlags::empty()).expect("the live path reads");
        }
        let mark = if number + 1 == WARM_UP_FRAMES { 0 } else { usize::from(number + 1 == FRAMES) };
        if number + 1 == WARM_UP_FRAMES || number + 1 == FRAMES {
            for _ in 0..PATIENCE_MS {
                if DECIDED.load(SeqCst) >= number + 1 - delay {
                    break;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            marks[mark] = (allocations_behind_the_first_thread(), memory.resident_bytes().expect("Linux"));
        }
    }
    marks
}

/// The live path on a board: sensors of a made-up tree, a service manager that listens, an alarm line.
struct LookedAfter {
    tree: FakeTree,
    manager: UnixDatagram,
}

impl LookedAfter {
    fn new() -> Self {
        let tree = FakeTree::of_board("jetson-orin-nano").expect("a tree");
        tree.write("/sys/class/gpio/gpio79/value", "0\n").expect("a line");
        let manager = UnixDatagram::bind(tree.path().join("notify")).expect("bound");
        Self { tree, manager }
    }

    fn surroundings(&self) -> Surroundings {
        let text = "[model]\nfile = \"unused\"\n[thermal]\nperiod_ms = 20\n[real_time]\ntouch_stacks = true\n\
                    [alarm]\nline = \"/sys/class/gpio/gpio79/value\"\n";
        let board = select("jetson-orin-nano", self.tree.root(), &SimSettings::default()).expect("a board");
        let mut care = board_side::care(&Config::parse(text).expect("valid"), board.as_ref());
        let manager = ServiceManager::at(self.tree.path().join("notify").as_os_str(), Some(Duration::from_millis(200)));
        care.supervisor.as_mut().expect("sensors").watchdog = Some(Box::new(manager.expect("it listens")));
        Surroundings { clock: board.clock(), feed: None, care }
    }

    /// Hears until the process ends.
    fn listen(&self) {
        let mut bytes = [0; 64];
        while self.manager.recv(&mut bytes).is_ok() && !bytes.starts_with(b"STOPPING=1") {}
    }
}

#[test]
fn a_hundred_thousand_frames_allocate_nothing() {
    let config = Config::parse("[model]\nfile = \"unused\"\n").expect("defaults");
    let mut scorer = model();
    let threshold = threshold(&mut scorer, &config);
    let pipeline = config.pipeline(24, PixelScale::SQUARE, Some(threshold)).expect("defaults");
    let delay = (pipeline.window.centre_lag_frames() + pipeline.smoothing.ahead_frames()) as u64;
    let settings = LiveSettings {
        camera: "hot".into(),
        model: "stg-nf".into(),
        pipeline,
        // Nothing is shed, so that the number of frames is the same in every run.
        when_full: WhenFull::Wait,
        deadline_us_max: 33_333,
        writes_frames: true,
        writes_segments: true,
        stats_period_s: 1,
        scoring_stack_bytes: SCORING_STACK_BYTES,
        sampling: Some(Sampling {
            rules: SampleRules { bytes_per_hour: 1 << 30, margin: 0.0, back_frames: 40 },
            seed: 1,
            bytes_per_hour: Arc::new((1 << 30).into()),
        }),
    };
    let path = std::env::temp_dir().join(format!("alfred-hot-path-{}.sock", std::process::id()));
    let source = SocketSource::listen(&path, &[]).expect("a socket");
    let (stop_reader, stop_writer) = nix::unistd::pipe().expect("a pipe");
    let looked_after = LookedAfter::new();
    let surroundings = looked_after.surroundings();
    let health = Arc::clone(&surroundings.care.health);
    let live = Decider { scorer: Box::new(scorer), rule: settings.pipeline.decision, revision: 0 };
    let deciding = Deciding { live, reserve: None, updates: None };
    let marks = std::thread::scope(|scope| {
        scope.spawn(|| looked_after.listen());
        let stop = Some(stop_reader.as_fd());
        let live = scope.spawn(move || live::run_on_board(settings, deciding, source, stop, Tally::default(), surroundings));
        let marks = feed(&path, delay);
        drop(stop_writer);
        live.join().expect("no panic").expect("no fault");
        marks
    });
    let [(allocations_before, resident_before), (allocations_after, resident_after)] = marks;
    println!(
        "{} frames: {} allocations, resident {resident_before} -> {resident_after} bytes, {} lines",
        FRAMES - WARM_UP_FRAMES,
        allocations_after - allocations_before,
        LINES.load(SeqCst)
    );
    assert_eq!(DECIDED.load(SeqCst), FRAMES, "every frame is decided");
    assert!(health.watchdog_kicks.load(SeqCst) > 0 && health.alarms_given.load(SeqCst) > 0, "somebody looked after the process");
    assert!(health.temperature().is_some() && health.power().is_some(), "and read its sensors");
    assert!(LINES.load(SeqCst) > FRAMES + 100, "events and segments came too");
    assert_eq!(allocations_after - allocations_before, 0, "allocations on the live path");
    assert!(resident_after <= resident_before + RESIDENT_GROWTH_BYTES_MAX, "resident memory is flat");
}
