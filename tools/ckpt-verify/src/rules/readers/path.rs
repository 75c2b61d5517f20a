//! The path, its files and what stands there instead of weights.

use crate::rules::explain;

explain! {
    /// Looks for weight files at the path: the file itself, or those on top of the folder or in `original/`.
    ///
    /// There is nothing to check. Perhaps the path is one folder too high or too low.
    NotACheckpoint;
    /// A weight file has a size of zero.
    ///
    /// The disk filled up or the machine went down between creating the file and writing it.
    ///
    /// Download or save it again.
    FileEmpty;
    /// A weight file begins with zeros where every format has something to say.
    ///
    /// Its length reached the disk and its data did not: a crash or a power cut before the write was synced.
    ///
    /// Download or save it again.
    FileZeros;
    /// The file is the three lines of text that Git keeps in place of a large file.
    ///
    /// The repository was cloned without Git LFS, or its quota was used up.
    ///
    /// `git lfs pull` fetches the file.
    FileLfsPointer;
    /// The file is a web page.
    ///
    /// A download went to a login, licence or error page, and the program saved that under the file's name.
    ///
    /// Log in or accept the licence, then download it again.
    FileHtml;
    /// The file is the message of a server or of a storage service that refused the download.
    ///
    /// There are no weights in it. What the message says is usually the reason.
    FileErrorText;
    /// The first bytes are those of no known format.
    ///
    /// The file is damaged at its start, encrypted, packed by hand, or something else than weights.
    FileUnknown;
    /// Compares what a name promises (`.safetensors`, `.pth`, `.gguf`) with what the file is.
    ///
    /// Programs that go by names fail with a message about something else, or unpickle what they took for safe.
    ///
    /// Rename the file, or convert it.
    FileExtension;
    /// A file or folder cannot be read: permissions, or an error of the disk. The answer is then "could not tell".
    ///
    /// What is in it was not checked.
    FileUnreadable;
    /// A file became shorter or longer while it was read, or was written to, replaced or removed.
    ///
    /// Something is still writing here; what was found may be wrong already.
    ///
    /// Wait for the job, then check again.
    FileChanged;
    /// A symbolic link leads to nothing.
    ///
    /// In a cache of the hub, the blob was pruned or the link copied without it.
    ///
    /// Download again, or copy with links followed (`cp -L`).
    LinkDangling;
    /// A symbolic link leads out of the checkpoint. In the hub's cache, links of a snapshot to the blobs of its own
    /// repository stay inside.
    ///
    /// A copy that keeps links is empty elsewhere, and who changes the target changes this checkpoint.
    LinkOutside;
    /// Of a repository in the hub's cache (`models--org--name`), the snapshot that `refs/main` names is checked, or the only
    /// one there is. Here there is none, or several without a ref, or the ref names one that is not there.
    ///
    /// A program that loads the model offline finds nothing; which of the others was meant, nobody says.
    ///
    /// Give one of the folders below `snapshots/`, or download again.
    SnapshotUnclear;
    /// A file name that is written in an index leads out of the folder (`../`, an absolute path). It is not followed.
    ///
    /// No honest program writes such a name. A loader that follows it reads files of your machine.
    NameUnsafe;
    /// A file asks for more than any real one needs: a header of gigabytes, a million dimensions.
    ///
    /// A reader that believes it runs out of memory. The number is damaged, or the file was made to do harm.
    TooLarge;
    /// There is nothing at the path. The answer is "could not tell".
    ///
    /// A misspelt path, or storage that is not mounted, is no verdict about a checkpoint.
    PathMissing;
    /// The format is recognised and not read yet. The answer is "could not tell".
    ///
    /// Nothing of the file was checked.
    Unsupported;
}
