//! What a file is, by its first bytes; names lie, and `.bin` says nothing.

use super::{msgpack, onnx, tar, torch};
use crate::bytes::{ReadAt, to_u64};
use crate::facts::{Finding, Id, limits};

/// A container format, one row each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// safetensors.
    Safetensors,
    /// A zip: what `torch.save` writes since 1.6, unless its members say otherwise.
    Torch,
    /// The same zip with a program in it, as `torch.jit.save` writes it.
    TorchScript,
    /// `torch.save` before 1.6: pickles and raw storages, one after the other.
    TorchLegacy,
    /// GGUF of llama.cpp.
    Gguf,
    /// `torch.save` of 2016: a tar of storages, tensors and a pickle.
    TorchTar,
    /// `torch.export`: a zip of a program and its weights.
    Pt2,
    /// A bare pickle.
    Pickle,
    /// numpy's array file.
    Npy,
    /// A zip of those.
    Npz,
    /// msgpack, as Flax writes it.
    Msgpack,
    /// ONNX.
    Onnx,
    /// HDF5, as Keras writes it.
    Hdf5,
    /// `.keras`: a zip of settings and an HDF5 file.
    Keras,
    /// A tar of neither torch nor NeMo.
    Tar,
    /// `.nemo`: a tar of weights and settings.
    Nemo,
    /// The manifest of a store of chunks, as Orbax writes it.
    Ocdbt,
    /// The table of a TensorFlow checkpoint.
    TfIndex,
    /// A file of torch.distributed's chunk store: files of `torch.save`, one after another.
    Distcp,
    /// gzip: an old `.nemo`, or a file packed by hand.
    Gzip,
    /// xz.
    Xz,
    /// bzip2.
    Bzip2,
    /// zstd.
    Zstd,
    /// 7z.
    SevenZip,
    /// rar.
    Rar,
}

/// Format, name in documents, first bytes if they tell, and what reads it where we do not.
type Row = (Format, &'static str, &'static [u8], &'static str);

const ROWS: &[Row] = &[
    (Format::Torch, "torch-zip", b"PK\x03\x04", ""),
    // An empty zip has only its end record.
    (Format::Torch, "torch-zip", b"PK\x05\x06", ""),
    (Format::Safetensors, "safetensors", b"", ""),
    (Format::TorchScript, "torchscript", b"", ""),
    (Format::TorchLegacy, "torch-legacy", b"", ""),
    (Format::TorchTar, "torch-tar", b"", ""),
    (Format::Pt2, "pt2", b"", ""),
    (Format::Distcp, "distcp", b"", ""),
    (Format::Nemo, "nemo", b"", ""),
    (Format::Npz, "npz", b"", ""),
    (Format::Gguf, "gguf", b"GGUF", ""),
    (Format::Npy, "npy", b"\x93NUMPY", ""),
    (Format::Msgpack, "msgpack", b"", ""),
    (Format::Onnx, "onnx", b"", ""),
    (Format::Pickle, "pickle", b"", "its framework's own loader reads it"),
    (Format::Tar, "tar", b"", "unpack it with tar and read what is in it"),
    (Format::Hdf5, "hdf5", b"\x89HDF\r\n\x1a\n", "Keras or h5py reads it, numpy.savez then saves its arrays"),
    (Format::Keras, "keras", b"", "keras.models.load_model reads it, numpy.savez then saves its arrays"),
    (Format::Ocdbt, "ocdbt", b"\x0c\xdb\x3a\x2a", "Orbax or TensorStore reads the folder around it"),
    (Format::TfIndex, "tf-index", b"", "tf.train.load_checkpoint reads it together with its .data files"),
    (Format::Gzip, "gzip", b"\x1f\x8b", "unpack it first: gunzip <FILE >UNPACKED"),
    (Format::Xz, "xz", b"\xfd7zXZ\0", "unpack it first: unxz <FILE >UNPACKED"),
    (Format::Bzip2, "bzip2", b"BZh", "unpack it first: bunzip2 <FILE >UNPACKED"),
    (Format::Zstd, "zstd", b"\x28\xb5\x2f\xfd", "unpack it first: zstd -d FILE -o UNPACKED"),
    (Format::SevenZip, "7z", b"7z\xbc\xaf\x27\x1c", "unpack it first: 7z x FILE"),
    (Format::Rar, "rar", b"Rar!\x1a\x07", "unpack it first: unrar x FILE"),
];

/// How a TensorFlow table ends: the magic number of LevelDB's (`tensorflow/core/lib/io/format.h`).
const TABLE_END: [u8; 8] = [0x57, 0xfb, 0x80, 0x8b, 0x24, 0x75, 0x47, 0xdb];
/// Bytes looked at: a tar says so at 257, a zip polyglot no later.
const HEAD: u64 = 512;
/// Bytes of a zip's end record without a comment (APPNOTE.TXT 4.3.16).
const ZIP_END: u64 = 22;

impl Format {
    fn row(self) -> Option<&'static Row> {
        ROWS.iter().find(|row| row.0 == self)
    }

    /// Every format's name, in the order of the table.
    pub fn names() -> impl Iterator<Item = &'static str> {
        let mut before = "";
        ROWS.iter().map(|row| row.1).filter(move |name| std::mem::replace(&mut before, name) != *name)
    }

    /// The name used in documents.
    pub fn name(self) -> &'static str {
        self.row().map_or("", |row| row.1)
    }

    /// Whether several tensors of a file may be views of the same bytes: what torch saves, and nobody else.
    pub fn has_views(self) -> bool {
        matches!(
            self,
            Format::Torch | Format::TorchScript | Format::TorchLegacy | Format::TorchTar | Format::Pt2 | Format::Nemo
        )
    }

    /// The finding for a format that is recognised and not read.
    pub fn refusal(self) -> Finding {
        let reader = self.row().map_or("", |row| row.3);
        Finding::new(
            Id::Unsupported,
            format!("this is a {} file, which is recognised but not read here; {reader}", self.name()),
        )
    }
}

