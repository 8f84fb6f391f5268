//! House rules as a test: what reviews would otherwise have to look for, over every tracked file.

use alfred_testkit::golden::announce;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const LINES_MAX: usize = 600;
/// Files that may be longer, and why.
const LONGER_FILES: [(&str, &str); 1] =
    [("runtime/core/src/pipeline.rs", "the one file that calls every stage: splitting it would hide their order")];

const FUNCTION_LINES_MAX: usize = 70;
/// Functions that may be longer, and why.
const LONGER_FUNCTIONS: [(&str, &str); 1] =
    [("plain_loss", "the loss once more, in one plain piece, for finite differences: cut up it would resemble what it checks")];

/// Where `unsafe` may stand (beginnings of paths). Each such file says why under the word JUSTIFICATION.
const UNSAFE_PATHS: [&str; 7] = [
    // The arena is a global allocator.
    "models/src/arena",
    // SIMD instructions.
    "models/src/stg_nf/lane_",
    "models/src/lane/",
    // A global allocator for measurements.
    "board/src/counting_allocator.rs",
    // One system call that has no safe wrapper.
    "board/src/thread_policy.rs",
    // Static memory and an exported symbol; nothing of it is shipped.
    "tests/no_alloc_proof/src/lib.rs",
    // The same on bare metal; nothing of it is shipped.
    "tests/no_std_reach/src/",
];

/// The only source file that may name the generic engine's crate.
const TRACT_FILE: &str = "models/src/tract_engine/graph.rs";

/// Packages outside the workspace, whose lock files must not name other versions than the workspace's.
const EXCLUDED_PACKAGES: [&str; 4] = ["tests/no_alloc_proof", "tests/no_std_reach", "tests/fuzz", "benches/instruction_counts"];
/// What only the fuzz package needs.
const FUZZ_ONLY: [&str; 3] = ["arbitrary", "jobserver", "libfuzzer-sys"];

/// Subcommands that cargo has without us.
const CARGO_COMMANDS: [&str; 12] = ["add", "bench", "build", "check", "clippy", "doc", "fetch", "fmt", "install", "run", "test", "update"];

struct TextFile {
    /// Relative to the repository, with slashes.
    path: String,
    text: String,
}

impl TextFile {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Tracked files; without git (an unpacked archive) every file but build output.
fn paths() -> Vec<PathBuf> {
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output();
    match listed {
        Ok(listed) if listed.status.success() && !listed.stdout.is_empty() => listed
            .stdout
            .split(|byte| *byte == 0)
            .filter(|path| !path.is_empty())
            .map(|path| String::from_utf8_lossy(path).as_ref().into())
            .collect(),
        _ => walk(root()),
    }
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir() {
            if name != "target" && name != ".git" {
                found.extend(walk(&path));
            }
        } else if let Ok(relative) = path.strip_prefix(root()) {
            found.push(relative.to_path_buf());
        }
    }
    found
}

/// Text files; binary ones and those that are tracked but not here any more are left out.
fn text_files() -> Vec<TextFile> {
    let read = |path: PathBuf| {
        let text = String::from_utf8(fs::read(root().join(&path)).ok()?).ok()?;
        (!text.contains('\0')).then(|| TextFile { path: path.to_string_lossy().replace('\\', "/"), text })
    };
    let files: Vec<TextFile> = paths().into_iter().filter_map(read).collect();
    assert!(files.iter().filter(|file| file.is_rust()).count() > 50, "the source files were not found");
    files
}

/// Fails with every complaint at once.
fn settle(rule: &str, complaints: &[String]) {
    assert!(complaints.is_empty(), "{rule}:\n{}", complaints.join("\n"));
}

/// Complaints about single lines.
fn per_line(files: &[TextFile], mut complain: impl FnMut(&TextFile, &str) -> bool) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in files {
        for (number, line) in file.text.lines().enumerate() {
            if complain(file, line) {
                complaints.push(format!("{}:{}: {}", file.path, number + 1, line.trim()));
            }
        }
    }
    complaints
}

/// Whether `word` stands in `line` with no letter, digit or underscore beside it.
fn has_word(line: &str, word: &str) -> bool {
    let is_part = |character: char| character.is_alphanumeric() || character == '_';
    line.match_indices(word).any(|(at, _)| !line[..at].ends_with(is_part) && !line[at + word.len()..].starts_with(is_part))
}

