//! Llama 3.2 Vision: `config.json` and `preprocessor_config.json` of its `params.json` and weights, and back.

use ckpt::archs::MAX_TILES;
use ckpt::archs::llama::RopeScaling;
use ckpt::bytes::to_u64;
use ckpt::canonical::own::{Merged, ratios};
use serde_json::{Value, json};

use super::seen::{
    Seen, by_rotary, factors, float, number, scaled, settled, settled_of_vision, square, theta, without_nulls,
};
use super::text;

/// Layers of the vision tower whose output goes to the language model beside that of the last
/// (`return_intermediate` of `multimodal/model.py`). No file says them.
const INTERMEDIATE: [u64; 5] = [3, 7, 15, 23, 30];
/// Heads of the vision tower, which no file says either.
const VISION_HEADS: u64 = 16;

/// `config.json`, as transformers 4.47's own conversion describes the model.
///
/// # Errors
/// The reason why the model cannot be described.
pub(crate) fn config(seen: &Seen<'_>) -> Result<Vec<u8>, String> {
    let params = seen.params;
    let [vocab, dim] = seen.sizes("language_model.lm_head.weight")?;
    let [ffn, _] = seen.sizes("language_model.model.layers.0.mlp.gate_proj.weight")?;
    let heads = number(params, "n_heads")?;
    let own = seen.counted("n_layers")?;
    let cross = seen.counted("vision_num_cross_attention_layers")?;
    let merged = Merged { own, cross };
    let crossing: Option<Vec<u64>> = (0..cross).map(|layer| merged.cross(layer)).collect();
    let crossing = crossing.ok_or_else(|| format!("{cross} layers cannot be spread evenly among {own} others"))?;
    let [width, colours, patch, _] = seen.sizes("vision_model.patch_embedding.weight")?;
    let [vision_ffn, _] = seen.sizes("vision_model.transformer.layers.0.mlp.fc1.weight")?;
    let [_, output] = seen.sizes("multi_modal_projector.weight")?;
    let [places, _] = seen.sizes("vision_model.gated_positional_embedding.embedding")?;
    let image = number(params, "vision_chunk_size")?;
    let tiles = seen.counted("vision_max_num_chunks")?;
    let [rows, _] = seen.sizes("vision_model.pre_tile_positional_embedding.embedding.weight")?;
    if tiles > MAX_TILES || to_u64(ratios(tiles).len()).checked_add(1) != Some(rows) {
        return Err(format!(
            "vision_max_num_chunks is {tiles}, and the position embedding of tiles is of another number"
        ));
    }
    if output.checked_div(width) != Some(6) || output.checked_rem(width) != Some(0) {
        return Err(format!("the projector takes {output} values a patch, which is not six times the tower's {width}"));
    }
    if square(image, patch).and_then(|patches| patches.checked_add(1)) != Some(places) {
        return Err(format!(
            "vision_chunk_size is {image}, and the position embedding is of {places} places: loading would have to \
             interpolate it"
        ));
    }
    let shapes: Vec<[u64; 2]> = ratios(tiles).into_iter().map(|(rows, columns)| [rows, columns]).collect();
    let scaled = params.get("use_scaled_rope").and_then(Value::as_bool).unwrap_or(false);
    let rope = scaled.then(|| by_rotary(&RopeScaling::llama3(8.0)));
    let dtype = seen.dtype.torch();
    Ok(text(&json!({
        "architectures": ["MllamaForConditionalGeneration"],
        "image_token_index": vocab,
        "model_type": "mllama",
        "text_config": {
            "bos_token_id": seen.slot(0),
            "cross_attention_layers": crossing,
            "dropout": 0.0,
            "eos_token_id": seen.ends(&[1], &[1, 8, 9]),
            "hidden_act": "silu",
            "hidden_size": dim,
            "initializer_range": 0.02,
            "intermediate_size": ffn,
            "max_position_embeddings": CONTEXT,
            "model_type": "mllama_text_model",
            "num_attention_heads": heads,
            "num_hidden_layers": own.saturating_add(cross),
            "num_key_value_heads": params.get("n_kv_heads").and_then(Value::as_u64).unwrap_or(heads),
            "pad_token_id": seen.slot(4),
            "rms_norm_eps": seen.float("norm_eps", 1e-5),
            "rope_scaling": rope,
            "rope_theta": seen.float("rope_theta", 500_000.0),
            "tie_word_embeddings": false,
            "torch_dtype": dtype,
            "use_cache": true,
            "vocab_size": vocab,
        },
        "torch_dtype": dtype,
        "vision_config": {
            "attention_heads": VISION_HEADS,
            "hidden_act": "gelu",
            "hidden_size": width,
            "image_size": image,
            "initializer_range": 0.02,
            "intermediate_layers_indices": INTERMEDIATE,
            "intermediate_size": vision_ffn,
            "max_num_tiles": tiles,
            "model_type": "mllama_vision_model",
            "norm_eps": 1e-5,
            "num_channels": colours,
            "num_global_layers": seen.layers("vision_model.global_transformer.layers."),
            "num_hidden_layers": seen.layers("vision_model.transformer.layers."),
            "patch_size": patch,
            "supported_aspect_ratios": shapes,
            "torch_dtype": dtype,
            "vision_output_dim": output,
        },
    })))
}

