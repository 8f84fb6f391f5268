//! libFuzzer's entry: AlphaPose files. See `src/pose_file.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| alfred_fuzz::pose_file::run(data));
