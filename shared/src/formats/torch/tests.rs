//! Files made by torch itself, pickles made here by hand, and damage to both.

use std::path::PathBuf;

use sha2::{Digest, Sha256};

use super::write::Layout;
use super::write::tests::{build, item};
use super::*;
use crate::bytes::FileSource;
use crate::facts::dtype::Kind;
use crate::facts::{Dtype, Op, Recipe, Tensor};
use crate::formats::zip::tests::{Packing, pack};

/// The bytes of a value, worked out one element at a time.
fn bytes(recipe: &Recipe, source: &dyn ReadAt) -> Option<Vec<u8>> {
    let item = recipe.dtype.item_bytes().unwrap_or(1);
    let number = usize::try_from(if recipe.dtype.kind() == Kind::Complex { item / 2 } else { item }).unwrap();
    Some(match &recipe.op {
        Op::Bytes { offset, .. } => source.read_vec_at(recipe.len_bytes(), *offset).unwrap(),
        Op::Literal(bytes) => bytes.to_vec(),
        Op::Strided { storage, start, strides, .. } => {
            let element = |index: u64| {
                let mut left = index;
                let mut at = *start;
                for (size, stride) in recipe.shape.iter().zip(strides).rev() {
                    at += left % size * stride;
                    left /= size;
                }
                source.read_vec_at(item, storage + at * item).unwrap()
            };
            (0..recipe.elements()).flat_map(element).collect()
        }
        Op::ByteSwap(of) => bytes(of, source)?.chunks(number).flat_map(|chunk| chunk.iter().rev().copied()).collect(),
        // The sign is the highest bit of a float; a conjugate changes that of the second one.
        Op::Conj(of) => signs(bytes(of, source)?, number, |index| index % 2 == 1),
        Op::Neg(of) => signs(bytes(of, source)?, number, |_| true),
        _ => return None,
    })
}

fn signs(mut bytes: Vec<u8>, number: usize, changes: impl Fn(usize) -> bool) -> Vec<u8> {
    for (index, chunk) in bytes.chunks_mut(number).enumerate() {
        if changes(index) {
            chunk[number - 1] ^= 0x80;
        }
    }
    bytes
}

fn sha256(recipe: &Recipe, source: &dyn ReadAt) -> Option<String> {
    let digest = Sha256::digest(bytes(recipe, source)?);
    Some(
        digest
            .iter()
            .flat_map(|byte| [byte >> 4, byte & 15])
            .filter_map(|half| char::from_digit(half.into(), 16))
            .collect(),
    )
}

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/torch")
}

fn open(name: &str) -> FileSource {
    FileSource::open(&fixtures().join(name)).unwrap()
}

#[test]
fn every_tensor_of_the_fixtures_has_the_values_torch_gives_it() {
    let text = std::fs::read(fixtures().join("expected.json")).unwrap();
    let expected: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let mut checked = 0;
    for row in expected["tensors"].as_array().unwrap() {
        let [file, name, dtype] = ["file", "name", "dtype"].map(|key| row[key].as_str().unwrap());
        let source = open(file);
        let container = read(&source, FileId(0)).unwrap();
        // The parts of a tensor are told apart by `::` there.
        let name = name.replace("::", ".");
        let tensor = container.tensors.iter().find(|tensor| tensor.name == name);
        let tensor = tensor.unwrap_or_else(|| panic!("{file} has no {name}"));
        assert_eq!(tensor.recipe.dtype.name(), dtype, "{file} {name}");
        assert_eq!(serde_json::json!(tensor.recipe.shape), row["shape"], "{file} {name}");
        assert_eq!(sha256(&tensor.recipe, &source).as_deref(), row["sha256"].as_str(), "{file} {name}");
        if let Some(crc32) = tensor.crc32 {
            assert_eq!(crc32, crc32fast::hash(&bytes(&tensor.recipe, &source).unwrap()), "{file} {name}");
        }
        checked += 1;
    }
    assert!(checked > 100, "only {checked} tensors are expected");
}

#[test]
fn every_odd_archive_has_its_finding() {
    let ids = |name: &str| match read(&open(&format!("odd/{name}")), FileId(0)) {
        Ok(container) => container.findings.iter().map(|finding| finding.id).collect(),
        Err(finding) => vec![finding.id],
    };
    for (name, id) in [
        ("big_endian.pt", Id::TorchByteorder),
        ("deflated.pt", Id::ZipCompressed),
        ("leading_bytes.pt", Id::ZipLeading),
        ("long_storage.pt", Id::TorchStorageLong),
        ("missing_storage.pt", Id::TorchRecordMissing),
        ("no_version.pt", Id::TorchRecordMissing),
        ("short_storage.pt", Id::TorchStorageShort),
        ("trailing_bytes.pt", Id::ZipInvalid),
        ("truncated.pt", Id::ZipTruncated),
    ] {
        assert_eq!(ids(name), [id], "{name}");
    }
    for name in ["renamed_root.pt", "unaligned.pt", "zip64.pt"] {
        assert_eq!(ids(name), [], "{name}");
    }
}

