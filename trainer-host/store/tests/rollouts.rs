//! Bundles go where a rollout says, are not offered again after a refusal, and every state that a device reports is kept.

mod support;

use alfred_store::bundle::NewBundle;
use alfred_store::rollout::{Desired, RolloutState, Target};
use alfred_store::{Store, StoreError};
use alfred_wire::error_code::ErrorCode;
use alfred_wire::link::{BundleStage, BundleState};
use alfred_wire::record::Content;
use support::{CAMERA, DEVICE, NOW, record, store, take};

const BYTES: [u8; 5] = *b"12345";

fn add(store: &mut Store, camera: &str, revision: u64) {
    let bundle =
        NewBundle { camera, revision, parent_revision: 0, fingerprint: 9, threshold: 1.5, policy: "eer", model: None, bytes: &BYTES };
    store.add_bundle(&bundle, "ole", NOW).expect("added");
}

fn target(camera: &str, revision: u64) -> Target {
    Target { camera: camera.to_owned(), revision }
}

fn state(revision: u64, stage: BundleStage, reason: Option<ErrorCode>) -> BundleState {
    let reason = reason.map(ErrorCode::number);
    BundleState { revision, stage, reason, windows: 1, flagged: 2, live_flagged: 3, disagreements: 4, faults: 5, from_frame: 6 }
}

fn offered(store: &Store, device: &str) -> Option<u64> {
    store.desired(device).expect("asked").offer.map(|offer| offer.revision)
}

#[test]
fn bundles_have_rising_revisions_and_are_read_in_parts() {
    let (_folder, mut store) = store();
    add(&mut store, CAMERA, 3);
    let lower = NewBundle {
        camera: CAMERA,
        revision: 3,
        parent_revision: 0,
        fingerprint: 9,
        threshold: 1.5,
        policy: "eer",
        model: None,
        bytes: &BYTES,
    };
    assert!(matches!(store.add_bundle(&lower, "ole", NOW), Err(StoreError::RevisionNotAbove { newest: 3, .. })));
    assert!(matches!(store.add_bundle(&NewBundle { camera: "x", ..lower }, "ole", NOW), Err(StoreError::Unknown { .. })));
    assert!(matches!(store.add_bundle(&NewBundle { bytes: &[], revision: 4, ..lower }, "ole", NOW), Err(StoreError::Range { .. })));
    assert_eq!(store.bundle_part(CAMERA, 3, 0, 3).expect("a part"), b"123");
    assert_eq!(store.bundle_part(CAMERA, 3, 3, 3).expect("a part"), b"45");
    assert_eq!(store.bundle_part(CAMERA, 3, 5, 3).expect("a part"), b"");
    assert!(matches!(store.bundle_part(CAMERA, 4, 0, 3), Err(StoreError::Unknown { .. })));
    assert_eq!(store.bundles(None).expect("bundles").len(), 1);
}

