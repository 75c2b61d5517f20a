//! The element types a checkpoint can hold, one row each.

use std::fmt;

/// What an element means, as far as casts and checks care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Floating point.
    Float,
    /// Signed or unsigned integer.
    Integer,
    /// One byte, 0 or 1.
    Bool,
    /// Two floats an element, real part first.
    Complex,
    /// Integers that stand for real numbers by a scale kept elsewhere, or bits without a meaning of their own.
    Opaque,
    /// Blocks of packed numbers with their scales inside, as ggml quantises.
    Blocks,
}

/// One row of the table: names, size and meaning of a dtype.
#[derive(Debug)]
struct Row {
    dtype: Dtype,
    /// Spelling in documents: that of safetensors where it has one.
    name: &'static str,
    /// Attribute of the `torch` module, as pickles and `config.json` spell it.
    torch: &'static str,
    /// A block is the smallest whole-byte unit: this many elements ...
    elements: u64,
    /// ... in this many bytes.
    bytes: u64,
    kind: Kind,
}

macro_rules! dtypes {
    ($($dtype:ident $name:literal $torch:literal $elements:literal / $bytes:literal $kind:ident;)*) => {
        /// An element type.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Dtype { $(#[doc = $name] $dtype,)* }
        const ROWS: &[Row] = &[$(Row {
            dtype: Dtype::$dtype, name: $name, torch: $torch, elements: $elements, bytes: $bytes, kind: Kind::$kind,
        },)*];
        impl Dtype {
            fn row(self) -> &'static Row {
                match self { $(Dtype::$dtype => &Row {
                    dtype: Dtype::$dtype, name: $name, torch: $torch, elements: $elements, bytes: $bytes, kind: Kind::$kind,
                },)* }
            }
        }
    };
}

