//! Fuzzes the judgement of pickles, wherever in a file they are.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = ckpt::formats::scan::scan(&data.to_vec());
});
