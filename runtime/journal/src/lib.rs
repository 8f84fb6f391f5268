//! alfred-journal: what the host must get waits here until the host has it.
//!
//! A region of fixed size is cut into blocks ([`block`]); a record takes as many as it needs, anywhere. A record that was appended stays
//! until the host's receipt frees it, or until a dearer one needs its room: then the oldest of the lowest priority goes, and a durable
//! counter says so ([`superblock`]). Power may fail at any byte.
//!
//! # Why not `sequential-storage`
//!
//! It was judged over a file-backed NOR-flash adapter, and three things do not fit. Its queue is first in, first out: priorities would
//! need a queue each with a fixed share of the region, and a receipt out of order (dear records go first) could free nothing. A
//! record must fit into one page, and pages are the unit of eviction: with 64 KiB records a full page would throw away dozens of small
//! ones, uncounted. And it goes to lengths for what a file on a managed flash does not have (words that are written once, erase cycles),
//! through an asynchronous interface. What is left to write ourselves is a scan, a free list and two copies of a superblock.
#![forbid(unsafe_code)]

pub mod block;

pub mod superblock;

mod index;

pub mod open;

pub mod journal;

#[cfg(test)]
mod journal_tests;

#[cfg(test)]
mod power_cut_tests;
