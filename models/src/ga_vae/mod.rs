//! GA-VAE: a variational auto-encoder of poses with graph attention. The score of a window is how far its latent description lies from that of
//! ordinary windows, or how badly the decoder makes the window out of it; a model's weight file says which.
//!
//! Source: the pose branch of the TSGAD paper (arXiv 2406.15395) as far as its released code shows it; no weights are published. The
//! formulas are implemented here from a description. Deviations, each decided on purpose:
//!
//! 1. 18 joints in OpenPose order instead of COCO's 17, counted from the neck: the same windows serve every model.
//! 2. Means and logarithms of deviations are the first and second half of the encoder's channels; the published code takes them from
//!    neighbouring joints in turn.
//! 3. The encoder's output is not squashed.
//! 4. The score may be the reconstruction's error; the published code's is the distance.
//! 5. Training assumes Gaussian coordinates of variance 1, not Bernoulli ones.
//!
//! Data moves: weight file → parameters → folded → one of the engines → score. The decoder is folded only where the score rule needs it.

pub mod shape;

pub mod parameters;

pub mod layers;

#[cfg(feature = "std")]
pub mod weights_file;

pub mod skeleton;

pub mod fold;

mod product;

mod fast;

mod decoder;

pub mod scorer;

#[cfg(feature = "std")]
pub mod reference;

#[cfg(all(test, feature = "std"))]
mod test_kit;

#[cfg(all(test, feature = "std"))]
mod parameters_tests;

#[cfg(all(test, feature = "std"))]
mod reference_tests;

#[cfg(all(test, feature = "std"))]
mod weights_file_tests;

#[cfg(all(test, feature = "std"))]
mod parity_tests;
