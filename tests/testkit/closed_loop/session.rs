//! A reviewer's session with the daemon's HTTP API, over one connection that is kept.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Somebody who is logged in.
#[derive(Debug)]
pub struct Session {
    address: String,
    connection: Option<BufReader<TcpStream>>,
    cookie: String,
    guard: String,
    requests: u64,
    name: String,
}

impl Session {
    /// Logs in.
    ///
    /// # Errors
    /// What the daemon answered.
    pub fn log_in(address: &str, name: &str, token: &str) -> Result<Self, String> {
        let (cookie, guard) = (String::new(), String::new());
        let mut session = Self { address: address.to_owned(), connection: None, cookie, guard, requests: 0, name: name.to_owned() };
        let (cookie, answer) = session.ask("POST", "/api/login", Some(&json!({ "reviewer": name, "token": token })))?;
        session.cookie = cookie.ok_or("the login gave no cookie")?;
        session.guard = answer["guard"].as_str().ok_or("the login gave no guard")?.to_owned();
        Ok(session)
    }

    /// Reads something.
    ///
    /// # Errors
    /// What the daemon answered, or that it has gone.
    pub fn get(&mut self, path: &str) -> Result<Value, String> {
        self.ask("GET", path, None).map(|(_, answer)| answer)
    }

    /// Changes something.
    ///
    /// # Errors
    /// As [`Session::get`].
    pub fn send(&mut self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        self.ask(method, path, Some(body)).map(|(_, answer)| answer)
    }

    /// Gives a verdict: `anomalous`, `normal` or `unsure`.
    ///
    /// # Errors
    /// As [`Session::get`].
    pub fn verdict(&mut self, item: i64, verdict: &str, strategy: &str) -> Result<(), String> {
        self.requests += 1;
        let request = format!("{}-{item}-{}", self.name, self.requests);
        let body = json!({ "verdict": verdict, "seconds": 1.0, "strategy": strategy, "request": request });
        self.send("PUT", &format!("/api/items/{item}/verdict"), &body).map(drop)
    }

    fn ask(&mut self, method: &str, path: &str, body: Option<&Value>) -> Result<(Option<String>, Value), String> {
        let body = body.map(Value::to_string).unwrap_or_default();
        // A kept connection may have been closed meanwhile: once more over a new one.
        if self.connection.is_some() {
            match self.try_ask(method, path, &body) {
                Err(Fault::Connection(_)) => self.connection = None,
                Err(Fault::Answer(what)) => return Err(what),
                Ok(answer) => return Ok(answer),
            }
        }
        let stream = TcpStream::connect(&self.address).map_err(|error| format!("{}: {error}", self.address))?;
        stream.set_read_timeout(Some(Duration::from_secs(30))).map_err(|error| error.to_string())?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        self.connection = Some(BufReader::new(stream));
        self.try_ask(method, path, &body).map_err(|fault| match fault {
            Fault::Connection(what) | Fault::Answer(what) => what,
        })
    }

    fn try_ask(&mut self, method: &str, path: &str, body: &str) -> Result<(Option<String>, Value), Fault> {
        let broken = |error: std::io::Error| Fault::Connection(error.to_string());
        let Some(connection) = self.connection.as_mut() else { return Err(Fault::Connection("no connection".into())) };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\ncookie: {}\r\nx-alfred-guard: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.address,
            self.cookie,
            self.guard,
            body.len()
        );
        connection.get_mut().write_all(request.as_bytes()).map_err(broken)?;
        let (mut status, mut length, mut cookie) = (0_u16, 0_usize, None);
        for number in 0.. {
            let mut line = String::new();
            if connection.read_line(&mut line).map_err(broken)? == 0 {
                return Err(Fault::Connection("the daemon closed the connection".into()));
            }
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            if number == 0 {
                status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
            } else if let Some((name, value)) = line.split_once(':') {
                match name.to_ascii_lowercase().as_str() {
                    "content-length" => length = value.trim().parse().unwrap_or(0),
                    "set-cookie" => cookie = value.split(';').next().map(|pair| pair.trim().to_owned()),
                    _ => {}
                }
            }
        }
        let mut answer = vec![0; length];
        connection.read_exact(&mut answer).map_err(broken)?;
        let text = String::from_utf8_lossy(&answer);
        if status != 200 {
            return Err(Fault::Answer(format!("{method} {path}: {status}: {text}")));
        }
        let value = serde_json::from_slice(&answer).map_err(|error| Fault::Answer(format!("{method} {path}: {error}")))?;
        Ok((cookie, value))
    }
}

enum Fault {
    Connection(String),
    Answer(String),
}
