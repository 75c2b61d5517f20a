//! Fuzzes the reader of Flax's msgpack.
#![no_main]

use ckpt::facts::FileId;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = ckpt::formats::msgpack::read(&data.to_vec(), FileId(0));
});
