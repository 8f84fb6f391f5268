//! `alfred-edge` on boards: made-up trees, the simulated board, a service manager's socket, real-time wishes, the unit's promises.

mod support;

use alfred_board::facts::Facts;
use alfred_board::fake_tree::FakeTree;
use alfred_board::hal::{Arrival, Board};
use alfred_board::sim::{SimBoard, SimSettings};
use alfred_core::scorer::{ScoreResult, Scorer, Window};
use alfred_core::units::{AnomalyScore, FrameIndex, Threshold};
use alfred_runtime::board_side;
use alfred_runtime::config::Config;
use alfred_runtime::error::Error;
use alfred_runtime::live::care::Surroundings;
use alfred_runtime::live::health::BoardHealth;
use alfred_runtime::live::ingest::{Flow, Ingest, PoseSource};
use alfred_runtime::live::slot_scorer::{Command, Decider, SlotScorer};
use alfred_runtime::live::thermal::RUNGS;
use alfred_runtime::live::{self, Deciding, LiveSettings, WhenFull};
use alfred_runtime::memory_map::MemoryMap;
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Stdio};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::{Folder, assert_refused, edge, line, run, text};

/// Longest wait for something that a busy machine may delay.
const PATIENCE: Duration = Duration::from_secs(60);

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A model that finds everything anomalous.
struct Alarmed;

impl Scorer for Alarmed {
    fn window_frames(&self) -> usize {
        24
    }
    fn score_batch(&mut self, windows: &[Window], scores: &mut [ScoreResult]) {
        for (_, score) in windows.iter().zip(scores) {
            *score = Ok(AnomalyScore::new(1.0).expect("finite"));
        }
    }
}

fn alarmed(revision: u64) -> Decider {
    let config = Config::parse("[model]\nfile = \"unused\"\n").expect("defaults");
    let pipeline = config.pipeline(24, alfred_core::normalise::PixelScale::SQUARE, Threshold::new(0.5).ok()).expect("defaults");
    Decider { scorer: Box::new(Alarmed), rule: pipeline.decision, revision }
}

/// The simulated board's frames: half of them, then a pause until the hottest rung holds, then the rest.
struct HeatingUp {
    source: Box<dyn alfred_board::hal::PoseSource>,
    health: Arc<BoardHealth>,
    cool_frames: u64,
}

impl PoseSource for HeatingUp {
    fn pump(mut self, ingest: &mut Ingest<'_>, _: Option<BorrowedFd<'_>>) -> Result<(), Error> {
        let mut frames = 0;
        loop {
            let mut arrival = Arrival::Nothing;
            let flow = ingest.take(|frame| {
                while arrival == Arrival::Nothing {
                    arrival = self.source.next(frame);
                }
                if arrival == Arrival::Frame { Ok(0) } else { Err("the end") }
            });
            if flow == Flow::Stop || arrival == Arrival::Ended {
                return Ok(());
            }
            frames += 1;
            if frames == self.cool_frames {
                eventually("the board gets hot", || self.health.rung.load(Relaxed) == 3);
            }
        }
    }
}

/// Lines that the live process wrote.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn of(&self, kind: &str) -> Vec<Value> {
        let bytes = self.0.lock().expect("no panic").clone();
        let lines = String::from_utf8(bytes).expect("text");
        let values = lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("each line is JSON"));
        values.filter_map(|value| value.get(kind).cloned()).collect()
    }
}

