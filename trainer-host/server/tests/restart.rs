//! The daemon is killed in the middle of a review, again and again: no verdict is lost, none counts twice.

mod support;

use serde_json::json;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::{Client, Ground, number, records};

const FILE: &str = "ALFRED_SERVER_TEST_FILE";

/// The process that is killed: this test alone, started with a database. Without one it has nothing to do.
#[test]
fn daemon() {
    let Ok(file) = std::env::var(FILE) else { return };
    let config =
        alfred_server::ServerConfig { http: SocketAddr::from(([127, 0, 0, 1], 0)), ..alfred_server::ServerConfig::new(file.into()) };
    let server = alfred_server::Server::bind(&config).expect("binds");
    println!("ADDRESS {}", server.http_address().expect("an address"));
    server.run(&AtomicBool::new(false)).expect("serves");
}

fn start(ground: &Ground) -> (Child, SocketAddr) {
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "daemon", "--nocapture"])
        .env(FILE, ground.file())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let address = lines.map_while(Result::ok).find_map(|line| line.split_once("ADDRESS ").map(|(_, address)| address.to_owned()));
    let Some(address) = address else {
        child.wait().expect("ended");
        panic!("the daemon ended early");
    };
    (child, address.parse().expect("an address"))
}

#[test]
fn a_killed_daemon_loses_and_doubles_no_verdict() {
    const ITEMS: usize = 60;
    const KILLS: usize = 3;
    let ground = Ground::new(&["anna"], ITEMS as u64);
    let (mut child, address) = start(&ground);
    let mut anna = Client::new(address);
    assert_eq!(anna.post("/api/login", &json!({ "reviewer": "anna", "token": ground.token("anna") })).0, 200);
    let (tell, told) = sync_channel::<()>(0);
    let (send_address, addresses) = sync_channel::<SocketAddr>(KILLS);
    let mut client = anna.clone();
    let reviewer = std::thread::spawn(move || {
        let mut resent = 0;
        for item in 1..=ITEMS {
            let body = json!({ "verdict": "normal", "seconds": 0.5, "request": format!("verdict about {item}") }).to_string();
            loop {
                match client.try_send("PUT", &format!("/api/items/{item}/verdict"), &body) {
                    Ok((200, _)) => break,
                    Ok((status, answer)) => panic!("{status}: {answer}"),
                    // As the page does: the same request again, once the daemon is back; the session has survived.
                    Err(_) => {
                        resent += 1;
                        let (cookie, guard) = (client.cookie.clone(), client.guard.clone());
                        let address = addresses.recv().expect("a new daemon");
                        client = Client { cookie, guard, ..Client::new(address) };
                    }
                }
            }
            tell.send(()).expect("heard");
        }
        resent
    });
    for _ in 0..KILLS {
        for _ in 0..ITEMS / (KILLS + 1) - 1 {
            told.recv().expect("a verdict");
        }
        child.kill().expect("killed");
        child.wait().expect("ended");
        let (next, address) = start(&ground);
        child = next;
        send_address.send(address).expect("heard");
    }
    while told.recv().is_ok() {}
    let resent = reviewer.join().expect("every verdict was taken");
    assert_eq!(resent, KILLS, "each kill was noticed");
    child.kill().expect("killed");
    child.wait().expect("ended");
    assert_eq!(number(&ground.file(), "SELECT count(*) FROM labels"), ITEMS as i64);
    assert_eq!(number(&ground.file(), "SELECT count(DISTINCT item) FROM labels WHERE NOT is_repeat"), ITEMS as i64);
    assert_eq!(number(&ground.file(), "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'"), 0);
}

