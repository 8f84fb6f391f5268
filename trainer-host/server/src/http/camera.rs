//! What the camera page needs: how candidates were judged, what a threshold would cost, drift, and what a person asks of the cycle.

use super::answer::{Answer, Json, done};
use super::caller::Caller;
use super::read::{Asked, CameraQuery, LINES_MAX, read};
use super::review::{CameraPath, JsonBody};
use super::{App, now};
use crate::expert::Quantiles;
use crate::preview::{Evidence, Preview};
use alfred_store::deployment::Deployment;
use alfred_store::evaluation::{Evaluation, Outcome};
use alfred_store::request::{CycleRequest, RequestKind};
use alfred_store::{Store, StoreError};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Lines of each list of the camera page.
const PAGE_LINES_MAX: u32 = 100;
/// How far back scores are looked at for drift, milliseconds.
const DRIFT_MS: i64 = 24 * 3_600_000;
/// Fewer samples say nothing about the outer quantiles.
const DRIFT_SAMPLES_MIN: usize = 100;

/// Which threshold.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ThresholdQuery {
    threshold: Option<f64>,
}

/// How many points.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CurveQuery {
    points: Option<usize>,
}

/// A threshold.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ThresholdBody {
    threshold: f64,
}

/// Something that is asked of the cycle.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CycleBody {
    kind: RequestKind,
    #[serde(default)]
    argument: Option<Value>,
}

/// A preview with its camera.
#[derive(Serialize)]
pub(crate) struct CameraPreview {
    camera: String,
    revision: u64,
    live_threshold: Option<f64>,
    #[serde(flatten)]
    preview: Preview,
}

/// Why something was not taken.
#[derive(Serialize)]
struct RefusalLine {
    at_ms: i64,
    what: &'static str,
    revision: Option<u64>,
    reason: String,
    mend: Option<&'static str>,
    device: Option<String>,
}

/// Drift of the scores.
#[derive(Serialize)]
struct Drift {
    #[serde(flatten)]
    quantiles: Option<Quantiles>,
    /// Largest distance of a quantile from the bundle's, in widths of the bundle's inner half.
    largest_shift: Option<f64>,
    samples: usize,
    since_ms: i64,
    reason: Option<&'static str>,
}

fn refusals(evaluations: &[Evaluation], deployments: &[Deployment]) -> Vec<RefusalLine> {
    let judged = evaluations.iter().filter(|one| one.outcome == Outcome::Refused).map(|one| RefusalLine {
        at_ms: one.at_ms,
        what: "evaluation",
        revision: one.revision,
        reason: one.reason.clone(),
        mend: None,
        device: None,
    });
    let told = deployments.iter().filter(|one| one.reason.is_some()).map(|one| RefusalLine {
        at_ms: one.changed_ms,
        what: "device",
        revision: Some(one.revision),
        reason: format!("{}: {}", one.stage, one.reason_name.unwrap_or("a reason that this build does not know")),
        mend: one.mend,
        device: Some(one.device.clone()),
    });
    let mut lines: Vec<RefusalLine> = judged.chain(told).collect();
    lines.sort_by_key(|line| std::cmp::Reverse(line.at_ms));
    lines
}

fn drift(app: &App, store: &Store, camera: &str, now_ms: i64) -> Result<Drift, StoreError> {
    let since_ms = now_ms - DRIFT_MS;
    let scores = store.sample_scores(camera, since_ms)?;
    let live = store.live_bundle(camera)?;
    let bundle = live.as_ref().map(|live| live.bytes.as_slice());
    let quantiles = app.expert.as_ref().map(|expert| expert.quantiles(bundle, &scores));
    let pair = quantiles.as_ref().and_then(|quantiles| quantiles.bundle.as_ref().zip(quantiles.recent.as_ref()));
    let largest_shift = pair.filter(|_| scores.len() >= DRIFT_SAMPLES_MIN).and_then(|(bundle, recent)| {
        let (low, high) = (bundle.get(bundle.len() / 3)?, bundle.get(bundle.len() - 1 - bundle.len() / 3)?);
        let shift = bundle.iter().zip(recent).map(|(one, other)| (one - other).abs()).fold(0.0, f64::max);
        (high > low).then(|| shift / (high - low))
    });
    let reason = match &quantiles {
        None => Some("this daemon runs without models: run alfred-host serve"),
        Some(quantiles) if quantiles.bundle.is_none() => Some("no bundle with the quantiles of its scores is in force here"),
        Some(_) if scores.len() < DRIFT_SAMPLES_MIN => Some("fewer than 100 samples came in the last 24 hours"),
        Some(_) => None,
    };
    Ok(Drift { quantiles, largest_shift, samples: scores.len(), since_ms, reason })
}

