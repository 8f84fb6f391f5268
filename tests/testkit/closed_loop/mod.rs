//! The closed loop as processes: a daemon, devices, a browser's session; used by the demo and by the tests of the whole.

pub mod daemon;

pub mod device;

pub mod session;

pub mod scene;

pub mod annotator;
