//! The review API over real sockets: who may do what, and what becomes of hostile requests.

mod support;

use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use support::{Client, Ground, Host, number};

fn verdict(request: &str) -> Value {
    json!({ "verdict": "anomalous", "seconds": 1.5, "strategy": "newest", "request": request })
}

#[test]
fn only_the_right_token_logs_in_and_too_many_wrong_ones_wait() {
    let ground = Ground::new(&["anna"], 1);
    let host = Host::start(&ground.config());
    let mut client = Client::new(host.http);
    for path in ["/api/queue", "/api/session", "/api/items/1", "/api/devices", "/api/labels", "/api/audit"] {
        assert_eq!(client.get(path).0, 401, "{path}");
    }
    assert_eq!(client.put("/api/items/1/verdict", &verdict("r")).0, 401);
    let right = json!({ "reviewer": "anna", "token": ground.token("anna") });
    let (status, session) = client.post("/api/login", &right);
    assert_eq!((status, &session["role"]), (200, &json!("reviewer")));
    assert_eq!(client.get("/api/session").1["reviewer"], "anna");
    for (name, token) in [
        ("anna", "0".repeat(64)),
        ("nobody", ground.token("anna").to_owned()),
        ("anna", String::new()),
        ("ole", ground.token("anna").to_owned()),
    ] {
        let (status, answer) = Client::new(host.http).post("/api/login", &json!({ "reviewer": name, "token": token }));
        assert_eq!((status, answer["error"].is_string()), (401, true), "{name}");
    }
    let forged = Client { cookie: format!("alfred_session={}", "a".repeat(64)), ..client.clone() };
    assert_eq!(forged.get("/api/session").0, 401);
    assert_eq!(client.post("/api/logout", &json!({})).0, 200);
    assert_eq!(client.get("/api/session").0, 401);
    let wrong = json!({ "reviewer": "anna", "token": "wrong" });
    let statuses: Vec<u16> = (0..12).map(|_| client.post("/api/login", &wrong).0).collect();
    assert!(statuses[..6].iter().all(|status| *status == 401) && statuses[6..].iter().all(|status| *status == 429), "{statuses:?}");
    assert_eq!(client.post("/api/login", &right).0, 429, "whoever tried too often waits, right or wrong");
}

#[test]
fn what_changes_something_needs_the_guard_and_the_role() {
    let ground = Ground::new(&["anna"], 1);
    let host = Host::start(&ground.config());
    let mut anna = host.client(&ground, "anna");
    let mut forged = Client { guard: "0".repeat(64), ..anna.clone() };
    assert_eq!(forged.put("/api/items/1/verdict", &verdict("r1")).0, 403);
    forged.guard = String::new();
    assert_eq!(forged.post("/api/undo", &json!({ "request": "r2" })).0, 403);
    assert_eq!(number(&ground.file(), "SELECT count(*) FROM labels"), 0);
    for path in ["/api/labels", "/api/audit"] {
        assert_eq!(anna.get(path).0, 403, "{path}");
    }
    assert_eq!(anna.post("/api/rollouts", &json!({ "newest_everywhere": true })).0, 403);
    assert_eq!(anna.post("/api/rollouts/1/rollback", &json!({})).0, 403);
    let ole = host.client(&ground, "ole");
    assert_eq!(ole.get("/api/audit").0, 200);
    let (_, log) = ole.get("/api/audit");
    assert!(log.as_array().expect("lines").iter().any(|line| line["who"] == "anna" && line["what"] == "log in"));
}

