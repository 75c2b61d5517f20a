//! Fuzzes the reader of a tokenizer file of any kind.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = ckpt::tokenizers::read(data).map(|tokenizer| tokenizer.summary());
});
