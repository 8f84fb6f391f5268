//! libFuzzer's entry: messages of the link. See `src/link_message.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| alfred_fuzz::link_message::run(data));