#[test]
fn a_verdict_is_given_repeated_taken_back_and_exported() {
    let ground = Ground::new(&["anna"], 2);
    let host = Host::start(&ground.config());
    let mut anna = host.client(&ground, "anna");
    let (status, queue) = anna.get("/api/queue?strategy=oldest&camera=gate&score_min=1&items_max=9");
    assert_eq!((status, queue.as_array().expect("items").len()), (200, 2));
    let path = format!("/api/items/{}", queue[0]["id"]);
    let (status, playback) = anna.get(&format!("{path}/playback"));
    assert_eq!(status, 200);
    assert_eq!(playback["frames"].as_array().expect("frames").len(), 41);
    assert_eq!(playback["frames"][0]["persons"][0]["keypoints"].as_array().expect("points").len(), 17);
    let first = anna.put(&format!("{path}/verdict"), &verdict("r1"));
    let again = anna.put(&format!("{path}/verdict"), &verdict("r1"));
    assert_eq!((first.0, &first.1["is_new"], again.0, &again.1["is_new"]), (200, &json!(true), 200, &json!(false)));
    assert_eq!(first.1["label"], again.1["label"]);
    let other = json!({ "verdict": "normal", "seconds": 1.0, "request": "r1" });
    assert_eq!(anna.put(&format!("{path}/verdict"), &other).0, 409);
    assert_eq!(anna.put("/api/items/999/verdict", &verdict("r2")).0, 404);
    assert_eq!(anna.get("/api/queue").1.as_array().expect("items").len(), 1);
    assert_eq!(anna.get(&path).1["verdicts"][0]["verdict"], "anomalous");
    assert_eq!(anna.post("/api/undo", &json!({ "request": "r3" })).1["is_new"], true);
    assert_eq!(anna.post("/api/undo", &json!({ "request": "r4" })).0, 409);
    assert_eq!(anna.get("/api/queue").1.as_array().expect("items").len(), 2);
    assert_eq!(anna.get("/api/workload").1[0]["undone"], 1);
    let ole = host.client(&ground, "ole");
    let (_, csv) = ole.get_text("/api/labels");
    assert!(csv.starts_with("device,boot,kind,number,") && csv.lines().count() == 3, "{csv}");
}

#[test]
fn two_reviewers_at_once_lose_and_double_nothing() {
    let ground = Ground::new(&["anna", "ben"], 20);
    let host = Host::start(&ground.config());
    std::thread::scope(|scope| {
        for name in ["anna", "ben"] {
            let mut client = host.client(&ground, name);
            scope.spawn(move || {
                for item in 1..=20 {
                    for _ in 0..2 {
                        let (status, answer) = client.put(&format!("/api/items/{item}/verdict"), &verdict(&format!("item {item}")));
                        assert_eq!(status, 200, "{answer}");
                    }
                }
            });
        }
    });
    assert_eq!(number(&ground.file(), "SELECT count(*) FROM labels"), 40);
    assert_eq!(number(&ground.file(), "SELECT count(DISTINCT item || reviewer) FROM labels WHERE NOT is_repeat"), 40);
    let (_, agreement) = host.client(&ground, "ole").get("/api/agreement");
    assert_eq!((&agreement[0]["items"], &agreement[0]["alike"], &agreement[0]["kappa"]), (&json!(20), &json!(20), &Value::Null));
    let anna = host.client(&ground, "anna");
    assert_eq!(anna.get("/api/items/1").1["verdicts"].as_array().expect("verdicts").len(), 1, "reviewers do not see each other's");
}

#[test]
fn hostile_texts_are_stored_as_they_are_or_refused() {
    let ground = Ground::new(&["anna", "'; DROP TABLE labels; --"], 3);
    let host = Host::start(&ground.config());
    let mut mallory = host.client(&ground, "'; DROP TABLE labels; --");
    for (at, text) in ["'; DROP TABLE labels; --", "\" OR 1=1 --", "<script>alert(1)</script>", "\u{202e}x", "?1", "=HYPERLINK(\"x\")"]
        .into_iter()
        .enumerate()
    {
        assert_eq!(mallory.put("/api/items/1/verdict", &verdict(text)).0, 200, "{text}");
        assert_eq!(number(&ground.file(), "SELECT count(*) FROM labels"), at as i64 + 1);
        let encoded: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
        assert_eq!(mallory.get(&format!("/api/queue?camera={encoded}")), (200, json!([])), "{text}");
    }
    for text in ["a\u{0}b", "a\nb", "", &"x".repeat(257)] {
        assert_eq!(mallory.put("/api/items/1/verdict", &verdict(text)).0, 422, "{text:?}");
    }
    let bad = [
        (r#"{"verdict":"anomalous","seconds":1,"request":"x","more":1}"#, 422),
        (r#"{"verdict":"perhaps","seconds":1,"request":"x"}"#, 422),
        (r#"{"verdict":"normal","seconds":1e999,"request":"x"}"#, 400),
        (r#"{"verdict":"normal","seconds":1,"request":"x","strategy":"; DROP"}"#, 422),
        ("{", 400),
        ("", 400),
    ];
    for (body, status) in bad {
        assert_eq!(mallory.try_send("PUT", "/api/items/1/verdict", body).expect("an answer").0, status, "{body}");
    }
    let url = format!("http://{}/api/login", host.http);
    let form = ureq::Agent::from(ureq::Agent::config_builder().http_status_as_error(false).build()).post(url).send("reviewer=anna");
    assert_eq!(form.expect("an answer").status(), 415, "a form of another page");
    let deep = "[".repeat(10_000);
    assert_eq!(mallory.try_send("PUT", "/api/items/1/verdict", &deep).expect("an answer").0, 400);
    for path in ["/api/queue?strategy=nonsense", "/api/queue?score_min=x", "/api/queue?unknown=1", "/api/items/x"] {
        assert_eq!(mallory.get(path).0, 400, "{path}");
    }
    assert_eq!(mallory.get("/api/queue?strategy=al_light").0, 422);
    assert_eq!(number(&ground.file(), "SELECT count(*) FROM labels"), 6);
    let shown = mallory.get("/api/workload").1;
    assert!(shown.as_array().expect("work").iter().any(|work| work["reviewer"] == "'; DROP TABLE labels; --"));
}

#[test]
fn requests_beyond_their_limits_are_refused() {
    let ground = Ground::new(&["anna"], 1);
    let host = Host::start(&ground.config());
    let mut anna = host.client(&ground, "anna");
    let large = json!({ "verdict": "normal", "seconds": 1, "request": "x".repeat(20_000) });
    // The answer may come while the body is still on its way.
    if let Ok((status, _)) = anna.try_send("PUT", "/api/items/1/verdict", &large.to_string()) {
        assert_eq!(status, 413);
    }
    assert_eq!(number(&ground.file(), "SELECT count(*) FROM labels"), 0);
    let mut socket = TcpStream::connect(host.http).expect("connects");
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
    let head = format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(40_000));
    // The host may hang up while the head is still on its way.
    let _ = socket.write_all(head.as_bytes());
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer);
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&answer));
    let few = alfred_server::ServerConfig { http_connections_max: 1, ..ground.config() };
    let small = Host::start(&few);
    let held = TcpStream::connect(small.http).expect("connects");
    let asked = ureq::get(format!("http://{}/api/openapi.json", small.http)).call();
    assert!(asked.is_err(), "the only place is taken");
    drop(held);
}

