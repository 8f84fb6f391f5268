//! alfred-wire: what crosses a process border of ALFred on the edge.
//!
//! In: pose frames, as a binary message ([`pose_message`]) or as a JSON line ([`pose_line`]). Out: events and segments ([`output`]), as JSON
//! lines or, on the link, as postcard. Everything has a maximum size, and nothing here allocates.
#![no_std]
#![forbid(unsafe_code)]

pub mod pose_message;

pub mod pose_line;

pub mod output;
