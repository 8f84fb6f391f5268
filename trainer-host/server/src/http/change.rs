//! What changes something: logging in and out, verdicts, taking back, rollouts.

use super::answer::{Answer, Json, done};
use super::caller::{COOKIE, Caller};
use super::{App, now};
use crate::figures::Figures;
use crate::secret::{hash, is_same, new_secret};
use alfred_store::StoreError;
use alfred_store::label::{LabelOutcome, NewLabel, Verdict};
use alfred_store::queue::Strategy;
use alfred_store::rollout::Target;
use axum::extract::rejection::PathRejection;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderName, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};
use std::net::SocketAddr;

type JsonBody<T> = Result<Json<T>, Answer>;
type Number = Result<Path<i64>, PathRejection>;

/// A name and a token.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Login {
    reviewer: String,
    token: String,
}

/// A verdict.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct VerdictBody {
    verdict: Verdict,
    seconds: f64,
    #[serde(default)]
    strategy: Strategy,
    request: String,
    #[serde(default)]
    with_similar: bool,
}

/// What to take back.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UndoBody {
    label: Option<i64>,
    request: String,
}

/// Where to roll out: the named bundles, or the newest one of every camera.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RolloutBody {
    #[serde(default)]
    targets: Vec<Target>,
    #[serde(default)]
    newest_everywhere: bool,
}

/// Begins a session.
pub(crate) async fn login(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    body: JsonBody<Login>,
) -> Result<([(HeaderName, String); 1], Json<Value>), Answer> {
    let Json(Login { reviewer, token }) = body?;
    let now_ms = now();
    if !app.limiter.may_try(peer.ip(), now_ms) {
        Figures::add(&app.figures.login_failures);
        return Err(Answer::refuse(StatusCode::TOO_MANY_REQUESTS, "too many failed logins from this address; wait a minute"));
    }
    let asked = reviewer.clone();
    let known = done(app.database.read(move |store| store.token_of(&asked)).await)?;
    // Somebody unknown takes the same way, against a hash that nothing has.
    let (role, token_hash) = known.map_or((None, [0; 32]), |(role, token)| (Some(role), token));
    let is_right = is_same(&hash(&token), &token_hash);
    let Some(role) = role.filter(|_| is_right) else {
        app.limiter.failed(peer.ip(), now_ms);
        Figures::add(&app.figures.login_failures);
        return Err(Answer::refuse(StatusCode::UNAUTHORIZED, "this name and token do not go together"));
    };
    let fault = |error| Answer::refuse(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}"));
    let (secret, guard) = (new_secret().map_err(fault)?, new_secret().map_err(fault)?);
    let (secret_hash, name, session_guard, expires_ms) = (hash(&secret), reviewer.clone(), guard.clone(), now_ms + app.session_ms);
    let begun = app.database.write(move |store| store.begin_session(&name, &secret_hash, &session_guard, expires_ms, now_ms)).await;
    done(begun)?;
    let secure = if app.is_behind_tls { "; Secure" } else { "" };
    let seconds = app.session_ms / 1000;
    let cookie = format!("{COOKIE}={secret}; HttpOnly; SameSite=Strict; Path=/; Max-Age={seconds}{secure}");
    Ok(([(header::SET_COOKIE, cookie)], Json(json!({ "reviewer": reviewer, "role": role, "guard": guard }))))
}

/// Ends a session.
pub(crate) async fn logout(State(app): State<App>, caller: Caller) -> Result<([(HeaderName, String); 1], Json<Value>), Answer> {
    done(app.database.write(move |store| store.end_session(&caller.secret)).await)?;
    let cookie = format!("{COOKIE}=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0");
    Ok(([(header::SET_COOKIE, cookie)], Json(json!({}))))
}

/// Says what an item is.
pub(crate) async fn verdict(
    State(app): State<App>,
    caller: Caller,
    item: Number,
    body: JsonBody<VerdictBody>,
) -> Result<Json<LabelOutcome>, Answer> {
    let (Path(item), Json(body)) = (item?, body?);
    let said = app.database.write(move |store| {
        let VerdictBody { verdict, seconds, strategy, request, with_similar } = &body;
        let (reviewer, with_similar) = (&caller.reviewer.name, *with_similar);
        let new = NewLabel { item, reviewer, verdict: *verdict, seconds: *seconds, strategy: *strategy, request, with_similar };
        store.label(&new, now())
    });
    Ok(Json(done(said.await)?))
}

/// Takes a verdict back.
pub(crate) async fn undo(State(app): State<App>, caller: Caller, body: JsonBody<UndoBody>) -> Result<Json<LabelOutcome>, Answer> {
    let Json(UndoBody { label, request }) = body?;
    let undone = app.database.write(move |store| store.undo(&caller.reviewer.name, label, &request, now()));
    Ok(Json(done(undone.await)?))
}

/// Starts a rollout.
pub(crate) async fn roll_out(State(app): State<App>, caller: Caller, body: JsonBody<RolloutBody>) -> Result<Json<Value>, Answer> {
    let who = caller.need_operator()?.to_owned();
    let Json(RolloutBody { mut targets, newest_everywhere }) = body?;
    if newest_everywhere && !targets.is_empty() {
        return Err(Answer::refuse(StatusCode::UNPROCESSABLE_ENTITY, "name either targets or newest_everywhere"));
    }
    let started = app.database.write(move |store| {
        if newest_everywhere {
            // By camera, the newest revision first.
            let bundles = store.bundles(None)?;
            targets = bundles.into_iter().map(|bundle| Target { camera: bundle.camera, revision: bundle.revision }).collect();
            targets.dedup_by(|later, first| later.camera == first.camera);
        }
        store.roll_out(&targets, &who, now())
    });
    Ok(Json(json!({ "rollout": done(started.await)? })))
}

/// Pauses a rollout.
pub(crate) async fn pause(app: State<App>, caller: Caller, rollout: Number) -> Result<Json<Value>, Answer> {
    set_rollout(app, caller, rollout, |store, rollout, who| store.pause_rollout(rollout, true, who, now())).await
}

/// Lets a rollout go on.
pub(crate) async fn resume(app: State<App>, caller: Caller, rollout: Number) -> Result<Json<Value>, Answer> {
    set_rollout(app, caller, rollout, |store, rollout, who| store.pause_rollout(rollout, false, who, now())).await
}

/// Rolls a rollout back.
pub(crate) async fn roll_back(app: State<App>, caller: Caller, rollout: Number) -> Result<Json<Value>, Answer> {
    set_rollout(app, caller, rollout, |store, rollout, who| store.roll_back(rollout, who, now())).await
}

async fn set_rollout(
    State(app): State<App>,
    caller: Caller,
    rollout: Number,
    set: impl FnOnce(&mut alfred_store::Store, i64, &str) -> Result<(), StoreError> + Send + 'static,
) -> Result<Json<Value>, Answer> {
    let (who, Path(rollout)) = (caller.need_operator()?.to_owned(), rollout?);
    done(app.database.write(move |store| set(store, rollout, &who)).await)?;
    Ok(Json(json!({ "rollout": rollout })))
}
