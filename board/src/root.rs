//! Where the system's own paths start: `/`, or a fake tree of a test.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Bytes of a file of the system that are read; they are small.
const TEXT_BYTES_MAX: u64 = 4096;

/// The folder that stands for `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root(PathBuf);

impl Default for Root {
    fn default() -> Self {
        Self(PathBuf::from("/"))
    }
}

impl Root {
    /// Paths start at `folder`.
    #[must_use]
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    /// `path` below this root, whether it begins with a slash or not.
    #[must_use]
    pub fn join(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.0.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The text of a small file, without the zeros and blanks at its end; `None` when there is none, it is empty, or it is no text.
    #[must_use]
    pub fn text(&self, path: impl AsRef<Path>) -> Option<String> {
        read_text(&self.join(path))
    }

    /// Folders in `folder` whose name starts with `prefix`, by name.
    #[must_use]
    pub fn folders(&self, folder: impl AsRef<Path>, prefix: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.join(folder)).into_iter().flatten().flatten();
        let starts = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix));
        // Entries of sysfs are links to folders.
        let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| starts(path) && path.is_dir()).collect();
        found.sort();
        found
    }
}

/// See [`Root::text`].
#[must_use]
pub fn read_text(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    fs::File::open(path).ok()?.take(TEXT_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let text = text.trim_end_matches(|character: char| character == '\0' || character.is_whitespace());
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_paths_stay_below_the_root() {
        assert_eq!(Root::at("fake").join("/sys/class"), PathBuf::from("fake/sys/class"));
        assert_eq!(Root::at("fake").join("sys/class"), PathBuf::from("fake/sys/class"));
        assert_eq!(Root::default().join("/proc"), PathBuf::from("/proc"));
        assert_eq!(Root::at("not there").text("/proc"), None);
        assert!(Root::at("not there").folders("/sys", "x").is_empty());
    }
}
