//! libFuzzer's entry: weight files of STG-NF. See `src/weights_file.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| alfred_fuzz::weights_file::run(data));
