//! The state machine, and the power cut at every byte of every step: a confirmed bundle is always there.

use crate::collapse::collapse;
use crate::format::Bundle;
use crate::slots::{Role, SLOTS_BYTES, SlotSettings, SlotState, Slots, SlotsError};
use crate::test_kit::{admission, built, bundle, key, parameters};
use alfred_board::hal::Storage;
use alfred_board::sim_storage::{CutStorage, MemoryStorage, Unsynced};
use alfred_wire::error_code::ErrorCode;
use alfred_wire::link::BundleStage;
use std::sync::LazyLock;

fn settings() -> SlotSettings {
    SlotSettings { camera: admission().camera, fingerprint: admission().fingerprint, trusted: vec![key().public()], starts_max: 3 }
}

fn region() -> MemoryStorage {
    MemoryStorage::new(SLOTS_BYTES as usize)
}

fn open<S: Storage>(storage: S) -> Slots<S> {
    Slots::open(storage, settings()).expect("opens")
}

/// A small bundle: the tests' time is the self-test's.
fn small(revision: u64, parent: u64) -> Vec<u8> {
    built(&Bundle { parent, parameters: parameters(4, revision), head: b"", ..bundle(revision) })
}

/// What the long way offers, built once: revision 2 on top of 1, the others on top of 2.
fn offered(revision: u64) -> &'static [u8] {
    static BUNDLES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| (2..=5).map(|revision| small(revision, 2.min(revision - 1))).collect());
    &BUNDLES[revision as usize - 2]
}

/// Slots with a confirmed revision.
fn with_confirmed(revision: u64) -> MemoryStorage {
    let mut storage = region();
    let mut slots = open(&mut storage);
    slots.offer(&small(revision, 0)).expect("valid");
    slots.begin_trial().expect("verified");
    slots.confirm().expect("on trial");
    slots.mark_told().expect("storage");
    drop(slots);
    storage
}

fn refusal<T: std::fmt::Debug>(outcome: Result<T, SlotsError>) -> ErrorCode {
    outcome.expect_err("refused").code()
}

#[test]
fn a_bundle_goes_its_way_and_each_step_survives_a_restart() {
    let mut storage = with_confirmed(1);
    for revision in [2, 3] {
        let confirmed = revision - 1;
        let mut slots = open(&mut storage);
        assert_eq!((slots.state(), slots.confirmed_revision()), (None, confirmed));
        assert_eq!(slots.offer(&small(revision, confirmed)).expect("valid"), revision);
        assert_eq!(refusal(slots.offer(&small(9, 0))), ErrorCode::SlotBusy);
        assert_eq!(refusal(slots.confirm()), ErrorCode::LinkUnexpected, "not on trial");
        let mut slots = open(&mut storage);
        assert_eq!(slots.state(), Some(SlotState::Verified));
        slots.begin_shadow().expect("verified");
        let mut slots = open(&mut storage);
        assert_eq!(slots.state(), Some(SlotState::Shadow));
        assert_eq!(slots.bundle(Role::Candidate).expect("there").revision, revision);
        slots.begin_trial().expect("in shadow");
        let mut slots = open(&mut storage);
        assert_eq!((slots.state(), slots.confirmed_revision()), (Some(SlotState::Trial), confirmed), "the old one is kept");
        slots.confirm().expect("on trial");
        assert_eq!(slots.untold(), Some((revision, BundleStage::Confirmed, None)));
        let mut slots = open(&mut storage);
        assert_eq!((slots.state(), slots.confirmed_revision()), (None, revision));
        assert_eq!(slots.bundle(Role::Confirmed).expect("there").parameters, collapse(&parameters(4, revision)));
        assert_eq!(slots.untold(), Some((revision, BundleStage::Confirmed, None)), "until somebody is told");
        slots.mark_told().expect("storage");
    }
    assert_eq!(open(&mut storage).untold(), None);
}

#[test]
fn what_failed_never_comes_back_and_the_old_one_decides_again() {
    let mut storage = with_confirmed(1);
    let mut slots = open(&mut storage);
    assert_eq!(refusal(slots.offer(&small(1, 0))), ErrorCode::BundleDowngrade);
    assert_eq!(refusal(slots.offer(&small(3, 2))), ErrorCode::BundleParent);
    assert_eq!(refusal(slots.offer(b"ALFB")), ErrorCode::BundleTruncated);
    assert_eq!((slots.state(), slots.untold()), (None, None), "nothing was stored");
    slots.offer(&small(2, 1)).expect("valid");
    slots.begin_shadow().expect("verified");
    slots.give_up(ErrorCode::ShadowDisagreement).expect("in shadow");
    assert_eq!(slots.untold(), Some((2, BundleStage::Refused, Some(ErrorCode::ShadowDisagreement.number()))));
    assert_eq!(refusal(slots.offer(&small(2, 1))), ErrorCode::BundleDowngrade);
    slots.offer(&small(3, 1)).expect("valid");
    slots.begin_trial().expect("verified");
    slots.give_up(ErrorCode::TrialFlagRate).expect("on trial");
    let mut slots = open(&mut storage);
    assert_eq!(slots.untold(), Some((3, BundleStage::Reverted, Some(ErrorCode::TrialFlagRate.number()))));
    assert_eq!((slots.confirmed_revision(), slots.state()), (1, None));
    assert_eq!(refusal(slots.offer(&small(3, 1))), ErrorCode::BundleDowngrade);
    assert_eq!(refusal(slots.give_up(ErrorCode::Withdrawn)), ErrorCode::LinkUnexpected);
    // Withdrawn before it was tried: it may come again.
    slots.offer(&small(4, 1)).expect("valid");
    slots.give_up(ErrorCode::Withdrawn).expect("verified");
    assert_eq!(slots.offer(&small(4, 1)).expect("valid"), 4);
}

