//! alfred-board: what a board gives ALFred on the edge. Contracts in [`hal`], one small file per board.

pub mod hal;

pub mod generic_linux;

pub mod file_storage;

pub mod sim_storage;

pub mod counting_allocator;
