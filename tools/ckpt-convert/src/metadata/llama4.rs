//! Llama 4: `config.json` and `preprocessor_config.json` of its `params.json` and weights, and back.

use ckpt::archs::llama::{RopeScaling, ffn};
use serde_json::{Map, Value, json};

use super::seen::{Seen, by_rotary, float, number, scaled, settled, settled_of_vision, theta, without_nulls};
use super::text;

/// `config.json`: of the model that sees, or of the language model alone if there is nothing else.
///
/// # Errors
/// The reason why the model cannot be described.
pub(crate) fn config(seen: &Seen<'_>) -> Result<Vec<u8>, String> {
    let dtype = seen.dtype.torch();
    if !seen.sees() {
        let mut alone = language(seen, "")?;
        alone.insert("architectures".to_owned(), json!(["Llama4ForCausalLM"]));
        alone.sort_keys();
        return Ok(text(&Value::Object(alone)));
    }
    Ok(text(&json!({
        "architectures": ["Llama4ForConditionalGeneration"],
        "boi_token_index": seen.slot(80),
        "eoi_token_index": seen.slot(81),
        "image_token_index": seen.slot(92),
        "model_type": "llama4",
        "text_config": language(seen, "language_model.")?,
        "tie_word_embeddings": false,
        "torch_dtype": dtype,
        "vision_config": vision(seen)?,
    })))
}

/// What is said of the language model, by the alphabet.
fn language(seen: &Seen<'_>, prefix: &str) -> Result<Map<String, Value>, String> {
    let params = seen.params;
    let name = |own: &str| format!("{prefix}{own}");
    let [vocab, dim] = seen.sizes(&name("lm_head.weight"))?;
    let (layers, heads) = (seen.counted("n_layers")?, number(params, "n_heads")?);
    let moe = params.get("moe_args").filter(|moe| !moe.is_null());
    let of_moe = |key: &str, default: u64| moe.and_then(|moe| moe.get(key)?.as_u64()).unwrap_or(default);
    let (dense, sparse) = widths(seen, prefix, layers);
    let interval = params.get("nope_layer_interval").and_then(Value::as_u64);
    let rotates = |layer: u64| interval.is_none_or(|every| !layer.saturating_add(1).is_multiple_of(every));
    let no_rope: Vec<u64> = (0..layers).map(|layer| u64::from(rotates(layer))).collect();
    let scaled = params.get("use_scaled_rope").and_then(Value::as_bool).unwrap_or(false);
    // What Meta's `args.py` puts where Scout's file is silent.
    let rope = scaled.then(|| {
        let of = |key: &str, default: f64| seen.float(key, default);
        let (factor, high_freq_factor) = (of("rope_scaling_factor", 16.0), of("rope_high_freq_factor", 1.0));
        by_rotary(&RopeScaling { high_freq_factor, ..RopeScaling::llama3(factor) })
    });
    // A whole number to transformers, a float to Meta.
    let floor_scale: u64 = format!("{:.0}", seen.float("floor_scale", 8192.0)).parse().unwrap_or(8192);
    let mut config = json!({
        "attention_bias": false,
        "attention_chunk_size": params.get("attention_chunk_size").cloned().unwrap_or_default(),
        "attention_dropout": 0.0,
        "attn_scale": seen.float("attn_scale", 0.1),
        "attn_temperature_tuning": params.get("attn_temperature_tuning").cloned().unwrap_or(json!(true)),
        "bos_token_id": seen.slot(0),
        "eos_token_id": seen.ends(&[1], &[1, 7, 8]),
        "floor_scale": floor_scale,
        "head_dim": dim.checked_div(heads).unwrap_or(0),
        "hidden_act": "silu",
        "hidden_size": dim,
        "initializer_range": 0.02,
        "interleave_moe_layer_step": of_moe("interleave_moe_layer_step", 1),
        "intermediate_size": sparse,
        "intermediate_size_mlp": dense,
        "max_position_embeddings": context(seen),
        "model_type": "llama4_text",
        "no_rope_layers": no_rope,
        "num_attention_heads": heads,
        "num_experts_per_tok": of_moe("top_k", 1),
        "num_hidden_layers": layers,
        "num_key_value_heads": params.get("n_kv_heads").and_then(Value::as_u64).unwrap_or(heads),
        "num_local_experts": of_moe("num_experts", 0),
        "output_router_logits": false,
        "pad_token_id": seen.slot(18),
        "rms_norm_eps": seen.float("norm_eps", 1e-5),
        "rope_scaling": rope,
        "rope_theta": seen.float("rope_theta", 500_000.0),
        "router_aux_loss_coef": 0.001,
        "router_jitter_noise": 0.0,
        "tie_word_embeddings": false,
        "torch_dtype": seen.dtype.torch(),
        "use_cache": true,
        "use_qk_norm": params.get("use_qk_norm").and_then(Value::as_bool).unwrap_or(false),
        "vocab_size": vocab,
    });
    let fields = config.as_object_mut().map(std::mem::take);
    let mut fields = fields.unwrap_or_default();
    if moe.is_none() {
        fields.insert("moe_layers".to_owned(), json!([]));
    }
    fields.sort_keys();
    Ok(fields)
}