#[test]
fn a_crash_loop_ends_at_the_third_start() {
    for is_trial in [false, true] {
        let mut storage = with_confirmed(1);
        let mut slots = open(&mut storage);
        slots.offer(&small(2, 1)).expect("valid");
        if is_trial { slots.begin_trial() } else { slots.begin_shadow() }.expect("verified");
        for _ in 0..2 {
            assert_eq!(open(&mut storage).candidate_revision(), 2, "second and third start");
        }
        let slots = open(&mut storage);
        assert_eq!((slots.state(), slots.confirmed_revision()), (None, 1));
        let stage = if is_trial { BundleStage::Reverted } else { BundleStage::Refused };
        assert_eq!(slots.untold(), Some((2, stage, Some(ErrorCode::TrialCrashLoop.number()))));
    }
}

#[test]
fn other_keys_cameras_or_settings_end_what_was_confirmed_for_the_old_ones() {
    let storage = with_confirmed(1);
    let judge = |change: fn(&mut SlotSettings)| {
        let mut settings = settings();
        change(&mut settings);
        let slots = Slots::open(storage.clone(), settings).expect("opens");
        (slots.confirmed_revision(), slots.untold().is_some())
    };
    assert_eq!(judge(|_| {}), (1, false));
    assert_eq!(judge(|settings| settings.trusted.clear()), (0, true));
    assert_eq!(judge(|settings| settings.fingerprint ^= 1), (0, true));
    assert!(Slots::open(MemoryStorage::new(100), settings()).is_err());
}

#[test]
fn damaged_bytes_never_decide() {
    let storage = with_confirmed(1);
    for at in (0..SLOTS_BYTES as usize).step_by(7) {
        let mut damaged = storage.clone();
        damaged.0[at] ^= 0x40;
        let slots = open(damaged);
        // One copy of the table may be the only one that knows; the model file decides then.
        assert!(slots.confirmed_revision() <= 1);
        if let Some(bundle) = slots.bundle(Role::Confirmed) {
            assert_eq!(bundle.parameters, collapse(&parameters(4, 1)));
        } else {
            assert_eq!(slots.confirmed_revision(), 0);
        }
    }
}

type Step = fn(&mut Slots<&mut CutStorage>) -> Result<(), SlotsError>;

/// A long way: confirmed, refused in shadow, reverted from trial, confirmed again, with the reports in between.
const STEPS: [(&str, Step); 14] = [
    ("offer 2", |slots| slots.offer(offered(2)).map(drop)),
    ("shadow 2", |slots| slots.begin_shadow()),
    ("trial 2", |slots| slots.begin_trial()),
    ("confirm 2", |slots| slots.confirm()),
    ("told 2", |slots| slots.mark_told()),
    ("offer 3", |slots| slots.offer(offered(3)).map(drop)),
    ("shadow 3", |slots| slots.begin_shadow()),
    ("refuse 3", |slots| slots.give_up(ErrorCode::ShadowFlagRate)),
    ("offer 4", |slots| slots.offer(offered(4)).map(drop)),
    ("trial 4", |slots| slots.begin_trial()),
    ("revert 4", |slots| slots.give_up(ErrorCode::TrialFaults)),
    ("offer 5", |slots| slots.offer(offered(5)).map(drop)),
    ("trial 5", |slots| slots.begin_trial()),
    ("confirm 5", |slots| slots.confirm()),
];

/// State of the slots as far as a restart shows it.
fn seen(storage: &MemoryStorage) -> (u64, u64, Option<SlotState>) {
    let slots = open(storage.clone());
    if slots.confirmed_revision() > 0 {
        let bundle = slots.bundle(Role::Confirmed).expect("what is confirmed is there");
        assert_eq!(bundle.parameters, collapse(&parameters(4, bundle.revision)), "and is what was sent");
        assert_eq!(bundle.revision, slots.confirmed_revision());
    }
    (slots.confirmed_revision(), slots.candidate_revision(), slots.state())
}

#[test]
fn the_power_may_go_at_every_byte_of_every_step() {
    let mut storage = with_confirmed(1);
    let mut cuts = 0;
    for (name, step) in STEPS {
        let before = seen(&storage);
        let mut whole = CutStorage::new(storage.clone(), u64::MAX);
        // Opening writes, too: it counts starts.
        step(&mut open(&mut whole)).expect("no cut, no fault");
        let (after, bytes) = (whole.after_power_cut(Unsynced::Lost), whole.bytes_written());
        let after_seen = seen(&after);
        for cut in 0..bytes {
            let mut cut_storage = CutStorage::new(storage.clone(), cut);
            let outcome = Slots::open(&mut cut_storage, settings()).and_then(|mut slots| step(&mut slots));
            assert!(matches!(outcome, Err(SlotsError::Storage(_))), "{name} cut at {cut}");
            // What was not synced may be lost in any order, too; every fourth byte says enough about that.
            let all = [Unsynced::Kept, Unsynced::Lost, Unsynced::Mixed(cut)];
            for unsynced in &all[..if cut % 4 == 0 { 3 } else { 1 }] {
                let found = cut_storage.after_power_cut(*unsynced);
                let (confirmed, candidate, state) = seen(&found);
                let what = format!("{name} cut at {cut}, {unsynced:?}: {confirmed} {candidate} {state:?}");
                assert!(confirmed == before.0 || confirmed == after_seen.0, "{what}");
                let is_known = [(before.1, before.2), (after_seen.1, after_seen.2)].contains(&(candidate, state));
                assert!(is_known, "{what}");
                cuts += 1;
            }
        }
        storage = after;
    }
    assert_eq!(seen(&storage), (5, 0, None));
    println!("{cuts} cuts");
    assert!(cuts > 10_000);
}
