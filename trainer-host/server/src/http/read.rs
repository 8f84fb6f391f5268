//! What only shows something.

use super::App;
use super::answer::{Answer, done};
use super::caller::Caller;
use alfred_store::agreement::Agreement;
use alfred_store::audit::AuditLine;
use alfred_store::bundle::{Bundle, Model};
use alfred_store::deployment::{Deployment, DeploymentReport};
use alfred_store::device::{Camera, Device};
use alfred_store::exchange::LabelFormat;
use alfred_store::item::{Item, ItemKind};
use alfred_store::label::Workload;
use alfred_store::playback::Playback;
use alfred_store::queue::{PAGE_ITEMS_MAX, QueueFilter, Strategy};
use alfred_store::rollout::Rollout;
use alfred_store::user::Role;
use alfred_store::{Store, StoreError};
use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{ConnectInfo, FromRequestParts, Path, Query, Request, State};
use axum::http::{HeaderName, header};
use serde::Deserialize;
use serde_json::{Value, json};
use std::net::SocketAddr;

/// Lines of the longest list.
const LINES_MAX: u32 = 500;

type Asked<T> = Result<Query<T>, QueryRejection>;
type Number = Result<Path<i64>, PathRejection>;
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
    items_max: Option<u32>,
}

/// Only one camera's.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CameraQuery {
    camera: Option<String>,
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
    format: Format,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Format {
    #[default]
    Csv,
    Json,
}

async fn read<T: Send + 'static>(app: &App, work: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static) -> Result<T, Answer> {
    done(app.database.read(work).await)
}

/// Who is logged in.
pub(crate) async fn session(caller: Caller) -> Json<Value> {
    Json(json!({ "reviewer": caller.reviewer.name, "role": caller.reviewer.role, "guard": caller.guard }))
}

/// The next items to judge.
pub(crate) async fn queue(State(app): State<App>, caller: Caller, query: Asked<QueueQuery>) -> Result<Json<Vec<Item>>, Answer> {
    let Query(query) = query?;
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
        items_max: query.items_max.unwrap_or(PAGE_ITEMS_MAX),
    };
    Ok(Json(read(&app, move |store| store.queue(&caller.reviewer.name, &filter)).await?))
}

/// Reviewers see their own verdicts only, so that nobody is swayed; operators see all.
fn hide_others(item: &mut Item, caller: &Caller) {
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

/// One item with its skeletons.
pub(crate) async fn playback(State(app): State<App>, caller: Caller, item: Number) -> Result<Json<Playback>, Answer> {
    let Path(number) = item?;
    let mut playback = read(&app, move |store| store.playback(number)).await?;
    hide_others(&mut playback.item, &caller);
    Ok(Json(playback))
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
    let (figures, link) = (app.figures.clone(), app.link.clone());
    let text = read(&app, move |store| figures.text(store, &link)).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text.into_bytes()))
}
