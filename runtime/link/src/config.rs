//! The `[link]` section of a device's configuration: who the host is, what proves who the device is, and where things wait.

use crate::credentials::{Credentials, file_fault};
use crate::fault::LinkFault;
use alfred_wire::name::Name;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// `[link]`. Relative paths start at the configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkConfig {
    /// The host, `name:port` or `address:port`.
    pub host: String,
    /// The device's name: the one that it was enrolled with.
    pub device: Name,
    /// The authority's certificate; left out together with the next two: plain TCP, on the loopback interface only.
    #[serde(default)]
    pub authority: Option<PathBuf>,
    /// The device's certificate.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// The device's key.
    #[serde(default)]
    pub key: Option<PathBuf>,
    /// The journal's file.
    #[serde(default = "default_journal")]
    pub journal: PathBuf,
    /// Its bytes; taken at the first start, the same for ever.
    #[serde(default = "default_journal_bytes")]
    pub journal_bytes: u64,
    /// Folder in which a bundle waits until all of it has come.
    #[serde(default = "default_spool")]
    pub spool: PathBuf,
    /// Bytes per second to and from the host, over time; 0: no cap.
    #[serde(default)]
    pub bytes_per_second_max: u32,
}

fn default_journal() -> PathBuf {
    PathBuf::from("journal.alfred")
}

const fn default_journal_bytes() -> u64 {
    256 << 20
}

fn default_spool() -> PathBuf {
    PathBuf::from("spool")
}

impl LinkConfig {
    /// Lets relative paths start at `folder`.
    pub fn resolve(&mut self, folder: &Path) {
        let places =
            [Some(&mut self.journal), Some(&mut self.spool), self.authority.as_mut(), self.certificate.as_mut(), self.key.as_mut()];
        places.into_iter().flatten().for_each(|path| *path = folder.join(&*path));
    }

    /// The files of an enrolment; `None` without any.
    ///
    /// # Errors
    /// [`LinkFault::File`] when only some are given.
    pub fn credentials(&self) -> Result<Option<Credentials>, LinkFault> {
        match (&self.authority, &self.certificate, &self.key) {
            (Some(authority), Some(certificate), Some(key)) => {
                Ok(Some(Credentials { authority: authority.clone(), certificate: certificate.clone(), key: key.clone() }))
            }
            (None, None, None) => Ok(None),
            _ => Err(file_fault(Path::new("[link]"), "authority, certificate and key belong together: give all three or none")),
        }
    }
}
