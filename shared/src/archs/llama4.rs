//! Llama 4: Scout, Maverick and Guard 4, with experts in all layers, in some or in none, and a vision tower.

use super::row::row;
use super::{Arch, Change, Need, On, Row, Size, Split};

use Change::{Parts, Transposed};
use Need::{Derived, Head, Where, With};
use On::{Dense, Sparse, Vision};
use Size::{
    Dim, Exactly, ExpertFfn, Experts, Ffn, HalfHead, Heads, Key, KvHeads, Patches, Plus, Qkv, Times, TwiceFfn, Unsaid,
    Vocab,
};
use Split::{Columns, Replicated, Rows};

/// The family that sees: `modeling_llama4.py` of transformers, in the order of its state dict. Names are those of the
/// files on the hub and of all that transformers saves. Query and key heads keep Meta's rotary order, and their norms
/// have no weights.
pub(super) static LLAMA4: Arch = Arch {
    name: "llama4",
    model_types: &["llama4"],
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

/// Its language model alone.
pub(super) static LLAMA4_TEXT: Arch = Arch {
    name: "llama4_text",
    model_types: &["llama4_text"],
    gguf: "",
    rows: TEXT_ROWS,
    defaults: DEFAULTS.split_at(9).0,
    tied: false,
    aliases: &[],
};

/// Meta's own files, as they are released: the names that the load hooks of `llama4/*.py` of the `llama_models` package
/// take apart. Statistics of training lie among the weights.
pub(super) static LLAMA4_META: Arch =
    Arch { name: "llama4", model_types: &[], gguf: "", rows: META_ROWS, defaults: &[], tied: false, aliases: &[] };

/// `Llama4TextConfig`, which has the first nine, and `Llama4VisionConfig`.
const DEFAULTS: &[(&str, u64)] = &[
    ("vocab_size", 202_048),
    ("hidden_size", 5120),
    ("intermediate_size", 8192),
    ("intermediate_size_mlp", 16_384),
    ("num_hidden_layers", 48),
    ("num_attention_heads", 40),
    ("num_key_value_heads", 8),
    ("head_dim", 128),
    ("num_local_experts", 16),
    ("vision_config/hidden_size", 768),
    ("vision_config/intermediate_size", 5632),
    ("vision_config/num_hidden_layers", 34),
    ("vision_config/num_attention_heads", 16),
    ("vision_config/num_channels", 3),
    ("vision_config/vision_output_dim", 7680),
    ("vision_config/image_size", 448),
    ("vision_config/patch_size", 14),
    ("vision_config/projector_input_dim", 4096),
    ("vision_config/projector_output_dim", 4096),
];

const SEES: Size = Key("vision_config/hidden_size");
const SEES_FFN: Size = Key("vision_config/intermediate_size");
const SEEN: Size = Key("vision_config/vision_output_dim");
const ADAPTS: Size = Key("vision_config/projector_input_dim");
const ADAPTED: Size = Key("vision_config/projector_output_dim");
const PATCH: Size = Key("vision_config/patch_size");
/// Every colour of every pixel of a patch.
const PIXELS: Size = Times(&[Key("vision_config/num_channels"), PATCH, PATCH]);
/// An image's patches and its class.
const PLACES: Size = Plus(&[Patches, Exactly(1)]);
/// Gate and up of an expert in one.
const TWICE_EXPERT: Size = Times(&[Exactly(2), ExpertFfn]);

#[rustfmt::skip]
const ROWS: &[Row] = &[
    row("vision_model.class_embedding",                                                 "", &[SEES]),
    row("vision_model.positional_embedding_vlm",                                        "", &[PLACES, SEES]),
    row("vision_model.patch_embedding.linear.weight",                                   "", &[SEES, PIXELS]),
    row("vision_model.layernorm_pre.weight",                                            "", &[SEES]),
    row("vision_model.layernorm_pre.bias",                                              "", &[SEES]),
    row("vision_model.layernorm_post.weight",                                           "", &[SEES]),
    row("vision_model.layernorm_post.bias",                                             "", &[SEES]),
    row("vision_model.model.layers.{}.self_attn.q_proj.weight",                         "", &[SEES, SEES])    .on(Vision),
    row("vision_model.model.layers.{}.self_attn.q_proj.bias",                           "", &[SEES])          .on(Vision),
    row("vision_model.model.layers.{}.self_attn.k_proj.weight",                         "", &[SEES, SEES])    .on(Vision),
    row("vision_model.model.layers.{}.self_attn.k_proj.bias",                           "", &[SEES])          .on(Vision),
    row("vision_model.model.layers.{}.self_attn.v_proj.weight",                         "", &[SEES, SEES])    .on(Vision),
    row("vision_model.model.layers.{}.self_attn.v_proj.bias",                           "", &[SEES])          .on(Vision),
    row("vision_model.model.layers.{}.self_attn.o_proj.weight",                         "", &[SEES, SEES])    .on(Vision),
    row("vision_model.model.layers.{}.self_attn.o_proj.bias",                           "", &[SEES])          .on(Vision),
    row("vision_model.model.layers.{}.mlp.fc1.weight",                                  "", &[SEES_FFN, SEES]).on(Vision),
    row("vision_model.model.layers.{}.mlp.fc1.bias",                                    "", &[SEES_FFN])      .on(Vision),
    row("vision_model.model.layers.{}.mlp.fc2.weight",                                  "", &[SEES, SEES_FFN]).on(Vision),
    row("vision_model.model.layers.{}.mlp.fc2.bias",                                    "", &[SEES])          .on(Vision),
    row("vision_model.model.layers.{}.input_layernorm.weight",                          "", &[SEES])          .on(Vision),
    row("vision_model.model.layers.{}.input_layernorm.bias",                            "", &[SEES])          .on(Vision),
    row("vision_model.model.layers.{}.post_attention_layernorm.weight",                 "", &[SEES])          .on(Vision),
    row("vision_model.model.layers.{}.post_attention_layernorm.bias",                   "", &[SEES])          .on(Vision),
    row("vision_model.vision_adapter.mlp.fc1.weight",                                   "", &[ADAPTS, SEES_FFN]),
    row("vision_model.vision_adapter.mlp.fc2.weight",                                   "", &[ADAPTED, ADAPTED]),
    row("multi_modal_projector.linear_1.weight",                                        "", &[Dim, SEEN]),
    row("language_model.model.embed_tokens.weight",                                     "", &[Vocab, Dim]),
    row("language_model.model.layers.{}.self_attn.q_proj.weight",                       "", &[Heads, Dim]),
    row("language_model.model.layers.{}.self_attn.q_proj.bias",                         "", &[Heads])         .need(Where("attention_bias")),
    row("language_model.model.layers.{}.self_attn.k_proj.weight",                       "", &[KvHeads, Dim]),
    row("language_model.model.layers.{}.self_attn.k_proj.bias",                         "", &[KvHeads])       .need(Where("attention_bias")),
    row("language_model.model.layers.{}.self_attn.v_proj.weight",                       "", &[KvHeads, Dim]),
    row("language_model.model.layers.{}.self_attn.v_proj.bias",                         "", &[KvHeads])       .need(Where("attention_bias")),
    row("language_model.model.layers.{}.self_attn.o_proj.weight",                       "", &[Dim, Heads]),
    row("language_model.model.layers.{}.self_attn.o_proj.bias",                         "", &[Dim])           .need(Where("attention_bias")),
    row("language_model.model.layers.{}.feed_forward.gate_proj.weight",                 "", &[Ffn, Dim])      .on(Dense),
    row("language_model.model.layers.{}.feed_forward.up_proj.weight",                   "", &[Ffn, Dim])      .on(Dense),
    row("language_model.model.layers.{}.feed_forward.down_proj.weight",                 "", &[Dim, Ffn])      .on(Dense),
    row("language_model.model.layers.{}.feed_forward.experts.gate_up_proj",             "", &[Experts, Dim, TWICE_EXPERT]).on(Sparse),
    row("language_model.model.layers.{}.feed_forward.experts.down_proj",                "", &[Experts, ExpertFfn, Dim])   .on(Sparse),
    row("language_model.model.layers.{}.feed_forward.router.weight",                    "", &[Experts, Dim])  .on(Sparse),
    row("language_model.model.layers.{}.feed_forward.shared_expert.gate_proj.weight",   "", &[ExpertFfn, Dim]).on(Sparse),
    row("language_model.model.layers.{}.feed_forward.shared_expert.up_proj.weight",     "", &[ExpertFfn, Dim]).on(Sparse),
    row("language_model.model.layers.{}.feed_forward.shared_expert.down_proj.weight",   "", &[Dim, ExpertFfn]).on(Sparse),
    row("language_model.model.layers.{}.input_layernorm.weight",                        "", &[Dim]),
    row("language_model.model.layers.{}.post_attention_layernorm.weight",               "", &[Dim]),
    row("language_model.model.norm.weight",                                             "", &[Dim]),
    row("language_model.lm_head.weight",                                                "", &[Vocab, Dim])    .need(Head),
];

#[rustfmt::skip]
const TEXT_ROWS: &[Row] = &[
    row("model.embed_tokens.weight",                                        "", &[Vocab, Dim]),
    row("model.layers.{}.self_attn.q_proj.weight",                          "", &[Heads, Dim]),
    row("model.layers.{}.self_attn.q_proj.bias",                            "", &[Heads])         .need(Where("attention_bias")),
    row("model.layers.{}.self_attn.k_proj.weight",                          "", &[KvHeads, Dim]),
    row("model.layers.{}.self_attn.k_proj.bias",                            "", &[KvHeads])       .need(Where("attention_bias")),
    row("model.layers.{}.self_attn.v_proj.weight",                          "", &[KvHeads, Dim]),
    row("model.layers.{}.self_attn.v_proj.bias",                            "", &[KvHeads])       .need(Where("attention_bias")),
    row("model.layers.{}.self_attn.o_proj.weight",                          "", &[Dim, Heads]),
    row("model.layers.{}.self_attn.o_proj.bias",                            "", &[Dim])           .need(Where("attention_bias")),
    row("model.layers.{}.feed_forward.gate_proj.weight",                    "", &[Ffn, Dim])      .on(Dense),
    row("model.layers.{}.feed_forward.up_proj.weight",                      "", &[Ffn, Dim])      .on(Dense),
    row("model.layers.{}.feed_forward.down_proj.weight",                    "", &[Dim, Ffn])      .on(Dense),
    row("model.layers.{}.feed_forward.experts.gate_up_proj",                "", &[Experts, Dim, TWICE_EXPERT]).on(Sparse),
    row("model.layers.{}.feed_forward.experts.down_proj",                   "", &[Experts, ExpertFfn, Dim])   .on(Sparse),
    row("model.layers.{}.feed_forward.router.weight",                       "", &[Experts, Dim])  .on(Sparse),
    row("model.layers.{}.feed_forward.shared_expert.gate_proj.weight",      "", &[ExpertFfn, Dim]).on(Sparse),
    row("model.layers.{}.feed_forward.shared_expert.up_proj.weight",        "", &[ExpertFfn, Dim]).on(Sparse),
    row("model.layers.{}.feed_forward.shared_expert.down_proj.weight",      "", &[Dim, ExpertFfn]).on(Sparse),
    row("model.layers.{}.input_layernorm.weight",                           "", &[Dim]),
    row("model.layers.{}.post_attention_layernorm.weight",                  "", &[Dim]),
    row("model.norm.weight",                                                "", &[Dim]),
    row("lm_head.weight",                                                   "", &[Vocab, Dim])    .need(Head),
];

const QKV: &[(&str, Size)] = &[
    ("language_model.model.layers.{}.self_attn.q_proj.weight", Heads),
    ("language_model.model.layers.{}.self_attn.k_proj.weight", KvHeads),
    ("language_model.model.layers.{}.self_attn.v_proj.weight", KvHeads),
];

const GATE_UP: &[(&str, Size)] = &[
    ("language_model.model.layers.{}.feed_forward.gate_proj.weight", Exactly(1)),
    ("language_model.model.layers.{}.feed_forward.up_proj.weight", Exactly(1)),
];

#[rustfmt::skip]
const META_ROWS: &[Row] = &[
    row("vision_model.class_embedding", "", &[Key("vision_args/dim")]).own("vision_embeddings.vision_encoder.class_embedding", Replicated).need(With("vision_args")),
    row("vision_model.positional_embedding_vlm", "", &[Unsaid, Key("vision_args/dim")]).own("vision_embeddings.vision_encoder.positional_embedding_vlm", Replicated).need(With("vision_args")),
    row("vision_model.patch_embedding.linear.weight", "", &[Key("vision_args/dim"), Unsaid]).own("vision_embeddings.vision_encoder.conv1._linear.weight", Rows).need(With("vision_args")),
    row("vision_model.layernorm_pre.weight", "", &[Key("vision_args/dim")]).own("vision_embeddings.vision_encoder.ln_pre.weight", Replicated).need(With("vision_args")),
    row("vision_model.layernorm_pre.bias", "", &[Key("vision_args/dim")]).own("vision_embeddings.vision_encoder.ln_pre.bias", Replicated).need(With("vision_args")),
    row("vision_model.layernorm_post.weight", "", &[Key("vision_args/dim")]).own("vision_embeddings.vision_encoder.ln_post.weight", Replicated).need(With("vision_args")),
    row("vision_model.layernorm_post.bias", "", &[Key("vision_args/dim")]).own("vision_embeddings.vision_encoder.ln_post.bias", Replicated).need(With("vision_args")),
    row("vision_model.model.layers.{}.self_attn.q_proj.weight", "", &[Key("vision_args/dim"), Key("vision_args/dim")]).own("vision_embeddings.vision_encoder.transformer.resblocks.{}.attn.wq.weight", Rows).need(With("vision_args")).on(Vision),
    row("vision_model.model.layers.{}.self_attn.q_proj.bias", "", &[Key("vision_args/dim")]).own("vision_embeddings.vision_encoder.transformer.resblocks.{}.attn.wq.bias", Rows).need(With("vision_args")).on(Vision),
    row("vision_model.model.layers.{}.self_attn.k_proj.weight", "", &[Key("vision_args/dim"), Key("vision_args/dim")]).own("vision_embeddings.vision_encoder.transformer.resblocks.{}.attn.wk.weight", Rows).need(With("vision_args")).on(Vision),
    row("vision_model.model.layers.{}.self_attn.k_proj.bias", "", &[Key("vision_args/dim")]).own("vision_embeddings.vision_encoder.transformer.resblocks.{}.attn.wk.bias", Rows).need(With("vision_args")).on(Vision),
    row("vision_model.model.layers.{}.self_attn.v_proj.weight", "", &[Key("vision_args/dim"), Key("vision_args/dim")]).own("vision_embeddings.vision_encoder.transformer.resblocks.{}.attn.wv.weight", Rows).need(With("vision_args")).on(Vision),
    row("vision_model.model.layers.{}.self_attn.v_proj.bias", "", &[Key("vision_args/dim")]).own("vision_embeddings.vision_encoder.transformer.resblocks.{}.attn.wv.bias", Rows).need(With("vision_args")).on(Vision),
    row("vision_model.model.layers.{}.self_attn.o_proj.weight", "", &[Key("vision_args/dim"), Key("vision_args/dim")]).own("vision_embeddings.vision_encoder.transformer.resblocks.{}.attn.wo.weight", Columns).need(With("vision_args")).on(Vision),
    row("vision_model.model.layers.{}.self_attn.o_proj.bias", "", &[Key("vision_args/dim")]).own("vision_embeddings.vision_encoder.transformer.resblocks.{}.attn.wo.bias", Replicated).need(With("vision_args")).on(Vision),
    row("vision_model.model.layers.{}.mlp.fc1.weight", "", &[Unsaid, Key("vision_args/dim")]).own("vision_embeddings.vision_encoder.transformer.resblocks.{}.mlp.c_fc.weight", Rows).need(With("vision_args")).on(Vision),
    row("vision_model.model.layers.{}.mlp.fc1.bias", "", &[Unsaid]).own("vision_embeddings.vision_encoder.transformer.resblocks.{}.mlp.c_fc.bias", Rows).need(With("vision_args")).on(Vision),
    row("vision_model.model.layers.{}.mlp.fc2.weight", "", &[Key("vision_args/dim"), Unsaid]).own("vision_embeddings.vision_encoder.transformer.resblocks.{}.mlp.c_proj.weight", Columns).need(With("vision_args")).on(Vision),
    row("vision_model.model.layers.{}.mlp.fc2.bias", "", &[Key("vision_args/dim")]).own("vision_embeddings.vision_encoder.transformer.resblocks.{}.mlp.c_proj.bias", Replicated).need(With("vision_args")).on(Vision),
    row("vision_model.model.layers.{}.input_layernorm.weight", "", &[Key("vision_args/dim")]).own("vision_embeddings.vision_encoder.transformer.resblocks.{}.ln_1.weight", Replicated).need(With("vision_args")).on(Vision),
    row("vision_model.model.layers.{}.input_layernorm.bias", "", &[Key("vision_args/dim")]).own("vision_embeddings.vision_encoder.transformer.resblocks.{}.ln_1.bias", Replicated).need(With("vision_args")).on(Vision),
    row("vision_model.model.layers.{}.post_attention_layernorm.weight", "", &[Key("vision_args/dim")]).own("vision_embeddings.vision_encoder.transformer.resblocks.{}.ln_2.weight", Replicated).need(With("vision_args")).on(Vision),
    row("vision_model.model.layers.{}.post_attention_layernorm.bias", "", &[Key("vision_args/dim")]).own("vision_embeddings.vision_encoder.transformer.resblocks.{}.ln_2.bias", Replicated).need(With("vision_args")).on(Vision),
    row("vision_model.vision_adapter.mlp.fc1.weight", "", &[Unsaid, Unsaid]).own("vision_embeddings.vision_adapter.mlp.c_fc.weight", Rows).need(With("vision_args")),
    row("vision_model.vision_adapter.mlp.fc2.weight", "", &[Unsaid, Unsaid]).own("vision_embeddings.vision_adapter.mlp.c_proj.weight", Columns).need(With("vision_args")),
    row("multi_modal_projector.linear_1.weight", "", &[Dim, Key("vision_args/output_dim")]).own("vision_projection.weight", Rows).need(With("vision_args")),
    row("language_model.model.embed_tokens.weight", "", &[Vocab, Dim]).own("tok_embeddings.weight", Rows),
    row("", "", &[Qkv, Dim]).own("layers.{}.attention.wqkv.weight", Rows).change(Parts(QKV)),
    row("language_model.model.layers.{}.self_attn.o_proj.weight", "", &[Dim, Heads]).own("layers.{}.attention.wo.weight", Columns),
    row("language_model.model.layers.{}.input_layernorm.weight", "", &[Dim]).own("layers.{}.attention.wqkv.layer_norm_weight", Replicated),
    row("", "", &[TwiceFfn, Dim]).own("layers.{}.feed_forward.mlp.fc1_weight", Rows).change(Parts(GATE_UP)).on(Dense),
    row("language_model.model.layers.{}.feed_forward.down_proj.weight", "", &[Dim, Ffn]).own("layers.{}.feed_forward.mlp.fc2_weight", Columns).on(Dense),
    row("language_model.model.layers.{}.post_attention_layernorm.weight", "", &[Dim]).own("layers.{}.feed_forward.mlp.layer_norm_weight", Replicated).on(Dense),
    row("language_model.model.layers.{}.feed_forward.experts.gate_up_proj", "", &[Times(&[Experts, Dim]), Unsaid]).own("layers.{}.feed_forward.experts.moe_w_in_eD_F", Columns).change(Change::Experts).on(Sparse),
    row("language_model.model.layers.{}.feed_forward.experts.gate_up_proj", "", &[Times(&[Experts, Dim]), Unsaid]).own("layers.{}.feed_forward.experts.moe_w_swiglu_eD_F", Columns).change(Change::Experts).on(Sparse),
    row("language_model.model.layers.{}.feed_forward.experts.down_proj", "", &[Unsaid, Dim]).own("layers.{}.feed_forward.experts.moe_w_out_eF_D", Rows).change(Change::Experts).on(Sparse),
    row("language_model.model.layers.{}.feed_forward.router.weight", "", &[Dim, Experts]).own("layers.{}.feed_forward.router_DE", Replicated).change(Transposed).on(Sparse),
    row("language_model.model.layers.{}.feed_forward.shared_expert.gate_proj.weight", "", &[Unsaid, Dim]).own("layers.{}.feed_forward.w_in_shared_FD.weight", Rows).on(Sparse),
    row("language_model.model.layers.{}.feed_forward.shared_expert.up_proj.weight", "", &[Unsaid, Dim]).own("layers.{}.feed_forward.w_swiglu_FD.weight", Rows).on(Sparse),
    row("language_model.model.layers.{}.feed_forward.shared_expert.down_proj.weight", "", &[Dim, Unsaid]).own("layers.{}.feed_forward.w_out_shared_DF.weight", Columns).on(Sparse),
    row("language_model.model.layers.{}.post_attention_layernorm.weight", "", &[Dim]).own("layers.{}.feed_forward.norm.weight", Replicated).on(Sparse),
    row("", "", &[Exactly(3), Experts]).own("layers.{}.feed_forward.global_gate_stats_3E", Replicated).need(Derived).on(Sparse),
    row("", "", &[Exactly(3), Experts]).own("layers.{}.feed_forward.running_gate_stats_3E", Replicated).need(Derived).on(Sparse),
    row("", "", &[Unsaid, Experts]).own("layers.{}.feed_forward.expert_activation_DE", Replicated).need(Derived).on(Sparse),
    row("language_model.model.norm.weight", "", &[Dim]).own("norm.weight", Replicated),
    row("language_model.lm_head.weight", "", &[Vocab, Dim]).own("output.weight", Rows).need(Head),
    row("", "", &[HalfHead]).own("rope.freqs", Replicated).need(Derived),
];
