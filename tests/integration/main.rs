//! What crosses crates: files in, the same numbers as the published code out.

mod published_parity;

mod normalisation_parity;
