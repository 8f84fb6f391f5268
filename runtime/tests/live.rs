//! `alfred-edge run`: real processes fed through a pipe and through a socket.

mod support;

use alfred_core::pose::PoseFrame;
use alfred_core::units::{FrameIndex, MonotonicNs};
use alfred_link::host::{HostSide, ServerCounters, serve};
use alfred_link::limits::Patience;
use alfred_link::tcp::Acceptor;
use alfred_wire::error_code::ErrorCode;
use alfred_wire::link::{
    BundleAsk, BundleState, CHUNK_BYTES_MAX, Heartbeat, Hello, HostMessage, JournalRecord, RecordId, Refused, Welcome,
};
use alfred_wire::output::EventMessage;
use alfred_wire::pose_codec::Detail;
use alfred_wire::record::{Content, Record};
use alfred_wire::{pose_line, pose_message};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, send, socket};
use nix::unistd::Pid;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::{Folder, edge, line, text};

const CONFIG: &str = "camera = \"test\"\n[model]\nfile = \"weights.safetensors\"\n[decision]\nthreshold = -1000.0\n\
                      [output]\nframes = true\nstats_period_s = 0\n";

fn start(folder: &Folder, config: &str) -> Child {
    folder.weights(None);
    let config = folder.write("edge.toml", config);
    let mut command = edge();
    command.args(["run", "--config", text(&config)]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("alfred-edge runs")
}

fn messages(child: Child) -> (Vec<Value>, String) {
    let output = child.wait_with_output().expect("ends");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{stderr}");
    let stdout = String::from_utf8(output.stdout).expect("text");
    (stdout.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect(), stderr)
}

fn of<'v>(messages: &'v [Value], kind: &str) -> Vec<&'v Value> {
    messages.iter().filter_map(|message| message.get(kind)).collect()
}

