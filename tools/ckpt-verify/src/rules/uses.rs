//! The rules of `--expect`, `--against`, `--manifest` and of data read in passing. They are checked elsewhere and
//! explained here.

use super::explain;

explain! {
    /// With `--expect`: the checkpoint has not the layout that the use works with, as Meta's where transformers shall load it.
    ///
    /// The job starts, reads what it finds, and fails when it misses the rest, which for a save is at the very end.
    ///
    /// The finding's command makes a checkpoint of the right layout beside this one.
    ExpectLayout;
    /// With `--expect`: a file is not where the use looks for it. For `hf-save` that is config.json in the folder *above*
    /// the one that holds `consolidated.*.pth`, and tokenizer.model beside them.
    ///
    /// The job runs to its end and dies at the save with "No such file or directory", hours of training lost.
    ///
    /// The finding's command builds what is needed without copying a weight; the job then starts from what it built.
    ExpectFile;
    /// With `--expect`: a file is there that the use cannot have, as a second `*.pth` where exactly one is read.
    ///
    /// The loader refuses the folder, or takes the wrong file.
    ExpectExtraFile;
    /// With `--expect`: a file is there and is not of the form that the use accepts: a config.json without the numbers that
    /// are read from it, a tensor that a strict loader does not know.
    ///
    /// Loading or saving fails, or goes on with wrong numbers.
    ExpectFormat;
    /// With `--newest`: a step that is newer than the one that was taken (or every step, if none could be) is incomplete or
    /// damaged; without it: a step that holds nothing but weights where others hold more. The finding says why;
    /// `ckpt-verify` of the step itself says everything.
    ///
    /// A job was killed while it saved. A resume that goes by names or times takes this step, and fails.
    ///
    /// Remove the step, once the job that may still be writing it is known to be dead.
    StepIncomplete;
    /// With `--against`: the other checkpoint has a tensor of this (canonical) name and this one has not.
    ///
    /// It is not the same model, or part of it was lost on the way.
    AgainstMissing;
    /// With `--against`: this checkpoint has a tensor that the other one has not.
    ///
    /// It is not the same model, or something was added on the way.
    AgainstAdded;
    /// With `--against`: the same tensor has another dtype or shape in the other checkpoint. Values are then not compared.
    ///
    /// It was converted, resized or pruned on the way.
    AgainstGeometry;
    /// With `--against`: the same tensor has other values; the first element that differs is named. Shards are joined and
    /// rotary rows brought into one order first, so that layouts do not matter.
    ///
    /// It was trained further, rounded, or damaged.
    AgainstValues;
    /// With a manifest: the file that lists the digests cannot be read.
    ///
    /// Nothing can be compared with it.
    ManifestInvalid;
    /// With a manifest: a file or tensor that it names is not there.
    ///
    /// Something was deleted or renamed since the manifest was made.
    ManifestMissing;
    /// With a manifest: a file or tensor is there that it does not name.
    ///
    /// Something was added since, and what is added can change what a loader does as much as what is changed.
    ManifestAdded;
    /// With a manifest: the bytes are not those that were digested.
    ///
    /// The file was written again, or its disk is failing.
    ManifestChanged;
    /// With a manifest: the file or tensor is not there, but one with its very bytes is, under a name that the manifest
    /// does not know.
    ///
    /// It was renamed; whatever looks for the old name no longer finds it.
    ManifestMoved;
    /// Where ckpt-hash keeps digests (`--cache`) and reads again what nobody has written since: the bytes are others,
    /// while size, inode and times of the file are the same.
    ///
    /// A disk, a controller or memory is failing, or somebody writes below the file system.
    BitRot;
    /// Where ranks of model parallelism each hold a whole copy of a tensor (norms, replicated key and value heads), compares
    /// the copies bit for bit. Done whenever the data are read.
    ///
    /// The ranks drifted apart in training or come from different saves; each choice of a copy is another model.
    ReplicaDiffers;
    /// Compares buffers that follow from the config (rotary frequencies) with what the config gives, scaled as it says
    /// (`linear`, `llama3`). Other rules of scaling are passed over.
    ///
    /// A loader that reads the buffer and one that computes it run two different models.
    DerivedDiffers;
}
