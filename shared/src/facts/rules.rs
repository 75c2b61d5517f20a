//! The one table of what can be wrong with a checkpoint. An id never changes its meaning.

use super::finding::Severity;

/// At which level `ckpt-verify` decides a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// From headers, sizes and small files.
    Structure,
    /// From the readiness for one use (`--expect`).
    Expect,
    /// From the data itself (`--deep`, `--against`, digests).
    Deep,
}

impl Level {
    /// The word used in documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Structure => "structure",
            Self::Expect => "expect",
            Self::Deep => "deep",
        }
    }
}

macro_rules! rules {
    ($($id:ident $name:literal $severity:ident $level:ident $meaning:literal;)*) => {
        /// A rule, by what is wrong when it speaks.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Id { $(#[doc = $meaning] $id,)* }

        impl Id {
            /// Every rule, in the order of the table.
            pub const ALL: &'static [Id] = &[$(Id::$id,)*];

            /// The stable name.
            pub fn name(self) -> &'static str {
                match self { $(Id::$id => $name,)* }
            }

            /// How much it matters unless regraded.
            pub fn severity(self) -> Severity {
                match self { $(Id::$id => Severity::$severity,)* }
            }

            /// The level at which it is decided.
            pub fn level(self) -> Level {
                match self { $(Id::$id => Level::$level,)* }
            }

            /// What it means, in one line.
            pub fn meaning(self) -> &'static str {
                match self { $(Id::$id => $meaning,)* }
            }
        }
    };
}

