//! The power goes at every byte of a long run: the journal opens, every record that was promised is there, every loss is counted.

use crate::journal::{Journal, JournalError};
use crate::journal_tests::{all, settings};
use alfred_board::hal::Storage;
use alfred_board::sim_storage::{CutStorage, MemoryStorage, Unsynced};
use alfred_synth::random::Random;
use alfred_wire::link::RecordId;
use alfred_wire::record::Priority;
use std::collections::{BTreeMap, BTreeSet};

const BLOCKS: usize = 24;
const STEPS: u32 = 160;

/// What the caller knows at the moment of the cut.
#[derive(Default)]
struct Promised {
    /// Appends that returned.
    appended: BTreeMap<RecordId, (Priority, Vec<u8>)>,
    /// The append that was under way; its name is not known to the caller.
    under_way: Option<(Priority, Vec<u8>)>,
    /// Receipts that were given, one under way included.
    received: BTreeSet<RecordId>,
    /// Refusals that the caller was told of, by priority.
    refused: [u64; 3],
}

/// Appends, receipts, hand-outs and restarts as the seed says, until the end or the cut.
fn run(storage: &mut CutStorage, seed: u64, promised: &mut Promised) -> Result<(), JournalError> {
    let mut random = Random::new(seed);
    let mut boot = 1;
    let (mut journal, _) = Journal::open(storage, settings(boot))?;
    for step in 0..STEPS {
        match random.below(10) {
            0..6 => {
                let priority = Priority::ALL[random.below(3)];
                let length = if random.chance(0.3) { random.below(900) } else { random.below(60) };
                let body: Vec<u8> = (0..length).map(|_| random.bits() as u8).collect();
                promised.under_way = Some((priority, body.clone()));
                match journal.append(priority, &body) {
                    Ok(appended) => {
                        promised.appended.insert(appended.id, (priority, body));
                    }
                    Err(JournalError::Full { .. }) => promised.refused[priority as usize] += 1,
                    Err(error) => return Err(error),
                }
                promised.under_way = None;
            }
            6..8 => {
                let mut buffer = vec![0; 4096];
                if let Some(record) = journal.next_unsent(&mut buffer)? {
                    let id = record.id;
                    promised.received.insert(id);
                    journal.receipt(id)?;
                }
            }
            8 => journal.rewind(),
            _ if step % 3 == 0 => {
                boot += 1;
                (journal, _) = Journal::open(journal.storage, settings(boot))?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn check(found: MemoryStorage, promised: &Promised, what: &str) {
    let (mut journal, report) = Journal::open(found, settings(99)).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!((report.damaged, report.superblock_lost), (0, false), "{what}: a cut is no damage");
    let present: BTreeMap<RecordId, (Priority, Vec<u8>)> =
        all(&mut journal).into_iter().map(|(id, priority, body)| (id, (priority, body))).collect();
    for (id, record) in &present {
        let is_known = match promised.appended.get(id) {
            Some(appended) => appended == record,
            None => promised.under_way.as_ref() == Some(record),
        };
        assert!(is_known, "{what}: {id:?} was never appended like this");
    }
    // Who is neither here nor received was counted, exactly once.
    let mut missing = [0; 3];
    for (id, (priority, _)) in &promised.appended {
        missing[*priority as usize] += u64::from(!present.contains_key(id) && !promised.received.contains(id));
    }
    assert_eq!(journal.losses().evicted, missing, "{what}: records without a receipt that are gone");
    let under_way = |place: usize| u64::from(promised.under_way.as_ref().is_some_and(|(priority, _)| *priority as usize == place));
    for (place, &refused) in promised.refused.iter().enumerate() {
        let told = journal.losses().refused[place];
        assert!((refused..=refused + under_way(place)).contains(&told), "{what}: {told} refused of {refused}");
    }
    // It goes on, and opens the same once more.
    let id = journal.append(Priority::Event, b"afterwards").expect("events find room").id;
    let kept: BTreeSet<RecordId> = all(&mut journal).into_iter().map(|(id, _, _)| id).collect();
    let (mut journal, _) = Journal::open(journal.storage, settings(100)).expect("opens again");
    let again: BTreeSet<RecordId> = all(&mut journal).into_iter().map(|(id, _, _)| id).collect();
    assert!(kept.contains(&id));
    assert_eq!(again, kept, "{what}");
}

#[test]
fn the_power_may_go_at_every_byte() {
    let region = MemoryStorage::new((2 + BLOCKS) * 256);
    let seed = 1;
    let mut whole = CutStorage::new(region.clone(), u64::MAX);
    let mut promised = Promised::default();
    run(&mut whole, seed, &mut promised).expect("no cut, no fault");
    let evicted: u64 = Journal::open(whole.after_power_cut(Unsynced::Kept), settings(99)).expect("opens").0.losses().evicted.iter().sum();
    let bytes = whole.bytes_written();
    println!(
        "{bytes} bytes, {} syncs, {} records, {} receipts, {evicted} evicted",
        whole.syncs(),
        promised.appended.len(),
        promised.received.len()
    );
    assert!(promised.appended.len() > 60 && promised.received.len() > 15 && evicted > 10, "the script must exercise all of it");
    check(whole.after_power_cut(Unsynced::Kept), &promised, "no cut");
    for cut in 0..bytes {
        let mut storage = CutStorage::new(region.clone(), cut);
        let mut promised = Promised::default();
        let fault = run(&mut storage, seed, &mut promised);
        assert!(matches!(fault, Err(JournalError::Storage(_))) && storage.is_off(), "cut at {cut}");
        check(storage.after_power_cut(Unsynced::Kept), &promised, &format!("cut at byte {cut}"));
        // What was not synced may be lost in any order; seeds differ from byte to byte.
        if cut % 8 == 0 {
            check(storage.after_power_cut(Unsynced::Lost), &promised, &format!("cut at byte {cut}, nothing unsynced kept"));
        }
        check(storage.after_power_cut(Unsynced::Mixed(cut)), &promised, &format!("cut at byte {cut}, unsynced mixed"));
    }
}

#[test]
fn other_scripts_survive_cuts_here_and_there() {
    let region = MemoryStorage::new((2 + BLOCKS) * 256);
    for seed in 2..40 {
        let mut random = Random::new(seed);
        for _ in 0..40 {
            let mut storage = CutStorage::new(region.clone(), random.below(60_000) as u64);
            let mut promised = Promised::default();
            let _ = run(&mut storage, seed, &mut promised);
            let unsynced = Unsynced::Mixed(random.bits());
            let what = format!("script {seed}, cut at byte {}, {unsynced:?}", storage.bytes_written());
            check(storage.after_power_cut(unsynced), &promised, &what);
        }
    }
}

#[test]
fn a_full_disk_or_dying_flash_is_an_error_and_no_panic() {
    let mut storage = CutStorage::new(MemoryStorage::new((2 + BLOCKS) * 256), 3000);
    let (mut journal, _) = Journal::open(&mut storage, settings(1)).expect("opens");
    let mut failed = 0;
    for _ in 0..50 {
        failed += u32::from(journal.append(Priority::Event, &[1; 100]).is_err());
    }
    assert!(failed > 20);
    assert!(journal.storage.sync().is_err());
}
