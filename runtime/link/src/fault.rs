//! What goes wrong between device and host: one distinct fault each, with a mend, and a counter per kind.

use alfred_journal::journal::JournalError;
use alfred_wire::error_code::{CodeNumber, ErrorCode};
use alfred_wire::link::LinkError;
use alfred_wire::name::Name;
use rustls::{AlertDescription, CertificateError, Error as TlsError};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Why a connection could not be made, or ended.
#[derive(Debug, thiserror::Error)]
pub enum LinkFault {
    /// A file of the link cannot be used.
    #[error("{path}: {what}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it, and the mend.
        what: String,
    },
    /// The host's address cannot be found out.
    #[error("{address}: {what}: check the host's name and port in the configuration, and the network's name service")]
    Address {
        /// As configured.
        address: String,
        /// The system's words.
        what: String,
    },
    /// Nothing but the loopback interface may go without TLS.
    #[error("{0} is not on the loopback interface and there are no certificates: enrol the device, or use 127.0.0.1 for trials")]
    NotLoopback(SocketAddr),
    /// No connection came about.
    #[error("the host cannot be reached: {0}")]
    Connect(io::Error),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(io::Error),
    /// The other end hung up between two messages.
    #[error("the other end closed the connection")]
    Closed,
    /// The other end hung up within a message, or TLS ended without a farewell.
    #[error("the connection ended in the middle: the network cut it, or somebody shortened it")]
    Truncated,
    /// A message or handshake takes longer than allowed, or the other end does not read.
    #[error("the other end is too slow: {0}")]
    Slow(&'static str),
    /// A device says nothing any more.
    #[error("the other end has been silent for too long")]
    Silent,
    /// The bytes are no message.
    #[error(transparent)]
    Message(#[from] LinkError),
    /// A message at the wrong moment.
    #[error("a message came at the wrong moment: {0}")]
    Unexpected(&'static str),
    /// The other end refused.
    #[error("the other end refuses: {0}")]
    Refused(CodeNumber),
    /// This end refused.
    #[error("refused: {0}")]
    Refusing(ErrorCode),
    /// The other end's certificate is from another authority.
    #[error("the other end's certificate is from an authority that is not trusted here: enrol the device with this host")]
    UnknownAuthority,
    /// The other end's certificate is no longer valid.
    #[error("the other end's certificate has expired: enrol the device anew, or check this machine's clock")]
    Expired,
    /// The other end's certificate is not valid yet.
    #[error("the other end's certificate is not valid yet: check this machine's clock")]
    NotYetValid,
    /// The other end's certificate is for something else: another name, or a device's used as a host's.
    #[error("the other end's certificate is for another name or purpose: use the files that enrolment wrote")]
    WrongCertificate,
    /// The other end shows no certificate.
    #[error("the other end shows no certificate: enrol the device")]
    NoCertificate,
    /// The other end rejects our certificate.
    #[error("the other end rejects this end's certificate ({0:?}): enrol the device with that host; check both clocks")]
    Rejected(AlertDescription),
    /// TLS failed otherwise: garbage, another protocol, an old version.
    #[error("TLS failed: {0}: is the other end a device or host of this project?")]
    Tls(TlsError),
    /// The device calls itself otherwise than its certificate.
    #[error("the certificate is for device {certificate}, but it calls itself {hello}")]
    WrongDevice {
        /// The verified name.
        certificate: Box<Name>,
        /// What it says.
        hello: Box<Name>,
    },
    /// Too many connections.
    #[error("more than {0} connections: raise the limit, or find out who connects")]
    TooMany(usize),
    /// A record's receipt does not come.
    #[error("the host takes records but sends no receipts")]
    NoReceipt,
    /// The journal's storage failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The spool for bundles failed.
    #[error("the spool for bundles: {0}: check the disk")]
    Spool(io::Error),
}

impl From<TlsError> for LinkFault {
    fn from(error: TlsError) -> Self {
        match error {
            TlsError::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => Self::UnknownAuthority,
            TlsError::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => Self::Expired,
            TlsError::InvalidCertificate(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }) => Self::NotYetValid,
            TlsError::InvalidCertificate(_) => Self::WrongCertificate,
            TlsError::NoCertificatesPresented => Self::NoCertificate,
            TlsError::AlertReceived(
                alert @ (AlertDescription::UnknownCA
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateRequired
                | AlertDescription::BadCertificate
                | AlertDescription::CertificateUnknown
                | AlertDescription::CertificateRevoked
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::DecryptError
                | AlertDescription::AccessDenied),
            ) => Self::Rejected(alert),
            error => Self::Tls(error),
        }
    }
}

macro_rules! kinds {
    ($($kind:ident $name:literal,)+) => {
        /// Kinds of faults, for counters.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum FaultKind {
            $(#[doc = $name] $kind,)+
        }

        impl FaultKind {
            /// All kinds, in the order of their counters.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$kind),+];

            /// The counter's name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)+ }
            }
        }
    };
}

