//! The safetensors format, read more strictly than its own library does.

use crate::rules::explain;

explain! {
    /// Holds the length of the header and the end of the last tensor against the size of the file.
    ///
    /// The download or the write stopped early. Some tools map the file all the same and read beyond its end.
    ///
    /// Download or save the file again.
    SafetensorsTruncated;
    /// Reads the header as the format defines it: one JSON object, UTF-8, `dtype`, `shape` and `data_offsets` for every
    /// tensor, nothing else.
    ///
    /// The reference library refuses the file, or two readers understand it in two ways.
    SafetensorsHeader;
    /// Looks for a tensor, a field of a tensor or a metadata key that stands twice, also where one is spelt with escapes.
    ///
    /// The reference library takes the last one and others the first: two readers load two different models.
    SafetensorsDuplicate;
    /// A tensor's dtype is none that the format knows.
    ///
    /// No loader can say how many bytes an element has.
    SafetensorsDtype;
    /// Compares each tensor's byte range with its dtype times its shape.
    ///
    /// Range, dtype or shape is wrong, and nothing tells which.
    SafetensorsSize;
    /// Looks for tensors that share bytes.
    ///
    /// The format forbids it. A change to one tensor changes the other; it is also how data are hidden.
    SafetensorsOverlap;
    /// Looks for bytes between tensors that belong to none.
    ///
    /// The format forbids it, since anything can hide there.
    SafetensorsHole;
    /// Looks for bytes after the last tensor.
    ///
    /// Two files were joined, or something was appended. The reference library refuses the file.
    SafetensorsTrailing;
}
