//! The GGUF format, held to what llama.cpp insists on.

use crate::rules::explain;

explain! {
    /// Holds every length in the header and the end of every tensor against the size of the file.
    ///
    /// The download or the write stopped early. llama.cpp refuses the file, or maps it and reads beyond its end.
    ///
    /// Download or make the file again.
    GgufTruncated;
    /// Reads keys, values and the table of tensors as the format defines them: types, truth values, dimensions, names.
    ///
    /// Some number in the header is wrong, and everything after it may be misread.
    GgufInvalid;
    /// Looks for a key or a tensor that stands twice.
    ///
    /// llama.cpp refuses the file; other readers take the first or the last, and see two different models.
    GgufDuplicate;
    /// A tensor's type is none that the format has; some early types were taken out again.
    ///
    /// No reader of today knows how many bytes its blocks have.
    ///
    /// Make the file again from the original weights.
    GgufType;
    /// Compares where tensors begin with `general.alignment`, 32 bytes unless the header says otherwise.
    ///
    /// llama.cpp refuses the file; what maps it would read numbers that lie across words.
    GgufAlignment;
    /// Looks for tensors that share bytes.
    ///
    /// The format forbids it. One of the two holds the other's weights.
    GgufOverlap;
    /// Looks for gaps between tensors that are larger than padding.
    ///
    /// llama.cpp wants each tensor right behind the one before and refuses the file; anything can hide in a gap.
    GgufHole;
    /// Looks for bytes after the last tensor and its padding.
    ///
    /// Two files were joined, or something was appended. No reader looks at it.
    GgufTrailing;
}
