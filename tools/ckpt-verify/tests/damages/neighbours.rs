//! Damage to files of numpy, Flax and NeMo.

use super::{Case, cut, remove, write};

/// Changes one byte.
fn change(model: &std::path::Path, name: &str, at: usize, byte: u8) {
    let mut file = std::fs::read(model.join(name)).unwrap();
    file[at] = byte;
    write(model, name, &file);
}

pub(crate) const CASES: &[Case] = &[
    (
        "array cut short",
        "neighbours/numpy/plain.npy",
        |model| cut(model, "plain.npy", 4),
        &["error npy-truncated plain.npy -"],
    ),
    (
        "array of numpy's next format",
        "neighbours/numpy/plain.npy",
        |model| change(model, "plain.npy", 6, 9),
        &["error npy-invalid plain.npy -"],
    ),
    ("array of objects", "neighbours/refused/objects.npz", |_| (), &["error array-pickled objects.npz parts"]),
    (
        "archive of arrays cut short",
        "neighbours/numpy/dtypes.npz",
        |model| cut(model, "dtypes.npz", 40),
        &["error zip-truncated dtypes.npz -"],
    ),
    (
        "msgpack cut short",
        "neighbours/flax/model.msgpack",
        |model| cut(model, "model.msgpack", 5),
        &["error msgpack-truncated model.msgpack -"],
    ),
    (
        "value of msgpack that is none",
        "neighbours/flax/model.msgpack",
        |model| change(model, "model.msgpack", 6, 0xc1),
        &["error msgpack-invalid model.msgpack -"],
    ),
    (
        "ONNX model cut short",
        "neighbours/onnx/model.onnx",
        |model| cut(model, "model.onnx", 9),
        &["error onnx-truncated model.onnx -"],
    ),
    (
        "field of an ONNX model of no kind",
        "neighbours/onnx/model.onnx",
        |model| {
            let size = std::fs::metadata(model.join("model.onnx")).unwrap().len();
            change(model, "model.onnx", usize::try_from(size).unwrap() - 4, 0x47);
        },
        &["error onnx-invalid model.onnx -"],
    ),
    (
        "values beside an ONNX model cut short",
        "neighbours/onnx-external",
        |model| cut(model, "external.onnx.data", 20),
        &["error onnx-invalid external.onnx half", "error onnx-truncated external.onnx.data w"],
    ),
    (
        "values beside an ONNX model lost",
        "neighbours/onnx-external",
        |model| remove(model, &["external.onnx.data"]),
        &["error shard-missing external.onnx.data half", "error shard-missing external.onnx.data w"],
    ),
    (
        "values of an ONNX model outside its folder",
        "neighbours/refused/outside.onnx",
        |_| (),
        &["error name-unsafe outside.onnx w"],
    ),
    (
        "one of two ranks in NeMo's archive",
        "neighbours/refused/one_of_two.nemo",
        |_| (),
        &["error shard-missing one_of_two.nemo -"],
    ),
    (
        "tar cut short",
        "neighbours/nemo/model.nemo",
        |model| cut(model, "model.nemo", 4300),
        &["error tar-truncated model.nemo -"],
    ),
    (
        "member of a tar renamed without its checksum",
        "neighbours/nemo/model.nemo",
        |model| change(model, "model.nemo", 4, b'X'),
        &["error tar-invalid model.nemo -"],
    ),
    (
        "weights in a tar damaged",
        "neighbours/nemo/model.nemo",
        |model| change(model, "model.nemo", 1536, b'Q'),
        &["error torch-record-missing model.nemo -"],
    ),
];
