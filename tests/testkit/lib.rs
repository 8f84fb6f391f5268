//! What tests of several crates share: golden data, named tolerances, output that test harnesses do not swallow, and the closed loop's processes.

pub mod golden;

pub mod tolerance;

pub mod closed_loop;
