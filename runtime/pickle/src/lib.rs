//! alfred-pickle: reads Python's pickles as data and never runs anything in them.
//!
//! A pickle is a program for a stack machine that may name any Python function and call it. This machine knows the few names of a
//! [`dialect::Dialect`] and what their owners mean by them; any other name is refused where it stands, called or not.
//!
//! Why our own: the crate `pytorch-reader` (of the burn project; safe and well kept) skips names it does not know instead of refusing
//! them, drops the attributes of a Namespace, where R and the hop limit stand, and brings tar and deflate along; `candle-core` and
//! `burn-store` are whole frameworks; `serde-pickle` knows neither persistent ids nor numpy. Values live in one list and refer to each
//! other by number, so that cycles, repeated references and deep nesting cost nothing: no recursion, no copies.
#![forbid(unsafe_code)]

pub mod value;

pub mod dialect;

pub mod array;

pub mod pickle;

mod machine;

mod calls;

#[cfg(test)]
mod tests;
