//! Order, room, quotas, receipts, restarts, and damage.

use crate::block::HEADER_BYTES;
use crate::journal::{Journal, JournalError, Settings, block_at};
use crate::open::OpenReport;
use crate::superblock::SUPERBLOCK_BYTES;
use alfred_board::hal::Storage;
use alfred_board::sim_storage::{FullStorage, MemoryStorage};
use alfred_synth::random::Random;
use alfred_wire::link::RecordId;
use alfred_wire::name::Name;
use alfred_wire::record::Priority::{self, Band, Event, Sample};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Bytes of a record in one block.
const PART: usize = 256 - HEADER_BYTES;

pub(crate) fn settings(boot: u64) -> Settings {
    Settings { device: Name::new("edge").expect("a name"), boot, block_bytes: 256, quota_percent: [50, 50, 100] }
}

fn region(blocks: usize) -> MemoryStorage {
    MemoryStorage::new((2 + blocks) * 256)
}

fn open<S: Storage>(storage: S, boot: u64) -> (Journal<S>, OpenReport) {
    Journal::open(storage, settings(boot)).expect("opens")
}

/// Everything that can be handed out, in order.
pub(crate) fn all<S: Storage>(journal: &mut Journal<S>) -> Vec<(RecordId, Priority, Vec<u8>)> {
    let mut buffer = vec![0; 8192];
    journal.rewind();
    let mut records = Vec::new();
    while let Some(record) = journal.next_unsent(&mut buffer).expect("reads") {
        records.push((record.id, record.priority, record.body.to_vec()));
    }
    records
}

fn bodies<S: Storage>(journal: &mut Journal<S>) -> Vec<u8> {
    all(journal).iter().map(|(_, _, body)| body[0]).collect()
}

#[test]
fn dear_and_old_records_are_handed_out_first_and_receipts_free_them() {
    let (mut journal, report) = open(region(8), 1);
    assert!(report.is_new);
    for (priority, body) in [(Sample, 1), (Event, 2), (Band, 3), (Event, 4), (Sample, 5)] {
        journal.append(priority, &[body]).expect("room");
    }
    assert_eq!(bodies(&mut journal), [2, 4, 3, 1, 5]);
    assert_eq!(journal.next_unsent(&mut [0; 9]).expect("reads"), None, "each once per connection");
    let waiting = journal.waiting();
    assert_eq!((waiting.records, waiting.unsent, waiting.bytes), (5, 0, 5 * 256));
    let second = all(&mut journal)[1].0;
    assert!(journal.receipt(second).expect("storage"));
    assert!(!journal.receipt(second).expect("storage"), "a second receipt is no fault");
    assert_eq!(bodies(&mut journal), [2, 3, 1, 5]);
    assert_eq!(journal.losses().by_priority(), [0; 3]);
}

#[test]
fn the_oldest_of_the_lowest_gives_way_and_is_counted() {
    let (mut journal, _) = open(region(8), 1);
    for (priority, body) in [(Sample, 1), (Sample, 2), (Band, 3), (Event, 4), (Event, 5), (Event, 6), (Event, 7), (Event, 8)] {
        journal.append(priority, &[body]).expect("room");
    }
    assert_eq!(journal.append(Event, &[9]).expect("room").evicted, 1);
    assert_eq!(bodies(&mut journal), [4, 5, 6, 7, 8, 9, 3, 2]);
    // Two blocks: the other sample and the band record.
    assert_eq!(journal.append(Event, &[10; PART + 1]).expect("room").evicted, 2);
    assert_eq!(bodies(&mut journal), [4, 5, 6, 7, 8, 9, 10]);
    assert!(matches!(journal.append(Band, &[11]), Err(JournalError::Full { bytes: 1 })), "events do not give way to it");
    assert_eq!(journal.append(Event, &[12]).expect("room").evicted, 1, "the oldest event does to an event");
    assert_eq!(bodies(&mut journal), [5, 6, 7, 8, 9, 10, 12]);
    assert_eq!((journal.losses().evicted, journal.losses().refused), ([2, 1, 1], [0, 1, 0]));
    let (journal, report) = open(journal.storage, 2);
    assert_eq!((report.records, report.is_new), (7, false));
    assert_eq!(journal.losses().by_priority(), [2, 2, 1], "losses survive a restart");
}

