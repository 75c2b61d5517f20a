//! Headers made here, whole and damaged in one place each.

use super::*;

/// A file of that dictionary and those elements, in format `major`.0.
fn npy(major: u8, dictionary: &str, data: &[u8]) -> Vec<u8> {
    let mut file = b"\x93NUMPY".to_vec();
    file.extend([major, 0]);
    let length = u32::try_from(dictionary.len()).unwrap().to_le_bytes();
    file.extend(if major == 1 { &length[..2] } else { &length[..] });
    file.extend(dictionary.as_bytes());
    file.extend(data);
    file
}

fn header(descr: &str, fortran: bool, shape: &str) -> String {
    let fortran = if fortran { "True" } else { "False" };
    format!("{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n")
}

fn id(file: &[u8]) -> Id {
    match read(&file.to_vec(), FileId(0)) {
        Ok(container) => container.findings.first().unwrap().id,
        Err(finding) => finding.id,
    }
}

#[test]
fn orders_and_bytes_become_recipes() {
    let read = |file: Vec<u8>| super::read(&file, FileId(0)).unwrap().tensors.remove(0).recipe;
    let plain = read(npy(1, &header("'<f4'", false, "(2, 2)"), &[0; 16]));
    assert!(matches!(plain.op, Op::Bytes { offset, .. } if offset == 10 + 60), "{plain:?}");
    let columns = read(npy(2, &header("'<i2'", true, "(2, 3)"), &[0; 12]));
    assert!(matches!(&columns.op, Op::Strided { strides, .. } if *strides == [1, 2]), "{columns:?}");
    let swapped = read(npy(3, &header("'>f8'", true, "(2,)"), &[0; 16]));
    assert!(matches!(&swapped.op, Op::ByteSwap(of) if matches!(of.op, Op::Bytes { .. })), "{swapped:?}");
    assert_eq!(read(npy(1, &header("'|V2'", false, "()"), &[0; 2])).dtype, Dtype::Bf16);
    // A vector is the same in either order; nothing is nothing.
    assert!(read(npy(1, &header("'|u1'", true, "(1, 3)"), &[0; 3])).contiguous().is_some());
    assert!(read(npy(1, &header("'|u1'", true, "(0, 3)"), &[])).contiguous().is_some());
}

#[test]
fn what_is_no_number_is_named() {
    for (descr, wanted) in [
        ("'|O'", Id::ArrayPickled),
        ("[('a', '<f4'), ('b', '|O')]", Id::ArrayPickled),
        ("'<U3'", Id::Unsupported),
        ("[('a', '<f4')]", Id::Unsupported),
        ("'<M8[ns]'", Id::Unsupported),
        ("'|V1'", Id::Unsupported),
        ("'<f16'", Id::Unsupported),
        ("'<q9'", Id::NpyInvalid),
        ("'é'", Id::NpyInvalid),
    ] {
        assert_eq!(id(&npy(1, &header(descr, false, "(1,)"), &[0; 64])), wanted, "{descr}");
    }
}

#[test]
fn each_damage_has_its_finding() {
    let good = header("'<f4'", false, "(2, 2)");
    let file = npy(1, &good, &[0; 16]);
    assert_eq!(id(&file[..9]), Id::NpyTruncated);
    assert_eq!(id(&file[..40]), Id::NpyTruncated);
    assert_eq!(id(&file[..80]), Id::NpyTruncated);
    assert_eq!(id(&npy(1, &good, &[0; 17])), Id::NpyInvalid);
    assert_eq!(id(&npy(4, &good, &[0; 16])), Id::NpyInvalid);
    assert_eq!(id(&npy(1, "{'descr': '<f4'}", &[0; 16])), Id::NpyInvalid);
    assert_eq!(id(&npy(1, &header("'<f4'", false, "(4294967296, 4294967296)"), &[])), Id::NpyInvalid);
    assert_eq!(id(&npy(1, &header("'<f4'", false, &format!("({})", "1, ".repeat(65))), &[0; 4])), Id::TooLarge);
    let mut long = npy(2, &good, &[0; 16]);
    long[8..12].fill(0xff);
    assert_eq!(id(&long), Id::TooLarge);
}
