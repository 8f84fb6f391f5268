//! Random and hostile inputs to every route: no fault inside the host, and nothing stored by what was refused.

mod support;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;
use support::{Ground, Host, number};

/// Texts that have broken other programs.
const HOSTILE: [&str; 12] = [
    "'; DROP TABLE items; --",
    "\" OR \"\"=\"",
    "1 UNION SELECT token_sha256 FROM reviewers",
    "<img src=x onerror=alert(1)>",
    "../../../etc/passwd",
    "..%2f..%2fhost.sqlite",
    "%00",
    "\u{202e}gate",
    "gate\u{0}",
    "-9223372036854775809",
    "1e400",
    "NaN",
];

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => proptest::sample::select(HOSTILE.to_vec()).prop_map(str::to_owned),
        2 => any::<i64>().prop_map(|number| number.to_string()),
        2 => any::<f64>().prop_map(|number| number.to_string()),
        2 => "\\PC{0,40}",
        1 => proptest::sample::select(vec!["gate", "1", "true", "al_light", "csv", ""]).prop_map(str::to_owned),
        1 => (200..2000_usize).prop_map(|length| "x".repeat(length)),
    ]
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from)
    ];
    let names = vec![
        "verdict",
        "seconds",
        "strategy",
        "request",
        "with_similar",
        "label",
        "is_skipped",
        "item",
        "hours",
        "radius_px",
        "score_max",
        "reason",
        "threshold",
        "kind",
        "argument",
        "targets",
        "newest_everywhere",
        "labels_per_day",
        "audit_share",
        "repeat_share",
        "groups_similar",
        "camera",
        "revision",
        "__proto__",
    ];
    leaf.prop_recursive(3, 24, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::hash_map(proptest::sample::select(names.clone()), inner, 0..8)
                .prop_map(|fields| fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Value>()),
        ]
    })
}

/// Percent-encodes whatever is not plain.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// A body in the described shape with one field broken reaches further than a random one.
fn body() -> impl Strategy<Value = String> {
    let near = [
        r#"{"verdict":"normal","seconds":?,"request":"r","with_similar":true}"#,
        r#"{"verdict":?,"seconds":1,"request":"r"}"#,
        r#"{"verdict":"unsure","seconds":1,"request":?}"#,
        r#"{"item":?,"hours":1,"reason":"x"}"#,
        r#"{"item":1,"hours":?,"reason":"x"}"#,
        r#"{"item":1,"hours":1,"reason":?,"radius_px":5}"#,
        r#"{"item":1,"hours":1,"reason":"x","radius_px":?}"#,
        r#"{"threshold":?}"#,
        r#"{"kind":"fine_tune","argument":?}"#,
        r#"{"strategy":"al","labels_per_day":?,"audit_share":0.1,"repeat_share":0,"groups_similar":false}"#,
        r#"{"strategy":?,"labels_per_day":1,"audit_share":0.1,"repeat_share":0,"groups_similar":false}"#,
        r#"{"targets":[{"camera":?,"revision":1}]}"#,
        r#"{"label":?,"request":"r"}"#,
        r#"{"is_skipped":?}"#,
    ];
    prop_oneof![
        4 => (proptest::sample::select(near.to_vec()), json()).prop_map(|(near, value)| near.replace('?', &value.to_string())),
        2 => json().prop_map(|value| value.to_string()),
        1 => text(),
        1 => "\\PC{0,200}",
    ]
}

#[test]
fn no_input_is_a_fault_and_what_is_refused_is_not_stored() {
    let ground = Ground::new(&["anna"], 3);
    let host = Host::start(&ground.config());
    let (mut anna, mut ole) = (host.client(&ground, "anna"), host.client(&ground, "ole"));
    let description = ole.get("/api/openapi.json").1;
    let mut routes = Vec::new();
    for (path, methods) in description["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            let names = operation["parameters"].as_array().into_iter().flatten();
            let names: Vec<String> =
                names.filter(|one| one["in"] == "query").filter_map(|one| one["name"].as_str().map(str::to_owned)).collect();
            // Logging in is rate-limited and logging out ends the test's session: they have tests of their own.
            if !path.contains("/log") {
                routes.push((method.clone(), path.clone(), names));
            }
        }
    }
    let counts = || {
        let tables = ["labels", "skips", "snoozes", "queue_policies", "cycle_requests", "rollouts"];
        tables.map(|table| number(&ground.file(), &format!("SELECT count(*) FROM {table}")))
    };
    let mut runner = TestRunner::new(Config { cases: 600, failure_persistence: None, ..Config::default() });
    let mut taken = 0_u32;
    let case = (proptest::sample::select(routes), text(), text(), text(), body(), any::<bool>());
    let counted = std::cell::RefCell::new((&mut anna, &mut ole, &mut taken));
    runner
        .run(&case, |((method, path, names), part, value, other, body, by_operator)| {
            let mut counted = counted.borrow_mut();
            let part = if part.is_empty() { "1".to_owned() } else { encoded(&part) };
            let mut url = path.clone();
            while let Some((before, after)) =
                url.split_once('{').map(|(before, rest)| (before.to_owned(), rest.split_once('}').expect("ends").1.to_owned()))
            {
                let known = if before.ends_with("cameras/") { "gate" } else { "1" };
                url = format!("{before}{}{after}", if other.len() % 2 == 0 { known } else { &part });
            }
            if let Some(name) = names.first() {
                let second = names.get(value.len() % names.len()).unwrap_or(name);
                url = format!("{url}?{name}={}&{second}={}", encoded(&value), encoded(&other));
            }
            let before = counts();
            let client = if by_operator { &mut *counted.1 } else { &mut *counted.0 };
            let status = if method == "get" {
                client.get_text(&url).0
            } else {
                let kind = if path.contains("import") { "text/csv" } else { "application/json" };
                client.send_as(&method, &url, &body, kind).expect("an answer").0
            };
            prop_assert!(status < 500, "{method} {url} {body}: {status}");
            if status == 200 {
                *counted.2 += 1;
            } else {
                prop_assert_eq!(counts(), before, "{} {} {}: {}, and yet something is stored", method, url, body, status);
            }
            Ok(())
        })
        .expect("no input is a fault");
    eprintln!("{taken} of 600 requests were taken, the others refused");
    assert!(taken > 20, "the inputs reach the handlers");
    let file = ground.file();
    assert_eq!(number(&file, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'"), 0);
    assert_eq!((number(&file, "SELECT count(*) FROM items"), number(&file, "SELECT count(*) FROM reviewers")), (3, 2));
}
