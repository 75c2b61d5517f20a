//! Gemma 1, 2 and 3, the last with or without its vision tower.

use super::row::row;
use super::{Arch, Change, Need, On, Row, Size};

use Change::LessOne;
use Need::{Head, Where};
use On::Vision;
use Size::{Dim, Ffn, Head as OneHead, Heads, Key, KvHeads, Patches, Vocab};

/// Gemma: Llama's tensors under Llama's names, with heads of a size of their own; of a norm's factor Hugging Face keeps
/// what it is more than one.
pub(super) static GEMMA: Arch = Arch {
    name: "gemma",
    model_types: &["gemma"],
    gguf: "",
    rows: ONE,
    defaults: &[("head_dim", 256)],
    tied: true,
    aliases: &[],
};

/// Gemma 2: norms before and after attention and feed-forward. Of a norm's factor Hugging Face keeps what it is more
/// than one (`Gemma2RMSNorm`), llama.cpp the factor itself.
pub(super) static GEMMA2: Arch = Arch {
    name: "gemma2",
    model_types: &["gemma2"],
    gguf: "gemma2",
    rows: TWO,
    defaults: &[("head_dim", 256)],
    tied: true,
    aliases: &[],
};

/// Gemma 3 without its eyes: norms of query and key heads as well.
pub(super) static GEMMA3_TEXT: Arch = Arch {
    name: "gemma3_text",
    model_types: &["gemma3_text"],
    gguf: "gemma3",
    rows: THREE,
    defaults: TEXT,
    tied: true,
    aliases: &[],
};

/// Gemma 3 that sees. Names are those of the files on the hub and of transformers 4; 5 leaves a step out of the vision
/// tower's.
pub(super) static GEMMA3: Arch = Arch {
    name: "gemma3",
    model_types: &["gemma3"],
    gguf: "",
    rows: SEEING,
    defaults: SEEING_DEFAULTS,
    tied: true,
    aliases: &[
        ("vision_tower.embeddings.", "vision_tower.vision_model.embeddings."),
        ("vision_tower.encoder.", "vision_tower.vision_model.encoder."),
        ("vision_tower.post_layernorm.", "vision_tower.vision_model.post_layernorm."),
    ],
};

/// `Gemma3TextConfig`: the hub's configs leave out what they share with it.
const TEXT: &[(&str, u64)] = &[
    ("vocab_size", 262_208),
    ("hidden_size", 2304),
    ("intermediate_size", 9216),
    ("num_hidden_layers", 26),
    ("num_attention_heads", 8),
    ("num_key_value_heads", 4),
    ("head_dim", 256),
];

/// The same, and `SiglipVisionConfig`.
const SEEING_DEFAULTS: &[(&str, u64)] = &[
    ("vocab_size", 262_208),
    ("hidden_size", 2304),
    ("intermediate_size", 9216),
    ("num_hidden_layers", 26),
    ("num_attention_heads", 8),
    ("num_key_value_heads", 4),
    ("head_dim", 256),
    ("vision_config/hidden_size", 768),
    ("vision_config/intermediate_size", 3072),
    ("vision_config/num_hidden_layers", 12),
    ("vision_config/num_channels", 3),
    ("vision_config/image_size", 224),
    ("vision_config/patch_size", 16),
];

/// Sizes of the vision tower.
const SEES: Size = Key("vision_config/hidden_size");
const SEES_FFN: Size = Key("vision_config/intermediate_size");
const COLOURS: Size = Key("vision_config/num_channels");
const PATCH: Size = Key("vision_config/patch_size");

#[rustfmt::skip]
const ONE: &[Row] = &[
    row("model.embed_tokens.weight",                        "", &[Vocab, Dim]),
    row("model.layers.{}.self_attn.q_proj.weight",          "", &[Heads, Dim]),
    row("model.layers.{}.self_attn.q_proj.bias",            "", &[Heads])  .need(Where("attention_bias")),
    row("model.layers.{}.self_attn.k_proj.weight",          "", &[KvHeads, Dim]),
    row("model.layers.{}.self_attn.k_proj.bias",            "", &[KvHeads]).need(Where("attention_bias")),
    row("model.layers.{}.self_attn.v_proj.weight",          "", &[KvHeads, Dim]),
    row("model.layers.{}.self_attn.v_proj.bias",            "", &[KvHeads]).need(Where("attention_bias")),
    row("model.layers.{}.self_attn.o_proj.weight",          "", &[Dim, Heads]),
    row("model.layers.{}.self_attn.o_proj.bias",            "", &[Dim])    .need(Where("attention_bias")),
    row("model.layers.{}.mlp.gate_proj.weight",             "", &[Ffn, Dim]),
    row("model.layers.{}.mlp.up_proj.weight",               "", &[Ffn, Dim]),
    row("model.layers.{}.mlp.down_proj.weight",             "", &[Dim, Ffn]),
    row("model.layers.{}.input_layernorm.weight",           "", &[Dim]),
    row("model.layers.{}.post_attention_layernorm.weight",  "", &[Dim]),
    row("model.norm.weight",                                "", &[Dim]),
    row("lm_head.weight",                                   "", &[Vocab, Dim]).need(Head),
];

