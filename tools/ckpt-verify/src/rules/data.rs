//! The rules of `--deep`: what only the data can tell. They are checked in one pass and explained here.

use super::explain;

explain! {
    /// Takes the CRC-32 of every member of every zip that records one: tensors, pickles, code, and those of optimizers and
    /// random states too. A zip whose writer took no checksums gives a note.
    ///
    /// torch never looks at the checksums of tensors: a flipped bit loads without a word.
    ///
    /// Download or copy the file again.
    ZipCrc;
    /// Looks for NaN in floating tensors of every width, in real and imaginary parts, and in what ggml's blocks stand for.
    /// The first one is named.
    ///
    /// One of them spreads to every value that is computed from it; the model answers NaN.
    ///
    /// Go back to the last checkpoint without them; they come of a step that overflowed.
    Nan;
    /// Looks for infinite values in floating tensors. In masks and other buffers, and in single numbers such as the best
    /// loss so far, they are a note.
    ///
    /// They become NaN at the first subtraction. They come of a step, or of a cast to half precision, that overflowed.
    Inf;
    /// Looks for matrices of nothing but zeros. Biases, buffers and states of optimizers are not asked; what starts as zero
    /// (the second half of a LoRA, the output of an adapter) is a note, the weight of a normalisation a warning.
    ///
    /// The layer passes nothing on. The data were never written, or the save came before the load.
    AllZero;
    /// Looks for matrices whose values all have the same bits.
    ///
    /// No training makes such a weight: it was never initialised, or is a placeholder.
    Constant;
    /// Looks for runs of at least 64 KiB of zero bytes in matrices that are not zero throughout. Whole rows are a warning
    /// (somebody may have pruned them), and a note where rows stand for tokens or classes that may not exist.
    ///
    /// It is what a lost write, a copy that ran out of space or a torn download leaves: the size is right and the
    /// content is not.
    ///
    /// Download or copy the file again.
    ZeroRange;
    /// Counts subnormal numbers in matrices: more than one in ten, or one in two for half precision, where small weights
    /// are subnormal by nature.
    ///
    /// The bytes may be of another dtype than the header says. If they are right, processors compute with such numbers a
    /// hundred times slower.
    DenormalFlood;
    /// With `--stats`: compares every tensor with that of the run's step before, or of the checkpoint given with `--against`.
    /// If not one of them changed, it is a warning.
    ///
    /// What is frozen, as all but the adapter of a LoRA is, does not change, and what is trained does: a layer on the wrong
    /// side of that was forgotten by the optimizer, or its gradient never came.
    StepUnchanged;
    /// With `--stats`: compares the norm of every tensor with that in the run's step before, or in the checkpoint given with
    /// `--against`; twice as large or half as large is told.
    ///
    /// Between two saves weights move by percents. The run diverged, weights were scaled on the way, or it is another model.
    StepJump;
    /// Compares the `weight_shape` that compressed-tensors stores with the size of the packed weights and the bits that
    /// config.json states.
    ///
    /// Unpacking fails, or gives a matrix of another size.
    PackedShape;
}
