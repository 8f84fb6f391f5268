//! Training: hand-derived steps, optimisers, schedules, and the loop around them.

pub mod lanes;

pub mod stg_nf_forward;

pub mod stg_nf_backward;

pub mod optimiser;

pub mod trainer;

pub mod stg_nf_trainer;

pub mod matrix;

pub mod sparta_attention;

pub mod sparta_layers;

pub mod sparta_step;

pub mod sparta_trainer;

pub mod ga_vae_kernels;

pub mod ga_vae_norm;

pub mod ga_vae_plan;

pub mod ga_vae_block;

pub mod ga_vae_block_back;

pub mod ga_vae_group;

pub mod ga_vae_step;

pub mod ga_vae_trainer;

pub mod burn_device;

pub mod burn_tensors;

pub mod burn_trainer;

pub mod burn_stg_nf;

pub mod burn_sparta;

pub mod burn_ga_vae;

pub mod architecture;

pub mod checkpoint;

pub mod run;

#[cfg(test)]
mod golden_tests;

#[cfg(test)]
mod gradient_tests;

#[cfg(test)]
mod run_tests;

#[cfg(test)]
mod burn_stg_nf_tests;

#[cfg(test)]
mod burn_sparta_tests;

#[cfg(test)]
mod burn_ga_vae_tests;

#[cfg(test)]
mod sparta_trainer_tests;

#[cfg(test)]
mod ga_vae_trainer_tests;

#[cfg(test)]
mod sparta_attention_tests;
