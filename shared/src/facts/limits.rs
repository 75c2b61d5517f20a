//! The largest sizes the readers accept, each with its source. A file that asks for more is a finding.

/// Bytes of a safetensors header: `MAX_HEADER_SIZE` of the safetensors crate 0.8.
pub const SAFETENSORS_HEADER: u64 = 100_000_000;

/// Dimensions of a tensor: `PyTorch` allows 64 (`c10/core/TensorImpl.h`, `kMaxDims` of its iterators).
pub const DIMS: usize = 64;

/// Experts of a layer, many times those of any model (Kimi K2 has 384).
pub const EXPERTS: u64 = 1 << 16;

/// Bytes of a JSON file that belongs to a checkpoint. The index of a trillion-parameter mixture is 20 MB, the
/// largest published `tokenizer.json` 35 MB; ten times that is room enough.
pub const JSON: u64 = 400_000_000;

/// Bytes of a tokenizer model. The largest published one (Llama 4) has 3.6 MB.
pub const TOKENIZER: u64 = 100_000_000;

/// Bytes of a token whose merges are worked out, which takes time with the square of its length. The longest of
/// published vocabularies have 256; SentencePiece makes none of more than 512 characters.
pub const TOKEN: usize = 1 << 11;

/// Members of a zip. A `.pth` with 70,000 tensors has 70,006; zip64 allows 2^64.
pub const ZIP_MEMBERS: u64 = 4_000_000;

/// Bytes of a zip's central directory: room for that many members of 256 bytes each.
pub const ZIP_DIRECTORY: u64 = 1_024_000_000;

/// Bytes of the pickle inside a checkpoint (`data.pkl`). 70,000 tensors take 10 MB.
pub const PICKLE: u64 = 1_000_000_000;

/// Bytes that what one pickle builds may take in memory. 70,000 tensors take 50 MB, and no state of training that is known
/// holds more than a few million values.
pub const PICKLE_MEMORY: u64 = 240_000_000;

/// Values that a pickle's containers may stand for when those that are held several times count each time: a pickle of a
/// few kilobytes can mean 10^9 and more ("billion laughs"), one of 70,000 tensors means 10^7.
pub const PICKLE_UNFOLDED: u64 = 100_000_000;

/// Bytes that are unpacked of one file to look for pickles, and how deep archives in archives are followed.
pub const PICKLES_UNPACKED: u64 = 1_000_000_000;
/// See [`PICKLES_UNPACKED`].
pub const PICKLES_DEEP: usize = 4;

/// Nesting of containers inside a pickle or a JSON file: deeper than any training state, shallower than a stack.
pub const NESTING: usize = 500;

/// Bytes of a string in a GGUF header. Chat templates have kilobytes.
pub const GGUF_STRING: u64 = 100_000_000;

/// Keys of a GGUF header, and elements of an array in one. Vocabularies have 300,000 tokens.
pub const GGUF_KEYS: u64 = 1_000_000;
/// See [`GGUF_KEYS`].
pub const GGUF_ARRAY: u64 = 16_000_000;

/// Nesting of arrays in a GGUF header. No known file nests them at all.
pub const GGUF_NESTING: usize = 8;

/// The alignment of a GGUF file: pages of two megabytes are the largest that anyone maps.
pub const GGUF_ALIGNMENT: u64 = 1 << 21;

/// Tensors of one file, where the format leaves open how many there are: as many as a zip may have members.
pub const TENSORS: usize = 4_000_000;

/// Bytes of the header of numpy's array. numpy itself refuses more than 10,000 unless told otherwise
/// (`_MAX_HEADER_SIZE`); records with thousands of fields have more.
pub const NPY_HEADER: u64 = 1 << 20;

/// Bytes that the deflated members of one archive may have together to be unpacked into memory.
pub const UNPACKED: u64 = 1 << 26;

/// Parts of the name of a module that an adapter changes. Those of published models have about ten; each end of a name
/// is looked up, so that one of nothing but points would take time with the square of its length.
pub const MODULE_PARTS: usize = 64;

/// Bytes of the name of a tensor, or of a part of it, where the format leaves open how long it is.
pub const NAME: u64 = 1 << 16;

/// How deep the maps of msgpack nest: modules of Flax nest a dozen levels.
pub const MSGPACK_NESTING: usize = 100;

/// Bytes that names and texts of one msgpack file may take in memory, each name with all the keys that lead to it: 70,000
/// arrays under names of a hundred bytes take 7 MB, while a file of a few megabytes can spell out terabytes.
pub const MSGPACK_NAMES: u64 = 200_000_000;

/// Members of a tar, and bytes of one that only says how the next is called.
pub const TAR_MEMBERS: usize = 1_000_000;
/// See [`TAR_MEMBERS`].
pub const TAR_NAME: u64 = 1 << 20;

/// Bytes of a file of settings in an archive. NeMo's have some ten thousand.
pub const SETTINGS: u64 = 1 << 20;

/// Files below one checkpoint directory, and how deep folders nest. DCP writes a file a rank and thread.
pub const FILES: usize = 1_000_000;
/// See [`FILES`].
pub const FOLDERS_DEEP: usize = 32;

/// Findings of one kind that a reader reports about one file: enough to see the pattern, too few to drown in.
pub const FINDINGS: usize = 100;

/// The rank of an adapter. Those in use reach 1,024; the widest matrix of a published model has 53,248 columns (Llama 3.1
/// 405B), and more rank than that says nothing more.
pub const RANK: u64 = 1 << 16;
