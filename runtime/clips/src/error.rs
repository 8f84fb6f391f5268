//! Why a file is refused, in one line.

use std::fmt;
use std::path::{Path, PathBuf};

/// A file that cannot be read: which one, what is wrong where, and the mend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClipError {
    /// The file or folder.
    pub path: PathBuf,
    /// What is wrong, where in it, and the mend.
    pub what: String,
}

impl ClipError {
    pub(crate) fn new(path: &Path, what: impl fmt::Display) -> Self {
        Self { path: path.to_owned(), what: what.to_string() }
    }
}

impl fmt::Display for ClipError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.what)
    }
}

impl std::error::Error for ClipError {}