#[test]
fn a_hot_board_does_less_and_goes_on_giving_alarms() {
    let sim = "[model]\nfile = \"unused\"\n[thermal]\nperiod_ms = 10\n[alarm]\nline = \"any\"\n[output]\nframes = true\n";
    let config = Config::parse(sim).expect("valid");
    // Cool for the first 20 seconds of virtual time, that is 600 frames; much hotter from second 21 on.
    let settings = SimSettings { frames: 1800, temperature: vec![(0, 50_000), (15, 50_000), (19, 95_000)], ..SimSettings::default() };
    let board = SimBoard::new(Facts::named("sim").expect("a board"), settings);
    let care = board_side::care(&config, &board);
    let (health, lines) = (Arc::clone(&care.health), Lines::default());
    let source = HeatingUp { source: board.pose_source().expect("it has one"), health: Arc::clone(&health), cool_frames: 600 };
    let pipeline = config.pipeline(24, alfred_core::normalise::PixelScale::SQUARE, Threshold::new(0.5).ok()).expect("valid");
    let settings = LiveSettings {
        camera: "hot".into(),
        model: "alarmed".into(),
        pipeline,
        when_full: WhenFull::Wait,
        deadline_us_max: 33_333,
        writes_frames: true,
        writes_segments: false,
        stats_period_s: 0,
        scoring_stack_bytes: 256 * 1024,
        sampling: None,
    };
    let deciding = Deciding { live: alarmed(0), reserve: None, updates: None };
    let surroundings = Surroundings { clock: board.clock(), feed: None, care };
    live::run_on_board(settings, deciding, source, None, lines.clone(), surroundings).expect("no fault");

    let rungs = lines.of("degrade");
    let last = rungs.last().expect("the ladder was climbed");
    assert_eq!((last["rung"].as_u64(), last["stride"].as_u64(), last["scores_shadow"].as_bool()), (Some(3), Some(4), Some(false)));
    let hot_from = last["from_frame"].as_u64().expect("a frame");
    // 90 degrees are reached at frame 557; frame 600 waits until the thermometer was read.
    assert!((550..=602).contains(&hot_from), "it holds from the next frame on: {hot_from}");
    let frames = lines.of("frame");
    assert_eq!(frames.len(), 1800, "every frame is decided");
    let scored_share = |range: std::ops::Range<usize>| {
        let scored = frames[range.clone()].iter().filter(|frame| !frame["score"].is_null()).count();
        scored as f64 / range.len() as f64
    };
    let (cool, hot) = (scored_share(100..500), scored_share(700..1700));
    let stats = lines.of("stats");
    let board_figures = &stats.last().expect("figures")["board"];
    println!("frames with a score of their own: {cool:.2} cool, {hot:.2} hot; {board_figures}");
    // Several people share the frames, each scored on every fourth of its own.
    let anomalous = |range: std::ops::Range<usize>| frames[range].iter().filter(|frame| frame["anomalous"] == true).count();
    assert!(anomalous(700..1700) > 900, "decisions go on: {}", anomalous(700..1700));
    let begun_hot = lines.of("event").iter().filter(|event| event["kind"] == "new" && event["first_frame"].as_u64() > Some(650)).count();
    assert!(begun_hot > 0, "events begin while it is hot");
    let told = board.alarms();
    assert!(told.iter().any(|alarm| alarm.begins && alarm.frame > 650), "and alarms are given: {told:?}");
    assert_eq!(told.iter().filter(|alarm| alarm.begins).count() * 2, told.len(), "each ends");
    assert_eq!(board_figures["alarms_lost"], 0);
    assert!(board_figures["alarms_given"].as_u64() == Some(told.len() as u64));
    assert_eq!(board_figures["degrade_rung"], 3);
    let windows = stats.last().expect("figures")["counters"]["windows_scored"].as_u64().expect("a count");
    println!("{windows} windows over 1800 frames");
}

#[test]
fn shadow_scoring_stops_on_the_last_rung_and_the_tally_waits() {
    let (mut scorer, frame_thread) = SlotScorer::new(alarmed(0), None);
    frame_thread.commands.send(Command::Shadow(alarmed(1))).expect("room");
    scorer.between_frames(FrameIndex(0));
    let (window, mut scores) = ([Window::EMPTY], [Ok(AnomalyScore::new(0.0).expect("finite"))]);
    let mut windows_after = |rung: usize, scorer: &mut SlotScorer| {
        scorer.set_scores_shadow(RUNGS[rung].scores_shadow);
        scorer.score_batch(&window, &mut scores);
        assert_eq!(scores[0].expect("the live model scores").value(), 1.0);
        frame_thread.tally.read().windows
    };
    let seen: Vec<u64> = [0, 2, 3, 3, 0].into_iter().map(|rung| windows_after(rung, &mut scorer)).collect();
    assert_eq!(seen, [1, 2, 2, 2, 3]);
}

