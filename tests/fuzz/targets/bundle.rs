//! libFuzzer's entry: bundles. See `src/bundle.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| alfred_fuzz::bundle::run(data));
