//! Tables and summaries in the form of the paper, for its own numbers and for ours.

pub mod box_plot;

pub mod table6_7;