fn start(folder: &Folder, config: &str, arguments: &[&str], environment: &[(&str, String)]) -> Child {
    folder.weights(None);
    let config = folder.write("edge.toml", format!("[model]\nfile = \"weights.safetensors\"\n[decision]\nthreshold = -1000.0\n{config}"));
    let mut command = edge();
    command.args(["run", "--config", text(&config)]).args(arguments).envs(environment.iter().cloned());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("alfred-edge runs")
}

fn lines(child: Child) -> (Vec<Value>, String) {
    let output = child.wait_with_output().expect("ends");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{stderr}");
    let stdout = String::from_utf8(output.stdout).expect("text");
    (stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect(), stderr)
}

#[test]
fn a_board_is_found_by_its_device_tree_and_its_sensors_are_in_the_figures() {
    let (folder, tree) = (Folder::new("board-auto"), FakeTree::of_board("jetson-orin-nano").expect("a tree"));
    let child = start(&folder, "", &["--board", "auto", "--board-root", text(tree.path())], &[]);
    let (lines, _) = lines(child);
    let board = &lines[0]["start"]["board"];
    assert_eq!((board["name"].as_str(), board["serial"].as_str()), (Some("jetson-orin-nano"), Some("1421223024567")));
    assert!(board["model"].as_str().expect("a model").contains("Orin Nano"));
    let figures = &lines.last().expect("figures")["stats"]["board"];
    assert_eq!((figures["temperature_milli_celsius"].as_i64(), figures["power_milliwatts"].as_u64()), (Some(49_031), Some(6200)));
    let output = run(&["self-test", "--board", "auto", "--board-root", text(tree.path())]);
    let answers = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && answers.contains("ok      thermal: 49031") && answers.contains("ok      power: 6200 mW"),
        "{answers}"
    );
    assert!(answers.contains("absent  pose source") && !answers.contains("FAILED"), "{answers}");
    folder.weights(Some(1.0));
    let config = folder.write("edge.toml", "[model]\nfile = \"weights.safetensors\"\n");
    assert_refused(&run(&["run", "--config", text(&config), "--board", "toaster"]), &["--board", "toaster", "jetson-nano"]);
}

#[test]
fn the_simulated_board_runs_by_itself_with_faults_and_every_loss_is_counted() {
    let folder = Folder::new("board-sim");
    let config = "[input]\nsource = \"board\"\n[output]\nframes = true\n[board]\nname = \"sim\"\n[board.sim]\nframes = 900\ndrop = 0.05\n\
                  reorder = 0.05\nduplicate = 0.05\nstall_every_frames = 200\nstall_ms = 3000\nclock_step_frame = 450\n\
                  clock_step_ms = -20000\nsensor_fault = 0.2\n";
    let run = || lines(start(&folder, config, &[], &[])).0;
    let first = run();
    let stats = &first.last().expect("figures")["stats"];
    let count = |name: &str| stats["counters"][name].as_u64().unwrap_or_else(|| panic!("{name} in {stats}"));
    assert!(
        ["frames_missing", "frames_duplicate", "frames_out_of_order", "clock_steps"].into_iter().all(|name| count(name) > 0),
        "{stats}"
    );
    let decided = |lines: &[Value]| lines.iter().filter_map(|line| line.get("frame")).cloned().collect::<Vec<_>>();
    assert!(decided(&first).len() > 800);
    assert_eq!(decided(&first), decided(&run()), "the same seed decides the same");
    let config =
        folder.write("other.toml", "[model]\nfile = \"weights.safetensors\"\n[decision]\nthreshold = 1.0\n[input]\nsource = \"board\"\n");
    let output = support::run(&["run", "--config", text(&config), "--board", "generic-linux"]);
    assert_refused(&output, &["input.source", "--board sim"]);
}

