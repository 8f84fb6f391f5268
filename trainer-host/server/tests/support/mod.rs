//! A daemon on real sockets in a folder of its own, and clients of it.
#![allow(dead_code, reason = "each test binary uses a part")]

#[path = "../../../store/tests/support/mod.rs"]
pub mod records;

use alfred_server::{Expert, Server, ServerConfig, user};
use alfred_store::Store;
use alfred_store::user::Role;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use tempfile::TempDir;

/// A folder with a database: one device, one reviewer for each name, one operator `ole`, and events to judge.
pub struct Ground {
    pub folder: TempDir,
    pub tokens: Vec<(String, String)>,
}

impl Ground {
    pub fn new(reviewers: &[&str], events: u64) -> Self {
        let (folder, mut store) = records::store();
        let mut tokens = Vec::new();
        for name in reviewers {
            tokens.push(((*name).to_owned(), user::add(&mut store, name, Role::Reviewer).expect("added")));
        }
        tokens.push(("ole".to_owned(), user::add(&mut store, "ole", Role::Operator).expect("added")));
        for number in 1..=events {
            records::whole_event(&mut store, number, 2.0);
        }
        Self { folder, tokens }
    }

    pub fn file(&self) -> PathBuf {
        self.folder.path().join("host.sqlite")
    }

    pub fn store(&self) -> Store {
        Store::open(&self.file()).expect("opens")
    }

    pub fn token(&self, name: &str) -> &str {
        &self.tokens.iter().find(|(reviewer, _)| reviewer == name).expect("a reviewer").1
    }

    pub fn config(&self) -> ServerConfig {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        ServerConfig { http: any, devices: Some(any), heartbeat_period_s: 1, ..ServerConfig::new(self.file()) }
    }
}

/// A daemon in a thread; it ends with the value.
pub struct Host {
    pub http: SocketAddr,
    pub devices: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Host {
    pub fn start(config: &ServerConfig) -> Self {
        Self::start_with(config, None)
    }

    pub fn start_with(config: &ServerConfig, expert: Option<Arc<dyn Expert>>) -> Self {
        let mut server = Server::bind(config).expect("binds");
        if let Some(expert) = expert {
            server = server.with_expert(expert);
        }
        let (http, devices) = (server.http_address().expect("an address"), server.device_address().expect("an address"));
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || server.run(&told).expect("serves"));
        Self { http, devices, stop, thread: Some(thread) }
    }

    pub fn client(&self, ground: &Ground, name: &str) -> Client {
        let mut client = Client::new(self.http);
        let (status, answer) = client.post("/api/login", &json!({ "reviewer": name, "token": ground.token(name) }));
        assert_eq!(status, 200, "{answer}");
        client
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            ended.expect("started").expect("ended well");
        }
    }
}

/// A browser, as far as the API can tell.
#[derive(Clone)]
pub struct Client {
    pub agent: ureq::Agent,
    pub base: String,
    pub cookie: String,
    pub guard: String,
}

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        Self { agent, base: format!("http://{address}"), cookie: String::new(), guard: String::new() }
    }

    pub fn get(&self, path: &str) -> (u16, Value) {
        let (status, text) = self.get_text(path);
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    pub fn get_text(&self, path: &str) -> (u16, String) {
        let mut answer = self.agent.get(format!("{}{path}", self.base)).header("cookie", &self.cookie).call().expect("an answer");
        (answer.status().as_u16(), answer.body_mut().read_to_string().expect("text"))
    }

    /// As [`Self::get`], with the answer's headers by name.
    pub fn get_with_headers(&self, path: &str) -> (HashMap<String, String>, Value) {
        let mut answer = self.agent.get(format!("{}{path}", self.base)).header("cookie", &self.cookie).call().expect("an answer");
        let headers = answer.headers().iter().filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())));
        let headers = headers.collect();
        let text = answer.body_mut().read_to_string().expect("text");
        (headers, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    pub fn post(&mut self, path: &str, body: &Value) -> (u16, Value) {
        self.try_send("POST", path, &body.to_string()).expect("an answer")
    }

    pub fn put(&mut self, path: &str, body: &Value) -> (u16, Value) {
        self.try_send("PUT", path, &body.to_string()).expect("an answer")
    }

    /// Sends JSON; keeps the session that an answer begins.
    pub fn try_send(&mut self, method: &str, path: &str, body: &str) -> Result<(u16, Value), ureq::Error> {
        self.send_as(method, path, body, "application/json")
    }

    /// Sends a body of any type; keeps the session that an answer begins.
    pub fn send_as(&mut self, method: &str, path: &str, body: &str, kind: &str) -> Result<(u16, Value), ureq::Error> {
        let url = format!("{}{path}", self.base);
        let request = if method.eq_ignore_ascii_case("put") { self.agent.put(url) } else { self.agent.post(url) };
        let request = request.header("cookie", &self.cookie).header("x-alfred-guard", &self.guard).header("content-type", kind);
        let mut answer = request.send(body)?;
        let cookie = answer.headers().get("set-cookie").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let text = answer.body_mut().read_to_string()?;
        let value: Value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        if let Some(cookie) = cookie {
            self.cookie = cookie.split(';').next().unwrap_or_default().to_owned();
            self.guard = value["guard"].as_str().unwrap_or_default().to_owned();
        }
        Ok((answer.status().as_u16(), value))
    }
}

pub fn number(file: &Path, sql: &str) -> i64 {
    records::number(file, sql)
}
