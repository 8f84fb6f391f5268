//! What the review page needs beyond verdicts: skips, similar items, conflicts, snooze rules, queue policies, the meter, labels of others.

use super::answer::{Answer, Json, done};
use super::caller::Caller;
use super::read::{Asked, CameraQuery, Format, FormatQuery, LINES_MAX, Number, read};
use super::{App, now};
use crate::figures::Figures;
use alfred_store::conflict::Conflict;
use alfred_store::exchange::{Imported, LabelFormat};
use alfred_store::item::Item;
use alfred_store::meter::Meter;
use alfred_store::policy::{DAY_MS, QueuePolicy};
use alfred_store::snooze::{NewSnooze, Snooze};
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};

/// How long a skipped item stays away, milliseconds.
const SKIP_MS: i64 = 3_600_000;

pub(super) type JsonBody<T> = Result<Json<T>, Answer>;
pub(super) type CameraPath = Result<Path<String>, PathRejection>;

/// Whether to skip.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SkipBody {
    is_skipped: bool,
}

/// A snooze rule; see `NewSnooze`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SnoozeBody {
    item: i64,
    hours: u32,
    radius_px: Option<f64>,
    score_max: Option<f64>,
    reason: String,
}

/// Of which camera, since when.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MeterQuery {
    since_ms: Option<i64>,
    camera: Option<String>,
}

/// Hides an item from the caller's queue for a while, or shows it again.
pub(crate) async fn skip(State(app): State<App>, caller: Caller, item: Number, body: JsonBody<SkipBody>) -> Result<Json<Value>, Answer> {
    let (Path(item), Json(SkipBody { is_skipped })) = (item?, body?);
    let until_ms = if is_skipped { now() + SKIP_MS } else { 0 };
    done(app.database.write(move |store| store.skip(item, &caller.reviewer.name, until_ms)).await)?;
    Ok(Json(json!({ "item": item, "is_skipped": is_skipped })))
}

/// Other items of the same incident.
pub(crate) async fn similar(State(app): State<App>, _: Caller, item: Number) -> Result<Json<Vec<Item>>, Answer> {
    let Path(item) = item?;
    Ok(Json(read(&app, move |store| store.similar(item)).await?))
}

/// Items about which reviewers disagree.
pub(crate) async fn conflicts(State(app): State<App>, caller: Caller, query: Asked<CameraQuery>) -> Result<Json<Vec<Conflict>>, Answer> {
    let camera = query?.0.camera;
    let mut conflicts = read(&app, move |store| store.conflicts(camera.as_deref(), LINES_MAX)).await?;
    for conflict in &mut conflicts {
        super::read::hide_others(&mut conflict.item, &caller);
    }
    Ok(Json(conflicts))
}

/// All snooze rules.
pub(crate) async fn snoozes(State(app): State<App>, _: Caller) -> Result<Json<Vec<Snooze>>, Answer> {
    Ok(Json(read(&app, |store| store.snoozes(now())).await?))
}

/// Makes a snooze rule.
pub(crate) async fn snooze(State(app): State<App>, caller: Caller, body: JsonBody<SnoozeBody>) -> Result<Json<Snooze>, Answer> {
    let Json(SnoozeBody { item, hours, radius_px, score_max, reason }) = body?;
    let made = app.database.write(move |store| {
        let new = NewSnooze { item, hours, radius_px, score_max, reason: &reason };
        store.snooze(&new, &caller.reviewer.name, now())
    });
    Ok(Json(done(made.await)?))
}

/// Ends a snooze rule.
pub(crate) async fn end_snooze(State(app): State<App>, caller: Caller, snooze: Number) -> Result<Json<Snooze>, Answer> {
    let Path(snooze) = snooze?;
    Ok(Json(done(app.database.write(move |store| store.end_snooze(snooze, &caller.reviewer.name, now())).await)?))
}

/// A camera's queue policy.
pub(crate) async fn policy(State(app): State<App>, _: Caller, camera: CameraPath) -> Result<Json<QueuePolicy>, Answer> {
    let Path(camera) = camera?;
    Ok(Json(read(&app, move |store| store.queue_policy(&camera)).await?))
}

/// Sets a camera's queue policy, for operators.
pub(crate) async fn set_policy(
    State(app): State<App>,
    caller: Caller,
    camera: CameraPath,
    body: JsonBody<QueuePolicy>,
) -> Result<Json<QueuePolicy>, Answer> {
    let who = caller.need_operator()?.to_owned();
    let (Path(camera), Json(policy)) = (camera?, body?);
    if policy.strategy.needs_spread() && app.expert.is_none() {
        return Err(no_models());
    }
    done(app.database.write(move |store| store.set_queue_policy(&camera, &policy, &who, now())).await)?;
    Ok(Json(policy))
}

/// What needs models and has none.
pub(super) fn no_models() -> Answer {
    Answer::refuse(StatusCode::UNPROCESSABLE_ENTITY, "this daemon runs without models, which this strategy needs: run alfred-host serve")
}

/// The workload meter.
pub(crate) async fn meter(State(app): State<App>, _: Caller, query: Asked<MeterQuery>) -> Result<Json<Meter>, Answer> {
    let MeterQuery { since_ms, camera } = query?.0;
    let since_ms = since_ms.unwrap_or_else(|| now() - DAY_MS);
    Ok(Json(read(&app, move |store| store.meter(camera.as_deref(), since_ms, now())).await?))
}

/// Takes verdicts that were given elsewhere, for operators.
pub(crate) async fn import(
    State(app): State<App>,
    caller: Caller,
    query: Asked<FormatQuery>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Imported>, Answer> {
    let who = caller.need_operator()?.to_owned();
    let (format, kind) = match query?.0.format {
        Format::Csv => (LabelFormat::Csv, "text/csv"),
        Format::Json => (LabelFormat::Json, "application/jsonl"),
    };
    let sent = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !sent.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(kind) {
        return Err(Answer::refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, &format!("send this format with the content type {kind}")));
    }
    let body = body?;
    let imported = app.database.write(move |store| store.import_labels(format, &mut &body[..], &who, now()));
    let imported = done(imported.await)?;
    Figures::add_many(&app.figures.labels_imported, imported.added);
    Ok(Json(imported))
}
