//! The protocol's and the operations' pages say what the code says: error codes, messages, limits, counters.

use alfred_core::counters::Counters;
use alfred_wire::error_code::ErrorCode;
use std::collections::BTreeSet;
use std::path::Path;

fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Cells of the table's rows below a heading, up to the next one; without head and rule.
fn table(page: &str, heading: &str) -> Vec<Vec<String>> {
    let (_, after) = page.split_once(&format!("\n## {heading}")).unwrap_or_else(|| panic!("the page has no {heading}"));
    let section = after.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// Names of a struct's public fields or an enum's variants, as they stand in a source file.
fn members(source: &str, item: &str) -> BTreeSet<String> {
    let (_, after) = source
        .split_once(&format!("pub {item} {{"))
        .or_else(|| source.split_once(&format!("pub {item}<'a> {{")))
        .unwrap_or_else(|| panic!("no {item}"));
    let body = after.split("\n}\n").next().unwrap_or_default();
    let of = |line: &str| {
        let line = line.strip_prefix("    ").filter(|line| !line.starts_with([' ', '/', '#', '}']))?;
        let line = line.strip_prefix("pub ").unwrap_or(line);
        let end = line.find(|letter: char| !(letter.is_alphanumeric() || letter == '_'))?;
        Some(line[..end].to_owned())
    };
    body.lines().filter_map(of).collect()
}

fn first_cells(page: &str, heading: &str) -> BTreeSet<String> {
    table(page, heading).into_iter().map(|row| row[0].clone()).collect()
}

#[test]
fn the_protocol_page_has_the_codes_messages_and_limits_of_the_code() {
    let page = file("runtime/link/PROTOCOL.md");
    let codes: Vec<Vec<String>> =
        ErrorCode::ALL.iter().map(|code| vec![code.number().0.to_string(), code.name().to_owned(), code.mend().to_owned()]).collect();
    assert_eq!(table(&page, "Error codes"), codes);
    let messages = file("runtime/wire/src/link.rs");
    assert_eq!(first_cells(&page, "What a device says"), members(&messages, "enum DeviceMessage"));
    assert_eq!(first_cells(&page, "What a host says"), members(&messages, "enum HostMessage"));
    for row in table(&page, "Limits") {
        let source = file(&format!("runtime/{}", row[2]));
        let stated = source.lines().find(|line| line.starts_with(&format!("pub const {}:", row[0])));
        let stated = stated.unwrap_or_else(|| panic!("{} is not in {}", row[0], row[2]));
        assert!(stated.ends_with(&format!("= {};", row[1])), "{} = {} in the page, in the code: {stated}", row[0], row[1]);
    }
    let version = alfred_wire::record::RECORD_VERSION;
    assert!(page.contains(&format!("First byte: version of the form, {version}.")), "the records' version is {version}");
    let bytes = alfred_bundle::format::BUNDLE_BYTES_MAX;
    assert!(bytes == 4096 && page.contains("at most 4,096 bytes"), "a bundle has at most {bytes} bytes");
}

#[test]
fn the_operations_page_has_every_counter() {
    let page = file("trainer-host/OPERATIONS.md");
    let data_path: Vec<String> = table(&page, "Counters of the data path").into_iter().map(|row| row[0].clone()).collect();
    assert_eq!(data_path, Counters::NAMES);
    for (heading, source, item) in [
        ("Heartbeat", "runtime/wire/src/link.rs", "struct Heartbeat"),
        ("Counters of the input", "runtime/src/live/ingest.rs", "struct IngestCounters"),
        ("Counters of the link", "runtime/link/src/handle.rs", "struct LinkCounters"),
    ] {
        let (page, code) = (first_cells(&page, heading), members(&file(source), item));
        assert!(!code.is_empty(), "{source} has no {item}");
        assert_eq!(page, code, "{heading}");
    }
    let settings = file("trainer-host/src/cycle/settings.rs");
    for setting in ["source_weights", "key", "methodology", "labels_min", "period_hours", "events_per_class_min", "validation_share"] {
        assert!(members(&settings, "struct CycleSettings").contains(setting) && page.contains(&format!("{setting} = ")), "{setting}");
    }
}
