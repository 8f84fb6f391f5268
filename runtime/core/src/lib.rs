//! alfred-core: the data path of ALFred on the edge.
//!
//! Data moves one way, one file per stage, and [`pipeline`] is the only file that calls every stage:
//!
//! pose frame → track windows → normalise → score → frame score → smoothing → decision → event / segment
//!
//! A camera's [`verdict_head`], if it has one, refines scores: it stands behind the scorer and looks like one.
//!
//! No heap, no I/O, no clock, no threads: frames, time and memory come in as arguments. Every capacity is a constant in
//! [`limits`], every loss a counter in [`counters`]. Anomaly is the positive class: a higher score is more anomalous.
#![no_std]
#![forbid(unsafe_code)]

pub mod limits;

pub mod units;

pub mod pose;

pub mod track_window;

pub mod normalise;

pub mod scorer;

pub mod verdict_head;

pub mod score_ring;

pub mod smoothing;

pub mod decision;

pub mod event;

pub mod segment;

pub mod counters;

pub mod track_table;

pub mod pipeline;

pub mod evaluation;
