//! Enrolment: the authority of a fleet, the host's certificate, and one key and certificate per device with a configuration ready to use.
//!
//! Folder of the host: `authority.crt`, `authority.key` (may be kept offline between enrolments), `host.crt`, `host.key`. Folder of a
//! device: `authority.crt`, `device.crt`, `device.key`, `link.toml`. Files are made for their owner only (0600), and none is ever overwritten: a key
//! that is in use would be lost.

use crate::credentials::{Credentials, HOST_NAME, device_uri};
use alfred_wire::name::Name;
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use time::OffsetDateTime;

/// Years for which an authority's certificate is valid.
pub const AUTHORITY_YEARS: u64 = 20;
/// Years for which a host's or device's certificate is valid: longer than most boards live, since nobody visits them.
pub const CERTIFICATE_YEARS: u64 = 10;
/// The authority's name in certificates. Which authority it is, its key says.
const AUTHORITY_NAME: &str = "ALFred on the edge: fleet authority";

const DAY: Duration = Duration::from_secs(86_400);
/// Certificates begin a day before they are made: clocks differ.
const EARLIER: Duration = DAY;

/// Why enrolment failed; nothing that was there before has been changed.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// The system refuses a file.
    #[error("{path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// It is there already.
    #[error("{0} is there already and is not overwritten: name another folder, or move it away")]
    Exists(PathBuf),
    /// The address must fit into the configuration.
    #[error("the host's address must be like gate.example:7443 or 10.0.0.5:7443, not {0}")]
    Address(String),
    /// A certificate cannot be made, or the authority's key cannot be read.
    #[error("{what}: {source}: make the authority anew if its key is damaged")]
    Certificate {
        /// Of whom.
        what: String,
        /// What is wrong.
        source: rcgen::Error,
    },
    /// The clock is beyond what certificates can say.
    #[error("this machine's clock is wrong: set it")]
    Clock,
}

/// Files of a host in its folder.
#[must_use]
pub fn host_credentials(folder: &Path) -> Credentials {
    Credentials { authority: folder.join("authority.crt"), certificate: folder.join("host.crt"), key: folder.join("host.key") }
}

/// Files of a device in its folder.
#[must_use]
pub fn device_credentials(folder: &Path) -> Credentials {
    Credentials { authority: folder.join("authority.crt"), certificate: folder.join("device.crt"), key: folder.join("device.key") }
}

/// What a device is enrolled with.
#[derive(Clone, Debug)]
pub struct Enrolment<'e> {
    /// The host's folder; an authority is made there if there is none.
    pub host_folder: &'e Path,
    /// The device's name.
    pub device: Name,
    /// Where devices find the host, `name:port`.
    pub host_address: &'e str,
    /// The device's folder: to be carried to it.
    pub out: &'e Path,
    /// The time.
    pub now: SystemTime,
}

/// What enrolment did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enrolled {
    /// Whether the authority and the host's certificate were made, too.
    pub is_new_authority: bool,
}

/// Enrols a device: the one call behind `alfred-host enroll DEVICE --out DIR`.
///
/// # Errors
/// [`EnrolError`].
pub fn enrol(enrolment: &Enrolment<'_>) -> Result<Enrolled, EnrolError> {
    checked_address(enrolment.host_address)?;
    let is_new_authority = !enrolment.host_folder.join("authority.crt").exists();
    if is_new_authority {
        create_authority(enrolment.host_folder, enrolment.now)?;
    }
    enrol_device(enrolment)?;
    Ok(Enrolled { is_new_authority })
}

/// Makes an authority, and the host's key and certificate.
///
/// # Errors
/// [`EnrolError`].
pub fn create_authority(folder: &Path, now: SystemTime) -> Result<(), EnrolError> {
    make_folder(folder)?;
    let key = generate("the authority's key")?;
    let mut params = dated(AUTHORITY_NAME, now, AUTHORITY_YEARS)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key).map_err(|source| unfit("the authority's certificate", source))?;
    let issuer = Issuer::new(params, &key);

    let host_key = generate("the host's key")?;
    let mut params = dated(HOST_NAME, now, CERTIFICATE_YEARS)?;
    params.subject_alt_names = vec![SanType::DnsName(ia5(HOST_NAME)?)];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let host = params.signed_by(&host_key, &issuer).map_err(|source| unfit("the host's certificate", source))?;

    write_all(
        folder,
        &[
            ("authority.key", &key.serialize_pem()),
            ("host.key", &host_key.serialize_pem()),
            ("host.crt", &host.pem()),
            // Last: where it is, the others are.
            ("authority.crt", &certificate.pem()),
        ],
    )
}

