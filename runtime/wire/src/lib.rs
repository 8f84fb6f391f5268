//! alfred-wire: what crosses a process border of ALFred on the edge.
//!
//! In: pose frames, as a binary message ([`pose_message`]) or as a JSON line ([`pose_line`]). Out: events and segments ([`output`]), as JSON
//! lines. Between device and host: [`link`]'s messages in both directions, whose refusals have the codes of [`error_code`], and in them
//! the journal's records ([`record`], poses in [`pose_codec`]'s form). Everything has a maximum size, and nothing here allocates.
#![no_std]
#![forbid(unsafe_code)]

pub mod pose_message;

pub mod pose_line;

pub mod output;

pub mod name;

pub mod error_code;

mod nibble;

pub mod pose_codec;

pub mod byte_budget;

pub mod record;

pub mod sampler;

pub mod link;
