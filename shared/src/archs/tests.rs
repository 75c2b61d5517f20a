//! Of every family's table: that it is what a table must be.

use std::collections::HashSet;

use serde_json::json;

use super::*;

#[test]
fn no_name_stands_twice_and_every_row_is_found_by_its_names() {
    for arch in ARCHS {
        let mut seen = HashSet::new();
        for row in arch.rows {
            for naming in [Naming::Meta, Naming::Hf, Naming::Gguf, Naming::Tune] {
                // There two rows of the family's own may be one of Hugging Face's.
                if naming == Naming::Hf && arch.in_hf().is_some() {
                    continue;
                }
                let each = row.per_expert() && !row.stacks(naming);
                let of = Match { row, layer: u64::from(row.per_layer()) * 3, expert: u64::from(each) * 7 };
                let Some(name) = of.named(naming) else { continue };
                assert!(seen.insert((format!("{naming:?}"), name.clone())), "{} {name}", arch.name);
                let found = arch.find(naming, &name).unwrap();
                assert!(std::ptr::eq(found.row, row), "{} {name}", arch.name);
                assert_eq!((found.layer, found.expert), (of.layer, of.expert), "{} {name}", arch.name);
            }
        }
    }
}

#[test]
fn names_are_taken_for_the_family_that_they_are_of() {
    for arch in ARCHS {
        let counts = Counts { layers: 2, cross: 2, vision: 2, global: 2, experts: 2 };
        let naming = arch.own_naming().unwrap_or(Naming::Hf);
        let names: Vec<String> = arch
            .expected(counts)
            .filter(|found| found.row.need == Need::Always && found.row.on != On::Dense)
            .filter_map(|found| found.named(naming))
            .collect();
        let first = ARCHS.iter().find(|arch| arch.recognises(naming, names.iter().map(String::as_str)));
        // Mistral's names are Llama's, and so are Gemma's and torchtune's for Phi-3.
        let shared = matches!((arch.name, naming), ("mistral" | "gemma", _) | ("phi3", Naming::Tune));
        let wanted = if shared { "llama" } else { arch.name };
        assert_eq!(first.map(|arch| arch.name), Some(wanted));
    }
}

#[test]
fn what_is_expected_comes_in_the_order_of_its_places() {
    for arch in ARCHS {
        let counts = Counts { layers: 3, cross: 2, vision: 2, global: 2, experts: 4 };
        let places: Vec<_> = arch.expected(counts).map(|found| arch.place(&found)).collect();
        assert!(places.is_sorted() && !places.is_empty(), "{}", arch.name);
    }
}

#[test]
fn layers_with_experts_are_those_that_the_config_says() {
    let arch = Arch::of_model_type("qwen3_moe").unwrap();
    let dense = arch.find(Naming::Hf, "model.layers.0.mlp.up_proj.weight").unwrap().row;
    let sparse = arch.find(Naming::Hf, "model.layers.0.mlp.gate.weight").unwrap().row;
    let config = json!({"decoder_sparse_step": 2, "mlp_only_layers": [3]});
    let sizes = Sizes::of(arch, Naming::Hf, Some(&config));
    let needed = |row: &Row| (0..6).filter(|layer| sizes.needs(row, *layer)).collect::<Vec<u64>>();
    assert_eq!((needed(dense), needed(sparse)), (vec![0, 2, 3, 4], vec![1, 5]));
    let unknown = Sizes::of(arch, Naming::Hf, None);
    assert!(unknown.has(dense, 0) && unknown.has(sparse, 0) && !unknown.needs(sparse, 0));
}

#[test]
fn as_many_layers_as_a_config_can_list_are_asked_for_quickly() {
    let arch = Arch::of_model_type("qwen3_moe").unwrap();
    let dense = arch.find(Naming::Hf, "model.layers.0.mlp.up_proj.weight").unwrap().row;
    let config = json!({"mlp_only_layers": (0..100_000).collect::<Vec<u64>>()});
    let sizes = Sizes::of(arch, Naming::Hf, Some(&config));
    // One by one through the list these would be 10^10 steps.
    assert_eq!((0..200_000).filter(|layer| sizes.needs(dense, *layer)).count(), 100_000);
}

#[test]
fn biases_are_there_where_the_config_says_so() {
    let arch = Arch::of_model_type("llama").unwrap();
    let bias = arch.find(Naming::Hf, "model.layers.0.self_attn.o_proj.bias").unwrap().row;
    for (config, has, needs) in [
        (Some(json!({"attention_bias": true})), true, true),
        (Some(json!({"attention_bias": false})), false, false),
        (Some(json!({})), false, false),
        (None, true, false),
    ] {
        let sizes = Sizes::of(arch, Naming::Hf, config.as_ref());
        assert_eq!((sizes.has(bias, 0), sizes.needs(bias, 0)), (has, needs), "{config:?}");
    }
}

