//! libFuzzer's entry: streams of frames through the whole data path. See `src/pipeline.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| alfred_fuzz::pipeline::run(data));