#[test]
fn quotas_hold_and_what_can_never_fit_evicts_nobody() {
    let (mut journal, _) = open(region(8), 1);
    journal.append(Event, &[0]).expect("room");
    for body in 1..=6 {
        journal.append(Sample, &[body]).expect("within its quota");
    }
    assert_eq!(bodies(&mut journal), [0, 3, 4, 5, 6], "samples hold half of the blocks at most");
    assert!(matches!(journal.append(Sample, &[7; 5 * PART]), Err(JournalError::Full { .. })), "more than its quota");
    assert!(matches!(journal.append(Event, &[7; 9 * PART]), Err(JournalError::Full { .. })), "more than the region");
    assert_eq!(bodies(&mut journal), [0, 3, 4, 5, 6]);
    assert_eq!(journal.losses().refused, [1, 0, 1]);
    assert_eq!(journal.append(Sample, &[8; 4 * PART]).expect("all of the quota").evicted, 4);
    assert_eq!((journal.records_of(Sample), journal.records_of(Event)), (1, 1));
    // The region is larger than the quotas of two classes, and an empty record is a record.
    journal.append(Band, &[]).expect("room");
    assert_eq!(all(&mut journal)[1].2, b"");
}

#[test]
fn bodies_of_every_size_come_back_after_a_restart_and_numbers_never_repeat() {
    let mut storage = region(40);
    let mut seen = std::collections::BTreeSet::new();
    for boot in 1..6 {
        let (mut journal, _) = open(&mut storage, 7);
        let mut written = Vec::new();
        for length in [0, 1, PART - 1, PART, PART + 1, 3 * PART] {
            let body: Vec<u8> = (0..length).map(|at| (at as u64 * boot) as u8).collect();
            let id = journal.append(Event, &body).expect("room").id;
            assert!(seen.insert(id), "the same boot number twice, and still no number twice");
            written.push((id, Event, body));
        }
        let (mut journal, report) = open(journal.storage, 7);
        assert_eq!((report.records, report.damaged), (6, 0));
        assert_eq!(all(&mut journal), written);
        for (id, _, _) in written {
            journal.receipt(id).expect("storage");
        }
        assert_eq!(journal.waiting().records, 0);
    }
}

#[test]
fn another_device_or_layout_is_refused_and_left_alone() {
    let (mut journal, _) = open(region(8), 1);
    journal.append(Event, b"mine").expect("room");
    let mut storage = journal.storage;
    let before = storage.clone();
    let other = Settings { device: Name::new("other").expect("a name"), ..settings(1) };
    assert!(matches!(Journal::open(&mut storage, other), Err(JournalError::OtherDevice(name)) if name.as_str() == "edge"));
    let layout = Settings { block_bytes: 300, ..settings(1) };
    assert!(matches!(Journal::open(&mut storage, layout), Err(JournalError::Settings(_))));
    assert!(matches!(Journal::open(MemoryStorage::new(512), settings(1)), Err(JournalError::Settings(_))));
    assert_eq!(storage, before);
    // The copy that is found lies at the old distance, so that another size of blocks is noticed.
    assert!(matches!(Journal::open(&mut storage, Settings { block_bytes: 512, ..settings(1) }), Err(JournalError::OtherBlocks(256))));
}

#[test]
fn a_record_with_a_hole_is_counted_once_and_never_handed_out() {
    let (mut journal, _) = open(region(8), 1);
    let id = journal.append(Event, &[1; 3 * PART]).expect("room").id;
    journal.append(Event, &[2]).expect("room");
    let entry = journal.index.records()[0];
    let middle = journal.index.blocks(&entry).nth(1).expect("three blocks");
    let at = block_at(middle, 256) + 100;
    journal.storage.write(at, &[0xEE]).expect("inside");
    let mut while_open = Journal { storage: journal.storage.clone(), ..open(journal.storage.clone(), 1).0 };
    assert_eq!((bodies(&mut while_open), while_open.losses().damaged), (vec![2], 1));
    assert_eq!(bodies(&mut journal), [2], "noticed while it is open");
    assert_eq!(journal.losses().damaged, 1);
    for _ in 0..3 {
        let (mut again, _) = open(journal.storage.clone(), 1);
        assert_eq!((bodies(&mut again), again.losses().damaged), (vec![2], 1));
        assert!(!again.receipt(id).expect("storage"));
        journal = again;
    }
}