#[test]
fn sizes_come_from_the_text_part_and_from_the_defaults() {
    let arch = Arch::of_model_type("gemma3").unwrap();
    let config = json!({"hidden_size": 1, "text_config": {"hidden_size": 2560, "num_hidden_layers": 34},
        "vision_config": {"image_size": 896, "patch_size": 14}});
    let sizes = Sizes::of(arch, Naming::Hf, Some(&config));
    let [dim, heads, kv_heads, patches] =
        [Size::Dim, Size::Heads, Size::KvHeads, Size::Patches].map(|size| sizes.get(size));
    assert_eq!((dim, heads, kv_heads, patches), (Some(2560), Some(2048), Some(1024), Some(4096)));
    assert_eq!(sizes.counts(), Counts { layers: 34, cross: 0, vision: 12, global: 0, experts: 0 });
}

#[test]
fn layers_that_attend_to_images_are_those_that_the_config_lists() {
    let arch = Arch::of_model_type("mllama").unwrap();
    let row = |name: &str| arch.find(Naming::Hf, &format!("language_model.model.layers.0.{name}")).unwrap().row;
    let (own, cross) = (row("self_attn.q_proj.weight"), row("cross_attn.q_proj.weight"));
    for (config, wanted) in [
        (json!({"text_config": {"cross_attention_layers": [1, 4]}}), vec![1, 4]),
        (json!({"text_config": {"cross_attention_layers": []}}), vec![]),
        (json!({}), vec![3, 8]),
    ] {
        let sizes = Sizes::of(arch, Naming::Hf, Some(&config));
        let needed = |row: &Row| (0..9).filter(|layer| sizes.needs(row, *layer)).collect::<Vec<u64>>();
        assert_eq!(needed(cross), wanted);
        assert_eq!(needed(own), (0..9).filter(|layer| !wanted.contains(layer)).collect::<Vec<u64>>());
    }
}

#[test]
fn every_table_of_own_names_leads_to_names_of_hugging_face() {
    for arch in ARCHS {
        let Some(target) = arch.in_hf() else { continue };
        let known = |name: &str| target.rows.iter().any(|row| row.hf == name);
        for row in arch.rows.iter().filter(|row| row.need != Need::Derived) {
            let one = [(row.hf, Size::Unsaid)];
            let names = if let Change::Parts(parts) = row.change { parts } else { &one };
            assert!(names.iter().all(|(name, _)| known(name)), "{} {}{}", arch.name, row.meta, row.tune);
        }
    }
}

#[test]
fn layers_inside_of_others_are_counted_with_them() {
    let arch = Arch::of_model_type("mllama").unwrap().own_table(Naming::Tune).unwrap();
    let row = |name: &str| arch.find(Naming::Tune, name).unwrap().row;
    let (own, inside) = (row("decoder.layers.0.mlp_norm.scale"), row("decoder.layers.0.fusion_layer.mlp_norm.scale"));
    for (config, layers, wanted) in [
        (json!({"text_config": {"num_hidden_layers": 40}}), 32, vec![3, 7, 11, 15, 19, 23, 27, 31]),
        (json!({"text_config": {"num_hidden_layers": 6, "cross_attention_layers": [1, 4]}}), 4, vec![1, 3]),
        (json!({"text_config": {"num_hidden_layers": 4, "cross_attention_layers": []}}), 4, vec![]),
    ] {
        let sizes = Sizes::of(arch, Naming::Tune, Some(&config));
        assert_eq!(sizes.layers(), Some(layers));
        let needed = |row: &Row| (0..layers).filter(|layer| sizes.needs(row, *layer)).collect::<Vec<u64>>();
        assert_eq!((needed(own).len(), needed(inside)), (usize::try_from(layers).unwrap(), wanted));
    }
}

#[test]
fn tiles_have_the_shapes_that_transformers_counts() {
    let arch = Arch::of_model_type("mllama").unwrap();
    let vision = |config| Sizes::of(arch, Naming::Hf, Some(&json!({"vision_config": config}))).get(Size::Ratios);
    assert_eq!(vision(json!({})), Some(9));
    assert_eq!(vision(json!({"max_num_tiles": 6})), Some(15));
    assert_eq!(vision(json!({"supported_aspect_ratios": [[1, 1], [1, 2]]})), Some(3));
    assert_eq!(vision(json!({"max_num_tiles": u64::MAX})), None);
}
