//! Checkpoints in several files: the index against the shards, ranks against each other.

use crate::rules::explain;

explain! {
    /// Reads the index (`model.safetensors.index.json`) and its `weight_map`; says so where shards have none.
    ///
    /// Without it, transformers finds no weights.
    ///
    /// `ckpt-convert --to safetensors` writes the weights anew, with an index if there are several files.
    IndexInvalid;
    /// Looks up every tensor that the index names in the shard it names.
    ///
    /// The index is of another save than the shards. transformers loads the model all the same, with random values there.
    IndexTensorMissing;
    /// Looks up every tensor of every shard in the index.
    ///
    /// No loader that goes by the index finds the tensor; random values take its place.
    IndexTensorUnlisted;
    /// A tensor is in another shard than the index says.
    ///
    /// Index and shards come from two saves. Loaders that open only the named shard miss it.
    IndexWrongShard;
    /// Compares the index's `total_size` with the sum of the tensors' bytes.
    ///
    /// Programs plan memory by it. A wrong one often means that the dtype was changed and the index was not; some
    /// releases are published with a sum of their own.
    IndexTotalSize;
    /// A file that the index names, or a rank between those that are there, is missing.
    ///
    /// Part of the model is not here.
    ///
    /// Download the missing file; the others need not be fetched again.
    ShardMissing;
    /// Looks for the folders that a pipeline's `model_index.json` names. Whether the models in them are whole, each of them
    /// tells itself.
    ///
    /// diffusers loads all parts or fails.
    ///
    /// Download the folder; parts that are left out on purpose stand as `[null, null]` in the index.
    PartMissing;
    /// Looks for weight files that the index, or `.metadata`, does not name; a `model.safetensors` beside an index is an error,
    /// since transformers loads it and never looks at the shards.
    ///
    /// Left-overs of another save cost space, and the wrong one may be loaded.
    ///
    /// Remove the files that do not belong here.
    ShardStray;
    /// Compares the ranks of a model-parallel checkpoint: the same tensors, of one dtype, of shapes that fit together.
    ///
    /// They come from different saves or sizes, and cannot be one model.
    ShardMismatch;
}
