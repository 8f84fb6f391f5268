//! libFuzzer's entry: HuVAD's pickles. See `src/huvad.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| alfred_fuzz::huvad::run(data));