#[rustfmt::skip]
const TWO: &[Row] = &[
    row("model.embed_tokens.weight",                        "token_embd.weight",                &[Vocab, Dim]),
    row("model.layers.{}.self_attn.q_proj.weight",          "blk.{}.attn_q.weight",             &[Heads, Dim]),
    row("model.layers.{}.self_attn.q_proj.bias",            "blk.{}.attn_q.bias",               &[Heads])  .need(Where("attention_bias")),
    row("model.layers.{}.self_attn.k_proj.weight",          "blk.{}.attn_k.weight",             &[KvHeads, Dim]),
    row("model.layers.{}.self_attn.k_proj.bias",            "blk.{}.attn_k.bias",               &[KvHeads]).need(Where("attention_bias")),
    row("model.layers.{}.self_attn.v_proj.weight",          "blk.{}.attn_v.weight",             &[KvHeads, Dim]),
    row("model.layers.{}.self_attn.v_proj.bias",            "blk.{}.attn_v.bias",               &[KvHeads]).need(Where("attention_bias")),
    row("model.layers.{}.self_attn.o_proj.weight",          "blk.{}.attn_output.weight",        &[Dim, Heads]),
    row("model.layers.{}.self_attn.o_proj.bias",            "blk.{}.attn_output.bias",          &[Dim])    .need(Where("attention_bias")),
    row("model.layers.{}.mlp.gate_proj.weight",             "blk.{}.ffn_gate.weight",           &[Ffn, Dim]),
    row("model.layers.{}.mlp.up_proj.weight",               "blk.{}.ffn_up.weight",             &[Ffn, Dim]),
    row("model.layers.{}.mlp.down_proj.weight",             "blk.{}.ffn_down.weight",           &[Dim, Ffn]),
    row("model.layers.{}.input_layernorm.weight",           "blk.{}.attn_norm.weight",          &[Dim])    .change(LessOne),
    row("model.layers.{}.post_attention_layernorm.weight",  "blk.{}.post_attention_norm.weight",&[Dim])    .change(LessOne),
    row("model.layers.{}.pre_feedforward_layernorm.weight", "blk.{}.ffn_norm.weight",           &[Dim])    .change(LessOne),
    row("model.layers.{}.post_feedforward_layernorm.weight","blk.{}.post_ffw_norm.weight",      &[Dim])    .change(LessOne),
    row("model.norm.weight",                                "output_norm.weight",               &[Dim])    .change(LessOne),
    row("lm_head.weight",                                   "output.weight",                    &[Vocab, Dim]).need(Head),
];

#[rustfmt::skip]
const THREE: &[Row] = &[
    row("model.embed_tokens.weight",                        "token_embd.weight",                &[Vocab, Dim]),
    row("model.layers.{}.self_attn.q_proj.weight",          "blk.{}.attn_q.weight",             &[Heads, Dim]),
    row("model.layers.{}.self_attn.q_proj.bias",            "blk.{}.attn_q.bias",               &[Heads])  .need(Where("attention_bias")),
    row("model.layers.{}.self_attn.k_proj.weight",          "blk.{}.attn_k.weight",             &[KvHeads, Dim]),
    row("model.layers.{}.self_attn.k_proj.bias",            "blk.{}.attn_k.bias",               &[KvHeads]).need(Where("attention_bias")),
    row("model.layers.{}.self_attn.v_proj.weight",          "blk.{}.attn_v.weight",             &[KvHeads, Dim]),
    row("model.layers.{}.self_attn.v_proj.bias",            "blk.{}.attn_v.bias",               &[KvHeads]).need(Where("attention_bias")),
    row("model.layers.{}.self_attn.o_proj.weight",          "blk.{}.attn_output.weight",        &[Dim, Heads]),
    row("model.layers.{}.self_attn.o_proj.bias",            "blk.{}.attn_output.bias",          &[Dim])    .need(Where("attention_bias")),
    row("model.layers.{}.self_attn.q_norm.weight",          "blk.{}.attn_q_norm.weight",        &[OneHead]).change(LessOne),
    row("model.layers.{}.self_attn.k_norm.weight",          "blk.{}.attn_k_norm.weight",        &[OneHead]).change(LessOne),
    row("model.layers.{}.mlp.gate_proj.weight",             "blk.{}.ffn_gate.weight",           &[Ffn, Dim]),
    row("model.layers.{}.mlp.up_proj.weight",               "blk.{}.ffn_up.weight",             &[Ffn, Dim]),
    row("model.layers.{}.mlp.down_proj.weight",             "blk.{}.ffn_down.weight",           &[Dim, Ffn]),
    row("model.layers.{}.input_layernorm.weight",           "blk.{}.attn_norm.weight",          &[Dim])    .change(LessOne),
    row("model.layers.{}.post_attention_layernorm.weight",  "blk.{}.post_attention_norm.weight",&[Dim])    .change(LessOne),
    row("model.layers.{}.pre_feedforward_layernorm.weight", "blk.{}.ffn_norm.weight",           &[Dim])    .change(LessOne),
    row("model.layers.{}.post_feedforward_layernorm.weight","blk.{}.post_ffw_norm.weight",      &[Dim])    .change(LessOne),
    row("model.norm.weight",                                "output_norm.weight",               &[Dim])    .change(LessOne),
    row("lm_head.weight",                                   "output.weight",                    &[Vocab, Dim]).need(Head),
];

