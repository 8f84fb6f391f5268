//! The daemon is killed in the middle of a review, again and again: no verdict is lost, none counts twice.

mod support;

use serde_json::json;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::sync_channel;
use support::{Client, Ground, number};

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
