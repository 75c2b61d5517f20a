//! The types of tensors in GGUF, by their numbers.

use crate::facts::Dtype;

/// Number and dtype (`ggml_type` of `ggml.h`; `GGMLQuantizationType` of gguf-py 0.19). Numbers that are missing were
/// taken out of the format.
const TYPES: &[(u32, Dtype)] = &[
    (0, Dtype::F32),
    (1, Dtype::F16),
    (2, Dtype::Q4_0),
    (3, Dtype::Q4_1),
    (6, Dtype::Q5_0),
    (7, Dtype::Q5_1),
    (8, Dtype::Q8_0),
    (9, Dtype::Q8_1),
    (10, Dtype::Q2K),
    (11, Dtype::Q3K),
    (12, Dtype::Q4K),
    (13, Dtype::Q5K),
    (14, Dtype::Q6K),
    (15, Dtype::Q8K),
    (16, Dtype::Iq2Xxs),
    (17, Dtype::Iq2Xs),
    (18, Dtype::Iq3Xxs),
    (19, Dtype::Iq1S),
    (20, Dtype::Iq4Nl),
    (21, Dtype::Iq3S),
    (22, Dtype::Iq2S),
    (23, Dtype::Iq4Xs),
    (24, Dtype::I8),
    (25, Dtype::I16),
    (26, Dtype::I32),
    (27, Dtype::I64),
    (28, Dtype::F64),
    (29, Dtype::Iq1M),
    (30, Dtype::Bf16),
    (34, Dtype::Tq1_0),
    (35, Dtype::Tq2_0),
    (39, Dtype::Mxfp4),
    (40, Dtype::Nvfp4),
    (41, Dtype::Q1_0),
];

/// The number of that dtype.
pub(super) fn number(dtype: Dtype) -> Option<u32> {
    TYPES.iter().find(|row| row.1 == dtype).map(|row| row.0)
}

/// The dtype of that number.
pub(super) fn dtype(number: u32) -> Option<Dtype> {
    TYPES.iter().find(|row| row.0 == number).map(|row| row.1)
}
