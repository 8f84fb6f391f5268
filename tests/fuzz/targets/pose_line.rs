//! libFuzzer's entry: JSON lines of poses. See `src/pose_line.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| alfred_fuzz::pose_line::run(data));