#[test]
fn the_service_manager_hears_of_frames_and_nothing_while_none_flow() {
    let folder = Folder::new("board-notify");
    let path = folder.0.join("notify");
    let manager = UnixDatagram::bind(&path).expect("bound");
    manager.set_read_timeout(Some(PATIENCE)).expect("set");
    let heard = || {
        let mut bytes = [0; 64];
        let length = manager.recv(&mut bytes).expect("the process tells something in time");
        String::from_utf8_lossy(&bytes[..length]).trim().to_owned()
    };
    let environment = [("NOTIFY_SOCKET", text(&path).to_owned()), ("WATCHDOG_USEC", "400000".to_owned())];
    let mut child = start(&folder, "[watchdog]\nidle = \"withhold\"\n[output]\nstats_period_s = 1\n", &[], &environment);
    let mut stdin = child.stdin.take().expect("piped");
    assert_eq!(heard(), "READY=1");
    for frame in 0.. {
        writeln!(stdin, "{}", line(frame, 1)).expect("it reads");
        stdin.flush().expect("it reads");
        manager.set_read_timeout(Some(Duration::from_millis(20))).expect("set");
        let mut bytes = [0; 64];
        if manager.recv(&mut bytes).is_ok() {
            assert!(bytes.starts_with(b"WATCHDOG=1"));
            break;
        }
        assert!(frame < 5000, "frames flow and nobody is kicked");
    }
    // No frame any more: it says so, and whoever waits for a kick waits in vain.
    let mut stderr = BufReader::new(child.stderr.take().expect("piped")).lines();
    assert!(stderr.any(|line| line.expect("text").contains("watchdog: not kicked: Idle")));
    manager.set_read_timeout(Some(Duration::from_millis(800))).expect("set");
    eventually("the kicks end", || manager.recv(&mut [0; 64]).is_err());
    manager.set_read_timeout(Some(PATIENCE)).expect("set");
    drop(stdin);
    let last = std::iter::repeat_with(heard).find(|state| state != "WATCHDOG=1");
    assert_eq!(last.as_deref(), Some("STOPPING=1"));
    let (lines, _) = lines(child);
    let figures = &lines.last().expect("figures")["stats"]["board"];
    assert!(figures["watchdog_kicks"].as_u64() > Some(0) && figures["watchdog_withheld"].as_u64() > Some(0), "{figures}");
}

#[test]
fn real_time_wishes_are_granted_or_counted_and_the_process_runs() {
    let folder = Folder::new("board-real-time");
    let config = "[real_time]\nlock_memory = true\ntouch_stacks = true\npriority = 10\nscoring_cores = [0]\ntimer_slack_ns = 1000\n[output]\nframes = true\n";
    let mut child = start(&folder, config, &[], &[]);
    let mut stdin = child.stdin.take().expect("piped");
    let mut stdout = BufReader::new(child.stdout.take().expect("piped")).lines();
    // A decided frame: every thread has entered its role.
    for frame in 0..60 {
        writeln!(stdin, "{}", line(frame, 1)).expect("it reads");
    }
    let decided = |line: std::io::Result<String>| line.expect("text").starts_with("{\"frame\"");
    assert!(stdout.by_ref().any(decided));
    let process = format!("/proc/{}", child.id());
    let locked_kb = std::fs::read_to_string(format!("{process}/status")).expect("it runs");
    let locked_kb = locked_kb.lines().find_map(|line| line.strip_prefix("VmLck:")?.split_whitespace().next()?.parse::<u64>().ok());
    let policy = |name: &str| {
        let threads = std::fs::read_dir(format!("{process}/task")).expect("it runs");
        let stats = threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("stat")).ok());
        let fields = stats.filter_map(|stat| stat.split_once(&format!("({name}) ")).map(|(_, rest)| rest.to_owned()));
        // Fields 40 and 41 of proc(5): real-time priority and policy; the name is field 2.
        let found =
            fields.map(|rest| rest.split(' ').skip(37).take(2).map(|field| field.parse::<u32>().expect("a number")).collect::<Vec<_>>());
        found.collect::<Vec<_>>()
    };
    let threads = ["scoring", "ingest", "output"].map(policy);
    drop(stdin);
    let rest: Vec<String> = stdout.map(|line| line.expect("text")).collect();
    assert!(child.wait().expect("ends").success());
    let stats: Value = serde_json::from_str(rest.last().expect("figures")).expect("JSON");
    let missing = stats["stats"]["board"]["capabilities_missing"].as_u64().expect("a count");
    if missing == 0 {
        assert_eq!(threads, [vec![vec![10, 1]], vec![vec![9, 1]], vec![vec![9, 1]]], "SCHED_FIFO");
        assert!(locked_kb > Some(1000), "{locked_kb:?} kB locked");
        assert_eq!(stats["stats"]["board"]["page_faults_major"], 0);
    } else {
        println!("SKIPPED: the system refuses {missing} wishes (real-time priority, locked memory); the process ran without");
    }
}

