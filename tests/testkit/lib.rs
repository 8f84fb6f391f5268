//! What tests of several crates share: golden data, named tolerances, and output that test harnesses do not swallow.

pub mod golden;

pub mod tolerance;
