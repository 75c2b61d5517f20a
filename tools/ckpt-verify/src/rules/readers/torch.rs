//! The zip of `torch.save` and the pickle in it. Nothing is ever unpickled: the pickle is read as data.

use crate::rules::explain;

explain! {
    /// Looks for the zip's central directory, which stands at its end.
    ///
    /// The write or download stopped early: torch says "failed finding central directory".
    ///
    /// Download or save the file again.
    ZipTruncated;
    /// Reads the zip's structures as the format defines them.
    ///
    /// Some number in it is wrong. What another program makes of the file cannot be known.
    ZipInvalid;
    /// Compares each member's own header with what the central directory says of it.
    ///
    /// Programs that read one and programs that read the other see two different files.
    ZipMismatch;
    /// Looks for members that share bytes.
    ///
    /// No program writes such a zip unless it is meant to unpack to more than it holds.
    ZipOverlap;
    /// Looks for two members of one name.
    ///
    /// One program takes the first and another the last: a scanner may look at a harmless one.
    ZipDuplicate;
    /// Looks for tensors whose record is compressed. `torch.save` stores them as they are.
    ///
    /// The file was packed again with a zip program; torch with `mmap=True` then takes compressed bytes for numbers.
    ///
    /// Load it without mmap and save it again.
    ZipCompressed;
    /// Looks for bytes before the first member.
    ///
    /// torch refuses the file; a zip program does not notice. It is how another file is hidden in front.
    ZipLeading;
    /// A record that the pickle names, or the pickle itself, is not in the zip.
    ///
    /// Those tensors have no data, and torch cannot load the file.
    TorchRecordMissing;
    /// Looks for members outside the folder that the file's other records are in, or in none.
    ///
    /// torch takes the folder of the first member for that of all, and refuses the file if one is elsewhere. Somebody added
    /// to the zip, or renamed in it.
    ///
    /// `zip -d FILE MEMBER` removes the member.
    TorchStrayMember;
    /// Reads the small records by which the file describes itself: `version` is a number from 1 to 10, `byteorder` is
    /// `little` or `big`, the serialization id is text.
    ///
    /// torch refuses anything else: the record was damaged, or the file is of a torch that is newer than all that are known
    /// here.
    TorchDescription;
    /// The pickle is of protocol 4 or 5, as `torch.save(..., pickle_protocol=4)` writes it.
    ///
    /// `torch.load(weights_only=True)`, the default since 2.6, does not know the opcodes and refuses the file.
    ///
    /// Convert it, which writes protocol 2: `ckpt-convert FILE --to torch --out NEW.pth`.
    TorchProtocol;
    /// Compares the size of a storage's record with what its tensors reach.
    ///
    /// The record was cut; torch before 2.10 read beyond its end (CVE-2026-24747).
    TorchStorageShort;
    /// Compares the size of a storage's record with the element count in the pickle.
    ///
    /// torch refuses a record that is too long unless it maps the file; the bytes beyond are seen by no one.
    ///
    /// Load it with `mmap=True` and save it again.
    TorchStorageLong;
    /// The file says `byteorder: big`.
    ///
    /// torch turns the bytes of older dtypes and forgets those of newer ones.
    ///
    /// Save it again on a little-endian machine.
    TorchByteorder;
    /// The file is in the format that torch wrote before version 1.6: pickles and storages one after another.
    ///
    /// It cannot be mapped, has no checksums, and `weights_only` loaders treat it as an exception.
    ///
    /// Load and save it again with today's torch.
    TorchLegacy;
    /// Reads every opcode of the pickle with its operands and the stack that it needs.
    ///
    /// No unpickler can load it, or each loads something else: a stream that was cut, or made to confuse scanners.
    PickleInvalid;
    /// Checks that what rebuilds a tensor is described as torch does it: storage, dtype, offset, shape, strides.
    ///
    /// The tensor cannot be rebuilt, or reaches outside its storage.
    PickleTensor;
    /// Lists classes and functions that a pickle names and that are not torch's own. They are kept as data and never called.
    ///
    /// `torch.load(weights_only=True)` refuses the file; without it, whatever is named there runs.
    ///
    /// Convert to safetensors, which cannot name code.
    PickleUnknownClass;
    /// Two different tensors of one file, or of several that belong together, have one name.
    ///
    /// Which one is loaded depends on the order of reading.
    TensorDuplicate;
}
