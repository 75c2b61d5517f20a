//! The formats of numpy, Flax, ONNX and NeMo, held to what their own writers make.

use crate::rules::explain;

explain! {
    /// Holds the length of the header and of the elements against the size of the file.
    ///
    /// The download or the write stopped early. numpy refuses the array, or maps it and reads beyond its end.
    ///
    /// Download or save the file again.
    NpyTruncated;
    /// Reads the header as numpy does: its version, a dictionary of `descr`, `fortran_order` and `shape`. Bytes behind the
    /// elements are a warning.
    ///
    /// The header is damaged or was not written by numpy; nobody knows what the elements are.
    NpyInvalid;
    /// Looks for arrays of Python objects. One object alone, which is a setting far more often than a weight, is a warning.
    ///
    /// They are pickles: numpy loads them only when told to, and then runs what they say. What is in them is not read here.
    ///
    /// Save the arrays one by one, and settings as JSON.
    ArrayPickled;
    /// Holds every length in a msgpack file against the size of the file.
    ///
    /// The download or the write stopped early. Flax refuses the file.
    ///
    /// Download or save the file again.
    MsgpackTruncated;
    /// Reads the file as Flax writes it: keys that are words, arrays of shape, dtype and as many bytes as those need, chunks
    /// that make their array. Bytes behind the map are a warning.
    ///
    /// Flax refuses the file, or takes wrong numbers for weights.
    MsgpackInvalid;
    /// Holds every length in an ONNX model against the size of the file, and of those that its values are in.
    ///
    /// The download or the write stopped early. onnx refuses the model.
    ///
    /// Download or export the model again.
    OnnxTruncated;
    /// Reads the model and its initializers as Protocol Buffers have them: numbers of fields, kinds, values that make their shape.
    ///
    /// onnx refuses the model, or takes wrong numbers for weights.
    OnnxInvalid;
    /// Walks through a tar from header to header and holds every size against that of the file.
    ///
    /// The download or the write stopped early; members are missing or cut short. NeMo and tar notice it only when they come to
    /// them.
    ///
    /// Download or save the file again.
    TarTruncated;
    /// Checks the checksum of every header of a tar, and that members are what NeMo, or torch of 2016, puts there.
    ///
    /// What follows a broken header cannot be found any more.
    TarInvalid;
}