/// The line without comments and without what is in its string literals.
fn code_of(line: &str) -> String {
    let (mut code, mut in_string, mut previous) = (String::new(), false, ' ');
    for character in line.chars() {
        match character {
            '"' if previous != '\\' && previous != '\'' => in_string = !in_string,
            '/' if previous == '/' && !in_string => break,
            _ if !in_string => code.push(character),
            _ => {}
        }
        previous = character;
    }
    code
}

#[test]
fn no_file_names_a_path_of_somebodys_machine() {
    // Put together here, or this file would break its own rule.
    let homes = ["root", "home", "work", "Users", "builds"].map(|folder| format!("/{folder}/"));
    let is_path = |line: &str, home: &String| {
        let inside = |character: char| character.is_alphanumeric() || "._-~/*}>)".contains(character);
        line.match_indices(home.as_str()).any(|(at, _)| !line[..at].ends_with(inside))
    };
    settle("paths of a machine", &per_line(&text_files(), |_, line| homes.iter().any(|home| is_path(line, home))));
}

#[test]
fn nothing_is_left_undone_or_left_behind() {
    let banned = ["todo", "unimplemented", "dbg"].map(|name| format!("{name}!("));
    let complaints = per_line(&text_files(), |file, line| file.is_rust() && banned.iter().any(|call| code_of(line).contains(call)));
    settle("left undone", &complaints);
}

#[test]
fn every_source_file_begins_with_its_tagline() {
    let complaints: Vec<String> = text_files()
        .iter()
        .filter(|file| {
            let mut lines = file.text.lines();
            let first = lines.next().unwrap_or_default();
            let first = if first.starts_with("#!/") { lines.next().unwrap_or_default() } else { first };
            let script = file.path.ends_with(".py") || file.path.ends_with(".sh") || file.path.starts_with(".ci/");
            (file.is_rust() && !first.starts_with("//! ")) || (script && !first.starts_with("# ") && !first.starts_with("\"\"\""))
        })
        .map(|file| file.path.clone())
        .collect();
    settle("no tagline in the first line", &complaints);
}

#[test]
fn files_and_functions_stay_short() {
    let files = text_files();
    let mut complaints = Vec::new();
    for file in files.iter().filter(|file| file.is_rust() || file.path.ends_with(".py")) {
        let lines = file.text.lines().count();
        if lines > LINES_MAX && !LONGER_FILES.iter().any(|(path, _)| *path == file.path) {
            complaints.push(format!("{}: {lines} lines, at most {LINES_MAX}", file.path));
        }
    }
    for file in files.iter().filter(|file| file.is_rust()) {
        for (name, lines) in functions(&file.text) {
            if lines > FUNCTION_LINES_MAX && !LONGER_FUNCTIONS.iter().any(|(function, _)| *function == name) {
                complaints.push(format!("{}: {name} has {lines} lines, at most {FUNCTION_LINES_MAX}", file.path));
            }
        }
    }
    settle("too long", &complaints);
}

/// Names and lengths of functions with a body. Relies on rustfmt: the closing brace stands below the line's first letter.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let (indent, code) = line.split_at(line.len() - line.trim_start().len());
        let Some(name) = function_name(code) else { continue };
        let closing = format!("{indent}}}");
        // A function of one line ends there; one without a body ends before any brace.
        let end =
            lines[start..].iter().position(|line| *line == closing || (line.starts_with(&format!("{indent}fn")) && line.ends_with('}')));
        let signature = lines[start..].iter().position(|line| line.ends_with('{') || line.ends_with('}') || line.ends_with(';'));
        if let (Some(end), Some(signature)) = (end, signature)
            && lines[start + signature].ends_with('{')
        {
            found.push((name.to_owned(), end + 1));
        }
    }
    found
}

/// `name` of a line that begins `pub const fn name(` or the like.
fn function_name(code: &str) -> Option<&str> {
    let (before, after) = code.split_once("fn ")?;
    let modifiers = ["pub", "pub(crate)", "pub(super)", "const", "unsafe", "extern", "\"C\"", "async"];
    if !before.split_whitespace().all(|word| modifiers.contains(&word)) {
        return None;
    }
    let end = after.find(|character: char| !(character.is_alphanumeric() || character == '_'))?;
    (end > 0).then_some(&after[..end])
}