fn page(app: &App, store: &Store, camera: &str, now_ms: i64) -> Result<Value, StoreError> {
    let policy = store.queue_policy(camera)?;
    let found = store.cameras()?.into_iter().find(|found| found.name == camera);
    let evaluations = store.evaluations(Some(camera), PAGE_LINES_MAX)?;
    let deployments = store.deployments(Some(camera))?;
    let mut devices = store.devices()?;
    devices.retain(|device| device.camera == camera);
    let mut rollouts = store.rollouts(PAGE_LINES_MAX)?;
    rollouts.retain(|rollout| rollout.targets.iter().any(|target| target.camera == camera));
    let validation = evaluations.first().map(|latest| {
        json!({
            "revision": latest.revision, "items": latest.validation_events, "normals": latest.validation_normals,
            "anomalies": latest.validation_anomalies, "sha256": latest.validation_sha256, "at_ms": latest.at_ms,
        })
    });
    let cycle = store.cycle_state(camera)?;
    Ok(json!({
        "camera": found, "policy": policy, "budget": store.budget(camera, now_ms)?, "devices": devices, "bundles": store.bundles(Some(camera))?,
        "rollouts": rollouts, "validation": validation, "refusals": refusals(&evaluations, &deployments),
        "drift": drift(app, store, camera, now_ms)?, "requests": store.requests(Some(camera), PAGE_LINES_MAX)?,
        "is_held": cycle.is_held, "slice": cycle.slice, "deployments": deployments, "evaluations": evaluations,
    }))
}

/// Everything about one camera.
pub(crate) async fn camera(State(app): State<App>, _: Caller, camera: CameraPath) -> Result<Json<Value>, Answer> {
    let Path(camera) = camera?;
    let known = app.clone();
    Ok(Json(read(&app, move |store| page(&known, store, &camera, now())).await?))
}

/// What a threshold would cost; without one, what the one in force costs.
pub(crate) async fn threshold_preview(
    State(app): State<App>,
    _: Caller,
    camera: CameraPath,
    query: Asked<ThresholdQuery>,
) -> Result<Json<CameraPreview>, Answer> {
    let (Path(camera), threshold) = (camera?, query?.0.threshold);
    if threshold.is_some_and(|threshold| !threshold.is_finite()) {
        return Err(Answer::refuse(StatusCode::UNPROCESSABLE_ENTITY, "threshold is out of range; allowed: finite numbers"));
    }
    let named = camera.clone();
    let evidence = read(&app, move |store| Evidence::of(store, &named, now())).await?;
    let Some(threshold) = threshold.or(evidence.live_threshold) else {
        return Err(Answer::refuse(StatusCode::UNPROCESSABLE_ENTITY, "no threshold is in force at this camera; name one: ?threshold=1.25"));
    };
    let (revision, live_threshold) = (evidence.revision, evidence.live_threshold);
    Ok(Json(CameraPreview { camera, revision, live_threshold, preview: evidence.at(threshold) }))
}

/// What thresholds over the whole range would cost.
pub(crate) async fn threshold_curve(
    State(app): State<App>,
    _: Caller,
    camera: CameraPath,
    query: Asked<CurveQuery>,
) -> Result<Json<Value>, Answer> {
    let (Path(camera), points) = (camera?, query?.0.points.unwrap_or(60));
    let named = camera.clone();
    let evidence = read(&app, move |store| Evidence::of(store, &named, now())).await?;
    let (revision, live_threshold) = (evidence.revision, evidence.live_threshold);
    Ok(Json(json!({ "camera": camera, "revision": revision, "live_threshold": live_threshold, "points": evidence.curve(points) })))
}

async fn ask(app: &App, caller: &Caller, camera: String, kind: RequestKind, argument: Value) -> Result<Json<CycleRequest>, Answer> {
    let who = caller.need_operator()?.to_owned();
    let asked = app.database.write(move |store| {
        let request = store.ask_cycle(&camera, kind, &argument, &who, now())?;
        store.request(request)
    });
    Ok(Json(done(asked.await)?))
}

/// Asks for a bundle of the same weights with another threshold, for operators.
pub(crate) async fn set_threshold(
    State(app): State<App>,
    caller: Caller,
    camera: CameraPath,
    body: JsonBody<ThresholdBody>,
) -> Result<Json<CycleRequest>, Answer> {
    caller.need_operator()?;
    let (Path(camera), Json(ThresholdBody { threshold })) = (camera?, body?);
    ask(&app, &caller, camera, RequestKind::Threshold, json!({ "threshold": threshold })).await
}

/// Asks something else of the cycle, for operators.
pub(crate) async fn cycle(
    State(app): State<App>,
    caller: Caller,
    camera: CameraPath,
    body: JsonBody<CycleBody>,
) -> Result<Json<CycleRequest>, Answer> {
    caller.need_operator()?;
    let (Path(camera), Json(CycleBody { kind, argument })) = (camera?, body?);
    ask(&app, &caller, camera, kind, argument.unwrap_or_else(|| json!({}))).await
}

/// Withdraws what is rolled out to one camera, for operators.
pub(crate) async fn roll_back(State(app): State<App>, caller: Caller, camera: CameraPath) -> Result<Json<Value>, Answer> {
    let who = caller.need_operator()?.to_owned();
    let Path(camera) = camera?;
    let named = camera.clone();
    let withdrawn = done(app.database.write(move |store| store.roll_back_camera(&named, &who, now())).await)?;
    Ok(Json(json!({ "camera": camera, "withdrawn_revision": withdrawn })))
}

/// What was asked of the cycle.
pub(crate) async fn requests(State(app): State<App>, _: Caller, query: Asked<CameraQuery>) -> Result<Json<Vec<CycleRequest>>, Answer> {
    let camera = query?.0.camera;
    Ok(Json(read(&app, move |store| store.requests(camera.as_deref(), LINES_MAX)).await?))
}
