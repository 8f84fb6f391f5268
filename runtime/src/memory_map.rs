//! Every block of memory that the live process plans for, its size and the total, like a linker map.
//!
//! Compartments: `core` (sizes known at compile time), `runtime` (queues and buffers, sizes from `limits`), `model`, `arena` (ONNX only),
//! `stack` (reserved; only what is used becomes resident). Start-up needs more for a moment (files, parsing, optimising a graph); that is
//! given back before the first frame and is not part of the map, nor are the program's own code and the system's libraries.

use crate::error::Error;
use crate::limits::LINK_BUNDLE_BYTES_MAX;
use crate::limits::{FRAME_POOL, IO_STACK_BYTES, OUTPUT_BUFFER_BYTES, OUTPUT_QUEUE, SEGMENT_BUFFER_POSES_MAX, SEGMENT_BUFFERS};
use crate::limits::{PROCESS_BYTES, SUPERVISOR_STACK_BYTES, UPDATE_STACK_BYTES};
use crate::live::TimedFrame;
use crate::live::latency::Latency;
use crate::live::line_source::LineSource;
use crate::live::output::{Item, SegmentBuffer, StatsBuffer};
use crate::live::update::MODEL_BYTES;
use crate::model_file::LoadedModel;
use alfred_bundle::format::BUNDLE_BYTES_MAX;
use alfred_core::limits::{BATCH_WINDOWS_MAX, SEGMENT_POSES_MAX, TRACKS_MAX};
use alfred_core::pipeline::Pipeline;
use alfred_core::scorer::Window;
use alfred_core::segment::SegmentPose;
use alfred_core::track_table::TrackSlot;
use alfred_journal::journal::{self, JOURNAL_BLOCK_BYTES};
use alfred_link::client::STACK_BYTES;
use alfred_link::config::LinkConfig;
use alfred_link::limits::CONNECTION_BYTES;
use alfred_wire::record::RECORD_POSES_BYTES_MAX;
use serde::Serialize;
use std::fmt;

/// One block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Block {
    /// Where it belongs.
    pub compartment: &'static str,
    /// What it is.
    pub name: &'static str,
    /// How many of them.
    pub count: usize,
    /// Bytes of one.
    pub bytes_each: usize,
    /// Bytes of all.
    pub bytes: usize,
}

/// All blocks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryMap {
    /// The blocks, by compartment.
    pub blocks: Vec<Block>,
    /// Their sum.
    pub total_bytes: usize,
}

impl MemoryMap {
    /// The map with what updates need: two more models, the slots, and the thread.
    #[must_use]
    pub fn with_updates(mut self) -> Self {
        let block = |compartment, name, count, bytes_each| Block { compartment, name, count, bytes_each, bytes: count * bytes_each };
        let added = [
            block("model", "bundles: confirmed, candidate and one on its way", 3, MODEL_BYTES),
            block("runtime", "bundles in the slots and on their way", 3, BUNDLE_BYTES_MAX),
            block("stack", "update thread", 1, UPDATE_STACK_BYTES),
        ];
        self.total_bytes += added.iter().map(|block| block.bytes).sum::<usize>();
        self.blocks.extend(added);
        self
    }

