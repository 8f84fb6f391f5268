//! alfred-link: how a device and its host talk, both ends, and how a device is enrolled.
//!
//! Device: [`client`] takes records of the journal to the host and fetches bundles, on threads of its own; the frame thread only ever
//! touches [`handle`]'s bounded queues. Host: [`tcp::Acceptor`] takes connections and says who calls, [`host`] holds the conversation.
//! Between them: frames of `alfred-wire` over TLS 1.3 in which both ends prove who they are ([`credentials`]); without TLS only on the
//! loopback interface. Whatever a peer does, it costs a buffer of fixed size, a bounded time, and one counted [`fault`].
//!
//! [`session::Link`] is a trait: a fleet may carry the same messages over a broker.
#![forbid(unsafe_code)]

pub mod limits;

pub mod fault;

pub mod session;

pub mod credentials;

mod transport;

pub mod tcp;

pub mod backoff;

pub mod token_bucket;

pub mod spool;

pub mod config;

pub mod handle;

mod transfer;

pub mod client;

pub mod host;

#[cfg(feature = "enrol")]
pub mod enrol;
