//! Llama 3.2 Vision under torchtune's names.

use super::super::mllama::{COLOURS, DEFAULTS, PATCH, PLACES, SEEN, SEES, SEES_FFN, TILES};
use super::{Arch, Change, Need, Row, Size, own, tune};
use crate::archs::On;

use Change::{Below, Ratios, RotaryKey, RotaryQuery};
use Need::Head;
use On::{CrossBefore, Vision, VisionGlobal};
use Size::{Dim, Exactly, Ffn, Head as OneHead, Heads, KvHeads, Vocab};

/// Every tensor of `torchtune.models.llama3_2_vision` (`_FROM_META` of its `_convert_weights`, 0.6.1), in the order of
/// Meta's table. A layer that attends to an image is a part of the one of text that comes after it. Gates and kernels are
/// as Hugging Face has them, the embeddings of tiles as Meta has.
pub(in crate::archs) static MLLAMA_TUNE: Arch = own("mllama", DEFAULTS, ROWS);

#[rustfmt::skip]
const ROWS: &[Row] = &[
    tune("encoder.clip.cls_token_embedding.weight",                            "vision_model.class_embedding",                                              &[SEES]),
    tune("encoder.clip.conv.weight",                                           "vision_model.patch_embedding.weight",                                       &[SEES, COLOURS, PATCH, PATCH]),
    tune("encoder.clip.token_pos_embedding.gate",                              "vision_model.gated_positional_embedding.gate",                              &[Exactly(1)]),
    tune("encoder.clip.token_pos_embedding.local_token_positional_embedding",  "vision_model.gated_positional_embedding.embedding",                         &[PLACES, SEES]),
    tune("encoder.clip.token_pos_embedding.global_token_positional_embedding", "vision_model.gated_positional_embedding.tile_embedding.weight",             &[TILES, TILES, PLACES, SEES])    .change(Ratios),
    tune("encoder.clip.pre_tile_pos_embed.gate",                               "vision_model.pre_tile_positional_embedding.gate",                           &[Exactly(1)]),
    tune("encoder.clip.pre_tile_pos_embed.embedding",                          "vision_model.pre_tile_positional_embedding.embedding.weight",               &[TILES, TILES, Exactly(1), SEES]).change(Ratios),
    tune("encoder.clip.post_tile_pos_embed.gate",                              "vision_model.post_tile_positional_embedding.gate",                          &[Exactly(1)]),
    tune("encoder.clip.post_tile_pos_embed.embedding",                         "vision_model.post_tile_positional_embedding.embedding.weight",              &[TILES, TILES, Exactly(1), SEES]).change(Ratios),
    tune("encoder.clip.ln_pre.weight",                                         "vision_model.layernorm_pre.weight",                                         &[SEES]),
    tune("encoder.clip.ln_pre.bias",                                           "vision_model.layernorm_pre.bias",                                           &[SEES]),
    tune("encoder.clip.ln_post.weight",                                        "vision_model.layernorm_post.weight",                                        &[SEES]),
    tune("encoder.clip.ln_post.bias",                                          "vision_model.layernorm_post.bias",                                          &[SEES]),
    tune("encoder.clip.layers.{}.attn.q_proj.weight",                          "vision_model.transformer.layers.{}.self_attn.q_proj.weight",                &[SEES, SEES])                    .on(Vision),
    tune("encoder.clip.layers.{}.attn.k_proj.weight",                          "vision_model.transformer.layers.{}.self_attn.k_proj.weight",                &[SEES, SEES])                    .on(Vision),
    tune("encoder.clip.layers.{}.attn.v_proj.weight",                          "vision_model.transformer.layers.{}.self_attn.v_proj.weight",                &[SEES, SEES])                    .on(Vision),
    tune("encoder.clip.layers.{}.attn.output_proj.weight",                     "vision_model.transformer.layers.{}.self_attn.o_proj.weight",                &[SEES, SEES])                    .on(Vision),
    tune("encoder.clip.layers.{}.mlp.w1.weight",                               "vision_model.transformer.layers.{}.mlp.fc1.weight",                         &[SEES_FFN, SEES])                .on(Vision),
    tune("encoder.clip.layers.{}.mlp.w1.bias",                                 "vision_model.transformer.layers.{}.mlp.fc1.bias",                           &[SEES_FFN])                      .on(Vision),
    tune("encoder.clip.layers.{}.mlp.w2.weight",                               "vision_model.transformer.layers.{}.mlp.fc2.weight",                         &[SEES, SEES_FFN])                .on(Vision),
    tune("encoder.clip.layers.{}.mlp.w2.bias",                                 "vision_model.transformer.layers.{}.mlp.fc2.bias",                           &[SEES])                          .on(Vision),
    tune("encoder.clip.layers.{}.sa_norm.weight",                              "vision_model.transformer.layers.{}.input_layernorm.weight",                 &[SEES])                          .on(Vision),
    tune("encoder.clip.layers.{}.sa_norm.bias",                                "vision_model.transformer.layers.{}.input_layernorm.bias",                   &[SEES])                          .on(Vision),
    tune("encoder.clip.layers.{}.mlp_norm.weight",                             "vision_model.transformer.layers.{}.post_attention_layernorm.weight",        &[SEES])                          .on(Vision),
    tune("encoder.clip.layers.{}.mlp_norm.bias",                               "vision_model.transformer.layers.{}.post_attention_layernorm.bias",          &[SEES])                          .on(Vision),
    tune("encoder.projection.layers.{}.sa_scale.scale",                        "vision_model.global_transformer.layers.{}.gate_attn",                       &[Exactly(1)])                    .on(VisionGlobal),
    tune("encoder.projection.layers.{}.mlp_scale.scale",                       "vision_model.global_transformer.layers.{}.gate_ffn",                        &[Exactly(1)])                    .on(VisionGlobal),
    tune("encoder.projection.layers.{}.attn.q_proj.weight",                    "vision_model.global_transformer.layers.{}.self_attn.q_proj.weight",         &[SEES, SEES])                    .on(VisionGlobal),
    tune("encoder.projection.layers.{}.attn.k_proj.weight",                    "vision_model.global_transformer.layers.{}.self_attn.k_proj.weight",         &[SEES, SEES])                    .on(VisionGlobal),
    tune("encoder.projection.layers.{}.attn.v_proj.weight",                    "vision_model.global_transformer.layers.{}.self_attn.v_proj.weight",         &[SEES, SEES])                    .on(VisionGlobal),
    tune("encoder.projection.layers.{}.attn.output_proj.weight",               "vision_model.global_transformer.layers.{}.self_attn.o_proj.weight",         &[SEES, SEES])                    .on(VisionGlobal),
    tune("encoder.projection.layers.{}.mlp.w1.weight",                         "vision_model.global_transformer.layers.{}.mlp.fc1.weight",                  &[SEES_FFN, SEES])                .on(VisionGlobal),
    tune("encoder.projection.layers.{}.mlp.w1.bias",                           "vision_model.global_transformer.layers.{}.mlp.fc1.bias",                    &[SEES_FFN])                      .on(VisionGlobal),
    tune("encoder.projection.layers.{}.mlp.w2.weight",                         "vision_model.global_transformer.layers.{}.mlp.fc2.weight",                  &[SEES, SEES_FFN])                .on(VisionGlobal),
    tune("encoder.projection.layers.{}.mlp.w2.bias",                           "vision_model.global_transformer.layers.{}.mlp.fc2.bias",                    &[SEES])                          .on(VisionGlobal),
    tune("encoder.projection.layers.{}.sa_norm.weight",                        "vision_model.global_transformer.layers.{}.input_layernorm.weight",          &[SEES])                          .on(VisionGlobal),
    tune("encoder.projection.layers.{}.sa_norm.bias",                          "vision_model.global_transformer.layers.{}.input_layernorm.bias",            &[SEES])                          .on(VisionGlobal),
    tune("encoder.projection.layers.{}.mlp_norm.weight",                       "vision_model.global_transformer.layers.{}.post_attention_layernorm.weight", &[SEES])                          .on(VisionGlobal),
    tune("encoder.projection.layers.{}.mlp_norm.bias",                         "vision_model.global_transformer.layers.{}.post_attention_layernorm.bias",   &[SEES])                          .on(VisionGlobal),
    tune("decoder.tok_embeddings.weight",                                      "language_model.model.embed_tokens.weight",                                  &[Vocab, Dim]),
    tune("decoder.tok_embeddings.fusion_embedding.weight",                     "language_model.model.embed_tokens.weight",                                  &[Exactly(8), Dim])               .change(Below),
    tune("decoder.layers.{}.fusion_layer.ca_scale.scale",                      "language_model.model.layers.{}.cross_attn_attn_gate",                       &[Exactly(1)])                    .on(CrossBefore),
    tune("decoder.layers.{}.fusion_layer.mlp_scale.scale",                     "language_model.model.layers.{}.cross_attn_mlp_gate",                        &[Exactly(1)])                    .on(CrossBefore),
    tune("decoder.layers.{}.fusion_layer.attn.q_proj.weight",                  "language_model.model.layers.{}.cross_attn.q_proj.weight",                   &[Heads, Dim])                    .on(CrossBefore),
    tune("decoder.layers.{}.fusion_layer.attn.k_proj.weight",                  "language_model.model.layers.{}.cross_attn.k_proj.weight",                   &[KvHeads, Dim])                  .on(CrossBefore),
    tune("decoder.layers.{}.fusion_layer.attn.v_proj.weight",                  "language_model.model.layers.{}.cross_attn.v_proj.weight",                   &[KvHeads, Dim])                  .on(CrossBefore),
    tune("decoder.layers.{}.fusion_layer.attn.output_proj.weight",             "language_model.model.layers.{}.cross_attn.o_proj.weight",                   &[Dim, Heads])                    .on(CrossBefore),
    tune("decoder.layers.{}.fusion_layer.attn.q_norm.scale",                   "language_model.model.layers.{}.cross_attn.q_norm.weight",                   &[OneHead])                       .on(CrossBefore),
    tune("decoder.layers.{}.fusion_layer.attn.k_norm.scale",                   "language_model.model.layers.{}.cross_attn.k_norm.weight",                   &[OneHead])                       .on(CrossBefore),
    tune("decoder.layers.{}.fusion_layer.mlp.w1.weight",                       "language_model.model.layers.{}.mlp.gate_proj.weight",                       &[Ffn, Dim])                      .on(CrossBefore),
    tune("decoder.layers.{}.fusion_layer.mlp.w3.weight",                       "language_model.model.layers.{}.mlp.up_proj.weight",                         &[Ffn, Dim])                      .on(CrossBefore),
    tune("decoder.layers.{}.fusion_layer.mlp.w2.weight",                       "language_model.model.layers.{}.mlp.down_proj.weight",                       &[Dim, Ffn])                      .on(CrossBefore),
    tune("decoder.layers.{}.fusion_layer.ca_norm.scale",                       "language_model.model.layers.{}.input_layernorm.weight",                     &[Dim])                           .on(CrossBefore),
    tune("decoder.layers.{}.fusion_layer.mlp_norm.scale",                      "language_model.model.layers.{}.post_attention_layernorm.weight",            &[Dim])                           .on(CrossBefore),
    tune("decoder.layers.{}.attn.q_proj.weight",                               "language_model.model.layers.{}.self_attn.q_proj.weight",                    &[Heads, Dim])                    .change(RotaryQuery),
    tune("decoder.layers.{}.attn.k_proj.weight",                               "language_model.model.layers.{}.self_attn.k_proj.weight",                    &[KvHeads, Dim])                  .change(RotaryKey),
    tune("decoder.layers.{}.attn.v_proj.weight",                               "language_model.model.layers.{}.self_attn.v_proj.weight",                    &[KvHeads, Dim]),
    tune("decoder.layers.{}.attn.output_proj.weight",                          "language_model.model.layers.{}.self_attn.o_proj.weight",                    &[Dim, Heads]),
    tune("decoder.layers.{}.mlp.w1.weight",                                    "language_model.model.layers.{}.mlp.gate_proj.weight",                       &[Ffn, Dim]),
    tune("decoder.layers.{}.mlp.w3.weight",                                    "language_model.model.layers.{}.mlp.up_proj.weight",                         &[Ffn, Dim]),
    tune("decoder.layers.{}.mlp.w2.weight",                                    "language_model.model.layers.{}.mlp.down_proj.weight",                       &[Dim, Ffn]),
    tune("decoder.layers.{}.sa_norm.scale",                                    "language_model.model.layers.{}.input_layernorm.weight",                     &[Dim]),
    tune("decoder.layers.{}.mlp_norm.scale",                                   "language_model.model.layers.{}.post_attention_layernorm.weight",            &[Dim]),
    tune("decoder.norm.scale",                                                 "language_model.model.norm.weight",                                          &[Dim]),
    tune("decoder.output.weight",                                              "language_model.lm_head.weight",                                             &[Vocab, Dim])                    .need(Head),
    tune("encoder.projection.output.weight",                                   "multi_modal_projector.weight",                                              &[Dim, SEEN]),
    tune("encoder.projection.output.bias",                                     "multi_modal_projector.bias",                                                &[Dim]),
];
