//! What only shows something.

use super::answer::{Answer, Json, done};
use super::caller::Caller;
use super::{App, now};
use crate::expert::FrameScore;
use alfred_store::agreement::Agreement;
use alfred_store::audit::AuditLine;
use alfred_store::bundle::{Bundle, Model};
use alfred_store::deployment::{Deployment, DeploymentReport};
use alfred_store::device::{Camera, Device};
use alfred_store::exchange::LabelFormat;
use alfred_store::item::{Item, ItemKind};
use alfred_store::label::Workload;
use alfred_store::playback::Playback;
use alfred_store::policy::PolicyPage;
use alfred_store::queue::{PAGE_ITEMS_MAX, QueueFilter, Spread, Strategy, Waiting};
use alfred_store::rollout::Rollout;
use alfred_store::user::Role;
use alfred_store::{Store, StoreError};
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{ConnectInfo, FromRequestParts, Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::net::SocketAddr;

/// Header with the number of items that wait.
const WAITING: HeaderName = HeaderName::from_static("x-alfred-waiting");
/// Header with the verdicts that are left of today's budget.
const BUDGET: HeaderName = HeaderName::from_static("x-alfred-budget");
/// Bytes of the largest bundle.
const BUNDLE_BYTES_MAX: u32 = alfred_store::bundle::BUNDLE_BYTES_MAX as u32;
/// Lines of the longest list.
pub(super) const LINES_MAX: u32 = 500;

pub(super) type Asked<T> = Result<Query<T>, QueryRejection>;
pub(super) type Number = Result<Path<i64>, PathRejection>;
type QueueAnswer = (HeaderMap, Json<Vec<Waiting>>);
type Text = ([(HeaderName, &'static str); 1], Vec<u8>);

/// Which items; see `QueueFilter`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct QueueQuery {
    camera: Option<String>,
    kind: Option<ItemKind>,
    score_min: Option<f64>,
    score_max: Option<f64>,
    bundle_revision: Option<u64>,
    since_ms: Option<i64>,
    until_ms: Option<i64>,
    #[serde(default)]
    strategy: Strategy,
    #[serde(default)]
    seed: u32,
    #[serde(default)]
    second_opinions: bool,
    #[serde(default)]
    by_policy: bool,
    #[serde(default)]
    grouped: bool,
    #[serde(default)]
    snoozed: bool,
    items_max: Option<u32>,
}

/// Only one camera's.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CameraQuery {
    pub(super) camera: Option<String>,
}

/// The scores of an item's person by frame, and what they are measured by.
#[derive(Serialize)]
pub(crate) struct Curve {
    threshold: Option<f64>,
    /// AL Light's band: from the threshold to the median score of the camera's recent events.
    band: Option<[f64; 2]>,
    scores: Vec<FrameScore>,
    /// Why there are none.
    reason: Option<String>,
}

/// An item as it is shown.
#[derive(Serialize)]
pub(crate) struct Shown {
    #[serde(flatten)]
    playback: Playback,
    curve: Curve,
}

/// From a moment on.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SinceQuery {
    #[serde(default)]
    since_ms: i64,
}

/// Before a line.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BeforeQuery {
    before: Option<i64>,
}

/// In which form.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FormatQuery {
    #[serde(default)]
    pub(super) format: Format,
}

/// csv or JSON lines.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Format {
    #[default]
    Csv,
    Json,
}

pub(super) async fn read<T: Send + 'static>(
    app: &App,
    work: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Answer> {
    done(app.database.read(work).await)
}

/// Who is logged in.
pub(crate) async fn session(caller: Caller) -> Json<Value> {
    Json(json!({ "reviewer": caller.reviewer.name, "role": caller.reviewer.role, "guard": caller.guard }))
}

