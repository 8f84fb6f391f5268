//! alfred-bundle: weights, threshold and all that belongs to them as one signed unit.
//!
//! Way of a bundle: `alfred-host bundle build` ([`collapse`], [`mod@format`], [`signature`]) → the device's inbox → [`verify`] (size, signature, contents,
//! camera, revision, [`fingerprint`], [`self_test`], in this order) → `slots`: stored, tried in shadow, on trial, confirmed or reverted.
//!
//! Without the feature `slots` the crate is no_std and allocates nothing.
#![cfg_attr(not(feature = "slots"), no_std)]
#![forbid(unsafe_code)]

pub mod collapse;

pub mod format;

pub mod signature;

pub mod fingerprint;

pub mod self_test;

pub mod verify;

pub mod trial;

#[cfg(feature = "slots")]
pub mod slot_table;

#[cfg(feature = "slots")]
pub mod slots;

#[cfg(all(test, feature = "slots"))]
mod slots_tests;

#[cfg(test)]
mod bundle_tests;

#[cfg(test)]
mod test_kit;
