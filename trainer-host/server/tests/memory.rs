//! Five hundred events wait, and are judged one by one: the daemon answers and does not grow.

mod support;

use alfred_server::{Server, ServerConfig};
use serde_json::json;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::Instant;
use support::{Client, Ground, number, records};

const FILE: &str = "ALFRED_MEMORY_TEST_FILE";
const EVENTS: u64 = 500;
/// What the daemon may grow from the hundredth verdict to the last, KiB: caches fill, nothing else.
const GROWTH_KIB_MAX: u64 = 4096;

/// The process that is measured: this test alone, started with a database. Without one it has nothing to do.
#[test]
fn daemon() {
    let Ok(file) = std::env::var(FILE) else { return };
    let config = ServerConfig { http: SocketAddr::from(([127, 0, 0, 1], 0)), ..ServerConfig::new(file.into()) };
    let server = Server::bind(&config).expect("binds");
    println!("ADDRESS {}", server.http_address().expect("an address"));
    server.run(&AtomicBool::new(false)).expect("serves");
}

struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Daemon {
    /// Resident memory, KiB.
    fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a figure");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }
}

#[test]
fn five_hundred_verdicts_leave_memory_flat() {
    let ground = Ground::new(&["anna"], 0);
    {
        let mut store = ground.store();
        for at in 1..=EVENTS {
            records::whole_lone_event(&mut store, at, 2.0);
        }
    }
    let child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "daemon", "--nocapture"])
        .env(FILE, ground.file())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    let mut daemon = Daemon(child);
    let lines = BufReader::new(daemon.0.stdout.take().expect("piped")).lines();
    let address = lines.map_while(Result::ok).find_map(|line| line.split_once("ADDRESS ").map(|(_, address)| address.to_owned()));
    let mut anna = Client::new(address.expect("it listens").parse().expect("an address"));
    assert_eq!(anna.post("/api/login", &json!({ "reviewer": "anna", "token": ground.token("anna") })).0, 200);
    let (mut resident, mut next_ms) = (Vec::new(), Vec::new());
    for at in 0..EVENTS {
        // As the page does: the next few, the skeletons of the first, a verdict.
        let began = Instant::now();
        let (headers, page) = anna.get_with_headers("/api/queue?camera=gate&strategy=oldest&items_max=5");
        assert_eq!(headers["x-alfred-waiting"], (EVENTS - at).to_string());
        let item = page[0]["id"].as_i64().expect("a number");
        assert_eq!(anna.get(&format!("/api/items/{item}/playback")).0, 200);
        next_ms.push(began.elapsed().as_secs_f64() * 1e3);
        let body = json!({ "verdict": "normal", "seconds": 1, "strategy": "oldest", "request": format!("verdict {at}") });
        assert_eq!(anna.put(&format!("/api/items/{item}/verdict"), &body).0, 200);
        if at % 100 == 99 {
            resident.push(daemon.resident_kib());
        }
    }
    next_ms.sort_by(f64::total_cmp);
    let place = |share: f64| next_ms[((next_ms.len() - 1) as f64 * share) as usize];
    eprintln!(
        "resident after each hundred verdicts, KiB: {resident:?}; next event with its skeletons: median {:.1} ms, 99th percentile {:.1} ms, \
        longest {:.1} ms",
        place(0.5),
        place(0.99),
        place(1.0)
    );
    let (first, last) = (resident[0], resident[resident.len() - 1]);
    assert!(last <= first + GROWTH_KIB_MAX, "the daemon grew from {first} to {last} KiB");
    assert_eq!(number(&ground.file(), "SELECT count(DISTINCT item) FROM labels"), EVENTS as i64);
}