/// Finds out what a file is.
///
/// # Errors
/// A finding that names what stands there instead of weights: nothing, zeros, a Git LFS pointer, a web page.
pub fn detect(source: &dyn ReadAt) -> Result<Format, Finding> {
    let size = source.size();
    if size == 0 {
        return Err(Finding::new(Id::FileEmpty, "the file is empty").needed("weights", "0 bytes"));
    }
    let head = source.read_vec_at(size.min(HEAD), 0).map_err(|error| unreadable(&error))?;
    // Asked first: a length may well begin with the two bytes of a gzip or a pickle. The reference reader tolerates
    // spaces before the brace; a length that cannot be is still a safetensors file with a damaged length if its
    // JSON follows.
    let json = head.get(8..).unwrap_or_default().trim_ascii_start();
    let length = head.first_chunk::<8>().map_or(u64::MAX, |bytes| u64::from_le_bytes(*bytes));
    let possible = length <= limits::SAFETENSORS_HEADER;
    if (possible && json.starts_with(b"{")) || json.starts_with(b"{\"") {
        return Ok(Format::Safetensors);
    }
    if let Some(row) = ROWS.iter().find(|row| !row.2.is_empty() && head.starts_with(row.2)) {
        return Ok(row.0);
    }
    if tar::is_tar(&head) {
        return Ok(Format::Tar);
    }
    if head.iter().all(|&byte| byte == 0) {
        let message = "the file begins with nothing but zeros: its data never reached the disk";
        return Err(Finding::new(Id::FileZeros, message).at(0));
    }
    if let Some(finding) = not_weights(&head) {
        return Err(finding);
    }
    if torch::is_legacy(&head) {
        return Ok(Format::TorchLegacy);
    }
    if matches!(head.as_slice(), [0x80, 2..=5, ..]) {
        return Ok(Format::Pickle);
    }
    if possible && size < 16 {
        return Ok(Format::Safetensors);
    }
    // A zip is found from its end; its reader says that something stands before it.
    let end = size.checked_sub(ZIP_END).and_then(|at| source.read_vec_at(ZIP_END, at).ok());
    if end.is_some_and(|end| end.starts_with(b"PK\x05\x06")) {
        return Ok(Format::Torch);
    }
    if msgpack::is_map(&head) {
        return Ok(Format::Msgpack);
    }
    if onnx::is_model(source) {
        return Ok(Format::Onnx);
    }
    let end =
        size.checked_sub(to_u64(TABLE_END.len())).and_then(|at| source.read_vec_at(size.saturating_sub(at), at).ok());
    if end.is_some_and(|end| end == TABLE_END) {
        return Ok(Format::TfIndex);
    }
    let start = String::from_utf8_lossy(head.get(..head.len().min(16)).unwrap_or_default()).into_owned();
    Err(Finding::new(Id::FileUnknown, "the file is of no known weight format")
        .at(0)
        .needed("weights", format!("{start:?}")))
}