// In the order of the safetensors crate 0.8 (`enum Dtype`), which is also the order its writer sorts by, widest
// last; then what only torch has (`torch/_utils.py`, `c10/core/ScalarType.h`); then the blocks of ggml
// (`ggml-common.h`, and the table of sizes in gguf-py 0.19, `constants.py`).
dtypes! {
    Bool       "BOOL"         "bool"              1/1  Bool;
    F4         "F4"           "float4_e2m1fn_x2"  2/1  Float;
    F6E2M3     "F6_E2M3"      ""                  4/3  Float;
    F6E3M2     "F6_E3M2"      ""                  4/3  Float;
    U8         "U8"           "uint8"             1/1  Integer;
    I8         "I8"           "int8"              1/1  Integer;
    F8E5M2     "F8_E5M2"      "float8_e5m2"       1/1  Float;
    F8E4M3     "F8_E4M3"      "float8_e4m3fn"     1/1  Float;
    F8E8M0     "F8_E8M0"      "float8_e8m0fnu"    1/1  Float;
    F8E4M3Fnuz "F8_E4M3FNUZ"  "float8_e4m3fnuz"   1/1  Float;
    F8E5M2Fnuz "F8_E5M2FNUZ"  "float8_e5m2fnuz"   1/1  Float;
    I16        "I16"          "int16"             1/2  Integer;
    U16        "U16"          "uint16"            1/2  Integer;
    F16        "F16"          "float16"           1/2  Float;
    Bf16       "BF16"         "bfloat16"          1/2  Float;
    I32        "I32"          "int32"             1/4  Integer;
    U32        "U32"          "uint32"            1/4  Integer;
    F32        "F32"          "float32"           1/4  Float;
    C64        "C64"          "complex64"         1/8  Complex;
    F64        "F64"          "float64"           1/8  Float;
    I64        "I64"          "int64"             1/8  Integer;
    U64        "U64"          "uint64"            1/8  Integer;
    C32        "C32"          "complex32"         1/4  Complex;
    Bc32       "BC32"         "bcomplex32"        1/4  Complex;
    C128       "C128"         "complex128"        1/16 Complex;
    Qi8        "QI8"          "qint8"             1/1  Opaque;
    Qu8        "QU8"          "quint8"            1/1  Opaque;
    Qi32       "QI32"         "qint32"            1/4  Opaque;
    Qu4x2      "QU4X2"        "quint4x2"          2/1  Opaque;
    Qu2x4      "QU2X4"        "quint2x4"          4/1  Opaque;
    Bits1x8    "BITS1X8"      "bits1x8"           1/1  Opaque;
    Bits2x4    "BITS2X4"      "bits2x4"           1/1  Opaque;
    Bits4x2    "BITS4X2"      "bits4x2"           1/1  Opaque;
    Bits8      "BITS8"        "bits8"             1/1  Opaque;
    Bits16     "BITS16"       "bits16"            1/2  Opaque;
    Q4_0       "Q4_0"         ""                 32/18   Blocks;
    Q4_1       "Q4_1"         ""                 32/20   Blocks;
    Q5_0       "Q5_0"         ""                 32/22   Blocks;
    Q5_1       "Q5_1"         ""                 32/24   Blocks;
    Q8_0       "Q8_0"         ""                 32/34   Blocks;
    Q8_1       "Q8_1"         ""                 32/40   Blocks;
    Q2K        "Q2_K"         ""                 256/84   Blocks;
    Q3K        "Q3_K"         ""                 256/110  Blocks;
    Q4K        "Q4_K"         ""                 256/144  Blocks;
    Q5K        "Q5_K"         ""                 256/176  Blocks;
    Q6K        "Q6_K"         ""                 256/210  Blocks;
    Q8K        "Q8_K"         ""                 256/292  Blocks;
    Iq2Xxs     "IQ2_XXS"      ""                 256/66   Blocks;
    Iq2Xs      "IQ2_XS"       ""                 256/74   Blocks;
    Iq3Xxs     "IQ3_XXS"      ""                 256/98   Blocks;
    Iq1S       "IQ1_S"        ""                 256/50   Blocks;
    Iq4Nl      "IQ4_NL"       ""                 32/18   Blocks;
    Iq3S       "IQ3_S"        ""                 256/110  Blocks;
    Iq2S       "IQ2_S"        ""                 256/82   Blocks;
    Iq4Xs      "IQ4_XS"       ""                 256/136  Blocks;
    Iq1M       "IQ1_M"        ""                 256/56   Blocks;
    Tq1_0      "TQ1_0"        ""                 256/54   Blocks;
    Tq2_0      "TQ2_0"        ""                 256/66   Blocks;
    Mxfp4      "MXFP4"        ""                 32/17   Blocks;
    Nvfp4      "NVFP4"        ""                 64/36   Blocks;
    Q1_0       "Q1_0"         ""                 128/18   Blocks;
}

/// The last dtype of the table that safetensors can hold.
const LAST_OF_SAFETENSORS: Dtype = Dtype::U64;

impl Dtype {
    /// Every dtype, in the order of the table.
    pub fn all() -> impl Iterator<Item = Dtype> {
        ROWS.iter().map(|row| row.dtype)
    }