#[test]
fn a_rollout_reaches_some_waits_while_paused_and_is_rolled_back() {
    let (_folder, mut store) = store();
    store.enrol("device 2", "yard", false, "ole", NOW).expect("enrols");
    for camera in [CAMERA, "yard"] {
        add(&mut store, camera, 1);
    }
    assert!(matches!(store.roll_out(&[target(CAMERA, 1), target("yard", 8)], "ole", NOW), Err(StoreError::Unknown { .. })));
    assert_eq!(offered(&store, DEVICE), None, "a rollout that is refused changes nothing");
    assert!(matches!(store.roll_out(&[], "ole", NOW), Err(StoreError::Range { .. })));
    assert!(matches!(store.roll_out(&[target("yard", 1), target("yard", 1)], "ole", NOW), Err(StoreError::Range { .. })));
    let rollout = store.roll_out(&[target(CAMERA, 1)], "ole", NOW).expect("starts");
    assert_eq!((offered(&store, DEVICE), offered(&store, "device 2")), (Some(1), None));
    store.pause_rollout(rollout, true, "ole", NOW).expect("pauses");
    assert_eq!(offered(&store, DEVICE), None);
    store.pause_rollout(rollout, false, "ole", NOW).expect("goes on");
    assert_eq!(offered(&store, DEVICE), Some(1));
    store.report_bundle(DEVICE, &state(1, BundleStage::Shadow, None), NOW).expect("kept");
    assert_eq!(store.desired(DEVICE).expect("asked"), Desired::default());
    store.roll_back(rollout, "ole", NOW).expect("rolls back");
    assert_eq!(store.desired(DEVICE).expect("asked"), Desired { offer: None, withdraw: Some(1) });
    assert_eq!(store.rollouts(9).expect("rollouts")[0].state, RolloutState::RolledBack);
    assert!(matches!(store.pause_rollout(rollout, true, "ole", NOW), Err(StoreError::Range { .. })));
    store.report_bundle(DEVICE, &state(1, BundleStage::Refused, Some(ErrorCode::Withdrawn)), NOW).expect("kept");
    assert_eq!(store.desired(DEVICE).expect("asked"), Desired::default());
    assert!(store.audit(None, 99).expect("audit").iter().any(|line| line.what == "roll back" && line.who == "ole"));
}

#[test]
fn a_confirmed_bundle_cannot_be_rolled_back() {
    let (_folder, mut store) = store();
    add(&mut store, CAMERA, 1);
    let rollout = store.roll_out(&[target(CAMERA, 1)], "ole", NOW).expect("starts");
    store.report_bundle(DEVICE, &state(1, BundleStage::Confirmed, None), NOW).expect("kept");
    assert!(matches!(store.roll_back(rollout, "ole", NOW), Err(StoreError::Confirmed { revision: 1, .. })));
    assert_eq!(store.rollouts(9).expect("rollouts")[0].state, RolloutState::Running);
    assert_eq!(offered(&store, DEVICE), None);
    assert_eq!(store.devices().expect("devices")[0].bundle_revision, Some(1));
}

#[test]
fn every_refusal_has_its_own_state_and_is_not_offered_again_by_itself() {
    for code in ErrorCode::ALL {
        let (_folder, mut store) = store();
        add(&mut store, CAMERA, 1);
        store.roll_out(&[target(CAMERA, 1)], "ole", NOW).expect("starts");
        store.report_bundle(DEVICE, &state(1, BundleStage::Refused, Some(code)), NOW).expect("kept");
        let shown = store.deployments(Some(CAMERA)).expect("deployments");
        assert_eq!((shown[0].reason, shown[0].reason_name, shown[0].mend), (Some(code.number().0), Some(code.name()), Some(code.mend())));
        let is_for_now = matches!(code.name(), "SlotBusy" | "SlotStorage" | "BundleChunk" | "BundleTruncated" | "BundleHash");
        assert_eq!(shown[0].stage, if is_for_now { "delayed" } else { "refused" });
        assert_eq!(offered(&store, DEVICE).is_some(), is_for_now, "{code}");
        store.roll_out(&[target(CAMERA, 1)], "ole", NOW).expect("starts anew");
        assert_eq!(offered(&store, DEVICE), Some(1), "an operator asked for another try");
    }
}

#[test]
fn a_late_report_takes_no_state_back() {
    let (_folder, mut store) = store();
    store.report_bundle(DEVICE, &state(1, BundleStage::Trial, None), NOW).expect("kept");
    take(&mut store, 1, 1, &record(Content::Bundle(state(1, BundleStage::Shadow, None))));
    assert_eq!(store.deployments(None).expect("deployments")[0].stage, "trial");
    take(&mut store, 1, 2, &record(Content::Bundle(state(1, BundleStage::Reverted, Some(ErrorCode::TrialFlagRate)))));
    assert_eq!(store.deployments(None).expect("deployments")[0].stage, "reverted");
    let reports: Vec<String> = store.deployment_reports(9).expect("reports").into_iter().map(|report| report.stage).collect();
    assert_eq!(reports, ["reverted", "shadow", "trial"], "each report is kept");
}