#[test]
fn the_description_the_figures_and_the_guards_of_the_browser_are_served() {
    let ground = Ground::new(&["anna"], 1);
    let host = Host::start(&ground.config());
    let client = Client::new(host.http);
    assert_eq!(client.get("/api/openapi.json").1["openapi"], "3.1.0");
    let (status, figures) = client.get_text("/metrics");
    assert_eq!(status, 200);
    for line in ["alfred_host_records{kind=\"event\"} 1", "alfred_queue_items{camera=\"gate\"} 1", "alfred_device_connections 0"] {
        assert!(figures.lines().any(|found| found == line), "{line} is missing in\n{figures}");
    }
    for path in ["/../Cargo.toml", "/..%2fCargo.toml", "/README.md", "/nothing", "/api/nothing"] {
        assert_eq!(client.get(path).0, 404, "{path}");
    }
    assert_eq!(Client::new(host.http).post("/api/queue", &json!({})).0, 405);
    let answer = ureq::get(format!("http://{}/api/openapi.json", host.http)).call().expect("an answer");
    let policy = answer.headers()["content-security-policy"].to_str().expect("text");
    assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("-inline"));
    assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
    let mut raw = TcpStream::connect(host.http).expect("connects");
    let body = json!({ "reviewer": "anna", "token": ground.token("anna") }).to_string();
    let length = body.len();
    let head = format!(
        "POST /api/login HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    raw.write_all(format!("{head}{body}").as_bytes()).expect("sent");
    let mut text = String::new();
    raw.read_to_string(&mut text).expect("an answer");
    assert!(text.contains("HttpOnly; SameSite=Strict; Path=/"), "{text}");
}

#[test]
fn other_addresses_than_this_machine_need_a_word() {
    let ground = Ground::new(&[], 0);
    let everywhere = std::net::SocketAddr::from(([0, 0, 0, 0], 0));
    let refused = |config: alfred_server::ServerConfig| alfred_server::Server::bind(&config).err().expect("refused").to_string();
    assert!(refused(alfred_server::ServerConfig { http: everywhere, ..ground.config() }).contains("http_beyond_this_machine"));
    assert!(refused(alfred_server::ServerConfig { devices: Some(everywhere), ..ground.config() }).contains("credentials"));
    assert!(refused(alfred_server::ServerConfig { session_hours: 0, ..ground.config() }).contains("session_hours"));
    let host = Host::start(&ground.config());
    assert!(refused(alfred_server::ServerConfig { http: host.http, ..ground.config() }).contains(&host.http.to_string()));
}