#[test]
fn big_endian_values_come_out_right_even_where_torch_errs() {
    let text = std::fs::read(fixtures().join("odd/expected.json")).unwrap();
    let expected: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let source = open("odd/big_endian.pt");
    let container = read(&source, FileId(0)).unwrap();
    for row in expected["tensors"].as_array().unwrap() {
        let tensor = container.tensors.iter().find(|tensor| tensor.name == row["name"].as_str().unwrap()).unwrap();
        assert_eq!(sha256(&tensor.recipe, &source).as_deref(), row["sha256"].as_str(), "{}", tensor.name);
        assert_eq!(tensor.crc32, None);
    }
}

/// A text as a pickle has it.
fn text(text: &str) -> Vec<u8> {
    [b"X", &u32::try_from(text.len()).unwrap().to_le_bytes()[..], text.as_bytes()].concat()
}

/// A storage as a pickle refers to it.
fn storage(class: &str, key: &str, count: u8) -> Vec<u8> {
    [b"(".as_slice(), &text("storage"), class.as_bytes(), &text(key), &text("cpu"), &[b'K', count], b"tQ"].concat()
}

/// A float tensor of two elements from the first byte of a storage of 8 bytes.
fn pair(key: &str) -> Vec<u8> {
    let storage = storage("ctorch\nFloatStorage\n", key, 2);
    [b"ctorch._utils\n_rebuild_tensor_v2\n(".as_slice(), &storage, b"K\0K\x02\x85K\x01\x85\x89Nt", b"R"].concat()
}

/// A file of this pickle and one record of eight bytes.
fn file(pickle: &[u8]) -> Vec<u8> {
    let members: &[(&str, &[u8])] = &[("m/data.pkl", pickle), ("m/data/0", b"01234567"), ("m/version", b"3\n")];
    pack(members, &Packing::default())
}

fn container(pickle: &[u8]) -> Container {
    read(&file(pickle), FileId(0)).unwrap()
}

fn ids(container: &Container) -> Vec<Id> {
    container.findings.iter().map(|finding| finding.id).collect()
}

fn names(container: &Container) -> Vec<&str> {
    container.tensors.iter().map(|tensor| tensor.name.as_str()).collect()
}

#[test]
fn names_are_the_keys_that_lead_to_a_tensor() {
    let at = |pickle: &[&[u8]]| {
        let container = container(&[pickle.concat().as_slice(), b"."].concat());
        assert_eq!(container.tensors.len(), 1, "{:?}", container.findings);
        container.tensors[0].name.clone()
    };
    let pair = pair("0");
    assert_eq!(at(&[&pair]), "");
    assert_eq!(at(&[b"}", &text("a.b"), &pair, b"s"]), "a.b");
    assert_eq!(at(&[b"}K\x07}", &text("x"), &pair, b"ss"]), "7.x");
    assert_eq!(at(&[b"]N]", &pair, b"a\x86a"]), "0.1.0");
    assert_eq!(at(&[b"ccollections\nOrderedDict\n)R", &text("w"), &pair, b"s}", &text("_metadata"), b"Nsb"]), "w");
    assert_eq!(at(&[b"cargparse\nNamespace\n)\x81}", &text("w"), &pair, b"sb"]), "w");
    assert_eq!(at(&[b"ca\nB\n", &pair, b"\x85R"]), "@args.0");
    assert_eq!(at(&[b"ca\nB\n)\x81", &pair, b"b"]), "@state");
    assert_eq!(at(&[b"ctorch._utils\n_rebuild_parameter\n", &pair, b"\x88N\x87R"]), "");
}

