//! What can go wrong on the host: each error is one line that names the file, the place and the mend.

use std::fmt::Display;
use std::path::{Path, PathBuf};

/// An error of a host command.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// A file or folder cannot be read or written.
    #[error("{}: {source}; check that the path exists and may be used", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Something in a file is not as it should be.
    #[error("{}: {place}: {mend}", path.display())]
    Data {
        /// The file.
        path: PathBuf,
        /// Where in the file, and what is wrong.
        place: String,
        /// What to do about it.
        mend: String,
    },
    /// A pose file or mask is refused.
    #[error(transparent)]
    Clip(#[from] alfred_clips::error::ClipError),
    /// An argument cannot be used.
    #[error("{argument}: {mend}")]
    Argument {
        /// The argument, as given.
        argument: String,
        /// What to do about it.
        mend: String,
    },
}

impl HostError {
    /// A file error; for `map_err`.
    pub fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        |source| Self::File { path: path.to_owned(), source }
    }

    /// A fault in a file's contents.
    pub fn data(path: &Path, place: impl Display, mend: impl Display) -> Self {
        Self::Data { path: path.to_owned(), place: place.to_string(), mend: mend.to_string() }
    }

    /// A fault in an argument.
    pub fn argument(argument: impl Display, mend: impl Display) -> Self {
        Self::Argument { argument: argument.to_string(), mend: mend.to_string() }
    }
}
