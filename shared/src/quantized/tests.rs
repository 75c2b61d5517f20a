//! Schemes by hand: small weights whose values can be worked out on paper.

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::bytes::Pool;
use crate::facts::{Dtype, Op, Progress, check::check};
use crate::plan::read::Reader;

fn tensor(name: &str, dtype: Dtype, shape: &[u64], bytes: &[u8]) -> Tensor {
    let recipe = Recipe { dtype, shape: shape.to_vec(), op: Op::Literal(Arc::from(bytes)) };
    Tensor { name: name.to_owned(), recipe, crc32: None }
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// With data that can be read where the scheme needs them.
fn undone(stored: &[Tensor], config: Option<&Value>) -> Result<Vec<Tensor>, Finding> {
    let look = |recipe: &Recipe| match &recipe.op {
        Op::Literal(bytes) => Ok(Some(bytes.to_vec())),
        _ => Ok(None),
    };
    dequantized(stored, config, &look)
}

/// The values of a recipe, made in blocks of `limit` bytes.
fn values(recipe: &Recipe, limit: u64) -> Vec<f32> {
    check(recipe, &|_| 0).unwrap();
    let pool = Pool::new();
    let mut bytes = Vec::new();
    let keep = |_: &crate::plan::blocks::Block, block: &[u8]| {
        bytes.extend_from_slice(block);
        Ok(())
    };
    Reader::new(&pool).stream(recipe, limit, &Progress::default(), keep).unwrap();
    bytes.as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)).collect()
}

#[test]
fn packed_integers_stand_for_themselves_less_half_their_range_times_the_scale() {
    // Two rows of sixteen values 0..16, in groups of eight.
    let words = [0x7654_3210u32, 0xfedc_ba98].map(u32::to_le_bytes).concat().repeat(2);
    let config =
        json!({"quantization_config": {"config_groups": {"group_0": {"weights": {"num_bits": 4, "group_size": 8}}}}});
    let stored = [
        tensor("a.weight_packed", Dtype::I32, &[2, 2], &words),
        tensor("a.weight_scale", Dtype::F32, &[2, 2], &floats(&[1.0, 0.5, 2.0, 10.0])),
        tensor("a.weight_shape", Dtype::I32, &[2], &[2, 0, 0, 0, 16, 0, 0, 0]),
        tensor("b.bias", Dtype::F32, &[1], &floats(&[3.0])),
    ];
    let plain = undone(&stored, Some(&config)).unwrap();
    let names: Vec<&str> = plain.iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names, ["a.weight", "b.bias"]);
    let wanted: Vec<f32> = (0..32u8)
        .map(|place| {
            let (row, column) = (place / 16, place % 16);
            (f32::from(column) - 8.0) * [1.0, 0.5, 2.0, 10.0][usize::from(row * 2 + column / 8)]
        })
        .collect();
    for limit in [4, 12, 20, 64, 1000] {
        assert_eq!(values(&plain[0].recipe, limit), wanted, "in blocks of {limit} bytes");
    }
}

