//! Thresholds: by which rule one is chosen, when choosing is refused, and what happens to the old one then.

pub mod policy;

pub mod choice;
