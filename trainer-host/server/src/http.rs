//! The review page and its API: HTTP/1.1 with limits on time, size and number; every answer of the API is JSON.

mod answer;

mod caller;

mod read;

mod change;

mod review;

mod camera;

mod fleet;

mod page;

use crate::clock::now_ms;
use crate::config::ServerConfig;
use crate::database::Database;
use crate::error::ServeError;
use crate::expert::Expert;
use crate::figures::Figures;
use crate::limiter::LoginLimiter;
use crate::mqtt::Mqtt;
use crate::refusals::RefusalLog;
use alfred_link::host::ServerCounters;
use answer::Answer;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderValue, Method, Response, StatusCode, header};
use axum::routing::{get, post, put};
use axum::{Router, extract::ConnectInfo};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tower_service::Service;

/// Bytes of the largest request.
pub const BODY_BYTES_MAX: usize = 16 * 1024;
/// Bytes of the largest import of verdicts.
pub const IMPORT_BYTES_MAX: usize = 4 << 20;
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Lines of a request's head.
const HEADERS_MAX: usize = 64;
/// How long somebody may take for a request's head, or stay silent between two requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a request may take from its head to its answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How long requests that have begun may take when the daemon ends.
const FAREWELL: Duration = Duration::from_secs(5);
/// How often the daemon looks whether it shall stop.
const STOP_PERIOD: Duration = Duration::from_millis(50);

/// What the answers are made from; clones share it.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) database: Database,
    pub(crate) link: Arc<ServerCounters>,
    pub(crate) expert: Option<Arc<dyn Expert>>,
    pub(crate) mqtt: Option<Arc<Mqtt>>,
    heartbeat_ms: i64,
    pub(crate) figures: Arc<Figures>,
    refusals: Arc<RefusalLog>,
    limiter: Arc<LoginLimiter>,
    is_behind_tls: bool,
    session_ms: i64,
}

impl App {
    pub(crate) fn new(database: Database, config: &ServerConfig, link: Arc<ServerCounters>) -> Self {
        Self {
            database,
            link,
            expert: None,
            mqtt: None,
            heartbeat_ms: i64::from(config.heartbeat_period_s) * 1000,
            figures: Arc::default(),
            refusals: Arc::default(),
            limiter: Arc::default(),
            is_behind_tls: config.http_is_behind_tls,
            session_ms: i64::from(config.session_hours) * 3_600_000,
        }
    }
}

/// Every route, as the API's description lists them; the rest are files of the page.
fn router(app: App) -> Router {
    Router::new()
        .route("/api/openapi.json", get(page::openapi))
        .route("/api/login", post(change::login))
        .route("/api/logout", post(change::logout))
        .route("/api/session", get(read::session))
        .route("/api/queue", get(read::queue))
        .route("/api/items/{item}", get(read::item))
        .route("/api/items/{item}/playback", get(read::playback))
        .route("/api/items/{item}/verdict", put(change::verdict))
        .route("/api/items/{item}/skip", put(review::skip))
        .route("/api/items/{item}/similar", get(review::similar))
        .route("/api/undo", post(change::undo))
        .route("/api/conflicts", get(review::conflicts))
        .route("/api/snoozes", get(review::snoozes).post(review::snooze))
        .route("/api/snoozes/{snooze}/end", post(review::end_snooze))
        .route("/api/meter", get(review::meter))
        .route("/api/cameras", get(read::cameras))
        .route("/api/cameras/{camera}", get(camera::camera))
        .route("/api/cameras/{camera}/policy", get(review::policy).put(review::set_policy))
        .route("/api/cameras/{camera}/threshold-preview", get(camera::threshold_preview))
        .route("/api/cameras/{camera}/threshold-curve", get(camera::threshold_curve))
        .route("/api/cameras/{camera}/threshold", post(camera::set_threshold))
        .route("/api/cameras/{camera}/cycle", post(camera::cycle))
        .route("/api/cameras/{camera}/rollback", post(camera::roll_back))
        .route("/api/requests", get(camera::requests))
        .route("/api/fleet", get(fleet::fleet))
        .route("/api/devices", get(read::devices))
        .route("/api/models", get(read::models))
        .route("/api/bundles", get(read::bundles))
        .route("/api/deployments", get(read::deployments))
        .route("/api/reports", get(read::reports))
        .route("/api/rollouts", get(read::rollouts).post(change::roll_out))
        .route("/api/rollouts/{rollout}/pause", post(change::pause))
        .route("/api/rollouts/{rollout}/resume", post(change::resume))
        .route("/api/rollouts/{rollout}/rollback", post(change::roll_back))
        .route("/api/labels", get(read::labels))
        .route("/api/labels/import", post(review::import).layer(DefaultBodyLimit::max(IMPORT_BYTES_MAX)))
        .route("/api/workload", get(read::workload))
        .route("/api/agreement", get(read::agreement))
        .route("/api/audit", get(read::audit))
        .route("/metrics", get(read::metrics))
        .fallback(page::file)
        .method_not_allowed_fallback(page::wrong_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(app)
}

/// Serves until `stop` is set.
pub(crate) async fn run(listener: TcpListener, app: App, config: &ServerConfig, stop: &AtomicBool) -> Result<(), ServeError> {
    let system = |error: std::io::Error| ServeError::System(error.to_string());
    let listener = tokio::net::TcpListener::from_std(listener).map_err(system)?;
    let (permits, (end, ending)) = (Arc::new(Semaphore::new(config.http_connections_max)), watch::channel(false));
    let figures = Arc::clone(&app.figures);
    let router = router(app.clone());
    let mut connections = JoinSet::new();
    while !stop.load(Relaxed) {
        while connections.try_join_next().is_some() {}
        let accepted = match tokio::time::timeout(STOP_PERIOD, listener.accept()).await {
            Err(_) => continue,
            Ok(Ok(accepted)) => accepted,
            // Out of file descriptors, say: it may pass.
            Ok(Err(_)) => {
                tokio::time::sleep(STOP_PERIOD).await;
                continue;
            }
        };
        match Arc::clone(&permits).try_acquire_owned() {
            Ok(permit) => {
                let connection = converse(accepted.0, accepted.1, router.clone(), app.clone(), ending.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(permit);
                });
            }
            Err(_) => Figures::add(&figures.http_connections_refused),
        }
    }
    let _ = end.send(true);
    let _ = tokio::time::timeout(FAREWELL, async { while connections.join_next().await.is_some() {} }).await;
    Ok(())
}