#[test]
fn lines_on_stdin_become_events_segments_and_figures_and_nothing_is_lost() {
    let folder = Folder::new("stdin");
    let mut child = start(&folder, CONFIG);
    let mut stdin = child.stdin.take().expect("piped");
    let writer = std::thread::spawn(move || {
        for frame in 0..200 {
            writeln!(stdin, "{}", line(frame, 2)).expect("alfred-edge reads");
            match frame {
                50 => writeln!(stdin, "this is no frame").expect("reads"),
                60 => writeln!(stdin, "{}", line(60, 1)).expect("reads"),
                70 => writeln!(stdin, "{}", "x".repeat(pose_line::LINE_BYTES_MAX + 10)).expect("reads"),
                80 => writeln!(stdin, r#"{{"frame": 80, "persons": [{{"id": 1, "keypoints": [1, 2, 3]}}]}}"#).expect("reads"),
                _ => {}
            }
        }
        // The last line lacks its end.
        write!(stdin, "{}", line(200, 2)).expect("reads");
    });
    writer.join().expect("written");
    let (messages, stderr) = messages(child);
    assert_eq!(messages[0]["start"]["camera"], "test");
    let frames: Vec<u64> = of(&messages, "frame").iter().map(|frame| frame["frame"].as_u64().expect("a number")).collect();
    assert_eq!(frames, (0..=200).collect::<Vec<_>>(), "every frame is decided once, in order");
    let events = of(&messages, "event");
    for person in 0..2 {
        let kinds: Vec<&str> =
            events.iter().filter(|event| event["person"] == person).map(|event| event["kind"].as_str().expect("text")).collect();
        assert_eq!((kinds[0], kinds[kinds.len() - 1]), ("new", "end_stream_ended"));
        assert!(kinds[1..kinds.len() - 1].iter().all(|kind| *kind == "update"));
    }
    let segments = of(&messages, "segment");
    assert_eq!(segments.iter().filter(|segment| segment["is_last"] == true).count(), 2);
    assert_eq!(segments[0]["poses"][0]["keypoints"].as_array().map(Vec::len), Some(51));
    let stats = of(&messages, "stats")[0];
    assert_eq!((stats["ingest"]["messages"].as_u64(), stats["ingest"]["messages_refused"].as_u64()), (Some(202), Some(3)));
    assert_eq!(stats["counters"]["frames_duplicate"], 1);
    assert_eq!((stats["output_lost"].as_u64(), stats["segments_lost"].as_u64()), (Some(0), Some(0)));
    assert_eq!(stats["frame_to_decision"]["count"], 202);
    let resident = stats["resident_bytes"].as_u64().expect("Linux");
    println!("resident {resident} bytes");
    assert!(resident < 12 << 20, "the whole process stays under 12 MiB: {resident}");
    assert_eq!(stderr.lines().count(), 1, "one line about refused messages, the rest is counted: {stderr}");
    assert!(stderr.contains("messages_refused"), "{stderr}");
}

/// Connects as soon as the socket is there.
fn connected(path: &Path) -> OwnedFd {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let client = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).expect("socket");
        match connect(client.as_raw_fd(), &UnixAddr::new(path).expect("short")) {
            Ok(()) => return client,
            Err(error) => assert!(Instant::now() < end, "no socket: {error}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn messages_on_the_socket_are_scored_and_sigterm_ends_cleanly() {
    let folder = Folder::new("socket");
    let path = folder.0.join("poses.sock");
    let mut child = start(&folder, &format!("{CONFIG}[input]\nsource = \"socket\"\nsocket = \"{}\"\n", path.display()));
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut next = move || lines.next().map(|line| serde_json::from_str::<Value>(&line.expect("text")).expect("JSON"));
    assert!(next().is_some_and(|message| message.get("start").is_some()));
    let mut buffer = [0; pose_message::MESSAGE_BYTES_MAX + 1];
    let mut frame = PoseFrame::new(FrameIndex(0), MonotonicNs(0));
    for connection in 0..2_u64 {
        // A second feeder goes on where the first one stopped.
        let client = connected(&path);
        for number in 100 * connection..100 * connection + 100 {
            pose_line::decode(line(number, 3).as_bytes(), &mut frame).expect("well formed");
            let length = pose_message::encode(&frame, &mut buffer).expect("fits");
            send(client.as_raw_fd(), &buffer[..length], MsgFlags::empty()).expect("read");
            // Paced: this source may shed, and this test counts.
            std::thread::sleep(Duration::from_millis(2));
        }
        send(client.as_raw_fd(), b"garbage", MsgFlags::empty()).expect("read");
        send(client.as_raw_fd(), &buffer, MsgFlags::empty()).expect("read");
    }
    let mut decided = 0;
    while decided < 170 {
        decided = next().expect("goes on").get("frame").map_or(decided, |frame| frame["frame"].as_u64().expect("a number"));
    }
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    kill(pid, Signal::SIGTERM).expect("alive");
    let mut last = None;
    while let Some(message) = next() {
        last = Some(message);
    }
    assert!(child.wait().expect("ends").success());
    assert!(!path.exists(), "the socket is removed");
    let stats = &last.expect("something")["stats"];
    let (ingest, counters) = (&stats["ingest"], &stats["counters"]);
    assert_eq!(ingest["connections"], 2);
    assert_eq!(ingest["messages_refused"], 4);
    let handled = counters["frames"].as_u64().expect("a number") + ingest["frames_shed"].as_u64().expect("a number");
    assert_eq!(handled, 200, "every frame is scored or counted as shed");
    assert_eq!(counters["frames_decided"].as_u64(), Some(200));
}

#[test]
fn a_socket_path_that_is_taken_is_refused_and_a_stale_one_is_replaced() {
    let folder = Folder::new("stale");
    let path = folder.0.join("poses.sock");
    let config = format!("{CONFIG}[input]\nsource = \"socket\"\nsocket = \"{}\"\n", path.display());
    folder.write("poses.sock", "a file");
    let output = start(&folder, &config).wait_with_output().expect("ends");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no socket is there"), "somebody's file is left alone");
    std::fs::remove_file(&path).expect("there");
    let mut first = start(&folder, &config);
    drop(connected(&path));
    let second = start(&folder, &config).wait_with_output().expect("ends");
    assert_eq!(second.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&second.stderr).contains("another process listens"));
    first.kill().expect("alive");
    first.wait().expect("ends");
    assert!(path.exists(), "a killed process leaves its socket behind");
    let mut third = start(&folder, &config);
    drop(connected(&path));
    third.kill().expect("alive");
    third.wait().expect("ends");
}

#[test]
fn the_python_example_feeds_the_socket() {
    if std::process::Command::new("python3").arg("--version").output().is_err() {
        eprintln!("SKIPPED: no python3 on this machine");
        return;
    }
    let folder = Folder::new("python");
    let path = folder.0.join("poses.sock");
    let mut child = start(&folder, &format!("{CONFIG}[input]\nsource = \"socket\"\nsocket = \"{}\"\n", path.display()));
    drop(connected(&path));
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/feed_ultralytics.py");
    let fed = std::process::Command::new("python3").arg(example).arg(&path).arg("90").output().expect("python3 runs");
    assert!(fed.status.success(), "{}", String::from_utf8_lossy(&fed.stderr));
    std::thread::sleep(Duration::from_millis(300));
    kill(Pid::from_raw(i32::try_from(child.id()).expect("a pid")), Signal::SIGTERM).expect("alive");
    drop(child.stdin.take());
    let (messages, _) = messages(child);
    let stats = of(&messages, "stats")[0];
    assert_eq!((stats["ingest"]["messages"].as_u64(), stats["ingest"]["messages_refused"].as_u64()), (Some(90), Some(0)));
    assert!(of(&messages, "frame").iter().any(|frame| frame["score"].is_number()), "its people are scored");
}

/// A host that keeps what it gets.
#[derive(Default)]
struct Kept {
    records: BTreeMap<RecordId, Vec<u8>>,
    heartbeats: Vec<Heartbeat>,
}

struct KeepingSide(Arc<Mutex<Kept>>, Vec<(RecordId, Vec<u8>)>);

impl HostSide for KeepingSide {
    fn hello(&mut self, hello: &Hello) -> Result<Welcome, ErrorCode> {
        assert_eq!((hello.device.as_str(), hello.camera.as_str()), ("edge 1", "test"));
        Ok(Welcome { wall_unix_ms: 0, heartbeat_period_s: 1 })
    }
    fn record(&mut self, record: &JournalRecord<'_>) -> Result<(), ErrorCode> {
        self.1.push((record.id, record.body.get().to_vec()));
        Ok(())
    }
    fn commit(&mut self) -> Result<(), ErrorCode> {
        self.0.lock().expect("kept").records.extend(self.1.drain(..));
        Ok(())
    }
    fn heartbeat(&mut self, heartbeat: &Heartbeat) {
        self.0.lock().expect("kept").heartbeats.push(*heartbeat);
    }
    fn bundle_state(&mut self, _: &BundleState) {}
    fn refused(&mut self, _: &Refused) {}
    fn part(&mut self, _: &BundleAsk, _: &mut [u8; CHUNK_BYTES_MAX]) -> usize {
        0
    }
    fn next(&mut self) -> Option<HostMessage<'static>> {
        None
    }
}