#[test]
fn unsafe_stands_only_where_it_is_justified() {
    let files = text_files();
    // Not in this file, which must be able to name the word.
    let has_unsafe = |file: &TextFile, line: &str| file.is_rust() && has_word(&code_of(line), "unsafe");
    let allowed = |file: &TextFile| UNSAFE_PATHS.iter().any(|path| file.path.starts_with(path));
    let mut complaints = per_line(&files, |file, line| !allowed(file) && has_unsafe(file, line));
    for file in files.iter().filter(|file| allowed(file)) {
        // Tests of such a file need no justification of their own.
        let needs_one = !file.path.ends_with("tests.rs") && file.text.lines().any(|line| has_unsafe(file, line));
        if needs_one && !file.text.contains("JUSTIFICATION") {
            complaints.push(format!("{}: no JUSTIFICATION in the file's header", file.path));
        }
    }
    settle("unsafe", &complaints);
}

#[test]
fn one_file_names_tract() {
    let complaints =
        per_line(&text_files(), |file, line| file.is_rust() && file.path != TRACT_FILE && has_word(&code_of(line), "tract_onnx"));
    settle("tract outside its fence", &complaints);
}

#[test]
fn packages_outside_the_workspace_build_with_its_versions() {
    let ours = locked(&root().join("Cargo.lock"));
    let mut complaints = Vec::new();
    for package in EXCLUDED_PACKAGES {
        for (name, version) in locked(&root().join(package).join("Cargo.lock")) {
            if !FUZZ_ONLY.contains(&name.as_str()) && !ours.contains(&(name.clone(), version.clone())) {
                complaints.push(format!("{package}/Cargo.lock: {name} {version}; run cargo update {name} --precise VERSION there"));
            }
        }
    }
    settle("versions that the workspace does not use", &complaints);
}

/// Name and version of each registry package of a lock file.
fn locked(path: &Path) -> BTreeSet<(String, String)> {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let value = |entry: &str, key: &str| {
        let line = entry.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \""))?;
        line.strip_suffix('"').map(str::to_owned)
    };
    let registry = text.split("[[package]]").filter(|entry| entry.contains("source = "));
    registry.filter_map(|entry| Some((value(entry, "name")?, value(entry, "version")?))).collect()
}

#[test]
fn every_promise_names_a_test_that_exists_or_says_why_not() {
    let files = text_files();
    let Some(specification) = files.iter().find(|file| file.path == "SPECIFICATION.md") else {
        announce("SKIPPED: there is no SPECIFICATION.md whose promises could be checked");
        return;
    };
    let tests = tests_of(&files);
    let (mut complaints, mut promises) = (Vec::new(), 0);
    for line in specification.text.lines() {
        let digits = line.find(|character: char| !character.is_ascii_digit()).unwrap_or(0);
        if digits == 0 || !line[digits..].starts_with(". ") {
            continue;
        }
        promises += 1;
        if line[..digits].parse() != Ok(promises) {
            complaints.push(format!("promise {} stands in place {promises}", &line[..digits]));
        }
        let last = line.trim_end().strip_suffix(']').and_then(|line| line.rsplit_once('['));
        match last.and_then(|(_, tag)| tag.split_once(": ")) {
            Some(("test", names)) => {
                let missing = names.split(", ").filter(|name| !tests.contains(*name));
                complaints.extend(missing.map(|name| format!("promise {promises}: there is no test {name}")));
            }
            Some(("pending", why)) if !why.trim().is_empty() => {}
            _ => complaints.push(format!("promise {promises} does not end with [test: name] or [pending: why]")),
        }
    }
    assert!(promises > 0, "SPECIFICATION.md has no numbered promises");
    settle("SPECIFICATION.md", &complaints);
}

/// Names of test functions and of test binaries.
fn tests_of(files: &[TextFile]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        let mut is_test = false;
        for line in file.text.lines().map(str::trim) {
            if line == "#[test]" {
                is_test = true;
            } else if let (true, Some(name)) = (is_test, function_name(line)) {
                names.insert(name.to_owned());
                is_test = false;
            }
        }
        let place: Vec<&str> = file.path.split('/').collect();
        match place[..] {
            [.., "tests", binary] => drop(names.insert(binary.trim_end_matches(".rs").to_owned())),
            [.., "tests", binary, "main.rs"] => drop(names.insert(binary.to_owned())),
            _ => {}
        }
    }
    names
}

