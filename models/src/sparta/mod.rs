//! SPARTA: a transformer that reconstructs the second half of a window of poses given the first; its squared error is the score.
//!
//! Source: the SPARTA paper (arXiv 2408.15185), future-target decoder branch (FTD). The formulas are implemented here from their
//! description. Data moves: weight file → parameters → folded → one of the engines → score.

pub mod parameters;

pub mod layers;

#[cfg(feature = "std")]
pub mod weights_file;

pub mod tokens;

pub mod fold;

pub mod fold_tokens;

pub mod reference;

mod exact;

mod fast;

mod fast_tokens;

pub mod scorer;

#[cfg(all(test, feature = "std"))]
mod test_kit;

#[cfg(all(test, feature = "std"))]
mod parity_tests;

#[cfg(all(test, feature = "std"))]
mod weights_file_tests;

#[cfg(all(test, feature = "std"))]
mod golden_tests;
