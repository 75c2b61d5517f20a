//! A recipe as a line of text, for people who read a plan.

use crate::bytes::Pool;
use crate::facts::math::Packing;
use crate::facts::recipe::RotaryOrder;
use crate::facts::{Math, Op, Recipe};

/// The expression of a recipe: `file@byte` for stored bytes, function calls for what is done to them.
pub fn describe(recipe: &Recipe, pool: &Pool) -> String {
    let inner = |of: &Recipe| describe(of, pool);
    match &recipe.op {
        Op::Bytes { file, offset } => format!("{}@{offset}", pool.name(*file)),
        Op::Strided { file, storage, start, strides } => {
            format!("strided({}@{storage}, start {start}, strides {strides:?})", pool.name(*file))
        }
        Op::Literal(bytes) => format!("literal({} bytes)", bytes.len()),
        Op::Tiles(tiles) => {
            let parts: Vec<String> =
                tiles.iter().map(|tile| format!("{} at {:?}", inner(&tile.part), tile.at)).collect();
            format!("tiles({})", parts.join(", "))
        }
        Op::Slice { of, start } => format!("slice({}, from {start:?})", inner(of)),
        Op::Reshape(of) => format!("reshape({})", inner(of)),
        Op::Transpose(of, a, b) => format!("transpose({}, {a}, {b})", inner(of)),
        Op::Rows { of, head_dim, order } => {
            let order = match order {
                RotaryOrder::Halves => "halves",
                RotaryOrder::Interleaved => "interleaved",
            };
            format!("rotary({}, {order}, head {head_dim})", inner(of))
        }
        Op::Cast(of) => format!("cast({}, {} to {})", inner(of), of.dtype, recipe.dtype),
        Op::Math(math) => {
            let operands: Vec<String> = math.operands().into_iter().map(|of| inner(of)).collect();
            format!("{}({}{})", math.name(), operands.join(", "), how(math))
        }
        Op::Quant(of) => format!("quantize({}, {})", inner(of), recipe.dtype),
        Op::Dequant(of) => format!("dequantize({}, {})", inner(of), of.dtype),
        Op::ByteSwap(of) => format!("byteswap({})", inner(of)),
        Op::Conj(of) => format!("conj({})", inner(of)),
        Op::Neg(of) => format!("neg({})", inner(of)),
        Op::Absent(why) => format!("absent({why})"),
    }
}

/// What a step of arithmetic says beside its operands.
fn how(math: &Math) -> String {
    match math {
        Math::Numbers { read, .. } => format!(", {read}"),
        Math::Fields { packing: Packing { bits, axis, order, more, less }, .. } => {
            format!(", {bits} bits along {axis}, {order:?}, +{more} -{less}")
        }
        Math::Spread { by, .. } => format!(", {by:?}"),
        Math::Merge(low) => format!(", scaled by {} as {} does", low.scale.value(), low.math.name()),
        Math::Pick { .. } | Math::Take { .. } | Math::With { .. } => String::new(),
    }
}