#[test]
fn objects_are_scalars_or_described() {
    let pickle = [
        b"}(".as_slice(),
        &text("lr"),
        b"G\x3f\xe0\0\0\0\0\0\0",
        &text("steps"),
        b"(K\x01K\x02t",
        &text("none"),
        b"N",
        &text("nan"),
        b"G\x7f\xf8\0\0\0\0\0\0",
        &text("args"),
        b"cargparse\nNamespace\n)\x81}",
        &text("name"),
        &text("run"),
        b"sb",
        &text("dtype"),
        b"ctorch\nbfloat16\n",
        &text("device"),
        b"ctorch\ndevice\n",
        &text("cuda"),
        b"K\x01\x86R",
        &text("stream"),
        b"c_io\nBytesIO\n)\x81",
        b"u.",
    ];
    let container = container(&pickle.concat());
    let objects: serde_json::Map<String, serde_json::Value> =
        container.objects.iter().map(|object| (object.path.clone(), object.value.clone())).collect();
    assert_eq!(
        serde_json::Value::Object(objects),
        serde_json::json!({
            "lr": 0.5, "steps.0": 1, "steps.1": 2, "none": null, "nan": "NaN",
            "args": "<argparse.Namespace>", "args.name": "run",
            "dtype": "torch.bfloat16", "device": "cuda:1", "stream": "<_io.BytesIO>",
        })
    );
    assert_eq!(ids(&container), [Id::PickleUnknownClass]);
    assert!(container.findings[0].message.ends_with("_io.BytesIO, argparse.Namespace"));
    assert_eq!(container.globals, ["_io.BytesIO", "argparse.Namespace", "torch.bfloat16", "torch.device"]);
}

#[test]
fn a_long_run_of_objects_is_counted_not_kept() {
    let mut pickle = b"](".to_vec();
    for _ in 0..20_000 {
        pickle.extend(b"K\x01\x85");
    }
    pickle.extend(b"e.");
    let container = container(&pickle);
    assert_eq!((container.objects.len(), container.objects_left_out), (10_000, 10_000));
}

#[test]
fn a_tensor_described_wrongly_is_refused_with_its_name() {
    let wrong = |storage: &[u8], rest: &[u8]| {
        let tensor = [b"ctorch._utils\n_rebuild_tensor_v2\n(".as_slice(), storage, rest, b"tR"].concat();
        let container = container(&[b"}".as_slice(), &text("w"), &tensor, b"s."].concat());
        assert_eq!(container.findings[0].tensor.as_deref(), Some("w"));
        (container.findings[0].id, container.tensors.first().map(|tensor| tensor.recipe.absent().is_some()))
    };
    let float = storage("ctorch\nFloatStorage\n", "0", 2);
    let refused = (Id::PickleTensor, None);
    assert_eq!(wrong(&float, b"K\0"), refused);
    assert_eq!(wrong(b"N", b"K\0))\x89N"), refused);
    assert_eq!(wrong(&storage("cnumpy\nFloatStorage\n", "0", 2), b"K\0))\x89N"), refused);
    assert_eq!(wrong(&float, b"J\xff\xff\xff\xff))\x89N"), refused);
    assert_eq!(wrong(&float, b"K\0K\x01\x85)\x89N"), refused);
    assert_eq!(wrong(&float, b"K\0K\x01\x85J\xff\xff\xff\xff\x85\x89N"), refused);
    let huge = b"K\0\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7fK\x04\x86K\x04K\x01\x86\x89N";
    assert_eq!(wrong(&float, huge), refused);
    // A view that its storage does not hold leaves a tensor without data.
    assert_eq!(wrong(&float, b"K\x01K\x02\x85K\x01\x85\x89N"), (Id::TorchStorageShort, Some(true)));
    assert_eq!(wrong(&float, b"K\0K\x02\x85K\x02\x85\x89N"), (Id::TorchStorageShort, Some(true)));
}

#[test]
fn views_become_ranges_where_they_can() {
    let view = |rest: &[u8]| {
        let storage = storage("ctorch\nByteStorage\n", "0", 8);
        let tensor = [b"ctorch._utils\n_rebuild_tensor_v2\n(".as_slice(), &storage, rest, b"\x89NtR."].concat();
        let file = file(&tensor);
        let container = read(&file, FileId(0)).unwrap();
        let Tensor { recipe, crc32, .. } = &container.tensors[0];
        (bytes(recipe, &file).unwrap(), recipe.contiguous().is_some(), crc32.is_some())
    };
    assert_eq!(view(b"K\0K\x08\x85K\x01\x85"), (b"01234567".to_vec(), true, true));
    assert_eq!(view(b"K\x02K\x03\x85K\x01\x85"), (b"234".to_vec(), true, false));
    // A dimension of one may have any stride; so may a tensor without elements.
    assert_eq!(view(b"K\0K\x01K\x08\x86K\x63K\x01\x86"), (b"01234567".to_vec(), true, true));
    assert_eq!(view(b"K\0K\0K\x02\x86K\x63K\x01\x86"), (b"".to_vec(), true, false));
    assert_eq!(view(b"K\0K\x02K\x04\x86K\x01K\x02\x86"), (b"02461357".to_vec(), false, false));
    assert_eq!(view(b"K\x03K\x04\x85K\0\x85"), (b"3333".to_vec(), false, false));
}