/// Sends a request until a daemon answers it, as the page does: the same again, to whoever runs now, with the session that survived.
fn insist(client: &mut Client, running: &Mutex<SocketAddr>, path: &str, body: &str) -> serde_json::Value {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        match client.try_send("PUT", path, body) {
            Ok((200, answer)) => return answer,
            Ok((status, answer)) => panic!("{path}: {status} {answer}"),
            Err(error) => assert!(Instant::now() < deadline, "{path}: {error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
        let (cookie, guard) = (client.cookie.clone(), client.guard.clone());
        *client = Client { cookie, guard, ..Client::new(*running.lock().expect("sound")) };
    }
}

/// Skips and judges items, with a reload of the page now and then; returns what was sent.
fn review(
    name: &str,
    mut client: Client,
    items: impl Iterator<Item = u64>,
    with_similar: bool,
    running: &Mutex<SocketAddr>,
    tell: &SyncSender<()>,
) -> (Client, Vec<(u64, String)>) {
    let mut requests = Vec::new();
    for (at, item) in items.enumerate() {
        insist(&mut client, running, &format!("/api/items/{item}/skip"), r#"{"is_skipped":true}"#);
        let request = format!("{name} about {item}");
        let body = json!({ "verdict": "normal", "seconds": 1, "strategy": "al", "request": request, "with_similar": with_similar });
        insist(&mut client, running, &format!("/api/items/{item}/verdict"), &body.to_string());
        requests.push((item, body.to_string()));
        if at % 10 == 9 {
            // A reload: everything that the page knew is gone but its cookie; the session gives the guard again.
            let cookie = client.cookie.clone();
            client = Client { cookie, ..Client::new(*running.lock().expect("sound")) };
            client.guard = guard_of(running, &client);
        }
        let _ = tell.send(());
    }
    (client, requests)
}

#[test]
fn two_reviewers_reloads_and_kills_lose_and_double_no_verdict_about_incidents() {
    const INCIDENTS: u64 = 40;
    const KILLS: usize = 2;
    let ground = Ground::new(&["anna", "ben"], 0);
    let mut store = ground.store();
    for at in 0..INCIDENTS {
        for part in 0..3 {
            records::take_event(&mut store, 1 + 3 * at + part, 2.0, 100_000 * at + 100 * part);
        }
    }
    let (mut child, address) = start(&ground);
    let running = Arc::new(Mutex::new(address));
    let (tell, told) = sync_channel::<()>(0);
    let reviewers: Vec<_> = [("anna", 1, true), ("ben", 2, false)]
        .into_iter()
        .map(|(name, first, with_similar)| {
            let mut client = Client::new(address);
            assert_eq!(client.post("/api/login", &json!({ "reviewer": name, "token": ground.token(name) })).0, 200);
            let (running, tell) = (Arc::clone(&running), tell.clone());
            let items = (0..INCIDENTS).map(move |at| first + 3 * at);
            std::thread::spawn(move || review(name, client, items, with_similar, &running, &tell))
        })
        .collect();
    drop(tell);
    for _ in 0..KILLS {
        for _ in 0..(2 * INCIDENTS as usize) / (KILLS + 1) - 2 {
            told.recv().expect("a verdict");
        }
        child.kill().expect("killed");
        child.wait().expect("ended");
        let (next, address) = start(&ground);
        child = next;
        *running.lock().expect("sound") = address;
    }
    while told.recv().is_ok() {}
    let file = ground.file();
    let count = || number(&file, "SELECT count(*) FROM labels");
    let mut all = 0;
    for reviewer in reviewers {
        let (mut client, requests) = reviewer.join().expect("every verdict was taken");
        let before = count();
        for (item, body) in &requests {
            let again = insist(&mut client, &running, &format!("/api/items/{item}/verdict"), body);
            assert_eq!(again["is_new"], false, "{body}");
        }
        assert_eq!(count(), before, "what was sent again is known");
        all += requests.len();
    }
    assert_eq!(all, 2 * INCIDENTS as usize);
    assert_eq!(number(&file, "SELECT count(*) FROM (SELECT 1 FROM standing GROUP BY item, reviewer HAVING count(*) > 1)"), 0);
    assert_eq!(number(&file, "SELECT count(*) FROM labels WHERE follows IS NULL"), 2 * INCIDENTS as i64);
    let half = "SELECT count(*) FROM labels AS lead WHERE reviewer = 'anna' AND follows IS NULL AND EXISTS (SELECT 1 FROM likenesses
        JOIN likenesses AS own ON own.item = lead.item AND own.incident = likenesses.incident
        WHERE NOT EXISTS (SELECT 1 FROM standing WHERE standing.item = likenesses.item))";
    assert_eq!(number(&file, half), 0, "a verdict about an incident is about all of it, or was never given");
    child.kill().expect("killed");
    child.wait().expect("ended");
}

/// The guard of a session, from whichever daemon runs next.
fn guard_of(running: &Mutex<SocketAddr>, client: &Client) -> String {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let url = format!("http://{}/api/session", running.lock().expect("sound"));
        if let Ok(mut answer) = client.agent.get(url).header("cookie", &client.cookie).call() {
            let session: serde_json::Value = serde_json::from_str(&answer.body_mut().read_to_string().expect("text")).expect("JSON");
            return session["guard"].as_str().expect("a guard").to_owned();
        }
        assert!(Instant::now() < deadline, "no daemon");
        std::thread::sleep(Duration::from_millis(20));
    }
}