rules! {
    // The path and its files.
    NotACheckpoint        "not-a-checkpoint"        Error   Structure "nothing below the path is a weight file";
    FileEmpty             "file-empty"              Error   Structure "a weight file has no bytes";
    FileZeros             "file-zeros"              Error   Structure "a weight file begins with nothing but zeros: a lost write";
    FileLfsPointer        "file-lfs-pointer"        Error   Structure "a Git LFS pointer stands where the weights should be";
    FileHtml              "file-html"               Error   Structure "a web page stands where the weights should be";
    FileErrorText         "file-error-text"         Error   Structure "a server's error message stands where the weights should be";
    FileUnknown           "file-unknown"            Error   Structure "a weight file is of no known format";
    FileExtension         "file-extension"          Warning Structure "a file's name promises another format than its content has";
    FileUnreadable        "file-unreadable"         Error   Structure "a file cannot be read";
    FileChanged           "file-changed"            Error   Structure "a file changed while it was being read";
    LinkDangling          "link-dangling"           Error   Structure "a symbolic link leads to nothing";
    LinkOutside           "link-outside"            Note    Structure "a symbolic link leads out of the checkpoint";
    NameUnsafe            "name-unsafe"             Error   Structure "a file name written in a file leads out of the checkpoint";
    SnapshotUnclear       "snapshot-unclear"        Error   Structure "nothing says which snapshot of a cached repository is meant, or it is not there";
    PartialLeft           "partial-left"            Error   Structure "an unfinished conversion or download lies here";
    NameCase              "name-case"               Warning Structure "two file names differ only in case; not every disk can hold both";
    TooLarge              "too-large"               Error   Structure "a file asks for more than the readers' limits allow";
    SparseHole            "sparse-hole"             Error   Structure "bytes of a weight file were never written: a hole, which reads as zeros";
    // safetensors.
    SafetensorsTruncated  "safetensors-truncated"   Error   Structure "a safetensors file ends before its header or its data do";
    SafetensorsHeader     "safetensors-header"      Error   Structure "a safetensors header is not what the format allows";
    SafetensorsDuplicate  "safetensors-duplicate"   Error   Structure "a safetensors header names a tensor, a field or a metadata key twice";
    SafetensorsDtype      "safetensors-dtype"       Error   Structure "a safetensors header names an unknown dtype";
    SafetensorsSize       "safetensors-size"        Error   Structure "a tensor's byte range does not fit its dtype and shape";
    SafetensorsOverlap    "safetensors-overlap"     Error   Structure "two tensors of a safetensors file share bytes";
    SafetensorsHole       "safetensors-hole"        Error   Structure "bytes of a safetensors file belong to no tensor";
    SafetensorsTrailing   "safetensors-trailing"    Error   Structure "a safetensors file goes on after its last tensor";
    SafetensorsMetadata   "safetensors-metadata"    Warning Structure "a safetensors file has no `format` in its metadata, which transformers before 4.57 insist on";
    // GGUF.
    GgufTruncated         "gguf-truncated"          Error   Structure "a GGUF file ends before its header or its tensors do";
    GgufInvalid           "gguf-invalid"            Error   Structure "a GGUF header is not what the format allows";
    GgufDuplicate         "gguf-duplicate"          Error   Structure "a GGUF header holds a key or a tensor twice";
    GgufType              "gguf-type"               Error   Structure "a tensor is of a type that GGUF does not have, or no longer";
    GgufAlignment         "gguf-alignment"          Error   Structure "a tensor does not begin at a multiple of a GGUF file's alignment";
    GgufOverlap           "gguf-overlap"            Error   Structure "two tensors of a GGUF file share bytes";
    GgufHole              "gguf-hole"               Error   Structure "more than padding stands between two tensors of a GGUF file";
    GgufTrailing          "gguf-trailing"           Warning Structure "a GGUF file goes on after its last tensor";
    // numpy, msgpack, ONNX, tar.
    NpyTruncated          "npy-truncated"           Error   Structure "an array file of numpy ends before its header or its elements do";
    NpyInvalid            "npy-invalid"             Error   Structure "an array file of numpy is not what the format allows";
    ArrayPickled          "array-pickled"           Error   Structure "an array of numpy holds pickled objects instead of numbers";
    MsgpackTruncated      "msgpack-truncated"       Error   Structure "a msgpack file ends before its values do";
    MsgpackInvalid        "msgpack-invalid"         Error   Structure "a msgpack file is not what Flax writes";
    OnnxTruncated         "onnx-truncated"          Error   Structure "an ONNX model ends before its initializers do";
    OnnxInvalid           "onnx-invalid"            Error   Structure "an ONNX model is not what the format allows";
    TarTruncated          "tar-truncated"           Error   Structure "a tar ends before its members do";
    TarInvalid            "tar-invalid"             Error   Structure "a tar, or what should be in it, is not what its format allows";
    // torch.
    ZipTruncated          "zip-truncated"           Error   Structure "a zip's central directory is missing or cut off";
    ZipInvalid            "zip-invalid"             Error   Structure "a zip breaks its own format";
    ZipMismatch           "zip-mismatch"            Error   Structure "a zip member's local header disagrees with the central directory";
    ZipOverlap            "zip-overlap"             Error   Structure "two zip members share bytes";
    ZipDuplicate          "zip-duplicate"           Error   Structure "a zip holds two members of one name";
    ZipCompressed         "zip-compressed"          Error   Structure "a tensor's record is compressed, so that torch maps garbage";
    ZipLeading            "zip-leading"             Error   Structure "bytes stand before a zip's first member, which torch refuses";
    ZipCrc                "zip-crc"                 Error   Deep      "a zip member does not have the CRC-32 recorded for it";
    TorchRecordMissing    "torch-record-missing"    Error   Structure "a torch file lacks a record that its pickle needs";
    TorchStrayMember      "torch-stray-member"      Error   Structure "a member of a torch file is in another folder than the rest, and torch refuses the file";
    TorchDescription      "torch-description"       Error   Structure "what a torch file says of itself is nothing that torch reads";
    TorchProtocol         "torch-protocol"          Note    Structure "a torch file's pickle is of a protocol that torch reads only when it may run it";
    TorchStorageShort     "torch-storage-short"     Error   Structure "a storage record is smaller than its tensors need";
    TorchStorageLong      "torch-storage-long"      Error   Structure "a storage record is larger than the pickle says, and torch loads it only when it maps the file";
    TorchByteorder        "torch-byteorder"         Warning Structure "a torch file is big-endian, which torch itself reads wrongly for newer dtypes";
    TorchLegacy           "torch-legacy"            Note    Structure "a torch file is in the format of before version 1.6";
    PickleInvalid         "pickle-invalid"          Error   Structure "a pickle breaks its own format";
    PickleTensor          "pickle-tensor"           Error   Structure "a tensor in a pickle is not described as torch does it";
    PickleUnknownClass    "pickle-unknown-class"    Note    Structure "a pickle names classes that are not torch's; they were kept as data";
    PickleDangerous       "pickle-dangerous"        Error   Structure "a pickle names or calls what can run code when it is loaded";
    PickleSmuggled        "pickle-smuggled"         Error   Structure "a pickle's frames hide bytes from one unpickler that another one obeys";
    PickleTrailing        "pickle-trailing"         Warning Structure "something follows the end of a pickle";
    PickleIncomplete      "pickle-incomplete"       Error   Structure "a pickle cannot be read to its end, so that nobody knows all that it does";
    PickleBomb            "pickle-bomb"             Error   Structure "a pickle, or an archive of pickles, unfolds to more than a machine can hold";
    PickleUnscanned       "pickle-unscanned"        Warning Structure "an archive of a kind that is not looked into may hold pickles";
    PickledWeights        "pickled-weights"         Note    Structure "weights that transformers load are pickled, where safetensors would do";
    CustomCode            "custom-code"             Note    Structure "the checkpoint brings code of its own";
    TensorDuplicate       "tensor-duplicate"        Error   Structure "two different tensors have one name";
    // Sharded checkpoints.
    IndexInvalid          "index-invalid"           Error   Structure "an index of shards is not what it should be";
    IndexTensorMissing    "index-tensor-missing"    Error   Structure "the index names a tensor that its shard does not hold";
    IndexTensorUnlisted   "index-tensor-unlisted"   Error   Structure "a shard holds a tensor that the index does not name";
    IndexWrongShard       "index-wrong-shard"       Error   Structure "a tensor stands in another shard than the index says";
    IndexTotalSize        "index-total-size"        Warning Structure "the index's total_size is not the sum of the tensors";
    ShardMissing          "shard-missing"           Error   Structure "a shard is missing";
    PartMissing           "part-missing"            Error   Structure "a pipeline's index names a part that is not there";
    ShardStray            "shard-stray"             Warning Structure "a weight file belongs to no index, or hides the shards beside it";
    ShardMismatch         "shard-mismatch"          Error   Structure "model-parallel shards do not fit together";
    // What belongs beside the weights.
    JsonInvalid           "json-invalid"            Error   Structure "a JSON file cannot be parsed";
    ConfigMissing         "config-missing"          Warning Structure "there is no config.json or params.json beside the weights";
    ConfigShape           "config-shape"            Error   Structure "a tensor has another shape than the config says";
    ConfigVocab           "config-vocab"            Error   Structure "the config's vocabulary is not that of the embedding";
    ConfigLayers          "config-layers"           Error   Structure "the config has another number of layers than the weights";
    ConfigDtype           "config-dtype"            Warning Structure "the config's dtype is not that of the weights";
    TensorMissing         "tensor-missing"          Error   Structure "a tensor that the architecture needs is missing";
    TensorUnexpected      "tensor-unexpected"       Warning Structure "a tensor that the architecture does not know";
    TensorEmpty           "tensor-empty"            Error   Structure "a weight has no elements: a placeholder was saved";
    TensorAbsent          "tensor-absent"           Error   Structure "a tensor has no data in the checkpoint";
    DtypeMixed            "dtype-mixed"             Warning Structure "weights of one kind have different dtypes";
    TiedHeadMissing       "tied-head-missing"       Error   Structure "the output head is missing though the config says it is not tied";
    TiedHeadStored        "tied-head-stored"        Note    Structure "the output head is stored though the config says it is tied";
    TiedDiffers           "tied-differs"            Error   Deep      "the output head differs from the embedding though the config says it is tied";
    // Adapters.
    AdapterConfig         "adapter-config"          Error   Structure "an adapter's config is missing, or does not say what its loader needs";
    AdapterAlpha          "adapter-alpha"           Warning Structure "nothing tells the alpha that an adapter's product is scaled by, or it makes no number";
    AdapterPair           "adapter-pair"            Error   Structure "an adapter has half of what changes a module";
    AdapterRank           "adapter-rank"            Error   Structure "an adapter's matrices are of another rank than their other half, or than the config says";
    AdapterTargets        "adapter-targets"         Error   Structure "an adapter's config and its weights do not speak of the same modules";
    AdapterMagnitudes     "adapter-magnitudes"      Error   Deep      "magnitudes of an adapter's queries and keys stand in torchtune's order in a file of PEFT's";
    AdapterBase           "adapter-base"            Error   Structure "an adapter does not fit the base model";
    TokenizerMissing      "tokenizer-missing"       Warning Structure "there is no tokenizer beside the weights";
    TokenizerInvalid      "tokenizer-invalid"       Error   Structure "a tokenizer file cannot be read";
    TokenizerNotMeta      "tokenizer-not-meta"      Warning Structure "Meta's form cannot express the tokenizer; it is carried as it is";
    InstructUnknown       "instruct-unknown"        Warning Structure "nothing tells whether the model is a base model or tuned for dialogue; it is taken for a base model";
    TokenizerVocab        "tokenizer-vocab"         Error   Structure "the tokenizer has more tokens than the embedding has rows";
    // Training state, and the steps of a run.
    SaveIncomplete        "save-incomplete"         Error   Structure "a save was broken off: what its program writes last is missing";
    StepIncomplete        "step-incomplete"         Warning Structure "a step of the run is incomplete, and an older one is taken";
    TrackerStale          "tracker-stale"           Error   Structure "a run's own note of its newest step names one that is not there";
    TrainingPartial       "training-partial"        Warning Structure "some but not all parts of a training state are there";
    TrainingModelOnly     "training-model-only"     Note    Structure "a trainer saved the model alone; training cannot be resumed from here";
    TrainingStep          "training-step"           Warning Structure "the trainer's state is of another step than the folder";
    TrainingMismatch      "training-mismatch"       Error   Structure "the optimizer's state does not fit the weights";
    ReplicaDiffers        "replica-differs"         Error   Deep      "copies of one tensor in several shards are not equal";
    DerivedDiffers        "derived-differs"         Warning Deep      "a derived buffer does not hold what the config derives";
    PackedParts           "packed-parts"            Error   Structure "packed weights and what unpacks them do not fit together";
    PackedShape           "packed-shape"            Error   Deep      "packed weights have not the size that the shape stored beside them needs";
    // The numbers themselves.
    Nan                   "nan"                     Error   Deep      "a tensor holds values that are not a number";
    Inf                   "inf"                     Error   Deep      "a tensor holds infinite values";
    AllZero               "all-zero"                Error   Deep      "all values of a weight are zero";
    Constant              "constant"                Warning Deep      "all values of a weight are the same";
    ZeroRange             "zero-range"              Error   Deep      "a long range of a weight is filled with zeros";
    DenormalFlood         "denormal-flood"          Warning Deep      "many values of a weight are too small to be normal numbers";
    StepUnchanged         "step-unchanged"          Note    Deep      "tensors are to the bit those of the step before";
    StepJump              "step-jump"               Note    Deep      "a tensor's norm is far from that of the step before";
    // Readiness for a use.
    ExpectLayout          "expect-layout"           Error   Expect    "the checkpoint has not the layout that this use needs";
    ExpectFile            "expect-file"             Error   Expect    "a file that this use needs is missing";
    ExpectExtraFile       "expect-extra-file"       Error   Expect    "a file that this use cannot have is there";
    ExpectFormat          "expect-format"           Error   Expect    "a file is of a form that this use does not accept";
    // Two checkpoints, a checkpoint and a manifest.
    AgainstMissing        "against-missing"         Error   Deep      "a tensor of the other checkpoint is missing here";
    AgainstAdded          "against-added"           Error   Deep      "a tensor that the other checkpoint does not have";
    AgainstGeometry       "against-geometry"        Error   Deep      "a tensor has another dtype or shape than in the other checkpoint";
    AgainstValues         "against-values"          Error   Deep      "a tensor's values are not those of the other checkpoint";
    ManifestInvalid       "manifest-invalid"        Error   Deep      "a manifest cannot be read";
    ManifestMissing       "manifest-missing"        Error   Deep      "what the manifest names is not there";
    ManifestAdded         "manifest-added"          Error   Deep      "something is there that the manifest does not name";
    ManifestChanged       "manifest-changed"        Error   Deep      "the bytes are not those of the manifest";
    ManifestMoved         "manifest-moved"          Error   Deep      "what the manifest names is there under another name";
    BitRot                "bit-rot"                 Error   Deep      "the bytes changed although nobody wrote the file";
    // The run could not tell.
    PathMissing           "path-missing"            Error   Structure "there is nothing at the path";
    Unsupported           "unsupported"             Error   Structure "the format is known but not read yet";
}

impl Id {
    /// The rule of that name.
    pub fn from_name(name: &str) -> Option<Id> {
        Id::ALL.iter().copied().find(|id| id.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_lower_case() {
        for &id in Id::ALL {
            assert_eq!(Id::from_name(id.name()), Some(id), "two rules are called {}", id.name());
            assert!(id.name().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'));
        }
    }
}