    /// The map with a model, or of everything but the model.
    #[must_use]
    pub fn new(model: Option<&LoadedModel>) -> Self {
        let (model_bytes, arena_bytes) = model.map_or((0, 0), LoadedModel::bytes);
        let scoring_stack = model.map_or(crate::limits::SCORING_STACK_BYTES, LoadedModel::stack_bytes);
        let block = |compartment, name, count, bytes_each| Block { compartment, name, count, bytes_each, bytes: count * bytes_each };
        let segment = size_of::<SegmentBuffer>() + SEGMENT_BUFFER_POSES_MAX * size_of::<SegmentPose>();
        let pointer = size_of::<usize>();
        // A slot of a bounded channel holds its message and a stamp.
        let slot = |bytes: usize| bytes + pointer;
        let blocks = vec![
            block("core", "tracks (detections, scores, event state)", TRACKS_MAX, size_of::<TrackSlot>()),
            block("core", "poses for segments", SEGMENT_POSES_MAX, size_of::<SegmentPose>()),
            block("core", "windows of one batch", BATCH_WINDOWS_MAX, size_of::<Window>()),
            block("core", "pipeline (frame scores, queues, counters)", 1, size_of::<Pipeline<'_>>()),
            block("runtime", "frame pool", FRAME_POOL, size_of::<TimedFrame>()),
            block("runtime", "frame queues", 2 * FRAME_POOL, slot(pointer)),
            block("runtime", "output queue", OUTPUT_QUEUE, slot(size_of::<Item>())),
            block("runtime", "segment buffers", SEGMENT_BUFFERS, segment),
            block("runtime", "health figures", 2, size_of::<StatsBuffer>()),
            block("runtime", "latency histograms", 2, Latency::heap_bytes()),
            block("runtime", "input buffer", 1, LineSource::BUFFER_BYTES),
            block("runtime", "output buffer", 1, OUTPUT_BUFFER_BYTES),
            block("model", "scorer", 1, model_bytes),
            block("arena", "arena of the ONNX engine", 1, arena_bytes),
            block("stack", "ingest and output threads", 2, IO_STACK_BYTES),
            block("stack", "supervisor thread", 1, SUPERVISOR_STACK_BYTES),
            block("stack", "scoring thread", 1, scoring_stack),
        ];
        let blocks: Vec<Block> = blocks.into_iter().filter(|block| block.bytes > 0).collect();
        let total_bytes = blocks.iter().map(|block| block.bytes).sum();
        Self { blocks, total_bytes }
    }

    /// The map with what a configured link adds.
    #[must_use]
    pub fn with_link(mut self, link: Option<&LinkConfig>) -> Self {
        let Some(link) = link else { return self };
        let index = usize::try_from(journal::memory_bytes(link.journal_bytes, JOURNAL_BLOCK_BYTES)).unwrap_or(usize::MAX);
        let block = |name, bytes| Block { compartment: "link", name, count: 1, bytes_each: bytes, bytes };
        let blocks = [
            block("journal's index and block", index),
            block("record buffers and queues", alfred_link::handle::QUEUE_BYTES + RECORD_POSES_BYTES_MAX),
            block("connection (messages, TLS, bundle)", CONNECTION_BYTES + LINK_BUNDLE_BYTES_MAX as usize),
            block("buffers of normal samples", crate::live::sampling::POOL_BYTES),
            block("stacks of the journal's and link's threads", STACK_BYTES),
        ];
        self.total_bytes = blocks.iter().fold(self.total_bytes, |total, block| total.saturating_add(block.bytes));
        self.blocks.extend(blocks);
        self
    }

    /// What `MemoryMax=` of the unit must be for a ceiling of so many bytes.
    #[must_use]
    pub const fn memory_max_bytes(ceiling_bytes: u64) -> u64 {
        ceiling_bytes.saturating_add(PROCESS_BYTES)
    }

    /// Checks the total against the configured ceiling.
    ///
    /// # Errors
    /// One line that names both figures and the mend.
    pub fn check(&self, ceiling_bytes: u64) -> Result<(), Error> {
        if self.total_bytes as u64 <= ceiling_bytes {
            return Ok(());
        }
        let what =
            format!("{ceiling_bytes} bytes, but the memory map adds up to {}: raise it, or lower model.arena_bytes", self.total_bytes);
        Err(Error::input("memory.ceiling_bytes", what))
    }
}

impl fmt::Display for MemoryMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<10}{:<44}{:>8}{:>12}{:>12}", "", "block", "count", "bytes each", "bytes")?;
        for block in &self.blocks {
            writeln!(f, "{:<10}{:<44}{:>8}{:>12}{:>12}", block.compartment, block.name, block.count, block.bytes_each, block.bytes)?;
        }
        write!(f, "{:<54}{:>32} = {:.2} MiB", "total", self.total_bytes, self.total_bytes as f64 / f64::from(1 << 20))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_adds_up_and_the_ceiling_holds() {
        let map = MemoryMap::new(None);
        assert_eq!(map.total_bytes, map.blocks.iter().map(|block| block.count * block.bytes_each).sum::<usize>());
        assert!(map.total_bytes < 2 << 20, "the native path stays under 2 MiB: {}", map.total_bytes);
        assert!(map.check(map.total_bytes as u64).is_ok());
        let refused = map.check(map.total_bytes as u64 - 1).expect_err("one byte too much").to_string();
        assert!(refused.contains("memory.ceiling_bytes") && refused.contains("raise it"), "{refused}");
        assert!(map.to_string().lines().count() > 10);
    }

    #[test]
    fn a_link_is_on_the_map_with_its_journal() {
        let config = |bytes| {
            crate::config::Config::parse(&format!(
                "[model]\nfile = \"w\"\n[link]\nhost = \"127.0.0.1:1\"\ndevice = \"d\"\njournal_bytes = {bytes}\n"
            ))
        };
        let total = |bytes| MemoryMap::new(None).with_link(config(bytes).expect("valid").link.as_ref()).total_bytes;
        assert!(total(1 << 20) > MemoryMap::new(None).total_bytes + (1 << 20), "buffers and stacks count");
        assert!(total(1 << 30) > total(1 << 20) + (1 << 20), "a larger journal has a larger index");
        assert!(total(256 << 20) < 8 << 20, "the default journal fits under the default ceiling with a native model");
    }
}
