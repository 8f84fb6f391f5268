//! What the benches share. Each bench uses a part of it.

pub mod budgets;

pub mod contest;

pub mod engines;

pub mod machine;

pub mod reader;

pub mod stage;

pub mod stream;