kinds! {
    File "file",
    Address "address",
    NotLoopback "not_loopback",
    Connect "connect",
    Broken "broken",
    Closed "closed",
    Truncated "truncated",
    Slow "slow",
    Silent "silent",
    Magic "magic",
    Version "version",
    TooLarge "too_large",
    Malformed "malformed",
    Unexpected "unexpected",
    Refused "refused",
    Refusing "refusing",
    UnknownAuthority "unknown_authority",
    Expired "expired",
    NotYetValid "not_yet_valid",
    WrongCertificate "wrong_certificate",
    NoCertificate "no_certificate",
    Rejected "rejected",
    Tls "tls",
    WrongDevice "wrong_device",
    TooMany "too_many",
    NoReceipt "no_receipt",
    Journal "journal",
    Spool "spool",
}

impl LinkFault {
    /// The fault's kind.
    #[must_use]
    pub const fn kind(&self) -> FaultKind {
        match self {
            Self::File { .. } => FaultKind::File,
            Self::Address { .. } => FaultKind::Address,
            Self::NotLoopback(_) => FaultKind::NotLoopback,
            Self::Connect(_) => FaultKind::Connect,
            Self::Broken(_) => FaultKind::Broken,
            Self::Closed => FaultKind::Closed,
            Self::Truncated => FaultKind::Truncated,
            Self::Slow(_) => FaultKind::Slow,
            Self::Silent => FaultKind::Silent,
            Self::Message(LinkError::Magic) => FaultKind::Magic,
            Self::Message(LinkError::Version(_)) => FaultKind::Version,
            Self::Message(LinkError::TooLarge(_)) => FaultKind::TooLarge,
            Self::Message(LinkError::Malformed) => FaultKind::Malformed,
            Self::Unexpected(_) => FaultKind::Unexpected,
            Self::Refused(_) => FaultKind::Refused,
            Self::Refusing(_) => FaultKind::Refusing,
            Self::UnknownAuthority => FaultKind::UnknownAuthority,
            Self::Expired => FaultKind::Expired,
            Self::NotYetValid => FaultKind::NotYetValid,
            Self::WrongCertificate => FaultKind::WrongCertificate,
            Self::NoCertificate => FaultKind::NoCertificate,
            Self::Rejected(_) => FaultKind::Rejected,
            Self::Tls(_) => FaultKind::Tls,
            Self::WrongDevice { .. } => FaultKind::WrongDevice,
            Self::TooMany(_) => FaultKind::TooMany,
            Self::NoReceipt => FaultKind::NoReceipt,
            Self::Journal(_) => FaultKind::Journal,
            Self::Spool(_) => FaultKind::Spool,
        }
    }

    /// What the other end is told before the connection ends; `None` where there is nobody to tell.
    #[must_use]
    pub const fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Message(error) => Some(error.code()),
            Self::Unexpected(_) => Some(ErrorCode::LinkUnexpected),
            Self::WrongDevice { .. } => Some(ErrorCode::LinkWrongDevice),
            Self::TooMany(_) => Some(ErrorCode::LinkBusy),
            Self::Refusing(code) => Some(*code),
            _ => None,
        }
    }
}

/// How often each kind of fault happened.
#[derive(Debug, Default)]
pub struct FaultCounters([AtomicU64; FaultKind::ALL.len()]);

impl FaultCounters {
    /// Counts a fault; true for the first one of its kind.
    pub fn count(&self, kind: FaultKind) -> bool {
        self.0[kind as usize].fetch_add(1, Relaxed) == 0
    }

    /// How often a kind happened.
    #[must_use]
    pub fn get(&self, kind: FaultKind) -> u64 {
        self.0[kind as usize].load(Relaxed)
    }

    /// Kinds that happened, and how often.
    pub fn seen(&self) -> impl Iterator<Item = (FaultKind, u64)> {
        FaultKind::ALL.into_iter().map(|kind| (kind, self.get(kind))).filter(|(_, count)| *count > 0)
    }
}
