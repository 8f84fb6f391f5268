//! alfred-board: what a board gives ALFred on the edge. Contracts in [`hal`], facts in `boards/*.toml`, one implementation for Linux and one simulated.
//!
//! All boards compile everywhere; [`select`] picks one by name, or by what the device tree says. Paths of the system start at a
//! [`root::Root`] that tests point at a tree of their own. [`conformance`] is what every board must pass.

pub mod hal;

pub mod facts;

pub mod root;

pub mod select;

pub mod generic_linux;

pub mod linux;

pub mod power_meter;

pub mod sim;

mod sim_camera;

pub mod conformance;

#[doc(hidden)]
pub mod fake_tree;

pub mod file_storage;

pub mod sim_storage;

pub mod thread_policy;

pub mod counting_allocator;