/// Waits for as long as a busy machine may take.
fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(120);
    while !is_so() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Feeds 120 frames with one person to a process with this configuration and lets it end.
fn feed_and_end(folder: &Folder, config: &str) -> (Vec<Value>, String) {
    let mut child = start(folder, config);
    let mut stdin = child.stdin.take().expect("piped");
    (0..120).for_each(|frame| writeln!(stdin, "{}", line(frame, 1)).expect("alfred-edge reads"));
    drop(stdin);
    messages(child)
}

#[test]
fn events_and_segments_wait_in_the_journal_and_reach_the_host_when_there_is_one() {
    let folder = Folder::new("link");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    // Nobody listens there until the first process is gone.
    drop(listener);
    let config = format!("{CONFIG}[link]\nhost = \"{address}\"\ndevice = \"edge 1\"\njournal_bytes = 4194304\n");
    let (before, stderr) = feed_and_end(&folder, &config);
    assert!(stderr.contains("link: the host cannot be reached"), "{stderr}");
    let ends = of(&before, "event").iter().filter(|event| event["kind"] != "update").count();
    let segments = of(&before, "segment").len();
    assert!(ends == 2 && segments > 0, "one event begins and ends");

    let (kept, stop) = (Arc::<Mutex<Kept>>::default(), AtomicBool::new(false));
    let counters = ServerCounters::default();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let acceptor = Acceptor::plain(Patience::USUAL);
            let listener = acceptor.listen(address).expect("listens");
            let open = |_: &_| KeepingSide(Arc::clone(&kept), Vec::new());
            serve(&listener, &acceptor, 4, &stop, &counters, open, |_, _, _| {}).expect("serves");
        });
        let child = start(&folder, &config);
        wait_for("the first process's records", || kept.lock().expect("kept").records.len() == ends + segments);
        wait_for("an empty journal", || kept.lock().expect("kept").heartbeats.last().is_some_and(|health| health.journal_records == 0));
        kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).expect("is there");
        messages(child);
        stop.store(true, Relaxed);
    });
    let kept = kept.lock().expect("kept");
    let (mut events, mut parts) = (Vec::new(), 0);
    for body in kept.records.values() {
        match Record::decode(body).expect("a record").content {
            Content::Event(event) => events.push(event),
            Content::Segment(segment) => {
                parts += 1;
                assert_eq!(segment.threshold, -1000.0);
                assert!(segment.poses.read(Detail::Full).all(|pose| pose.is_ok()) && segment.poses.count > 0);
            }
            other => panic!("{other:?}"),
        }
    }
    let told = of(&before, "event").into_iter().filter(|event| event["kind"] != "update");
    let told: Vec<EventMessage> = told.map(|event| serde_json::from_value(event.clone()).expect("an event")).collect();
    assert_eq!((events, parts), (told, segments), "the host has what the first process wrote");
}

#[test]
fn a_link_without_certificates_stays_on_the_machine() {
    let folder = Folder::new("link-plain");
    let config = format!("{CONFIG}[link]\nhost = \"192.0.2.1:7443\"\ndevice = \"edge 1\"\njournal_bytes = 4194304\n");
    let (_, stderr) = feed_and_end(&folder, &config);
    assert!(stderr.contains("192.0.2.1:7443 is not on the loopback interface"), "{stderr}");
}
