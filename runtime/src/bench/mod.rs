//! `alfred-edge bench`: how long the real data path takes from a frame to the line that decides it, over minutes or hours.
//!
//! Nothing is left out: a feeder sends synthetic people at the pace of a camera through the Unix socket, ingest, scoring and output thread
//! do what they do under `run`, and an observer at the end of the output notes when each frame's decisions were written ([`timeline`]).
//! Beside it stands what the machine did to us ([`machine`]): how long our threads were ready and had no core, and how late a thread was
//! woken that does nothing but wait. A frame that missed its deadline is the machine's only where one of those two explains it.

mod timeline;

mod machine;

mod feeder;

mod observer;

mod stress;

mod run;

mod report;

mod plot;

mod cold_start;

pub use cold_start::ColdStarts;
pub use machine::Pages;
pub use report::{Quantiles, Report};
pub use run::{BenchSettings, run};

pub(crate) mod command;
