//! Every route of the description: who may call it, and that nothing is stored by those who may not.

mod support;

use serde_json::{Value, json};
use support::{Client, Ground, Host, number, records};

/// What every route that changes something is sent: a body that would be taken.
const BODIES: [(&str, &str, &str); 17] = [
    ("post", "/api/logout", "{}"),
    ("put", "/api/items/1/verdict", r#"{"verdict":"normal","seconds":1,"request":"r"}"#),
    ("put", "/api/items/1/skip", r#"{"is_skipped":true}"#),
    ("post", "/api/undo", r#"{"request":"u"}"#),
    ("post", "/api/snoozes", r#"{"item":1,"hours":1,"reason":"a mannequin"}"#),
    ("post", "/api/snoozes/1/end", "{}"),
    (
        "put",
        "/api/cameras/gate/policy",
        r#"{"strategy":"al","labels_per_day":5,"audit_share":0.1,"repeat_share":0,"groups_similar":false}"#,
    ),
    ("post", "/api/cameras/gate/threshold", r#"{"threshold":1.5}"#),
    ("post", "/api/cameras/gate/cycle", r#"{"kind":"fine_tune"}"#),
    ("post", "/api/cameras/gate/rollback", "{}"),
    ("post", "/api/labels/import?format=csv", ""),
    ("post", "/api/rollouts", r#"{"targets":[{"camera":"gate","revision":2}]}"#),
    ("post", "/api/rollouts/1/pause", "{}"),
    ("post", "/api/rollouts/1/resume", "{}"),
    ("post", "/api/rollouts/1/rollback", "{}"),
    ("get", "/api/labels", ""),
    ("get", "/api/audit", ""),
];

/// Tables that requests can change.
const TABLES: [&str; 9] =
    ["labels", "skips", "snoozes", "queue_policies", "cycle_requests", "rollouts", "rollout_cameras", "cameras", "sessions"];

/// What stands in those tables, as one number each: rows, and who is paused or wanted.
fn stored(ground: &Ground) -> Vec<i64> {
    let file = ground.file();
    let mut counts: Vec<i64> = TABLES.iter().map(|table| number(&file, &format!("SELECT count(*) FROM {table}"))).collect();
    counts.push(number(&file, "SELECT ifnull(sum(desired_revision), 0) + sum(is_paused) FROM cameras"));
    counts
}

/// Routes of the description, their parameters filled in.
fn described(client: &Client) -> Vec<(String, String, Value)> {
    let description = client.get("/api/openapi.json").1;
    let mut routes = Vec::new();
    for (path, methods) in description["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            let path = path.replace("{camera}", "gate").replace("{item}", "1").replace("{snooze}", "1").replace("{rollout}", "1");
            routes.push((method.clone(), path, operation.clone()));
        }
    }
    routes
}

fn send(client: &mut Client, method: &str, path: &str, body: &str) -> u16 {
    if method == "get" { client.get(path).0 } else { client.send_as(method, path, body, kind_of(path)).expect("an answer").0 }
}

fn kind_of(path: &str) -> &'static str {
    if path.contains("import") { "text/csv" } else { "application/json" }
}

fn ground() -> Ground {
    let ground = Ground::new(&["anna"], 1);
    let mut store = ground.store();
    for revision in 1..=2 {
        let bundle = alfred_store::bundle::NewBundle {
            camera: records::CAMERA,
            revision,
            parent_revision: revision - 1,
            fingerprint: 7,
            threshold: 1.0,
            policy: "given",
            model: None,
            bytes: b"bundle",
        };
        store.add_bundle(&bundle, "test", records::NOW).expect("added");
    }
    let target = alfred_store::rollout::Target { camera: records::CAMERA.to_owned(), revision: 1 };
    store.roll_out(&[target], "test", records::NOW).expect("started");
    ground
}

#[test]
fn every_route_wants_a_session_and_every_change_the_guard() {
    let ground = ground();
    let host = Host::start(&ground.config());
    let mut stranger = Client::new(host.http);
    let open = ["/api/openapi.json", "/api/login", "/metrics"];
    let (mut changing, before) = (0, stored(&ground));
    for (method, path, operation) in described(&stranger) {
        if open.contains(&path.as_str()) {
            continue;
        }
        let body = BODIES.iter().find(|(_, known, _)| known.split('?').next() == Some(path.as_str())).map_or("{}", |(.., body)| body);
        assert_eq!(send(&mut stranger, &method, &path, body), 401, "{method} {path} by a stranger");
        assert!(operation["responses"]["401"].is_object(), "{method} {path}: 401 is not described");
        if method == "get" {
            continue;
        }
        changing += 1;
        assert!(
            BODIES.iter().any(|(of, known, _)| *of == method && known.split('?').next() == Some(path.as_str())),
            "{method} {path} is in no table"
        );
        assert!(operation["responses"]["403"].is_object(), "{method} {path}: 403 is not described");
    }
    assert_eq!((changing, stored(&ground)), (15, before), "every changing route was tried, and nothing is stored");
    for name in ["anna", "ole"] {
        let session = host.client(&ground, name);
        let before = stored(&ground);
        for guard in [String::new(), "0".repeat(64), session.guard[1..].to_owned(), format!("{}x", session.guard)] {
            let mut forged = Client { guard, ..session.clone() };
            for (method, path, body) in BODIES.iter().filter(|(method, ..)| *method != "get") {
                assert_eq!(send(&mut forged, method, path, body), 403, "{method} {path} by {name} without the guard");
            }
        }
        assert_eq!(stored(&ground), before, "nothing is stored without the guard");
    }
}

#[test]
fn operators_routes_refuse_reviewers_and_take_operators() {
    let ground = ground();
    let host = Host::start(&ground.config());
    let (mut anna, mut ole) = (host.client(&ground, "anna"), host.client(&ground, "ole"));
    let before = stored(&ground);
    let reviewers = ["/api/logout", "/api/items/1/verdict", "/api/items/1/skip", "/api/undo", "/api/snoozes", "/api/snoozes/1/end"];
    let operators: Vec<_> = BODIES.iter().filter(|(_, path, _)| !reviewers.contains(path)).collect();
    assert_eq!(operators.len(), 11);
    for (method, path, body) in &operators {
        assert_eq!(send(&mut anna, method, path, body), 403, "{method} {path} by a reviewer");
    }
    assert_eq!(stored(&ground), before, "nothing is stored");
    for (method, path, body) in &operators {
        assert_eq!(send(&mut ole, method, path, body), 200, "{method} {path} by an operator");
    }
    for (method, path, body) in BODIES.iter().filter(|(_, path, _)| reviewers[1..].contains(path)) {
        assert_eq!(send(&mut anna, method, path, body), 200, "{method} {path} by a reviewer");
    }
    let (_, log) = ole.get("/api/audit");
    let said: Vec<&str> = log.as_array().expect("lines").iter().filter_map(|line| line["what"].as_str()).collect();
    for what in ["queue policy", "ask threshold", "ask fine_tune", "roll back", "roll out", "pause rollout", "import labels", "snooze"] {
        assert!(said.contains(&what), "{what} is not in the audit log: {said:?}");
    }
    assert_eq!(anna.post("/api/logout", &json!({})).0, 200);
    assert_eq!(anna.get("/api/session").0, 401);
}