/// Widths of the feed-forward layer for all tokens and of an expert's, of the first layers that have one; the
/// releases' where none has, of which nothing is made then.
fn widths(seen: &Seen<'_>, prefix: &str, layers: u64) -> (u64, u64) {
    let width = |part: &str| {
        let name = |layer: u64| format!("{prefix}model.layers.{layer}.feed_forward.{part}");
        (0..layers).find_map(|layer| seen.shape(&name(layer))?.first().copied())
    };
    let (dense, sparse) = (width("gate_proj.weight"), width("shared_expert.gate_proj.weight"));
    (dense.unwrap_or(16_384), sparse.unwrap_or(8192))
}

/// Positions, as transformers' conversion gives them: of a base model 256 Ki, of one tuned for dialogue by its experts.
pub(crate) fn context(seen: &Seen<'_>) -> u64 {
    let experts = seen.params.pointer("/moe_args/num_experts").and_then(Value::as_u64);
    match (seen.instruct, experts) {
        (false, _) => 262_144,
        (true, None) => 8192,
        (true, Some(16)) => 10_485_760,
        (true, Some(_)) => 1_048_576,
    }
}

/// What is said of the vision tower.
fn vision(seen: &Seen<'_>) -> Result<Value, String> {
    let args = seen.params.get("vision_args").ok_or("params.json has no vision_args, and there is a vision tower")?;
    let [width, pixels] = seen.sizes("vision_model.patch_embedding.linear.weight")?;
    let [ffn, _] = seen.sizes("vision_model.model.layers.0.mlp.fc1.weight")?;
    let [adapts, shuffled] = seen.sizes("vision_model.vision_adapter.mlp.fc1.weight")?;
    let [adapted, _] = seen.sizes("vision_model.vision_adapter.mlp.fc2.weight")?;
    let [_, output] = seen.sizes("multi_modal_projector.linear_1.weight")?;
    let side = |key: &str| match (args.pointer(&format!("/{key}/height")), args.pointer(&format!("/{key}/width"))) {
        (Some(height), Some(width)) if height == width => height.as_u64(),
        _ => None,
    };
    let image = side("image_size").ok_or("vision_args.image_size is no square")?;
    let patch = side("patch_size").ok_or("vision_args.patch_size is no square")?;
    if shuffled != ffn {
        return Err(format!("the adapter takes {shuffled} values, and transformers gives it the feed-forward's {ffn}"));
    }
    let colours = patch.checked_mul(patch).and_then(|patch| pixels.checked_div(patch)).unwrap_or(0);
    Ok(json!({
        "attention_dropout": 0.0,
        "hidden_act": "gelu",
        "hidden_size": width,
        "image_size": image,
        "initializer_range": 0.02,
        "intermediate_size": ffn,
        "model_type": "llama4_vision_model",
        "multi_modal_projector_bias": false,
        "norm_eps": 1e-5,
        "num_attention_heads": number(args, "n_heads")?,
        "num_channels": colours,
        "num_hidden_layers": seen.layers("vision_model.model.layers."),
        "patch_size": patch,
        "pixel_shuffle_ratio": args.get("pixel_shuffle_ratio").cloned().unwrap_or(json!(0.5)),
        "projector_dropout": 0.0,
        "projector_input_dim": adapts,
        "projector_output_dim": adapted,
        "rope_theta": 10000,
        "vision_feature_select_strategy": "default",
        "vision_output_dim": output,
    }))
}