#[rustfmt::skip]
const SEEING: &[Row] = &[
    row("vision_tower.vision_model.embeddings.patch_embedding.weight",          "", &[SEES, COLOURS, PATCH, PATCH]),
    row("vision_tower.vision_model.embeddings.patch_embedding.bias",            "", &[SEES]),
    row("vision_tower.vision_model.embeddings.position_embedding.weight",       "", &[Patches, SEES]),
    row("vision_tower.vision_model.encoder.layers.{}.layer_norm1.weight",       "", &[SEES])          .on(Vision),
    row("vision_tower.vision_model.encoder.layers.{}.layer_norm1.bias",         "", &[SEES])          .on(Vision),
    row("vision_tower.vision_model.encoder.layers.{}.self_attn.k_proj.weight",  "", &[SEES, SEES])    .on(Vision),
    row("vision_tower.vision_model.encoder.layers.{}.self_attn.k_proj.bias",    "", &[SEES])          .on(Vision),
    row("vision_tower.vision_model.encoder.layers.{}.self_attn.v_proj.weight",  "", &[SEES, SEES])    .on(Vision),
    row("vision_tower.vision_model.encoder.layers.{}.self_attn.v_proj.bias",    "", &[SEES])          .on(Vision),
    row("vision_tower.vision_model.encoder.layers.{}.self_attn.q_proj.weight",  "", &[SEES, SEES])    .on(Vision),
    row("vision_tower.vision_model.encoder.layers.{}.self_attn.q_proj.bias",    "", &[SEES])          .on(Vision),
    row("vision_tower.vision_model.encoder.layers.{}.self_attn.out_proj.weight","", &[SEES, SEES])    .on(Vision),
    row("vision_tower.vision_model.encoder.layers.{}.self_attn.out_proj.bias",  "", &[SEES])          .on(Vision),
    row("vision_tower.vision_model.encoder.layers.{}.layer_norm2.weight",       "", &[SEES])          .on(Vision),
    row("vision_tower.vision_model.encoder.layers.{}.layer_norm2.bias",         "", &[SEES])          .on(Vision),
    row("vision_tower.vision_model.encoder.layers.{}.mlp.fc1.weight",           "", &[SEES_FFN, SEES]).on(Vision),
    row("vision_tower.vision_model.encoder.layers.{}.mlp.fc1.bias",             "", &[SEES_FFN])      .on(Vision),
    row("vision_tower.vision_model.encoder.layers.{}.mlp.fc2.weight",           "", &[SEES, SEES_FFN]).on(Vision),
    row("vision_tower.vision_model.encoder.layers.{}.mlp.fc2.bias",             "", &[SEES])          .on(Vision),
    row("vision_tower.vision_model.post_layernorm.weight",                      "", &[SEES]),
    row("vision_tower.vision_model.post_layernorm.bias",                        "", &[SEES]),
    row("multi_modal_projector.mm_input_projection_weight",                     "", &[SEES, Dim]),
    row("multi_modal_projector.mm_soft_emb_norm.weight",                        "", &[SEES]),
    row("language_model.model.embed_tokens.weight",                             "", &[Vocab, Dim]),
    row("language_model.model.layers.{}.self_attn.q_proj.weight",               "", &[Heads, Dim]),
    row("language_model.model.layers.{}.self_attn.k_proj.weight",               "", &[KvHeads, Dim]),
    row("language_model.model.layers.{}.self_attn.v_proj.weight",               "", &[KvHeads, Dim]),
    row("language_model.model.layers.{}.self_attn.o_proj.weight",               "", &[Dim, Heads]),
    row("language_model.model.layers.{}.self_attn.q_norm.weight",               "", &[OneHead]),
    row("language_model.model.layers.{}.self_attn.k_norm.weight",               "", &[OneHead]),
    row("language_model.model.layers.{}.mlp.gate_proj.weight",                  "", &[Ffn, Dim]),
    row("language_model.model.layers.{}.mlp.up_proj.weight",                    "", &[Ffn, Dim]),
    row("language_model.model.layers.{}.mlp.down_proj.weight",                  "", &[Dim, Ffn]),
    row("language_model.model.layers.{}.input_layernorm.weight",                "", &[Dim]),
    row("language_model.model.layers.{}.post_attention_layernorm.weight",       "", &[Dim]),
    row("language_model.model.layers.{}.pre_feedforward_layernorm.weight",      "", &[Dim]),
    row("language_model.model.layers.{}.post_feedforward_layernorm.weight",     "", &[Dim]),
    row("language_model.model.norm.weight",                                     "", &[Dim]),
    row("language_model.lm_head.weight",                                        "", &[Vocab, Dim])    .need(Head),
];