/// Positions of Llama 3.1 and what was made of it.
pub(crate) const CONTEXT: u64 = 131_072;

/// `preprocessor_config.json`: how pictures are cut into tiles (`encoder_utils.py` and `image_transform.py` of Meta's
/// package, whose means and deviations are CLIP's).
pub(crate) fn preprocessor(params: &Value) -> Result<Vec<u8>, String> {
    let size = number(params, "vision_chunk_size")?;
    Ok(text(&json!({
        "do_convert_rgb": true,
        "do_normalize": true,
        "do_pad": true,
        "do_rescale": true,
        "do_resize": true,
        "image_mean": [0.481_454_66, 0.457_827_5, 0.408_210_73],
        "image_processor_type": "MllamaImageProcessor",
        "image_std": [0.268_629_54, 0.261_302_58, 0.275_777_11],
        "max_image_tiles": number(params, "vision_max_num_chunks")?,
        "resample": 2,
        "rescale_factor": 1.0 / 255.0,
        "size": {"height": size, "width": size},
    })))
}

/// `params.json` of a `config.json`.
///
/// # Errors
/// What Meta's code has another number for, or none at all.
pub(crate) fn params(config: &Value) -> Result<Vec<u8>, String> {
    let of = |key: &str| settled(config, key, "mllama");
    let of_vision = |key: &str| settled_of_vision(config, key, "mllama");
    let silu = ckpt::archs::setting(config, "hidden_act").is_none_or(|act| act == "silu");
    if !silu {
        return Err("hidden_act: Meta's code uses silu".to_owned());
    }
    let crossing = ckpt::archs::setting(config, "cross_attention_layers").and_then(Value::as_array).map(Vec::len);
    let cross = crossing.map_or(8, to_u64);
    let (dim, heads) = (of("hidden_size")?, of("num_attention_heads")?);
    let (multiple_of, multiplier) = factors(dim, of("intermediate_size")?)?;
    let scaling = scaled(config, 8.0, 4.0)?;
    if let Some((factor, high)) = scaling.filter(|(factor, high)| (factor - 8.0).abs() + (high - 4.0).abs() > 1e-9) {
        return Err(format!(
            "rope_scaling: Meta's code takes the factor 8 and high_freq_factor 4, not {factor} and {high}"
        ));
    }
    let tiles = of_vision("max_num_tiles")?;
    if tiles > MAX_TILES {
        return Err(format!("max_num_tiles {tiles}: no model has more than {MAX_TILES}"));
    }
    let shapes = ratios(tiles).into_iter().map(|(rows, columns)| json!([rows, columns])).collect();
    let said = config.pointer("/vision_config/supported_aspect_ratios").filter(|said| !said.is_null());
    if said.is_some_and(|said| *said != Value::Array(shapes)) {
        return Err(format!(
            "supported_aspect_ratios: Meta's code takes all shapes of at most {tiles} tiles, in its order"
        ));
    }
    let mut params = json!({
        "dim": dim,
        "n_layers": of("num_hidden_layers")?.saturating_sub(cross),
        "n_heads": heads,
        "n_kv_heads": of("num_key_value_heads")?,
        "vocab_size": of("vocab_size")?,
        "multiple_of": multiple_of,
        "ffn_dim_multiplier": multiplier,
        "norm_eps": float(config, "rms_norm_eps", 1e-5),
        "rope_theta": theta(config),
        "use_scaled_rope": scaling.is_some(),
        "vision_chunk_size": of_vision("image_size")?,
        "vision_max_num_chunks": tiles,
        "vision_num_cross_attention_layers": cross,
    });
    without_nulls(&mut params);
    Ok(text(&params))
}

/// What `params.json` cannot say of the vision tower: numbers that stand in Meta's code alone, where they are others.
pub(crate) fn losses(config: &Value) -> Option<String> {
    let vision = config.get("vision_config")?;
    let own = [
        ("hidden_size", json!(1280)),
        ("num_hidden_layers", json!(32)),
        ("num_global_layers", json!(8)),
        ("attention_heads", json!(VISION_HEADS)),
        ("patch_size", json!(14)),
        ("intermediate_layers_indices", json!(INTERMEDIATE)),
    ];
    let other = |(key, known): &(&str, Value)| {
        vision.get(key).filter(|value| *value != known).map(|value| format!("{key} {value}"))
    };
    let others: Vec<String> = own.iter().filter_map(other).collect();
    let what = others.join(", ");
    (!others.is_empty())
        .then(|| format!("{what} of the vision tower: Meta's code has the release's numbers and no key for others"))
}