/// Makes a device's key and certificate, and a configuration that names them.
///
/// # Errors
/// [`EnrolError`].
pub fn enrol_device(enrolment: &Enrolment<'_>) -> Result<(), EnrolError> {
    let address = checked_address(enrolment.host_address)?;
    let read = |name: &str| {
        let path = enrolment.host_folder.join(name);
        fs::read_to_string(&path).map_err(|source| EnrolError::File { path, source })
    };
    let (authority, authority_key) = (read("authority.crt")?, read("authority.key")?);
    let authority_key = KeyPair::from_pem(&authority_key).map_err(|source| unfit("the authority's key", source))?;
    // Only the name and the key of the issuer enter what it signs.
    let mut issuer = CertificateParams::default();
    issuer.distinguished_name = common_name(AUTHORITY_NAME);
    issuer.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let issuer = Issuer::new(issuer, authority_key);

    let key = generate("the device's key")?;
    let mut params = dated(enrolment.device.as_str(), enrolment.now, CERTIFICATE_YEARS)?;
    params.subject_alt_names = vec![SanType::URI(ia5(&device_uri(&enrolment.device))?)];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, &issuer).map_err(|source| unfit("the device's certificate", source))?;

    make_folder(enrolment.out)?;
    let config = config_text(&enrolment.device, address);
    let files = [
        ("authority.crt", authority.as_str()),
        ("device.key", &key.serialize_pem()),
        ("device.crt", &certificate.pem()),
        ("link.toml", &config),
    ];
    write_all(enrolment.out, &files)
}

/// An address that connects and that the configuration can hold.
fn checked_address(address: &str) -> Result<&str, EnrolError> {
    let parts = address.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    let is_address = parts.is_some_and(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0));
    let is_odd = |character: char| character.is_whitespace() || character.is_control() || "\"\\".contains(character);
    if is_address && !address.contains(is_odd) { Ok(address) } else { Err(EnrolError::Address(address.to_owned())) }
}

fn config_text(device: &Name, address: &str) -> String {
    // TOML's basic strings need these two escaped; names hold no control characters.
    let device = device.as_str().replace('\\', "\\\\").replace('"', "\\\"");
    format!(
        "# Put this section into the device's configuration, and these files beside it; the key must stay on the device.\n\
         [link]\n\
         host = \"{address}\"\n\
         device = \"{device}\"\n\
         authority = \"authority.crt\"\n\
         certificate = \"device.crt\"\n\
         key = \"device.key\"\n"
    )
}

fn dated(name: &str, now: SystemTime, years: u64) -> Result<CertificateParams, EnrolError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(name);
    params.not_before = date(now.checked_sub(EARLIER))?;
    // Days of leap years more or less do not matter.
    params.not_after = date(now.checked_add(DAY * (365 * years) as u32))?;
    Ok(params)
}

fn date(time: Option<SystemTime>) -> Result<OffsetDateTime, EnrolError> {
    let since = time.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok()).ok_or(EnrolError::Clock)?;
    let seconds = i64::try_from(since.as_secs()).map_err(|_| EnrolError::Clock)?;
    OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| EnrolError::Clock)
}

fn common_name(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

fn generate(what: &str) -> Result<KeyPair, EnrolError> {
    KeyPair::generate().map_err(|source| unfit(what, source))
}

fn ia5(text: &str) -> Result<Ia5String, EnrolError> {
    Ia5String::try_from(text).map_err(|source| unfit("a name in a certificate", source))
}

fn unfit(what: &str, source: rcgen::Error) -> EnrolError {
    EnrolError::Certificate { what: what.to_owned(), source }
}

fn make_folder(folder: &Path) -> Result<(), EnrolError> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|source| EnrolError::File { path: folder.to_path_buf(), source })
}

/// Writes the files, none over another.
fn write_all(folder: &Path, files: &[(&str, &str)]) -> Result<(), EnrolError> {
    let paths: Vec<PathBuf> = files.iter().map(|(name, _)| folder.join(name)).collect();
    // Before the first is written, so that nothing is left half done.
    if let Some(path) = paths.iter().find(|path| path.exists()) {
        return Err(EnrolError::Exists(path.clone()));
    }
    for (path, (_, text)) in paths.into_iter().zip(files) {
        let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
        written.map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => EnrolError::Exists(path),
            _ => EnrolError::File { path, source },
        })?;
    }
    Ok(())
}
