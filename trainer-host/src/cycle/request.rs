//! What people ask of the cycle, served one by one; what became of each is written back, and in the audit log.

use crate::cycle::round::{POLICY_GIVEN, Tools, close_slice, is_shipping, pair_in_force};
use crate::cycle::ship::{Papers, WHO, build_bundle, roll_out};
use crate::error::HostError;
use alfred_bundle::format::ThresholdPolicy;
use alfred_store::Store;
use alfred_store::evaluation::Outcome;
use alfred_store::request::{CycleRequest, RequestKind};

/// Serves one request. An outcome is written whatever comes of it; only a database that fails leaves it waiting.
///
/// # Errors
/// [`HostError::Argument`] when the database fails.
pub fn serve(store: &mut Store, request: &CycleRequest, tools: &Tools, now_ms: i64) -> Result<String, HostError> {
    let served = match request.kind {
        RequestKind::Threshold => threshold(store, request, tools, now_ms),
        RequestKind::FineTune => fine_tune(store, request, tools, now_ms),
        RequestKind::Promote => promote(store, request, now_ms),
        RequestKind::Hold => hold(store, request, now_ms),
    };
    let outcome = served.unwrap_or_else(|error| format!("not done: {error}"));
    store.settle_request(request.id, &outcome, now_ms).map_err(|error| HostError::argument("the database", error))?;
    Ok(outcome)
}

fn fault(error: impl std::fmt::Display) -> HostError {
    HostError::argument("the database", error)
}

/// The weights in force with another threshold.
fn threshold(store: &mut Store, request: &CycleRequest, tools: &Tools, now_ms: i64) -> Result<String, HostError> {
    let camera = request.camera.as_str();
    let wanted = request.argument.get("threshold").and_then(serde_json::Value::as_f64).filter(|value| (*value as f32).is_finite());
    let Some(wanted) = wanted else { return Ok("not done: the argument has no threshold".into()) };
    if is_shipping(store, camera)? {
        return Ok("not done: another revision is on its way to the device; ask again when it is confirmed".into());
    }
    let mut pair = pair_in_force(store, camera, &tools.source)?;
    let before = std::mem::replace(&mut pair.threshold, wanted as f32);
    let fingerprint = crate::cycle::footage::DataPath::new(pair.window_frames(), pair.scale)?.fingerprint();
    let papers = Papers {
        camera,
        fingerprint,
        parent: pair.revision,
        policy: ThresholdPolicy::Given,
        policy_name: POLICY_GIVEN,
        eer: None,
        validation_sha256: [0; 32],
        quantiles: None,
        who: &request.reviewer,
    };
    let parent = pair.revision;
    let revision = build_bundle(store, &pair, &papers, &tools.key, now_ms)?;
    let scores = store.validation_scores(camera, parent).map_err(fault)?;
    store.set_validation_scores(camera, revision, &scores).map_err(fault)?;
    roll_out(store, camera, revision, &request.reviewer, now_ms)?;
    Ok(format!("revision {revision}: threshold {before} becomes {wanted}, weights stay; rolled out"))
}

fn fine_tune(store: &mut Store, request: &CycleRequest, tools: &Tools, now_ms: i64) -> Result<String, HostError> {
    if is_shipping(store, &request.camera)? {
        return Ok("not done: another revision is on its way to the device; ask again when it is confirmed".into());
    }
    let round = close_slice(store, &request.camera, tools, &format!("{}'s request", request.reviewer), now_ms)?;
    let evaluation = round.evaluation;
    let what = match (evaluation.outcome, evaluation.revision) {
        (Outcome::Promoted, Some(revision)) => format!("revision {revision} rolled out"),
        (Outcome::Held, Some(revision)) => format!("revision {revision} built, held"),
        _ => "refused".into(),
    };
    Ok(format!("{what}: {}", evaluation.reason))
}

/// Rolls out the named revision, or the newest one, and lets the camera go.
fn promote(store: &mut Store, request: &CycleRequest, now_ms: i64) -> Result<String, HostError> {
    let camera = request.camera.as_str();
    let named = request.argument.get("revision").and_then(serde_json::Value::as_u64);
    let bundles = store.bundles(Some(camera)).map_err(fault)?;
    let Some(revision) = named.or(bundles.first().map(|bundle| bundle.revision)) else {
        return Ok("not done: there is no bundle for this camera yet".into());
    };
    if !bundles.iter().any(|bundle| bundle.revision == revision) {
        return Ok(format!("not done: there is no revision {revision}"));
    }
    set_held(store, camera, false, now_ms)?;
    roll_out(store, camera, revision, &request.reviewer, now_ms)?;
    Ok(format!("revision {revision} rolled out"))
}

fn hold(store: &mut Store, request: &CycleRequest, now_ms: i64) -> Result<String, HostError> {
    set_held(store, &request.camera, true, now_ms)?;
    Ok("candidates are built and wait from now on; promote lets the newest go".into())
}

fn set_held(store: &mut Store, camera: &str, is_held: bool, now_ms: i64) -> Result<(), HostError> {
    let mut state = store.cycle_state(camera).map_err(fault)?;
    (state.is_held, state.changed_ms) = (is_held, now_ms);
    store.set_cycle_state(&state, WHO).map_err(fault)
}
