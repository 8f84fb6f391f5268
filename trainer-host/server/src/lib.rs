//! alfred-server: the host's daemon. Takes what devices send and answers each record once it is committed, hands out bundles, and serves
//! the review page with its API ([`http`]); everything that must survive stands in `alfred_store`'s database.
//!
//! [`serve::serve`] runs it until told to stop; [`user`] makes reviewers' tokens.
#![forbid(unsafe_code)]

pub mod config;

pub mod error;

mod clock;

pub mod secret;

pub mod user;

mod database;

mod limiter;

mod refusals;

pub mod expert;

mod preview;

mod mqtt;

mod figures;

mod device;

pub mod http;

pub mod serve;

pub use config::ServerConfig;
pub use error::ServeError;
pub use expert::Expert;
pub use serve::{Server, serve};
