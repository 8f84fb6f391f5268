//! Lists what lies in `page/`, so that the daemon carries it: one file to install, and no path that could leave a folder.

use std::fmt::Write;
use std::path::Path;
use std::{env, fs, io};

/// What is served, and as what. Other files of the folder are for developers.
const TYPES: [(&str, &str); 6] = [
    ("html", "text/html; charset=utf-8"),
    ("css", "text/css; charset=utf-8"),
    ("js", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("svg", "image/svg+xml"),
    ("png", "image/png"),
];

fn main() -> io::Result<()> {
    let variable = |name| env::var(name).map_err(io::Error::other);
    let folder = Path::new(&variable("CARGO_MANIFEST_DIR")?).join("page");
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut files: Vec<_> = fs::read_dir(&folder)?.collect::<Result<_, _>>()?;
    files.sort_by_key(fs::DirEntry::file_name);
    let mut table = String::from("&[\n");
    for file in files {
        let (name, path) = (file.file_name().to_string_lossy().into_owned(), file.path());
        let kind = TYPES.iter().find(|(ending, _)| path.extension().is_some_and(|found| found == *ending));
        if let Some((_, kind)) = kind {
            println!("cargo::rerun-if-changed={}", path.display());
            writeln!(table, "    ({:?}, {kind:?}, include_bytes!({path:?})),", format!("/{name}")).map_err(io::Error::other)?;
        }
    }
    table.push(']');
    fs::write(Path::new(&variable("OUT_DIR")?).join("page.rs"), table)
}