/// `preprocessor_config.json`: how pictures are cut into tiles, of the size that the tower takes.
///
/// # Errors
/// As for the config.
pub(crate) fn preprocessor(seen: &Seen<'_>) -> Result<Vec<u8>, String> {
    let size = vision(seen)?.get("image_size").cloned();
    Ok(text(&json!({
        "do_convert_rgb": true,
        "do_normalize": true,
        "do_rescale": true,
        "do_resize": true,
        "image_mean": [0.5, 0.5, 0.5],
        "image_processor_type": "Llama4ImageProcessorFast",
        "image_std": [0.5, 0.5, 0.5],
        "max_patches": 16,
        "resample": 2,
        "rescale_factor": 1.0 / 255.0,
        "resize_to_max_canvas": false,
        "size": {"height": size, "width": size},
    })))
}

/// `params.json` of a `config.json`.
///
/// # Errors
/// What Meta's code has another number for, or none at all.
pub(crate) fn params(config: &Value) -> Result<Vec<u8>, String> {
    let of = |key: &str| settled(config, key, "llama4_text");
    let said = |key: &str| ckpt::archs::setting(config, key);
    if said("hidden_act").is_some_and(|act| act != "silu") {
        return Err("hidden_act: Meta's code uses silu".to_owned());
    }
    let (dim, heads, layers) = (of("hidden_size")?, of("num_attention_heads")?, of("num_hidden_layers")?);
    let head_dim = of("head_dim")?;
    if head_dim.checked_mul(heads) != Some(dim) {
        return Err(format!("head_dim {head_dim}: Meta's code divides hidden_size {dim} by {heads} heads"));
    }
    let experts = said("num_local_experts").and_then(Value::as_u64).unwrap_or(16);
    let none = said("moe_layers").and_then(Value::as_array).is_some_and(Vec::is_empty) || experts == 0;
    let (multiple_of, multiplier) = rounding(dim, of("intermediate_size_mlp")?, of("intermediate_size")?)?;
    let moe = if none { None } else { Some(of_experts(config, dim, experts, (multiple_of, multiplier))?) };
    let (exponent, moe) = moe.map_or((None, None), |(exponent, moe)| (Some(exponent), Some(moe)));
    let scaling = scaled(config, 16.0, 1.0)?;
    let flag = |key: &str, default: bool| said(key).and_then(Value::as_bool).unwrap_or(default);
    let mut params = json!({
        "dim": dim,
        "n_layers": layers,
        "n_heads": heads,
        "n_kv_heads": of("num_key_value_heads")?,
        "head_dim": head_dim,
        "vocab_size": of("vocab_size")?,
        "multiple_of": multiple_of,
        "ffn_dim_multiplier": multiplier,
        "ffn_exp": exponent.unwrap_or(4.0),
        "norm_eps": float(config, "rms_norm_eps", 1e-5),
        "attention_chunk_size": said("attention_chunk_size").cloned(),
        "rope_theta": theta(config),
        "use_scaled_rope": scaling.is_some(),
        "rope_scaling_factor": scaling.map(|scaling| scaling.0),
        "rope_high_freq_factor": scaling.map(|scaling| scaling.1),
        "nope_layer_interval": interval(config, layers)?,
        "use_qk_norm": flag("use_qk_norm", true),
        "attn_temperature_tuning": flag("attn_temperature_tuning", true),
        "floor_scale": float(config, "floor_scale", 8192.0),
        "attn_scale": float(config, "attn_scale", 0.1),
        "moe_args": moe,
        "vision_args": config.get("vision_config").map(|_| vision_args(config)).transpose()?,
    });
    without_nulls(&mut params);
    Ok(text(&params))
}

/// `multiple_of`, of which both widths are multiples, and the `ffn_dim_multiplier` that gives that of the layer for all
/// tokens: those of Scout and Maverick if they do.
fn rounding(dim: u64, dense: u64, expert: u64) -> Result<(u64, f64), String> {
    const RELEASED: (u64, f64) = (2048, 1.2);
    if ffn::width(dim, (RELEASED.0, Some(RELEASED.1))) == Some(dense) && expert.is_multiple_of(RELEASED.0) {
        return Ok(RELEASED);
    }
    let zeros = dense.trailing_zeros().min(expert.trailing_zeros()).min(8);
    let multiple_of = 1_u64.checked_shl(zeros).unwrap_or(1);
    let found = ffn::multiplier(dim, dense, multiple_of);
    let cause = || format!("no ffn_dim_multiplier gives a feed-forward width of {dense} for dim {dim}");
    Ok((multiple_of, found.ok_or_else(cause)?))
}