/// One connection, until it ends or the daemon does.
async fn converse(socket: TcpStream, peer: SocketAddr, router: Router, app: App, mut ending: watch::Receiver<bool>) {
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let (mut router, app) = (router.clone(), app.clone());
        async move {
            let mut request: Request = request.map(Body::new);
            let asked = (request.method().clone(), request.uri().path().to_owned());
            request.extensions_mut().insert(ConnectInfo(peer));
            let answer = match tokio::time::timeout(REQUEST_TIMEOUT, router.call(request)).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(never)) => match never {},
                Err(_) => Answer::refuse(StatusCode::REQUEST_TIMEOUT, "the request took too long; send it again").into(),
            };
            count(&app, answer.status(), &asked, peer);
            // A refused body may still be on its way: whoever sent it begins anew on another connection.
            let must_close = !answer.status().is_success() && !asked.0.is_safe();
            Ok::<_, Infallible>(guarded(answer, must_close))
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(socket), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = ending.changed() => connection.as_mut().graceful_shutdown(),
    }
    // A broken connection is the other end's business.
    let _ = connection.await;
}

fn count(app: &App, status: StatusCode, (method, path): &(Method, String), peer: SocketAddr) {
    let figures = &app.figures;
    Figures::add(&figures.requests);
    if status.is_client_error() {
        Figures::add(&figures.requests_refused);
        // Pages ask for their icon and the like: a missing file is no attempt at anything.
        let is_noted = status != StatusCode::NOT_FOUND || path.starts_with("/api/");
        if let Some(line) = is_noted.then(|| app.refusals.line(status.as_u16(), method.as_str(), path, &peer.to_string(), now())).flatten()
        {
            eprintln!("{line}");
        }
    } else if status.is_server_error() {
        Figures::add(&figures.request_faults);
    }
}

/// What every answer tells the browser: nothing from elsewhere, no frames, no guessing of types, nothing kept.
fn guarded(mut answer: Response<Body>, must_close: bool) -> Response<Body> {
    let headers = answer.headers_mut();
    if must_close {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
        form-action 'self'; frame-ancestors 'none'";
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}

/// Now, for handlers.
fn now() -> i64 {
    now_ms()
}

#[cfg(test)]
mod tests {
    /// Routes of this file's router, as `METHOD path`.
    fn routes() -> Vec<String> {
        let source = include_str!("http.rs");
        let mut found = Vec::new();
        for line in source.lines().filter_map(|line| line.trim().strip_prefix(".route(\"")) {
            let (path, handlers) = line.split_once("\", ").expect("a path and its handlers");
            for method in ["get", "post", "put"] {
                if handlers.contains(&format!("{method}(")) {
                    found.push(format!("{method} {path}"));
                }
            }
        }
        found.sort();
        found
    }

    #[test]
    fn the_description_lists_exactly_the_routes() {
        let description: serde_json::Value = serde_json::from_str(include_str!("../openapi.json")).expect("JSON");
        let mut described = Vec::new();
        for (path, methods) in description["paths"].as_object().expect("paths") {
            for (method, operation) in methods.as_object().expect("methods") {
                assert!(operation["summary"].is_string() && operation["responses"]["200"].is_object(), "{method} {path}");
                described.push(format!("{method} {path}"));
            }
        }
        described.sort();
        assert!(described.len() > 20);
        assert_eq!(described, routes());
    }
}