#[test]
fn two_tensors_of_one_name_are_found() {
    let pickle = [b"}".as_slice(), &text("1"), &pair("0"), b"sK\x01", &pair("0"), b"s."].concat();
    let container = container(&pickle);
    assert_eq!(names(&container), ["1", "1"]);
    assert_eq!(ids(&container), [Id::TensorDuplicate]);
    assert_eq!(container.storages[0].tensors, 2);
}

#[test]
fn a_pickle_that_refers_to_itself_without_end_is_given_up() {
    // Twenty lists, each holding the next one ten times: 10^20 paths.
    let mut pickle = b"]q\x00K\x01a".to_vec();
    for level in 1..21u8 {
        pickle.extend([b']', b'q', level, b'(']);
        (0..10).for_each(|_| pickle.extend([b'h', level - 1]));
        pickle.push(b'e');
    }
    pickle.push(b'.');
    assert_eq!(ids(&container(&pickle)), [Id::TooLarge]);
}

#[test]
fn depth_and_cycles_end() {
    let deep = [b"]".repeat(100_000), b"a".repeat(99_999), b".".to_vec()].concat();
    assert_eq!(ids(&container(&deep)), [Id::TooLarge]);
    let cycle = [b"]q\x00h\x00a".as_slice(), &pair("0"), b"a."].concat();
    let container = container(&cycle);
    assert_eq!((names(&container), ids(&container)), (vec!["1"], vec![]));
}

#[test]
fn a_file_without_what_it_needs_says_what() {
    let id = |members: &[(&str, &[u8])]| read(&pack(members, &Packing::default()), FileId(0)).unwrap_err().id;
    assert_eq!(id(&[("m/version", b"3")]), Id::TorchRecordMissing);
    assert_eq!(id(&[("data.pkl", b"}.")]), Id::TorchRecordMissing);
    assert_eq!(id(&[("m/data.pkl", b"}")]), Id::PickleInvalid);
    // What follows the pickle is not read, and said.
    assert_eq!(ids(&container(b"}.cos\nsystem\n.")), [Id::PickleInvalid]);
}

/// Reads a damaged file; what comes back must not lead outside it.
fn survive(file: &Vec<u8>) {
    if let Ok(container) = read(file, FileId(0)) {
        for tensor in &container.tensors {
            if tensor.recipe.absent().is_none() {
                assert!(bytes(&tensor.recipe, file).is_some() || matches!(tensor.recipe.op, Op::Cast(_)));
            }
        }
    }
}

#[test]
fn no_cut_and_no_changed_byte_makes_it_panic() {
    let items = [item("a", Dtype::F32, &[2]), item("b", Dtype::F8E4M3, &[3]), item("c", Dtype::F4, &[2, 2])];
    let legacy = std::fs::read(fixtures().join("legacy.pt")).unwrap();
    for file in [build(&Layout::new("m", &items).unwrap()), file(&pair("0")), legacy] {
        for cut in 0..file.len() {
            survive(&file[..cut].to_vec());
        }
        for at in 0..file.len() {
            for byte in [0, 1, file[at] ^ 1, file[at].wrapping_add(1), 0x80, 0xff] {
                let mut damaged = file.clone();
                damaged[at] = byte;
                survive(&damaged);
            }
        }
    }
}

#[test]
fn no_changed_byte_of_a_pickle_makes_it_panic() {
    // Packed again each time, so that the check sum is right and the change reaches the machine.
    for name in ["quantized.pt", "sparse.pt", "subclass.pt", "numpy_inside.pt", "protocol5.pt", "nested.pt", "meta.pt"]
    {
        let source = open(name);
        let archive = zip::read(&source).unwrap();
        let unpack = |member: &Member| (member.name.clone(), zip::contents(&source, member, 1 << 20).unwrap());
        let mut members: Vec<(String, Vec<u8>)> = archive.members.iter().map(unpack).collect();
        let place = members.iter().position(|(name, _)| name.ends_with("data.pkl")).unwrap();
        for at in 0..members[place].1.len() {
            let old = members[place].1[at];
            for byte in [0, old ^ 1, old.wrapping_add(1), 0xff] {
                members[place].1[at] = byte;
                let list: Vec<(&str, &[u8])> =
                    members.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
                survive(&pack(&list, &Packing::default()));
            }
            members[place].1[at] = old;
        }
    }
}