/// Text that downloads leave where weights should be.
fn not_weights(head: &[u8]) -> Option<Finding> {
    let text = head.trim_ascii_start();
    let lower = text.to_ascii_lowercase();
    let (id, message) = if text.starts_with(b"version https://git-lfs") {
        (Id::FileLfsPointer, "this is a Git LFS pointer, not the file it stands for; `git lfs pull` fetches that")
    } else if lower.starts_with(b"<!doctype html") || lower.starts_with(b"<html") {
        (Id::FileHtml, "this is a web page, not weights; the download went to a login or error page")
    } else if lower.starts_with(b"<?xml") || lower.starts_with(b"{\"error") || lower.starts_with(b"{\"message") {
        (Id::FileErrorText, "this is a server's error message, not weights; download the file again")
    } else if text.starts_with(b"Entry not found") || text.starts_with(b"Access to model") {
        (Id::FileErrorText, "this is the hub's refusal, not weights; log in and download the file again")
    } else {
        return None;
    };
    Some(Finding::new(id, message).at(0))
}

/// The finding for a read that failed.
pub fn unreadable(error: &std::io::Error) -> Finding {
    if error.kind() == std::io::ErrorKind::UnexpectedEof {
        return Finding::new(Id::FileChanged, "the file became shorter while it was being read");
    }
    Finding::new(Id::FileUnreadable, format!("the file cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: &[u8]) -> Result<Format, Id> {
        detect(&bytes.to_vec()).map_err(|finding| finding.id)
    }

    #[test]
    fn content_decides() {
        assert_eq!(of(b""), Err(Id::FileEmpty));
        assert_eq!(of(&[0; 4096]), Err(Id::FileZeros));
        assert_eq!(of(b"version https://git-lfs.github.com/spec/v1\n"), Err(Id::FileLfsPointer));
        assert_eq!(of(b"  <!DOCTYPE HTML>\n<html>"), Err(Id::FileHtml));
        assert_eq!(of(b"{\"error\":\"Repository not found\"}"), Err(Id::FileErrorText));
        assert_eq!(of(b"what is this, a file of words?"), Err(Id::FileUnknown));
        assert_eq!(of(b"GGUF\x03\0\0\0"), Ok(Format::Gguf));
        assert_eq!(of(b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."), Ok(Format::TorchLegacy));
        assert_eq!(of(b"\x80\x04\x95abc"), Ok(Format::Pickle));
        assert_eq!(of(&[b"so".as_slice(), b"PK\x05\x06", &[0; 18]].concat()), Ok(Format::Torch));
        assert_eq!(of(b"\x02\0\0\0\0\0\0\0{}"), Ok(Format::Safetensors));
        for length in [*b"\x80\x05\0\0\0\0\0\0", *b"\x1f\x8b\0\0\0\0\0\0"] {
            assert_eq!(of(&[&length[..], b"{\"a\":{}}"].concat()), Ok(Format::Safetensors));
        }
        assert_eq!(of(b"\xff\xff\xff\xff\xff\xff\xff\x7f{\"a\":{}}"), Ok(Format::Safetensors));
    }
}