/// Priority, body and blocks of a record.
type Written = (Priority, Vec<u8>, Vec<u32>);

/// A journal with records of all kinds, some freed.
fn mixed(seed: u64) -> (MemoryStorage, BTreeMap<RecordId, Written>) {
    let (mut journal, _) = open(region(60), seed);
    let mut random = Random::new(seed);
    let mut written = BTreeMap::new();
    for _ in 0..20 {
        let priority = Priority::ALL[random.below(3)];
        let body: Vec<u8> = (0..random.below(4 * PART)).map(|_| random.bits() as u8).collect();
        let id = journal.append(priority, &body).expect("room").id;
        written.insert(id, (priority, body));
        if random.chance(0.3) {
            let id = *written.keys().nth(random.below(written.len())).expect("some");
            journal.receipt(id).expect("storage");
            written.remove(&id);
        }
    }
    let waiting: Vec<RecordId> = all(&mut journal).iter().map(|(id, _, _)| *id).collect();
    written.retain(|id, _| waiting.contains(id));
    let with_blocks = |(id, (priority, body)): (RecordId, (Priority, Vec<u8>))| {
        let entry = journal.index.records()[journal.index.find(id).expect("waits")];
        (id, (priority, body, journal.index.blocks(&entry).collect()))
    };
    let written = written.into_iter().map(with_blocks).collect();
    (journal.storage, written)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn damage_anywhere_yields_nothing_corrupt_and_costs_no_untouched_record(
        seed in 0_u64..1000,
        damage in proptest::collection::vec((0_usize..62 * 256, any::<u8>(), 1_usize..40), 0..40),
    ) {
        let (mut storage, written) = mixed(seed);
        let before = storage.clone();
        for (at, byte, length) in damage {
            let end = (at + length).min(storage.0.len());
            storage.0[at..end].fill(byte);
        }
        let same = |at: u64, length: usize| storage.0[at as usize..at as usize + length] == before.0[at as usize..at as usize + length];
        let superblocks = u32::from(same(0, SUPERBLOCK_BYTES)) + u32::from(same(256, SUPERBLOCK_BYTES));
        let intact: Vec<RecordId> =
            written.iter().filter(|(_, (_, _, blocks))| blocks.iter().all(|block| same(block_at(*block, 256), 256))).map(|(id, _)| *id).collect();
        let (mut journal, report) = open(storage, 9);
        prop_assert!(superblocks < 2 || !report.superblock_lost && !report.is_new);
        let found = all(&mut journal);
        for (id, priority, body) in &found {
            // A record that was freed may come back where its erased header was restored by chance: not by this damage.
            let (expected, content, _) = written.get(id).expect("a record that waited");
            prop_assert_eq!((priority, body), (expected, content));
        }
        for id in &intact {
            prop_assert!(found.iter().any(|(found, _, _)| found == id), "{:?} was not touched", id);
        }
        // And the journal goes on.
        let id = journal.append(Event, b"afterwards").expect("room").id;
        let (mut journal, _) = open(journal.storage, 10);
        prop_assert!(all(&mut journal).iter().any(|(found, _, body)| *found == id && body == b"afterwards"));
    }

    #[test]
    fn any_region_opens(bytes in proptest::collection::vec(any::<u8>(), 1024..3000)) {
        let (mut journal, _) = open(MemoryStorage(bytes), 1);
        prop_assert_eq!(all(&mut journal), vec![]);
    }
}

#[test]
fn a_full_disk_refuses_records_loses_none_that_it_took_and_is_over_when_there_is_room() {
    for room in (0..4000).step_by(97) {
        let (mut journal, _) = open(FullStorage::new(region(16), u64::MAX), 1);
        journal.storage = FullStorage::new(journal.storage.into_inner(), room);
        let (mut taken, mut refused) = (Vec::new(), 0);
        for body in 0..12 {
            match journal.append(Event, &[body; 100]) {
                Ok(_) => taken.push(body),
                Err(JournalError::Storage(error)) => {
                    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
                    refused += 1;
                }
                Err(error) => panic!("{error}"),
            }
            if refused == 2 {
                journal.storage.make_room(1 << 20);
            }
        }
        assert_eq!(bodies(&mut journal), taken, "room {room}");
        let (mut again, report) = open(journal.storage.into_inner(), 2);
        assert_eq!((bodies(&mut again), report.damaged), (taken, 0), "room {room}, after a restart");
    }
}
