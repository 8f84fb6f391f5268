//! Who is who: certificates and keys from files, TLS settings made of them, and the device's name in its certificate.
//!
//! One authority per fleet signs the host's certificate (for the name [`HOST_NAME`], whatever its address is) and one per device (for the
//! URI `alfred:device:NAME`). A device's certificate cannot stand in for a host's: each is for one purpose only.

use crate::fault::LinkFault;
use crate::limits::FILE_BYTES_MAX;
use alfred_wire::name::Name;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::fmt::Write;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The name in every host's certificate: the authority vouches for it, so addresses may change.
pub const HOST_NAME: &str = "alfred-host";
/// Beginning of the URI in a device's certificate.
const DEVICE_URI: &str = "alfred:device:";

/// Files with which one end proves who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The authority's certificate, PEM.
    pub authority: PathBuf,
    /// This end's certificate, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM (PKCS#8); nobody but its owner and group may read it.
    pub key: PathBuf,
}

impl Credentials {
    /// TLS of a device.
    ///
    /// # Errors
    /// [`LinkFault::File`].
    pub fn device(&self) -> Result<Arc<ClientConfig>, LinkFault> {
        let (roots, chain, key) = self.read()?;
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider())).with_protocol_versions(&[&TLS13])?;
        let mut config = builder.with_root_certificates(roots).with_client_auth_cert(chain, key).map_err(|error| self.unfit(&error))?;
        // Every connection proves everything anew: a certificate that has expired meanwhile must not slip through.
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Arc::new(config))
    }

    /// TLS of a host: devices without a certificate of the authority are refused.
    ///
    /// # Errors
    /// [`LinkFault::File`].
    pub fn host(&self) -> Result<Arc<ServerConfig>, LinkFault> {
        let (roots, chain, key) = self.read()?;
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
        let verifier = verifier.map_err(|error| self.unfit(&error))?;
        let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13])?;
        let mut config = builder.with_client_cert_verifier(verifier).with_single_cert(chain, key).map_err(|error| self.unfit(&error))?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    fn read(&self) -> Result<(RootCertStore, Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), LinkFault> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&self.authority)? {
            roots.add(certificate).map_err(|error| file_fault(&self.authority, &format!("no authority's certificate ({error})")))?;
        }
        let chain = certificates(&self.certificate)?;
        let mode = std::fs::metadata(&self.key).map_err(|error| file_fault(&self.key, &error.to_string()))?.permissions().mode();
        if mode & 0o007 != 0 {
            return Err(file_fault(&self.key, "everybody can read this key: chmod 600 it, and enrol anew if somebody has"));
        }
        let key = PrivateKeyDer::from_pem_slice(&read_small(&self.key)?)
            .map_err(|error| file_fault(&self.key, &format!("holds no PEM key ({error}): use the file that enrolment wrote")))?;
        Ok((roots, chain, key))
    }

    fn unfit(&self, error: &dyn std::fmt::Display) -> LinkFault {
        file_fault(&self.certificate, &format!("does not go with its key or authority ({error}): use the files of one enrolment"))
    }
}

/// The name that a device expects in the host's certificate.
pub(crate) fn host_name() -> Result<ServerName<'static>, LinkFault> {
    ServerName::try_from(HOST_NAME).map_err(|_| LinkFault::WrongCertificate)
}

/// The URI of a device's certificate; whatever is not a letter, digit, `.`, `_` or `-` is percent-encoded.
#[must_use]
pub fn device_uri(device: &Name) -> String {
    let mut uri = DEVICE_URI.to_owned();
    for byte in device.as_str().bytes() {
        if byte.is_ascii_alphanumeric() || b"._-".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    uri
}

/// The name of the device whose verified certificate this is. For servers with a TLS stack of their own (tokio-rustls), too.
///
/// # Errors
/// [`LinkFault::WrongCertificate`]: it is not a device's.
pub fn device_name(certificate: &CertificateDer<'_>) -> Result<Name, LinkFault> {
    let certificate = webpki::EndEntityCert::try_from(certificate).map_err(|_| LinkFault::WrongCertificate)?;
    let mut names = certificate.valid_uri_names().filter_map(|uri| uri.strip_prefix(DEVICE_URI));
    match (names.next(), names.next()) {
        (Some(name), None) => decode_name(name).ok_or(LinkFault::WrongCertificate),
        _ => Err(LinkFault::WrongCertificate),
    }
}

fn decode_name(encoded: &str) -> Option<Name> {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let (digits, after) = rest.split_at_checked(2)?;
            rest = after;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    Name::from_bytes(&bytes).ok()
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, LinkFault> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read_small(path)?).collect();
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(file_fault(path, "holds no PEM certificate: use the file that enrolment wrote")),
    }
}

fn read_small(path: &Path) -> Result<Vec<u8>, LinkFault> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
    match read {
        Ok(count) if count as u64 <= FILE_BYTES_MAX => Ok(bytes),
        Ok(_) => Err(file_fault(path, "larger than any certificate: give the right file")),
        Err(error) => Err(file_fault(path, &error.to_string())),
    }
}

pub(crate) fn file_fault(path: &Path, what: &str) -> LinkFault {
    LinkFault::File { path: path.to_path_buf(), what: what.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_survives_its_uri() {
        for text in ["edge-1", "gate 3", "Tür/100%", "a:b,c;d"] {
            let name = Name::new(text).expect("a name");
            let uri = device_uri(&name);
            assert!(uri.is_ascii() && !uri.contains(' '));
            assert_eq!(uri.strip_prefix(DEVICE_URI).and_then(decode_name), Some(name));
        }
        for bad in ["", "%", "%4", "%zz", "%0A", "%FF"] {
            assert_eq!(decode_name(bad), None, "{bad}");
        }
    }

    #[test]
    fn files_that_are_no_credentials_are_named() {
        let nowhere = PathBuf::from("nowhere.pem");
        let credentials = Credentials { authority: nowhere.clone(), certificate: nowhere.clone(), key: nowhere };
        let fault = credentials.device().expect_err("there are no files");
        assert!(fault.to_string().starts_with("nowhere.pem: "), "{fault}");
        assert!(credentials.host().is_err());
    }
}
