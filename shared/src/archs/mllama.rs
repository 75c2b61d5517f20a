//! Llama 3.2 Vision: Llama 3.1 with layers between its own that attend to an image, and a vision tower of two parts.

use super::row::row;
use super::{Arch, Need, On, Row, Size};

use Need::Head;
use On::{CrossAttention, SelfAttention, Vision, VisionGlobal};
use Size::{Dim, Exactly, Ffn, Head as OneHead, Heads, Key, KvHeads, Patches, Plus, Ratios, Times, Vocab};

/// The family's table: `modeling_mllama.py` of transformers, in the order of its state dict. Names are those of the
/// files on the hub and of all that transformers saves; in memory it has called them otherwise since 4.52.
pub(super) static MLLAMA: Arch = Arch {
    name: "mllama",
    model_types: &["mllama"],
    gguf: "",
    rows: ROWS,
    defaults: DEFAULTS,
    tied: false,
    aliases: &[
        ("model.vision_model.", "vision_model."),
        ("model.language_model.", "language_model.model."),
        ("model.multi_modal_projector.", "multi_modal_projector."),
        ("lm_head.", "language_model.lm_head."),
    ],
};

/// `MllamaTextConfig` and `MllamaVisionConfig`.
const DEFAULTS: &[(&str, u64)] = &[
    ("vocab_size", 128_256),
    ("hidden_size", 4096),
    ("intermediate_size", 14_336),
    ("num_hidden_layers", 40),
    ("num_attention_heads", 32),
    ("num_key_value_heads", 8),
    ("vision_config/hidden_size", 1280),
    ("vision_config/intermediate_size", 5120),
    ("vision_config/num_hidden_layers", 32),
    ("vision_config/num_global_layers", 8),
    ("vision_config/num_channels", 3),
    ("vision_config/vision_output_dim", 7680),
    ("vision_config/image_size", 448),
    ("vision_config/patch_size", 14),
    ("vision_config/max_num_tiles", 4),
];

/// The vocabulary and eight tokens more, which stand where an image does.
const VOCAB_AND_IMAGES: Size = Plus(&[Vocab, Exactly(8)]);
const SEES: Size = Key("vision_config/hidden_size");
const SEES_FFN: Size = Key("vision_config/intermediate_size");
const SEEN: Size = Key("vision_config/vision_output_dim");
const COLOURS: Size = Key("vision_config/num_channels");
const PATCH: Size = Key("vision_config/patch_size");
const TILES: Size = Key("vision_config/max_num_tiles");
/// A tile's patches and its class.
const PLACES: Size = Plus(&[Patches, Exactly(1)]);

