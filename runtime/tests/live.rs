//! `alfred-edge run`: real processes fed through a pipe and through a socket.

mod support;

use alfred_core::pose::PoseFrame;
use alfred_core::units::{FrameIndex, MonotonicNs};
use alfred_wire::{pose_line, pose_message};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, send, socket};
use nix::unistd::Pid;
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Stdio};
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
