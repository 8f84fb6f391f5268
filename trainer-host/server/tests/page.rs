//! The review page's files keep the rules of its Content-Security-Policy by themselves: nothing from elsewhere, no HTML from texts, no inline
//! code; and what they import is there. What the page does is tested in a browser, `tests/browser`.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use support::{Client, Ground, Host};

/// Lines of the longest file of a module.
const MODULE_LINES_MAX: usize = 400;

/// Name and text of each file of the page.
fn files() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("page");
    let mut found: Vec<(String, String)> = fs::read_dir(folder)
        .expect("the page")
        .map(|file| {
            let file = file.expect("a file");
            (file.file_name().to_string_lossy().into_owned(), fs::read_to_string(file.path()).expect("text"))
        })
        .collect();
    found.sort();
    assert!(found.len() > 20, "the page's files were not found");
    found
}

/// What stands between quotes after each `before`.
fn quoted<'t>(text: &'t str, before: &'t str) -> impl Iterator<Item = &'t str> {
    text.split(before).skip(1).filter_map(|rest| rest.split('"').next())
}

#[test]
fn the_page_asks_nobody_else_and_writes_no_html() {
    let banned = [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "new Function",
        "setAttribute(\"style\"",
        "style: `",
        "javascript:",
        "//cdn",
        "import(",
    ];
    for (name, text) in files().iter().filter(|(name, _)| !name.ends_with(".md")) {
        for word in banned {
            assert!(!text.contains(word), "{name} holds {word}");
        }
        // The namespace of SVG is a name and no address that is asked.
        let text = text.replace("http://www.w3.org/2000/svg", "");
        assert!(!text.contains("http://") && !text.contains("https://"), "{name} names an address elsewhere");
        assert!(!text.contains("<script>") && !text.contains("<style") && !text.contains(" style=\""), "{name} has inline code or style");
    }
}

#[test]
fn what_the_page_imports_is_there_and_every_module_is_imported() {
    let files = files();
    let names: BTreeSet<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    let mut used = BTreeSet::from(["index.html", "README.md"]);
    for (name, text) in &files {
        if name.ends_with(".js") {
            used.extend(quoted(text, "from \"./").inspect(|target| assert!(names.contains(target), "{name} imports {target}")));
        } else if name.ends_with(".html") {
            let targets = quoted(text, "src=\"/").chain(quoted(text, "href=\"/"));
            used.extend(targets.inspect(|target| assert!(names.contains(target), "{name} names {target}")));
        }
    }
    assert_eq!(used, names, "a file of the page is not used");
}

#[test]
fn modules_of_the_page_are_short_and_say_what_they_are() {
    for (name, text) in files().iter().filter(|(name, _)| name.ends_with(".js")) {
        assert!(text.starts_with("// "), "{name} does not begin with its tagline");
        assert!(text.lines().count() <= MODULE_LINES_MAX, "{name} has {} lines", text.lines().count());
    }
}

#[test]
fn the_daemon_serves_every_file_of_the_page_to_anybody_and_with_its_type() {
    let ground = Ground::new(&[], 0);
    let host = Host::start(&ground.config());
    let client = Client::new(host.http);
    let (_, index) = client.get_text("/");
    assert!(index.contains("<title>ALFred review</title>"));
    for (name, text) in files().iter().filter(|(name, _)| !name.ends_with(".md")) {
        assert_eq!(client.get_text(&format!("/{name}")), (200, text.clone()), "{name}");
        let answer = client.agent.get(format!("{}/{name}", client.base)).call().expect("an answer");
        let kind = answer.headers()["content-type"].to_str().expect("text").to_owned();
        let wanted = match name.rsplit('.').next() {
            Some("js") => "text/javascript; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("html") => "text/html; charset=utf-8",
            _ => "image/svg+xml",
        };
        assert_eq!(kind, wanted, "{name}");
    }
}
