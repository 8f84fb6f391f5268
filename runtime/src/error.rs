//! One-line errors that name the place and the mend, and the exit codes.

use std::fmt;
use std::path::Path;
use std::process::ExitCode;

/// What went wrong, for whom.
#[derive(Debug)]
pub enum Error {
    /// The user's input, file or configuration: exit code 2.
    Input(String),
    /// The system (a full disk, a closed pipe): exit code 1.
    System(String),
}

impl Error {
    /// A fault of the input at a place: `place: what: mend`.
    pub fn input(place: impl fmt::Display, what: impl fmt::Display) -> Self {
        Self::Input(one_line(&format!("{place}: {what}")))
    }

    /// A fault of a file of the input.
    pub fn file(path: &Path, what: impl fmt::Display) -> Self {
        Self::input(path.display(), what)
    }

    /// A fault of the system.
    pub fn system(place: impl fmt::Display, what: impl fmt::Display) -> Self {
        Self::System(one_line(&format!("{place}: {what}")))
    }

    /// The process's exit code: 2 for bad input, 1 for the system's faults.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Input(_) => 2,
            Self::System(_) => 1,
        })
    }
}

impl From<alfred_clips::error::ClipError> for Error {
    fn from(error: alfred_clips::error::ClipError) -> Self {
        Self::file(&error.path, error.what)
    }
}

/// Other libraries' messages may span lines; ours are one line each.
fn one_line(text: &str) -> String {
    text.split(['\n', '\r']).map(str::trim).filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Input(text) | Self::System(text)) = self;
        f.write_str(text)
    }
}

impl std::error::Error for Error {}
