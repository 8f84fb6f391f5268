//! alfred-clips: clips on disk. One reader for device tools and host, so that both see the same poses, masks and refusals.
#![forbid(unsafe_code)]

pub mod error;

pub mod pose_file;

pub mod huvad;

pub mod frame_mask;