#[test]
fn commands_of_the_readme_exist() {
    let files = text_files();
    let Some(readme) = files.iter().find(|file| file.path == "README.md") else {
        announce("SKIPPED: there is no README.md whose commands could be checked");
        return;
    };
    let known = Known::new(&files);
    let (mut complaints, mut is_shell) = (String::new(), false);
    // A command may go on in the next line.
    for line in readme.text.replace("\\\n", " ").lines() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            is_shell = ["sh", "bash", "console"].contains(&language.trim());
        } else if let (true, Err(what)) = (is_shell, known.check(line)) {
            let _ = writeln!(complaints, "README.md: {what}: {line}");
        }
    }
    assert!(complaints.is_empty(), "{complaints}");
}

/// What commands may name.
struct Known<'f> {
    files: &'f [TextFile],
    aliases: String,
    /// Every manifest in one text: names of packages, binaries, examples and benches stand there as `name = "x"`.
    manifests: String,
    ci_steps: String,
}

impl<'f> Known<'f> {
    fn new(files: &'f [TextFile]) -> Self {
        let text_of = |name: &str| files.iter().find(|file| file.path == name).map_or(String::new(), |file| file.text.clone());
        let manifests = files.iter().filter(|file| file.path.ends_with("Cargo.toml")).map(|file| file.text.as_str()).collect();
        Self { files, aliases: text_of(".cargo/config.toml"), manifests, ci_steps: text_of(".ci/run") }
    }

    fn names(&self, name: &str) -> bool {
        self.manifests.contains(&format!("name = \"{name}\""))
    }

    fn has_file(&self, end: &str) -> bool {
        self.files.iter().any(|file| file.path == end || file.path.ends_with(&format!("/{end}")))
    }

    /// Judges one line of a shell block.
    fn check(&self, line: &str) -> Result<(), String> {
        let command = line.split(" #").next().unwrap_or_default().trim().trim_start_matches("$ ");
        let words: Vec<&str> = command.split_whitespace().take_while(|word| *word != "--").collect();
        match words[..] {
            ["cargo", subcommand, ..] => {
                if !CARGO_COMMANDS.contains(&subcommand) && !self.aliases.contains(&format!("{subcommand} = ")) {
                    return Err(format!("cargo has no command {subcommand} and .cargo/config.toml no alias"));
                }
                self.check_targets(&words)
            }
            ["python3" | "bash", script, ..] if !script.starts_with('-') && !self.has_file(script) => Err(format!("there is no {script}")),
            [program, ref steps @ ..] if program.ends_with(".ci/run") => steps
                .iter()
                .find(|step| !self.ci_steps.contains(&format!("step_{step}()")))
                .map_or(Ok(()), |step| Err(format!("no step {step}"))),
            [program, ..] if program.rsplit('/').next().is_some_and(|name| name.starts_with("alfred-") && !self.names(name)) => {
                Err(format!("there is no binary {program}"))
            }
            _ => Ok(()),
        }
    }

    /// Judges what `--bin`, `--test` and the like name.
    fn check_targets(&self, words: &[&str]) -> Result<(), String> {
        for pair in words.windows(2) {
            let found = match pair[0] {
                "-p" | "--package" | "--bin" => self.names(pair[1]),
                "--bench" | "--example" | "--test" => {
                    let folder = pair[0].trim_start_matches('-');
                    let file = |suffix: &str| {
                        self.has_file(&format!("{folder}{}/{}{suffix}", if folder == "bench" { "es" } else { "s" }, pair[1]))
                    };
                    self.names(pair[1]) || file(".rs") || file("/main.rs")
                }
                _ => true,
            };
            if !found {
                return Err(format!("there is no {} {}", pair[0], pair[1]));
            }
        }
        Ok(())
    }
}

#[test]
fn the_rules_can_be_broken() {
    let files = [TextFile { path: "README.md".into(), text: String::new() }];
    let known = Known::new(&files);
    assert!(known.check("cargo demo # three cameras").is_err());
    assert!(known.check("cargo run --bin nothing").is_err());
    assert!(known.check("cargo test -- --bin nothing").is_ok());
    assert!(known.check("alfred-nothing run").is_err());
    assert!(known.check(".ci/run nothing").is_err());
    assert!(has_word(&code_of("let x = unsafe { y };"), "unsafe"));
    assert!(!has_word(&code_of("#![forbid(unsafe_code)] // unsafe"), "unsafe"));
    assert!(!has_word(&code_of("let x = \"unsafe\";"), "unsafe"));
    assert_eq!(functions("pub fn a() {\n    b();\n}\nfn c() {}\nfn d();\n"), [("a".to_owned(), 3)]);
}