#[test]
fn scales_are_those_of_a_block_a_row_or_of_all() {
    // 1.0 in E4M3 is 0x38.
    let weight = |rows: u64, columns: u64| vec![0x38; (rows * columns) as usize];
    let made = |ending: &str, shape: &[u64], scale: &[u64], factors: &[f32]| {
        let (rows, columns) = (shape[0], shape[1]);
        let stored = [
            tensor("a.weight", Dtype::F8E4M3, shape, &weight(rows, columns)),
            tensor(&format!("a.{ending}"), Dtype::F32, scale, &floats(factors)),
        ];
        values(&undone(&stored, None).unwrap()[0].recipe, 52)
    };
    assert_eq!(made("weight_scale", &[2, 3], &[1], &[4.0]), [4.0; 6]);
    assert_eq!(made("weight_scale", &[2, 3], &[2, 1], &[4.0, 5.0]), [4.0, 4.0, 4.0, 5.0, 5.0, 5.0]);
    let blocks = made("weight_scale_inv", &[130, 192], &[2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let at = |row: usize, column: usize| blocks[row * 192 + column];
    assert_eq!([at(0, 0), at(127, 127), at(0, 128), at(128, 127), at(129, 191)], [1.0, 1.0, 2.0, 3.0, 4.0]);
}

fn config(settings: &Value) -> Value {
    json!({ "quantization_config": settings })
}

fn words(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Eight inputs and eight outputs of four bits: input `i` of every output is `i`.
fn gptq(zeros: u32, order: &[i32]) -> Vec<Tensor> {
    let order = words(&order.iter().map(|group| group.cast_unsigned()).collect::<Vec<_>>());
    vec![
        tensor("a.qweight", Dtype::I32, &[1, 8], &words(&[0x7654_3210; 8])),
        tensor("a.qzeros", Dtype::I32, &[2, 1], &words(&[zeros, 0x2222_2222])),
        tensor(
            "a.scales",
            Dtype::F16,
            &[2, 8],
            &[0x00, 0x3c].repeat(8).into_iter().chain([0x00, 0x40].repeat(8)).collect::<Vec<u8>>(),
        ),
        tensor("a.g_idx", Dtype::I32, &[8], &order),
    ]
}

#[test]
fn gptq_stores_zero_points_less_by_one_unless_its_second_format_says_otherwise() {
    let order = [0, 0, 0, 0, 1, 1, 1, 1];
    // A zero point of fifteen wraps to zero; the scales of the second group are two.
    let first = [0.0, 1.0, 2.0, 3.0, 2.0, 4.0, 6.0, 8.0];
    let second = [-15.0, -14.0, -13.0, -12.0, 4.0, 6.0, 8.0, 10.0];
    for (format, wanted) in [(json!(null), first), (json!("gptq"), first), (json!("gptq_v2"), second)] {
        let config = config(&json!({"quant_method": "gptq", "bits": 4, "checkpoint_format": format}));
        let plain = undone(&gptq(u32::MAX, &order), Some(&config)).unwrap();
        assert_eq!((plain.len(), plain[0].name.as_str(), &plain[0].recipe.shape), (1, "a.weight", &vec![8, 8]));
        for limit in [4, 32, 1000] {
            assert_eq!(values(&plain[0].recipe, limit), wanted.repeat(8), "{format} in blocks of {limit} bytes");
        }
    }
    let config = config(&json!({"quant_method": "gptq", "checkpoint_format": "marlin"}));
    let finding = undone(&gptq(0, &order), Some(&config)).unwrap_err();
    assert_eq!((finding.id, finding.found.as_deref()), (Id::Unsupported, Some("marlin")));
}

#[test]
fn an_order_of_groups_says_which_scale_an_input_has() {
    let plain = undone(&gptq(0x7777_7777, &[1, 0, 1, 0, 1, 0, 1, 0]), None).unwrap();
    // Less three, times two; less eight, times one.
    let wanted = [-6.0, -7.0, -2.0, -5.0, 2.0, -3.0, 6.0, -1.0];
    assert_eq!(values(&plain[0].recipe, 64), wanted.repeat(8));
    let short = gptq(0, &[0, 0, 0, 0]);
    let short: Vec<Tensor> = short
        .into_iter()
        .map(|mut tensor| {
            if tensor.name == "a.g_idx" {
                tensor.recipe.shape = vec![4];
            }
            tensor
        })
        .collect();
    let finding = undone(&short, None).unwrap_err();
    assert_eq!((finding.id, finding.tensor.as_deref()), (Id::PackedParts, Some("a.qweight")));
}

#[test]
fn awq_packs_eight_outputs_to_a_word_in_its_own_order() {
    // Places 0 to 7 of the word hold outputs 0, 2, 4, 6, 1, 3, 5, 7; output `o` is `o`, and its zero point one.
    let one = [0x00, 0x3c].repeat(8);
    let stored = [
        tensor("a.qweight", Dtype::I32, &[2, 1], &words(&[0x7531_6420, 0x7531_6420])),
        tensor("a.qzeros", Dtype::I32, &[1, 1], &words(&[0x1111_1111])),
        tensor("a.scales", Dtype::F16, &[1, 8], &one),
    ];
    let plain = undone(&stored, Some(&config(&json!({"quant_method": "awq", "bits": 4, "version": "gemm"})))).unwrap();
    assert_eq!(plain[0].recipe.shape, [8, 2]);
    let wanted: Vec<f32> = (0..8u8).flat_map(|output| [f32::from(output) - 1.0; 2]).collect();
    assert_eq!(values(&plain[0].recipe, 8), wanted);
    let finding = undone(&stored, Some(&config(&json!({"quant_method": "awq", "version": "gemv"})))).unwrap_err();
    assert_eq!((finding.id, finding.found.as_deref()), (Id::Unsupported, Some("gemv")));
}

#[test]
fn zero_points_are_packed_down_the_rows_and_columns_may_have_an_order() {
    let weights = json!({"num_bits": 4, "group_size": 4, "symmetric": false});
    let config = config(&json!({"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": weights}}}));
    let stored = |order: &[i32]| {
        let order = words(&order.iter().map(|group| group.cast_unsigned()).collect::<Vec<_>>());
        [
            tensor("a.weight_packed", Dtype::I32, &[2, 1], &words(&[0x7654_3210, 0x7654_3210])),
            tensor("a.weight_scale", Dtype::F32, &[2, 2], &floats(&[1.0, 10.0, 2.0, 20.0])),
            // Rows 0 and 1 stand in the lowest places; both columns have a word of their own.
            tensor("a.weight_zero_point", Dtype::I32, &[1, 2], &words(&[0x10, 0x32])),
            tensor("a.weight_g_idx", Dtype::I32, &[8], &order),
            tensor("a.weight_shape", Dtype::I64, &[2], &[2, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0]),
        ]
    };
    let plain = undone(&stored(&[-1; 8]), Some(&config)).unwrap();
    assert_eq!(plain.len(), 1);
    let wanted = [0.0, 1.0, 2.0, 3.0, 20.0, 30.0, 40.0, 50.0, -2.0, 0.0, 2.0, 4.0, 20.0, 40.0, 60.0, 80.0];
    assert_eq!(values(&plain[0].recipe, 12), wanted);
    let plain = undone(&stored(&[1, 1, 1, 1, 0, 0, 0, 0]), Some(&config)).unwrap();
    let wanted = [-20.0, -10.0, 0.0, 10.0, 4.0, 5.0, 6.0, 7.0, -60.0, -40.0, -20.0, 0.0, 6.0, 8.0, 10.0, 12.0];
    assert_eq!(values(&plain[0].recipe, 12), wanted);
}

#[test]
fn four_bits_of_bitsandbytes_pick_from_a_map_and_scales_may_be_packed_too() {
    let map: Vec<f32> = (0..16u8).map(f32::from).collect();
    let state = br#"{"quant_type":"nf4","blocksize":4,"dtype":"float32","shape":[1,7],"nested_blocksize":2,"nested_offset":0.5}"#;
    let length = u64::try_from(state.len()).unwrap();
    let stored = [
        tensor("a.weight", Dtype::U8, &[4, 1], &[0x12, 0x34, 0x56, 0x70]),
        tensor("a.weight.absmax", Dtype::U8, &[2], &[0, 1]),
        tensor("a.weight.quant_map", Dtype::F32, &[16], &floats(&map)),
        tensor("a.weight.nested_absmax", Dtype::F32, &[1], &floats(&[10.0])),
        tensor("a.weight.nested_quant_map", Dtype::F32, &[2], &floats(&[0.25, 1.0])),
        tensor("a.weight.quant_state.bitsandbytes__nf4", Dtype::U8, &[length], state),
    ];
    let plain = undone(&stored, Some(&config(&json!({"quant_method": "bitsandbytes"})))).unwrap();
    assert_eq!((plain.len(), &plain[0].recipe.shape), (1, &vec![1, 7]));
    assert_eq!(values(&plain[0].recipe, 8), [3.0, 6.0, 9.0, 12.0, 52.5, 63.0, 73.5]);
}

#[test]
fn mlx_rounds_every_step_to_the_dtype_of_its_scales() {
    let half = |value: f32| half::bf16::from_f32(value).to_le_bytes().to_vec();
    let stored = [
        tensor("a.weight", Dtype::U32, &[1, 1], &words(&[0x7654_3210])),
        tensor("a.scales", Dtype::Bf16, &[1, 1], &half(0.1)),
        tensor("a.biases", Dtype::Bf16, &[1, 1], &half(-0.3)),
    ];
    let config = json!({"quantization": {"bits": 4, "group_size": 8}});
    let plain = undone(&stored, Some(&config)).unwrap();
    assert_eq!((plain.len(), plain[0].recipe.dtype), (1, Dtype::Bf16));
    let round = |value: f32| half::bf16::from_f32(value).to_f32();
    let wanted: Vec<f32> = (0..8u8).map(|code| round(round(f32::from(code) * round(0.1)) + round(-0.3))).collect();
    let shape = plain[0].recipe.shape.clone();
    let single = Recipe { dtype: Dtype::F32, shape, op: Op::Cast(Arc::new(plain[0].recipe.clone())) };
    assert_eq!(values(&single, 8), wanted);
}

#[test]
fn schemes_that_are_not_known_are_refused_by_name() {
    let stored = [tensor("a.W_q", Dtype::U8, &[1, 4], &[0; 4])];
    let finding = undone(&stored, None).unwrap_err();
    assert_eq!((finding.id, finding.tensor.as_deref()), (Id::Unsupported, Some("a.W_q")));
    assert!(finding.message.contains("HQQ"), "{}", finding.message);
    let stored = [tensor("a.weight", Dtype::F32, &[1], &[0; 4])];
    let finding = undone(&stored, Some(&config(&json!({"quant_method": "vptq"})))).unwrap_err();
    assert_eq!((finding.id, finding.found.as_deref()), (Id::Unsupported, Some("vptq")));
    assert_eq!(undone(&stored, None).unwrap().len(), 1);
}

#[test]
fn parts_that_are_missing_or_of_another_size_are_named() {
    let mut stored = gptq(0, &[0; 8]);
    assert!(unfit(&stored, None).is_empty());
    stored[2].recipe.shape = vec![8, 2];
    let findings = unfit(&stored, None);
    assert_eq!(findings.len(), 1);
    assert_eq!((findings[0].id, findings[0].tensor.as_deref()), (Id::PackedParts, Some("a.qweight")));
    stored.remove(2);
    let findings = unfit(&stored, None);
    assert_eq!(findings[0].needed.as_deref(), Some("a.scales"));
}
