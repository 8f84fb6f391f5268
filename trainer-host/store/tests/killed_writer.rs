//! A process that writes records is killed without warning, again and again: what it acknowledged is there, and once.

mod support;

use alfred_store::Store;
use alfred_store::record::{Incoming, Stored};
use alfred_wire::link::RecordId;
use alfred_wire::output::Kind;
use alfred_wire::record::Priority;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use support::{DEVICE, NOW, event, number};

const FILE: &str = "ALFRED_STORE_TEST_FILE";
const FROM: &str = "ALFRED_STORE_TEST_FROM";
const RECORDS_PER_COMMIT: u64 = 3;

/// The process that is killed: this test alone, started with a file to write to. Without one it has nothing to do.
#[test]
fn writer() {
    let (Ok(file), Ok(from)) = (std::env::var(FILE), std::env::var(FROM)) else { return };
    let mut store = Store::open(Path::new(&file)).expect("opens");
    let mut first: u64 = from.parse().expect("a number");
    loop {
        let bodies: Vec<Vec<u8>> = (first..first + RECORDS_PER_COMMIT).map(|sequence| event(sequence, Kind::EndScoreFell, 2.0)).collect();
        let records: Vec<Incoming<'_>> = (first..)
            .zip(&bodies)
            .map(|(sequence, body)| Incoming { id: RecordId { boot: 1, sequence }, priority: Priority::Event, body })
            .collect();
        let stored = store.take_records(DEVICE, &records, NOW).expect("taken");
        assert!(stored.iter().all(|one| matches!(one, Stored::New | Stored::Known)));
        let mut out = std::io::stdout().lock();
        writeln!(out, "ACKNOWLEDGED {}", first + RECORDS_PER_COMMIT - 1).expect("writes");
        out.flush().expect("writes");
        first += RECORDS_PER_COMMIT;
    }
}

#[test]
fn a_killed_writer_loses_and_doubles_nothing_that_it_acknowledged() {
    let (folder, store) = support::store();
    drop(store);
    let file = folder.path().join("host.sqlite");
    let mut acknowledged = 0;
    for round in 0..5 {
        // As a device does after a cut: from a little before the last receipt on.
        let from = acknowledged + 1 - u64::min(acknowledged, 4);
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "writer", "--nocapture"])
            .env(FILE, &file)
            .env(FROM, from.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut seen = 0;
        for line in lines {
            if let Some((_, last)) = line.expect("text").split_once("ACKNOWLEDGED ") {
                acknowledged = last.parse::<u64>().expect("a number").max(acknowledged);
                seen += 1;
            }
            if seen == 5 + 3 * round {
                break;
            }
        }
        child.kill().expect("killed");
        child.wait().expect("ended");
        assert_eq!(seen, 5 + 3 * round, "the writer ended by itself");
        let connection = rusqlite::Connection::open(&file).expect("opens");
        let mut select = connection.prepare("SELECT sequence FROM records WHERE device = ?1 AND boot = 1").expect("prepares");
        let all: Vec<u64> = select
            .query_map([DEVICE], |row| Ok(row.get::<_, i64>(0)?.cast_unsigned()))
            .expect("asks")
            .map(|row| row.expect("a row"))
            .collect();
        let once: BTreeSet<u64> = all.iter().copied().collect();
        assert_eq!(once.len(), all.len(), "a record is there twice");
        assert!((1..=acknowledged).all(|sequence| once.contains(&sequence)), "round {round}: an acknowledged record is missing");
        let last = once.last().copied().expect("records");
        assert_eq!((last + 1 - from) % RECORDS_PER_COMMIT, 0, "half a transaction is there");
        assert_eq!(number(&file, "SELECT count(*) FROM items"), all.len() as i64, "records and items come together");
        assert_eq!(number(&file, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'"), 0);
    }
}
