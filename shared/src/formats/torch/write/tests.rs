//! What is laid out is what the reader finds, and what other readers of zips accept.

use proptest::prelude::*;

use super::*;
use crate::facts::{FileId, Op};
use crate::formats::torch::read;

/// The whole file of a layout, with data that follow from the place.
pub(crate) fn build(layout: &Layout) -> Vec<u8> {
    let mut file = vec![0; usize::try_from(layout.total).unwrap()];
    let mut put = |offset: u64, bytes: &[u8]| {
        let start = usize::try_from(offset).unwrap();
        file[start..start + bytes.len()].copy_from_slice(bytes);
    };
    put(0, &layout.head);
    let mut crcs = Vec::new();
    for record in &layout.records {
        let data: Vec<u8> = (0..record.bytes).map(|byte| (byte ^ record.offset).to_le_bytes()[0]).collect();
        put(record.offset, &data);
        crcs.push(crc32fast::hash(&data));
    }
    for (offset, bytes) in layout.finish(&crcs) {
        put(offset, &bytes);
    }
    file
}

/// An item of its own storage.
pub(crate) fn item(name: &str, dtype: Dtype, shape: &[u64]) -> Item {
    Item { name: name.to_owned(), dtype, shape: shape.to_vec(), same_as: None }
}

#[test]
fn every_dtype_comes_back_with_its_place_and_check_sum() {
    let items: Vec<Item> = Dtype::all()
        .filter(|dtype| pickle::writable(*dtype))
        .enumerate()
        .map(|(index, dtype)| item(&format!("layer.{index}.{dtype}"), dtype, &[3, 4]))
        .chain([item("scalar", Dtype::F32, &[]), item("empty", Dtype::Bf16, &[0, 4])])
        .collect();
    let layout = Layout::new("model", &items).unwrap();
    let file = build(&layout);
    let container = read(&file, FileId(7)).unwrap();
    assert_eq!(container.findings, []);
    assert_eq!(container.tensors.len(), items.len());
    for ((tensor, item), record) in container.tensors.iter().zip(&items).zip(&layout.records) {
        assert_eq!((&tensor.name, tensor.recipe.dtype, &tensor.recipe.shape), (&item.name, item.dtype, &item.shape));
        assert_eq!(tensor.recipe.op, Op::Bytes { file: FileId(7), offset: record.offset });
        assert_eq!(record.offset % 64, 0);
        let start = usize::try_from(record.offset).unwrap();
        let end = start + usize::try_from(record.bytes).unwrap();
        assert_eq!(tensor.crc32, Some(crc32fast::hash(&file[start..end])));
    }
}

#[test]
fn a_shared_storage_is_written_once() {
    let mut items =
        vec![item("embed", Dtype::Bf16, &[4, 2]), item("norm", Dtype::Bf16, &[2]), item("head", Dtype::Bf16, &[4, 2])];
    items[2].same_as = Some(0);
    let layout = Layout::new("m", &items).unwrap();
    assert_eq!(layout.records.iter().map(|record| record.item).collect::<Vec<_>>(), [0, 1]);
    let container = read(&build(&layout), FileId(0)).unwrap();
    assert_eq!(container.tensors[0].recipe, container.tensors[2].recipe);
    assert_eq!(container.storages[0].tensors, 2);
    items[2].same_as = Some(1);
    assert_eq!(Layout::new("m", &items).unwrap_err().id, Id::Unsupported);
}

#[test]
fn the_same_content_gives_the_same_bytes_and_another_stem_the_same_id() {
    let items = [item("w", Dtype::F32, &[5])];
    let id = |file: &Vec<u8>| read(file, FileId(0)).unwrap().metadata["serialization_id"].clone();
    let [one, same] = [0, 1].map(|_| build(&Layout::new("one", &items).unwrap()));
    assert_eq!(one, same);
    let two = build(&Layout::new("two", &items).unwrap());
    assert_ne!(one, two);
    assert_eq!(id(&one), id(&two));
    assert_eq!(id(&one).len(), 40);
    assert_ne!(id(&one), id(&build(&Layout::new("one", &[item("v", Dtype::F64, &[5])]).unwrap())));
}

#[test]
fn what_torch_cannot_hold_is_refused_by_name() {
    let refused = |item: Item| Layout::new("m", &[item]).unwrap_err();
    assert_eq!(refused(item("w", Dtype::F6E2M3, &[4])).tensor.as_deref(), Some("w"));
    assert_eq!(refused(item("w", Dtype::Qi8, &[4])).id, Id::Unsupported);
    assert_eq!(refused(item("w", Dtype::F4, &[2, 3])).id, Id::Unsupported);
    assert_eq!(refused(item("w", Dtype::F32, &[u64::MAX])).id, Id::TooLarge);
    let twice = [item("w", Dtype::F32, &[1]), item("w", Dtype::F32, &[1])];
    assert_eq!(Layout::new("m", &twice).unwrap_err().id, Id::TensorDuplicate);
}

/// A file whose data are holes of zeros: as large as one likes.
struct Sparse {
    pieces: Vec<(u64, Vec<u8>)>,
    size: u64,
}

impl crate::bytes::ReadAt for Sparse {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        for (at, byte) in (offset..).zip(buffer) {
            let piece = self.pieces.iter().rev().find(|piece| piece.0 <= at);
            *byte = piece.and_then(|piece| piece.1.get(usize::try_from(at - piece.0).unwrap())).copied().unwrap_or(0);
        }
        Ok(())
    }
}

#[test]
fn members_beyond_four_gigabytes_keep_their_sizes_and_places() {
    let large = 5_000_000_000;
    let items = [item("small", Dtype::U8, &[3]), item("large", Dtype::U8, &[large]), item("after", Dtype::U8, &[7])];
    let layout = Layout::new("big", &items).unwrap();
    let mut pieces = vec![(0, layout.head.clone())];
    pieces.extend(layout.finish(&[1, 2, 3]));
    let last = pieces.last().unwrap();
    assert_eq!(layout.total, last.0 + u64::try_from(last.1.len()).unwrap());
    let container = read(&Sparse { pieces, size: layout.total }, FileId(0)).unwrap();
    assert_eq!(container.findings, []);
    for (tensor, record) in container.tensors.iter().zip(&layout.records) {
        assert_eq!(tensor.recipe.contiguous(), Some((FileId(0), record.offset)));
        assert_eq!(tensor.recipe.len_bytes(), record.bytes);
    }
    assert_eq!(container.tensors.iter().map(|tensor| tensor.crc32).collect::<Vec<_>>(), [Some(1), Some(2), Some(3)]);
    assert!(layout.records[2].offset > large);
}

proptest! {
    #[test]
    fn any_names_and_shapes_come_back(
        stem in "[^\u{0}]{0,20}",
        tensors in prop::collection::btree_map("\\PC{0,12}", prop::collection::vec(0u64..5, 0..4), 0..20),
    ) {
        let items: Vec<Item> = tensors.iter().map(|(name, shape)| item(name, Dtype::I16, shape)).collect();
        let layout = Layout::new(&stem, &items).unwrap();
        let file = build(&layout);
        prop_assert_eq!(u64::try_from(file.len()).unwrap(), layout.total);
        let container = read(&file, FileId(0)).unwrap();
        prop_assert_eq!(&container.findings, &[]);
        let back: Vec<(&String, &Vec<u64>)> = container.tensors.iter().map(|t| (&t.name, &t.recipe.shape)).collect();
        prop_assert_eq!(back, tensors.iter().collect::<Vec<_>>());
    }
}
