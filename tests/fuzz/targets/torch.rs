//! Fuzzes the reader of a torch.save zip.
#![no_main]

use ckpt::facts::FileId;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = ckpt::formats::torch::read(&data.to_vec(), FileId(0));
});
