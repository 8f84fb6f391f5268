//! libFuzzer's entry: npy frame masks. See `src/frame_mask.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| alfred_fuzz::frame_mask::run(data));