#[test]
fn the_units_memory_limit_follows_the_memory_map() {
    let unit = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../board/systemd/alfred-edge.service")).expect("the unit");
    let setting = |name: &str| unit.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap_or_else(|| panic!("{name}"));
    let ceiling = Config::parse("[model]\nfile = \"unused\"\n").expect("defaults").memory.ceiling_bytes;
    assert_eq!(setting("MemoryMax").parse(), Ok(MemoryMap::memory_max_bytes(ceiling)));
    assert_eq!((setting("Type"), setting("NoNewPrivileges"), setting("CapabilityBoundingSet")), ("notify", "yes", ""));
    assert!(setting("WatchdogSec").parse::<u64>().expect("seconds") > 1);
    // What the packaged configuration asks for must be what the unit grants.
    let packaged = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../board/systemd/edge.toml")).expect("the configuration");
    let packaged = Config::parse(&packaged).expect("valid");
    assert!(u64::from(packaged.real_time.priority) <= setting("LimitRTPRIO").parse().expect("a number"));
    assert!(packaged.real_time.lock_memory && setting("LimitMEMLOCK") == "infinity");
    let output = run(&["memory-map", "--systemd"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("[Service]\nMemoryMax={}\n", setting("MemoryMax")));
}

#[test]
fn alarms_of_a_running_process_reach_a_line() {
    let (folder, tree) = (Folder::new("board-alarm"), FakeTree::of_board("jetson-nano").expect("a tree"));
    tree.write("/sys/class/gpio/gpio79/value", "0\n").expect("written");
    let config = "[alarm]\nline = \"/sys/class/gpio/gpio79/value\"\n";
    let mut child = start(&folder, config, &["--board", "auto", "--board-root", text(tree.path())], &[]);
    let mut stdin = child.stdin.take().expect("piped");
    let level = || std::fs::read_to_string(tree.path().join("sys/class/gpio/gpio79/value")).expect("a line");
    for frame in 0..120 {
        writeln!(stdin, "{}", line(frame, 1)).expect("it reads");
    }
    stdin.flush().expect("it reads");
    eventually("the line goes up", || level() == "1\n");
    drop(stdin);
    let (lines, _) = lines(child);
    assert_eq!(level(), "0\n", "and down at the end");
    assert_eq!(lines.last().expect("figures")["stats"]["board"]["alarms_given"], 2);
    let folder = Folder::new("board-no-alarm");
    let missing = start(&folder, "[alarm]\nline = \"/nowhere\"\n", &[], &[]);
    let output = missing.wait_with_output().expect("ends");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && stderr.contains("alarm output"), "it runs without: {stderr}");
}