/// The next items to judge; headers say how many wait in all, and how many verdicts are left today.
pub(crate) async fn queue(State(app): State<App>, caller: Caller, query: Asked<QueueQuery>) -> Result<QueueAnswer, Answer> {
    let Query(query) = query?;
    let by_policy = query.by_policy;
    let filter = QueueFilter {
        camera: query.camera,
        kind: query.kind,
        score_min: query.score_min,
        score_max: query.score_max,
        bundle_revision: query.bundle_revision,
        since_ms: query.since_ms,
        until_ms: query.until_ms,
        strategy: query.strategy,
        seed: query.seed,
        second_opinions: query.second_opinions,
        is_grouped: query.grouped,
        is_snoozed: query.snoozed,
        now_ms: now(),
        items_max: query.items_max.unwrap_or(PAGE_ITEMS_MAX),
    };
    if filter.strategy.needs_spread() && app.expert.is_none() {
        return Err(super::review::no_models());
    }
    let expert = app.expert.clone();
    let (page, left_today) = read(&app, move |store| {
        let spread = expert.as_ref().map(|expert| |features: &[Vec<f32>], count: usize| expert.spread(features, count));
        let spread = spread.as_ref().map(|spread| spread as Spread<'_>);
        if by_policy {
            let PolicyPage { page, budget } = store.queue_by_policy(&caller.reviewer.name, &filter, spread)?;
            Ok((page, budget.left_today))
        } else {
            Ok((store.queue_page(&caller.reviewer.name, &filter, spread)?, None))
        }
    })
    .await?;
    let mut headers = HeaderMap::new();
    headers.insert(WAITING, HeaderValue::from(page.waiting));
    if let Some(left_today) = left_today {
        headers.insert(BUDGET, HeaderValue::from(left_today));
    }
    Ok((headers, Json(page.items)))
}

/// Reviewers see their own verdicts only, so that nobody is swayed; operators see all.
pub(super) fn hide_others(item: &mut Item, caller: &Caller) {
    if caller.reviewer.role == Role::Reviewer {
        item.verdicts.retain(|opinion| opinion.reviewer == caller.reviewer.name);
    }
}

/// One item.
pub(crate) async fn item(State(app): State<App>, caller: Caller, item: Number) -> Result<Json<Item>, Answer> {
    let Path(number) = item?;
    let mut item = read(&app, move |store| store.item(number)).await?;
    hide_others(&mut item, &caller);
    Ok(Json(item))
}

/// One item with its skeletons and the curve of its scores.
pub(crate) async fn playback(State(app): State<App>, caller: Caller, item: Number) -> Result<Json<Shown>, Answer> {
    let Path(number) = item?;
    let expert = app.expert.clone();
    let mut shown = read(&app, move |store| {
        let playback = store.playback(number)?;
        let item = &playback.item;
        let bundle = match item.bundle_revision {
            0 => None,
            // A bundle that another host made is not here; then the curve says so.
            revision => Some(store.bundle_part(&item.camera, revision, 0, BUNDLE_BYTES_MAX).unwrap_or_default()),
        };
        let scores = match expert {
            Some(expert) => expert.scores(&playback, bundle.as_deref()),
            None => Err("this daemon runs without models: run alfred-host serve".to_owned()),
        };
        let (scores, reason) = scores.map_or_else(|reason| (Vec::new(), Some(reason)), |scores| (scores, None));
        let band = item.threshold.zip(store.al_light_band(Some(&item.camera))?).map(|(low, high)| [low, high]);
        let curve = Curve { threshold: item.threshold, band, scores, reason };
        Ok(Shown { playback, curve })
    })
    .await?;
    hide_others(&mut shown.playback.item, &caller);
    Ok(Json(shown))
}

/// All cameras.
pub(crate) async fn cameras(State(app): State<App>, _: Caller) -> Result<Json<Vec<Camera>>, Answer> {
    Ok(Json(read(&app, Store::cameras).await?))
}

/// The fleet.
pub(crate) async fn devices(State(app): State<App>, _: Caller) -> Result<Json<Vec<Device>>, Answer> {
    Ok(Json(read(&app, Store::devices).await?))
}

/// All models.
pub(crate) async fn models(State(app): State<App>, _: Caller) -> Result<Json<Vec<Model>>, Answer> {
    Ok(Json(read(&app, Store::models).await?))
}

/// All bundles.
pub(crate) async fn bundles(State(app): State<App>, _: Caller, query: Asked<CameraQuery>) -> Result<Json<Vec<Bundle>>, Answer> {
    let Query(CameraQuery { camera }) = query?;
    Ok(Json(read(&app, move |store| store.bundles(camera.as_deref())).await?))
}

/// What became of each bundle on each device.
pub(crate) async fn deployments(State(app): State<App>, _: Caller, query: Asked<CameraQuery>) -> Result<Json<Vec<Deployment>>, Answer> {
    let Query(CameraQuery { camera }) = query?;
    Ok(Json(read(&app, move |store| store.deployments(camera.as_deref())).await?))
}

/// The devices' latest reports about bundles.
pub(crate) async fn reports(State(app): State<App>, _: Caller) -> Result<Json<Vec<DeploymentReport>>, Answer> {
    Ok(Json(read(&app, |store| store.deployment_reports(LINES_MAX)).await?))
}

/// The latest rollouts.
pub(crate) async fn rollouts(State(app): State<App>, _: Caller) -> Result<Json<Vec<Rollout>>, Answer> {
    Ok(Json(read(&app, |store| store.rollouts(LINES_MAX)).await?))
}

/// The whole log of verdicts, for operators.
pub(crate) async fn labels(State(app): State<App>, caller: Caller, query: Asked<FormatQuery>) -> Result<Text, Answer> {
    caller.need_operator()?;
    let Query(FormatQuery { format }) = query?;
    let (format, kind) = match format {
        Format::Csv => (LabelFormat::Csv, "text/csv; charset=utf-8"),
        Format::Json => (LabelFormat::Json, "application/jsonl"),
    };
    let text = read(&app, move |store| {
        let mut text = Vec::new();
        store.export_labels(format, &mut text).map(|_| text)
    });
    Ok(([(header::CONTENT_TYPE, kind)], text.await?))
}

/// How much each reviewer has judged.
pub(crate) async fn workload(State(app): State<App>, _: Caller, query: Asked<SinceQuery>) -> Result<Json<Vec<Workload>>, Answer> {
    let Query(SinceQuery { since_ms }) = query?;
    Ok(Json(read(&app, move |store| store.workload(since_ms)).await?))
}

/// Whether reviewers agree.
pub(crate) async fn agreement(State(app): State<App>, _: Caller) -> Result<Json<Vec<Agreement>>, Answer> {
    Ok(Json(read(&app, Store::agreements).await?))
}

/// Who did what, for operators.
pub(crate) async fn audit(State(app): State<App>, caller: Caller, query: Asked<BeforeQuery>) -> Result<Json<Vec<AuditLine>>, Answer> {
    caller.need_operator()?;
    let Query(BeforeQuery { before }) = query?;
    Ok(Json(read(&app, move |store| store.audit(before, LINES_MAX)).await?))
}

/// Figures for Prometheus: without a session from this machine only.
pub(crate) async fn metrics(State(app): State<App>, ConnectInfo(peer): ConnectInfo<SocketAddr>, request: Request) -> Result<Text, Answer> {
    // Behind another server everybody comes from this machine.
    if !peer.ip().is_loopback() || app.is_behind_tls {
        let (mut parts, _) = request.into_parts();
        Caller::from_request_parts(&mut parts, &app).await?;
    }
    let (figures, link, mqtt) = (app.figures.clone(), app.link.clone(), app.mqtt.clone());
    let text = read(&app, move |store| figures.text(store, &link, mqtt.as_deref())).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text.into_bytes()))
}
