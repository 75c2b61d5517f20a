//! Llama 3.2 Vision: Llama 3.1 with layers between its own that attend to an image, and a vision tower of two parts.

use super::row::row;
use super::{Arch, Change, Need, On, Row, Size, Split};

use Change::{Below, First, Kernels, RotaryKey, RotaryQuery};
use Need::Head;
use On::{CrossAlone, CrossAttention, SelfAttention, Vision, VisionGlobal};
use Size::{Dim, Exactly, Ffn, Head as OneHead, Heads, Key, KvHeads, Patches, Plus, Ratios, Times, Unsaid, Vocab};
use Split::{Columns, Replicated, Rows};

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

/// Meta's own files: `multimodal/model.py` of the `llama_models` package, where the layers that attend to an image
/// are numbered for themselves. `params.json` says nothing of the vision tower but its images' size.
pub(super) static MLLAMA_META: Arch =
    Arch { name: "mllama", model_types: &[], gguf: "", rows: META_ROWS, defaults: &[], tied: false, aliases: &[] };

/// `MllamaTextConfig` and `MllamaVisionConfig`.
pub(super) const DEFAULTS: &[(&str, u64)] = &[
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
pub(super) const SEES: Size = Key("vision_config/hidden_size");
pub(super) const SEES_FFN: Size = Key("vision_config/intermediate_size");
pub(super) const SEEN: Size = Key("vision_config/vision_output_dim");
pub(super) const COLOURS: Size = Key("vision_config/num_channels");
pub(super) const PATCH: Size = Key("vision_config/patch_size");
pub(super) const TILES: Size = Key("vision_config/max_num_tiles");
/// A tile's patches and its class.
pub(super) const PLACES: Size = Plus(&[Patches, Exactly(1)]);

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

#[rustfmt::skip]
const META_ROWS: &[Row] = &[
    row("vision_model.class_embedding", "", &[Unsaid]).own("vision_model.vision_encoder.class_embedding", Replicated),
    row("vision_model.patch_embedding.weight", "", &[Unsaid, Unsaid]).own("vision_model.vision_encoder.conv1._linear.weight", Rows).change(Kernels),
    row("vision_model.gated_positional_embedding.gate", "", &[Unsaid]).own("vision_model.vision_encoder.gated_positional_embedding_gate", Replicated).change(First),
    row("vision_model.gated_positional_embedding.embedding", "", &[Unsaid, Unsaid]).own("vision_model.vision_encoder.positional_embedding", Replicated),
    row("vision_model.gated_positional_embedding.tile_embedding.weight", "", &[Unsaid, Unsaid, Unsaid, Unsaid]).own("vision_model.vision_encoder.gated_positional_embedding", Replicated).change(Change::Ratios),
    row("vision_model.pre_tile_positional_embedding.gate", "", &[Unsaid]).own("vision_model.vision_encoder.pre_tile_pos_embed.gate", Replicated).change(First),
    row("vision_model.pre_tile_positional_embedding.embedding.weight", "", &[Unsaid, Unsaid, Exactly(1), Unsaid]).own("vision_model.vision_encoder.pre_tile_pos_embed.embedding", Replicated).change(Change::Ratios),
    row("vision_model.post_tile_positional_embedding.gate", "", &[Unsaid]).own("vision_model.vision_encoder.post_tile_pos_embed.gate", Replicated).change(First),
    row("vision_model.post_tile_positional_embedding.embedding.weight", "", &[Unsaid, Unsaid, Exactly(1), Unsaid]).own("vision_model.vision_encoder.post_tile_pos_embed.embedding", Replicated).change(Change::Ratios),
    row("vision_model.layernorm_pre.weight", "", &[Unsaid]).own("vision_model.vision_encoder.ln_pre.weight", Replicated),
    row("vision_model.layernorm_pre.bias", "", &[Unsaid]).own("vision_model.vision_encoder.ln_pre.bias", Replicated),
    row("vision_model.layernorm_post.weight", "", &[Unsaid]).own("vision_model.vision_encoder.ln_post.weight", Replicated),
    row("vision_model.layernorm_post.bias", "", &[Unsaid]).own("vision_model.vision_encoder.ln_post.bias", Replicated),
    row("vision_model.transformer.layers.{}.self_attn.q_proj.weight", "", &[Unsaid, Unsaid]).own("vision_model.vision_encoder.transformer.resblocks.{}.attn.wq.weight", Rows).on(Vision),
    row("vision_model.transformer.layers.{}.self_attn.k_proj.weight", "", &[Unsaid, Unsaid]).own("vision_model.vision_encoder.transformer.resblocks.{}.attn.wk.weight", Rows).on(Vision),
    row("vision_model.transformer.layers.{}.self_attn.v_proj.weight", "", &[Unsaid, Unsaid]).own("vision_model.vision_encoder.transformer.resblocks.{}.attn.wv.weight", Rows).on(Vision),
    row("vision_model.transformer.layers.{}.self_attn.o_proj.weight", "", &[Unsaid, Unsaid]).own("vision_model.vision_encoder.transformer.resblocks.{}.attn.wo.weight", Columns).on(Vision),
    row("vision_model.transformer.layers.{}.mlp.fc1.weight", "", &[Unsaid, Unsaid]).own("vision_model.vision_encoder.transformer.resblocks.{}.mlp.c_fc.weight", Rows).on(Vision),
    row("vision_model.transformer.layers.{}.mlp.fc1.bias", "", &[Unsaid]).own("vision_model.vision_encoder.transformer.resblocks.{}.mlp.c_fc.bias", Rows).on(Vision),
    row("vision_model.transformer.layers.{}.mlp.fc2.weight", "", &[Unsaid, Unsaid]).own("vision_model.vision_encoder.transformer.resblocks.{}.mlp.c_proj.weight", Columns).on(Vision),
    row("vision_model.transformer.layers.{}.mlp.fc2.bias", "", &[Unsaid]).own("vision_model.vision_encoder.transformer.resblocks.{}.mlp.c_proj.bias", Replicated).on(Vision),
    row("vision_model.transformer.layers.{}.input_layernorm.weight", "", &[Unsaid]).own("vision_model.vision_encoder.transformer.resblocks.{}.ln_1.weight", Replicated).on(Vision),
    row("vision_model.transformer.layers.{}.input_layernorm.bias", "", &[Unsaid]).own("vision_model.vision_encoder.transformer.resblocks.{}.ln_1.bias", Replicated).on(Vision),
    row("vision_model.transformer.layers.{}.post_attention_layernorm.weight", "", &[Unsaid]).own("vision_model.vision_encoder.transformer.resblocks.{}.ln_2.weight", Replicated).on(Vision),
    row("vision_model.transformer.layers.{}.post_attention_layernorm.bias", "", &[Unsaid]).own("vision_model.vision_encoder.transformer.resblocks.{}.ln_2.bias", Replicated).on(Vision),
    row("vision_model.global_transformer.layers.{}.gate_attn", "", &[Unsaid]).own("vision_model.vision_encoder.global_transformer.resblocks.{}.gate_attn", Replicated).on(VisionGlobal),
    row("vision_model.global_transformer.layers.{}.gate_ffn", "", &[Unsaid]).own("vision_model.vision_encoder.global_transformer.resblocks.{}.gate_ffn", Replicated).on(VisionGlobal),
    row("vision_model.global_transformer.layers.{}.self_attn.q_proj.weight", "", &[Unsaid, Unsaid]).own("vision_model.vision_encoder.global_transformer.resblocks.{}.attn.wq.weight", Rows).on(VisionGlobal),
    row("vision_model.global_transformer.layers.{}.self_attn.k_proj.weight", "", &[Unsaid, Unsaid]).own("vision_model.vision_encoder.global_transformer.resblocks.{}.attn.wk.weight", Rows).on(VisionGlobal),
    row("vision_model.global_transformer.layers.{}.self_attn.v_proj.weight", "", &[Unsaid, Unsaid]).own("vision_model.vision_encoder.global_transformer.resblocks.{}.attn.wv.weight", Rows).on(VisionGlobal),
    row("vision_model.global_transformer.layers.{}.self_attn.o_proj.weight", "", &[Unsaid, Unsaid]).own("vision_model.vision_encoder.global_transformer.resblocks.{}.attn.wo.weight", Columns).on(VisionGlobal),
    row("vision_model.global_transformer.layers.{}.mlp.fc1.weight", "", &[Unsaid, Unsaid]).own("vision_model.vision_encoder.global_transformer.resblocks.{}.mlp.c_fc.weight", Rows).on(VisionGlobal),
    row("vision_model.global_transformer.layers.{}.mlp.fc1.bias", "", &[Unsaid]).own("vision_model.vision_encoder.global_transformer.resblocks.{}.mlp.c_fc.bias", Rows).on(VisionGlobal),
    row("vision_model.global_transformer.layers.{}.mlp.fc2.weight", "", &[Unsaid, Unsaid]).own("vision_model.vision_encoder.global_transformer.resblocks.{}.mlp.c_proj.weight", Columns).on(VisionGlobal),
    row("vision_model.global_transformer.layers.{}.mlp.fc2.bias", "", &[Unsaid]).own("vision_model.vision_encoder.global_transformer.resblocks.{}.mlp.c_proj.bias", Replicated).on(VisionGlobal),
    row("vision_model.global_transformer.layers.{}.input_layernorm.weight", "", &[Unsaid]).own("vision_model.vision_encoder.global_transformer.resblocks.{}.ln_1.weight", Replicated).on(VisionGlobal),
    row("vision_model.global_transformer.layers.{}.input_layernorm.bias", "", &[Unsaid]).own("vision_model.vision_encoder.global_transformer.resblocks.{}.ln_1.bias", Replicated).on(VisionGlobal),
    row("vision_model.global_transformer.layers.{}.post_attention_layernorm.weight", "", &[Unsaid]).own("vision_model.vision_encoder.global_transformer.resblocks.{}.ln_2.weight", Replicated).on(VisionGlobal),
    row("vision_model.global_transformer.layers.{}.post_attention_layernorm.bias", "", &[Unsaid]).own("vision_model.vision_encoder.global_transformer.resblocks.{}.ln_2.bias", Replicated).on(VisionGlobal),
    row("language_model.model.embed_tokens.weight", "", &[Vocab, Dim]).own("text_model.tok_embeddings.weight", Rows),
    row("language_model.model.embed_tokens.weight", "", &[Unsaid, Dim]).own("text_model.learnable_embedding.weight", Rows).change(Below),
    row("language_model.model.layers.{}.cross_attn_attn_gate", "", &[Unsaid]).own("text_model.cross_attention_layers.{}.gate_attn", Replicated).change(First).on(CrossAlone),
    row("language_model.model.layers.{}.cross_attn_mlp_gate", "", &[Unsaid]).own("text_model.cross_attention_layers.{}.gate_ffwd", Replicated).change(First).on(CrossAlone),
    row("language_model.model.layers.{}.cross_attn.q_proj.weight", "", &[Heads, Dim]).own("text_model.cross_attention_layers.{}.attention.wq.weight", Rows).on(CrossAlone),
    row("language_model.model.layers.{}.cross_attn.k_proj.weight", "", &[KvHeads, Dim]).own("text_model.cross_attention_layers.{}.attention.wk.weight", Rows).on(CrossAlone),
    row("language_model.model.layers.{}.cross_attn.v_proj.weight", "", &[KvHeads, Dim]).own("text_model.cross_attention_layers.{}.attention.wv.weight", Rows).on(CrossAlone),
    row("language_model.model.layers.{}.cross_attn.o_proj.weight", "", &[Dim, Heads]).own("text_model.cross_attention_layers.{}.attention.wo.weight", Columns).on(CrossAlone),
    row("language_model.model.layers.{}.cross_attn.q_norm.weight", "", &[OneHead]).own("text_model.cross_attention_layers.{}.attention.q_norm.weight", Replicated).on(CrossAlone),
    row("language_model.model.layers.{}.cross_attn.k_norm.weight", "", &[OneHead]).own("text_model.cross_attention_layers.{}.attention.k_norm.weight", Replicated).on(CrossAlone),
    row("language_model.model.layers.{}.mlp.gate_proj.weight", "", &[Ffn, Dim]).own("text_model.cross_attention_layers.{}.feed_forward.w1.weight", Rows).on(CrossAlone),
    row("language_model.model.layers.{}.mlp.up_proj.weight", "", &[Ffn, Dim]).own("text_model.cross_attention_layers.{}.feed_forward.w3.weight", Rows).on(CrossAlone),
    row("language_model.model.layers.{}.mlp.down_proj.weight", "", &[Dim, Ffn]).own("text_model.cross_attention_layers.{}.feed_forward.w2.weight", Columns).on(CrossAlone),
    row("language_model.model.layers.{}.input_layernorm.weight", "", &[Dim]).own("text_model.cross_attention_layers.{}.attention_norm.weight", Replicated).on(CrossAlone),
    row("language_model.model.layers.{}.post_attention_layernorm.weight", "", &[Dim]).own("text_model.cross_attention_layers.{}.ffn_norm.weight", Replicated).on(CrossAlone),
    row("language_model.model.layers.{}.self_attn.q_proj.weight", "", &[Heads, Dim]).own("text_model.layers.{}.attention.wq.weight", Rows).change(RotaryQuery),
    row("language_model.model.layers.{}.self_attn.k_proj.weight", "", &[KvHeads, Dim]).own("text_model.layers.{}.attention.wk.weight", Rows).change(RotaryKey),
    row("language_model.model.layers.{}.self_attn.v_proj.weight", "", &[KvHeads, Dim]).own("text_model.layers.{}.attention.wv.weight", Rows),
    row("language_model.model.layers.{}.self_attn.o_proj.weight", "", &[Dim, Heads]).own("text_model.layers.{}.attention.wo.weight", Columns),
    row("language_model.model.layers.{}.mlp.gate_proj.weight", "", &[Ffn, Dim]).own("text_model.layers.{}.feed_forward.w1.weight", Rows),
    row("language_model.model.layers.{}.mlp.up_proj.weight", "", &[Ffn, Dim]).own("text_model.layers.{}.feed_forward.w3.weight", Rows),
    row("language_model.model.layers.{}.mlp.down_proj.weight", "", &[Dim, Ffn]).own("text_model.layers.{}.feed_forward.w2.weight", Columns),
    row("language_model.model.layers.{}.input_layernorm.weight", "", &[Dim]).own("text_model.layers.{}.attention_norm.weight", Replicated),
    row("language_model.model.layers.{}.post_attention_layernorm.weight", "", &[Dim]).own("text_model.layers.{}.ffn_norm.weight", Replicated),
    row("language_model.model.norm.weight", "", &[Dim]).own("text_model.norm.weight", Replicated),
    row("language_model.lm_head.weight", "", &[Vocab, Dim]).own("text_model.output.weight", Rows).need(Head),
    row("multi_modal_projector.weight", "", &[Dim, Unsaid]).own("vision_model.vision_projection.weight", Rows),
    row("multi_modal_projector.bias", "", &[Dim]).own("vision_model.vision_projection.bias", Rows),
    row("", "", &[Size::HalfHead]).own("text_model.rope.freqs", Replicated).need(Need::Derived),
];