    /// The spelling used in documents and digests: safetensors' where it has one.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The attribute of the `torch` module (`float32`), or `""` where torch has none.
    pub fn torch(self) -> &'static str {
        self.row().torch
    }

    /// What an element means.
    pub fn kind(self) -> Kind {
        self.row().kind
    }

    /// The dtype of that document spelling, if there is one.
    pub fn from_name(name: &str) -> Option<Dtype> {
        ROWS.iter().find(|row| row.name == name).map(|row| row.dtype)
    }

    /// The dtype of that `torch` attribute, if there is one.
    pub fn from_torch(name: &str) -> Option<Dtype> {
        ROWS.iter().find(|row| row.torch == name && !name.is_empty()).map(|row| row.dtype)
    }

    /// The dtype of a type code of numpy's without its byte order: `f4`, `c16` (`numpy.dtype.str`).
    pub fn from_numpy(code: &str) -> Option<Dtype> {
        Some(match code {
            "b1" => Dtype::Bool,
            "i1" => Dtype::I8,
            "i2" => Dtype::I16,
            "i4" => Dtype::I32,
            "i8" => Dtype::I64,
            "u1" => Dtype::U8,
            "u2" => Dtype::U16,
            "u4" => Dtype::U32,
            "u8" => Dtype::U64,
            "f2" => Dtype::F16,
            "f4" => Dtype::F32,
            "f8" => Dtype::F64,
            "c8" => Dtype::C64,
            "c16" => Dtype::C128,
            _ => return None,
        })
    }

    /// Bytes of one element, or `None` where an element is smaller than a byte.
    pub fn item_bytes(self) -> Option<u64> {
        (self.row().elements == 1).then_some(self.row().bytes)
    }

    /// What a complex dtype is made of, twice an element; any other dtype itself.
    pub fn component(self) -> Dtype {
        match self {
            Dtype::C32 => Dtype::F16,
            Dtype::Bc32 => Dtype::Bf16,
            Dtype::C64 => Dtype::F32,
            Dtype::C128 => Dtype::F64,
            other => other,
        }
    }

    /// Elements and bytes of the smallest unit of whole bytes: of a block, or of one element.
    pub fn block(self) -> (u64, u64) {
        (self.row().elements, self.row().bytes)
    }

    /// Bytes of a block at which its numbers of two bytes begin, all that turns round in a big-endian file; `None` where
    /// no program says what does (`byteswap_tensors` of gguf-py's `gguf_convert_endian.py`).
    pub fn halves(self) -> Option<&'static [usize]> {
        match self {
            Dtype::Q4_0 | Dtype::Q8_0 => Some(&[0]),
            Dtype::Q4K => Some(&[0, 2]),
            Dtype::Q6K => Some(&[208]),
            Dtype::Mxfp4 | Dtype::Nvfp4 => Some(&[]),
            _ => None,
        }
    }

    /// Bits of one element, scales of its block left out where they do not fill a bit an element.
    pub fn bits(self) -> u64 {
        // At most 292 * 8.
        self.row().bytes.saturating_mul(8).checked_div(self.row().elements).unwrap_or(0)
    }

    /// Bytes of `elements` elements laid side by side; `None` if they do not fill whole bytes or the product
    /// does not fit 64 bits.
    pub fn bytes_of(self, elements: u64) -> Option<u64> {
        let row = self.row();
        let blocks = elements.checked_div(row.elements)?;
        (blocks.checked_mul(row.elements)? == elements).then(|| blocks.checked_mul(row.bytes)).flatten()
    }

    /// Whether a safetensors file can hold it.
    pub fn in_safetensors(self) -> bool {
        self <= LAST_OF_SAFETENSORS
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found_again() {
        for dtype in Dtype::all() {
            assert_eq!(Dtype::from_name(dtype.name()), Some(dtype));
            if !dtype.torch().is_empty() {
                assert_eq!(Dtype::from_torch(dtype.torch()), Some(dtype));
            }
        }
        assert_eq!(Dtype::from_torch(""), None);
    }

    #[test]
    fn sizes_are_those_of_the_formats() {
        assert_eq!(Dtype::Bf16.bytes_of(3), Some(6));
        assert_eq!(Dtype::F4.bytes_of(36), Some(18));
        assert_eq!(Dtype::F4.bytes_of(3), None);
        assert_eq!(Dtype::F6E2M3.bits(), 6);
        assert_eq!(Dtype::F32.bytes_of(u64::MAX), None);
        assert_eq!((Dtype::Q6K.bytes_of(512), Dtype::Q6K.bytes_of(500)), (Some(420), None));
        assert!(!Dtype::Q4_0.in_safetensors());
        assert!(Dtype::U64.in_safetensors() && !Dtype::C32.in_safetensors());
    }
}
