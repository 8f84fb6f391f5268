//! alfred-store: what the host remembers, in one SQLite file.
//!
//! Records of devices are kept before their receipt goes out, exactly once by their id ([`record`]); what a person can judge is an
//! [`item`]; what people said about it is a log that only grows ([`label`]); models, bundles and what became of them on each device stand in
//! [`bundle`] and [`deployment`]; how each candidate of the retraining cycle was judged in [`evaluation`], what people asked of the cycle in
//! [`request`], where it stands in [`cycle`]; who may do what in [`user`]; who did what in [`audit`]. Every moment is an argument, in milliseconds since
//! 1970: nothing here reads a clock. Texts reach the database only as parameters.
#![forbid(unsafe_code)]

pub mod error;

pub mod store;

mod schema;

pub mod audit;

pub mod device;

pub mod record;

pub mod item;

pub mod likeness;

pub mod al_light;

pub mod queue;

pub mod policy;

pub mod snooze;

pub mod playback;

pub mod label;

pub mod agreement;

pub mod conflict;

pub mod meter;

pub mod stream;

pub mod exchange;

pub mod bundle;

pub mod rollout;

pub mod deployment;

pub mod evaluation;

pub mod request;

pub mod cycle;

pub mod user;

pub mod count;

pub use error::StoreError;
pub use store::Store;
