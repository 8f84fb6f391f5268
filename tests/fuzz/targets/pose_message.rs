//! libFuzzer's entry: binary messages of poses. See `src/pose_message.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| alfred_fuzz::pose_message::run(data));