#[rustfmt::skip]
const ROWS: &[Row] = &[
    row("vision_model.class_embedding",                                     "", &[SEES]),
    row("vision_model.patch_embedding.weight",                              "", &[SEES, COLOURS, PATCH, PATCH]),
    row("vision_model.gated_positional_embedding.gate",                     "", &[Exactly(1)]),
    row("vision_model.gated_positional_embedding.embedding",                "", &[PLACES, SEES]),
    row("vision_model.gated_positional_embedding.tile_embedding.weight",    "", &[Ratios, Times(&[TILES, PLACES, SEES])]),
    row("vision_model.pre_tile_positional_embedding.gate",                  "", &[Exactly(1)]),
    row("vision_model.pre_tile_positional_embedding.embedding.weight",      "", &[Ratios, Times(&[TILES, SEES])]),
    row("vision_model.post_tile_positional_embedding.gate",                 "", &[Exactly(1)]),
    row("vision_model.post_tile_positional_embedding.embedding.weight",     "", &[Ratios, Times(&[TILES, SEES])]),
    row("vision_model.layernorm_pre.weight",                                "", &[SEES]),
    row("vision_model.layernorm_pre.bias",                                  "", &[SEES]),
    row("vision_model.layernorm_post.weight",                               "", &[SEES]),
    row("vision_model.layernorm_post.bias",                                 "", &[SEES]),
    row("vision_model.transformer.layers.{}.self_attn.q_proj.weight",               "", &[SEES, SEES])     .on(Vision),
    row("vision_model.transformer.layers.{}.self_attn.k_proj.weight",               "", &[SEES, SEES])     .on(Vision),
    row("vision_model.transformer.layers.{}.self_attn.v_proj.weight",               "", &[SEES, SEES])     .on(Vision),
    row("vision_model.transformer.layers.{}.self_attn.o_proj.weight",               "", &[SEES, SEES])     .on(Vision),
    row("vision_model.transformer.layers.{}.mlp.fc1.weight",                        "", &[SEES_FFN, SEES]) .on(Vision),
    row("vision_model.transformer.layers.{}.mlp.fc1.bias",                          "", &[SEES_FFN])       .on(Vision),
    row("vision_model.transformer.layers.{}.mlp.fc2.weight",                        "", &[SEES, SEES_FFN]) .on(Vision),
    row("vision_model.transformer.layers.{}.mlp.fc2.bias",                          "", &[SEES])           .on(Vision),
    row("vision_model.transformer.layers.{}.input_layernorm.weight",                "", &[SEES])           .on(Vision),
    row("vision_model.transformer.layers.{}.input_layernorm.bias",                  "", &[SEES])           .on(Vision),
    row("vision_model.transformer.layers.{}.post_attention_layernorm.weight",       "", &[SEES])           .on(Vision),
    row("vision_model.transformer.layers.{}.post_attention_layernorm.bias",         "", &[SEES])           .on(Vision),
    row("vision_model.global_transformer.layers.{}.gate_attn",                      "", &[Exactly(1)])     .on(VisionGlobal),
    row("vision_model.global_transformer.layers.{}.gate_ffn",                       "", &[Exactly(1)])     .on(VisionGlobal),
    row("vision_model.global_transformer.layers.{}.self_attn.q_proj.weight",        "", &[SEES, SEES])     .on(VisionGlobal),
    row("vision_model.global_transformer.layers.{}.self_attn.k_proj.weight",        "", &[SEES, SEES])     .on(VisionGlobal),
    row("vision_model.global_transformer.layers.{}.self_attn.v_proj.weight",        "", &[SEES, SEES])     .on(VisionGlobal),
    row("vision_model.global_transformer.layers.{}.self_attn.o_proj.weight",        "", &[SEES, SEES])     .on(VisionGlobal),
    row("vision_model.global_transformer.layers.{}.mlp.fc1.weight",                 "", &[SEES_FFN, SEES]) .on(VisionGlobal),
    row("vision_model.global_transformer.layers.{}.mlp.fc1.bias",                   "", &[SEES_FFN])       .on(VisionGlobal),
    row("vision_model.global_transformer.layers.{}.mlp.fc2.weight",                 "", &[SEES, SEES_FFN]) .on(VisionGlobal),
    row("vision_model.global_transformer.layers.{}.mlp.fc2.bias",                   "", &[SEES])           .on(VisionGlobal),
    row("vision_model.global_transformer.layers.{}.input_layernorm.weight",         "", &[SEES])           .on(VisionGlobal),
    row("vision_model.global_transformer.layers.{}.input_layernorm.bias",           "", &[SEES])           .on(VisionGlobal),
    row("vision_model.global_transformer.layers.{}.post_attention_layernorm.weight","", &[SEES])           .on(VisionGlobal),
    row("vision_model.global_transformer.layers.{}.post_attention_layernorm.bias",  "", &[SEES])           .on(VisionGlobal),
    row("language_model.model.embed_tokens.weight",                                 "", &[VOCAB_AND_IMAGES, Dim]),
    row("language_model.model.layers.{}.cross_attn_attn_gate",                      "", &[Exactly(1)])     .on(CrossAttention),
    row("language_model.model.layers.{}.cross_attn_mlp_gate",                       "", &[Exactly(1)])     .on(CrossAttention),
    row("language_model.model.layers.{}.cross_attn.q_proj.weight",                  "", &[Heads, Dim])     .on(CrossAttention),
    row("language_model.model.layers.{}.cross_attn.k_proj.weight",                  "", &[KvHeads, Dim])   .on(CrossAttention),
    row("language_model.model.layers.{}.cross_attn.v_proj.weight",                  "", &[KvHeads, Dim])   .on(CrossAttention),
    row("language_model.model.layers.{}.cross_attn.o_proj.weight",                  "", &[Dim, Heads])     .on(CrossAttention),
    row("language_model.model.layers.{}.cross_attn.q_norm.weight",                  "", &[OneHead])        .on(CrossAttention),
    row("language_model.model.layers.{}.cross_attn.k_norm.weight",                  "", &[OneHead])        .on(CrossAttention),
    row("language_model.model.layers.{}.self_attn.q_proj.weight",                   "", &[Heads, Dim])     .on(SelfAttention),
    row("language_model.model.layers.{}.self_attn.k_proj.weight",                   "", &[KvHeads, Dim])   .on(SelfAttention),
    row("language_model.model.layers.{}.self_attn.v_proj.weight",                   "", &[KvHeads, Dim])   .on(SelfAttention),
    row("language_model.model.layers.{}.self_attn.o_proj.weight",                   "", &[Dim, Heads])     .on(SelfAttention),
    row("language_model.model.layers.{}.mlp.gate_proj.weight",                      "", &[Ffn, Dim]),
    row("language_model.model.layers.{}.mlp.up_proj.weight",                        "", &[Ffn, Dim]),
    row("language_model.model.layers.{}.mlp.down_proj.weight",                      "", &[Dim, Ffn]),
    row("language_model.model.layers.{}.input_layernorm.weight",                    "", &[Dim]),
    row("language_model.model.layers.{}.post_attention_layernorm.weight",           "", &[Dim]),
    row("language_model.model.norm.weight",                                         "", &[Dim]),
    row("language_model.lm_head.weight",                                            "", &[Vocab, Dim])     .need(Head),
    row("multi_modal_projector.weight",                                             "", &[Dim, SEEN]),
    row("multi_modal_projector.bias",                                               "", &[Dim]),
];