/// `moe_args`, and the factor from which Meta's code makes an expert's width: that of the releases if it does.
fn of_experts(config: &Value, dim: u64, experts: u64, factors: (u64, f64)) -> Result<(f64, Value), String> {
    let wanted = settled(config, "intermediate_size", "llama4_text")?;
    let number = |key: &str, default: u64| ckpt::archs::setting(config, key).and_then(Value::as_u64).unwrap_or(default);
    let moe = |halved: bool| {
        json!({
            "num_experts": experts,
            "capacity_factor": 1.0,
            "auto_scale_F": halved,
            "top_k": number("num_experts_per_tok", 1),
            "interleave_moe_layer_step": number("interleave_moe_layer_step", 1),
        })
    };
    if expert_width(dim, 4.0, factors, true) == Some(wanted) {
        return Ok((4.0, moe(true)));
    }
    let exact = whole_float(wanted)? * 1.5 / (factors.1 * whole_float(dim)?);
    let half = whole_float(factors.0)? * 0.75 / (factors.1 * whole_float(dim)?);
    let fits = |factor: f64| expert_width(dim, factor, factors, false) == Some(wanted);
    let found = ffn::shortest(&[exact - half, exact], fits);
    let found = found.ok_or_else(|| format!("intermediate_size {wanted}: no ffn_exp of Meta's gives it"))?;
    Ok((found, moe(false)))
}

/// The width of an expert that Meta's code builds (`MoE` of `llama4/moe.py`), each step cut to a whole number.
fn expert_width(dim: u64, exponent: f64, (multiple_of, multiplier): (u64, f64), halved: bool) -> Option<u64> {
    let whole = |value: f64| format!("{:.0}", value.trunc()).parse::<u64>().ok();
    let width = whole(exponent * whole_float(dim).ok()?)?.checked_mul(2)?.checked_div(3)?;
    let width = whole(multiplier * whole_float(width).ok()?)?;
    // With a capacity factor of 1 half of it.
    let width = if halved { width.checked_div(2)? } else { width };
    width.checked_next_multiple_of(multiple_of)
}

fn whole_float(number: u64) -> Result<f64, String> {
    u32::try_from(number).map(f64::from).map_err(|_| format!("{number} is no size of a model"))
}

/// `nope_layer_interval`: every so many layers one does not rotate; null where all do.
fn interval(config: &Value, layers: u64) -> Result<Option<u64>, String> {
    let listed =
        ckpt::archs::setting(config, "no_rope_layers").and_then(Value::as_array).filter(|list| !list.is_empty());
    let Some(listed) = listed else {
        let said = ckpt::archs::setting(config, "no_rope_layer_interval").and_then(Value::as_u64);
        return Ok(Some(said.unwrap_or(4)));
    };
    if ckpt::bytes::to_u64(listed.len()) != layers {
        return Err(format!("no_rope_layers: {} numbers for {layers} layers", listed.len()));
    }
    let rotates =
        |layer: u64| usize::try_from(layer).ok().and_then(|layer| listed.get(layer)).is_none_or(|flag| *flag != 0);
    let Some(first) = (0..layers).find(|layer| !rotates(*layer)) else { return Ok(None) };
    let every = first.saturating_add(1);
    if (0..layers).all(|layer| rotates(layer) != layer.saturating_add(1).is_multiple_of(every)) {
        return Ok(Some(every));
    }
    Err("no_rope_layers: Meta's code leaves every so many-th layer out, and these are others".to_owned())
}

/// `vision_args` of a config that has a `vision_config`.
fn vision_args(config: &Value) -> Result<Value, String> {
    let of = |key: &str| settled_of_vision(config, key, "llama4");
    let (width, ffn, output) = (of("hidden_size")?, of("intermediate_size")?, of("vision_output_dim")?);
    for key in ["projector_input_dim", "projector_output_dim"] {
        let projected = of(key)?;
        if projected != output {
            return Err(format!("{key} {projected}: Meta's adapter has one width, and vision_output_dim is {output}"));
        }
    }
    let square = |size: u64| json!({"height": size, "width": size});
    let shuffle = config.pointer("/vision_config/pixel_shuffle_ratio").and_then(Value::as_f64);
    Ok(json!({
        "image_size": square(of("image_size")?),
        "patch_size": square(of("patch_size")?),
        "dim": width,
        "n_layers": of("num_hidden_layers")?,
        "n_heads": of("num_attention_heads")?,
        "mlp_ratio": whole_float(ffn)? / whole_float(width)?,
        "output_dim": output,
        "pixel_shuffle_ratio": shuffle.unwrap_or(0.5),
    }))
}
