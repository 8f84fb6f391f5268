//! Training: hand-derived steps, optimisers, schedules, and the loop around them.

pub mod lanes;

pub mod stg_nf_forward;

pub mod stg_nf_backward;

pub mod optimiser;

pub mod trainer;

pub mod stg_nf_trainer;

pub mod checkpoint;

pub mod run;

#[cfg(test)]
mod golden_tests;

#[cfg(test)]
mod gradient_tests;

#[cfg(test)]
mod run_tests;
