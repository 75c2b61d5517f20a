//! `adapter_config.json` of a LoRA or DoRA, with all that PEFT reads of one.

use std::collections::{BTreeMap, BTreeSet};

use ckpt::adapters::{Adapter, Module, Scheme};
use serde_json::{Map, Value, json};

use super::text;

/// The config, by the alphabet as PEFT writes it: what the adapter's own says, and what that leaves out. `base` is the name
/// of the base model, `layers` their number there, if it is known.
pub(crate) fn adapter_config(adapter: &Adapter<'_>, alpha: f64, base: Option<&str>, layers: Option<u64>) -> Vec<u8> {
    let rank = adapter.rank().unwrap_or(0);
    let others = |module: &&Module<'_>| module.rank() != Some(rank);
    let ranks: Map<String, Value> =
        adapter.modules.iter().filter(others).map(|module| (module.name.clone(), json!(module.rank()))).collect();
    let rows = [
        ("alpha_pattern", json!({})),
        ("auto_mapping", Value::Null),
        ("base_model_name_or_path", json!(base)),
        ("bias", json!("none")),
        ("fan_in_fan_out", json!(false)),
        ("inference_mode", json!(true)),
        ("init_lora_weights", json!(true)),
        ("layers_pattern", Value::Null),
        ("layers_to_transform", Value::Null),
        ("lora_alpha", number(alpha)),
        ("lora_dropout", json!(0.0)),
        ("modules_to_save", Value::Null),
        ("peft_type", json!("LORA")),
        ("r", json!(rank)),
        ("rank_pattern", Value::Object(ranks)),
        ("revision", Value::Null),
        ("target_modules", json!(targets(adapter, layers))),
        ("task_type", json!("CAUSAL_LM")),
        ("use_dora", json!(adapter.is_dora())),
        ("use_rslora", json!(adapter.is_rslora())),
    ];
    // What is told by the weights or was asked for counts more than what a config says.
    let told = ["base_model_name_or_path", "lora_alpha", "r", "rank_pattern", "use_dora"];
    let mut config = adapter.said.and_then(Value::as_object).cloned().unwrap_or_default();
    for (key, value) in rows {
        let said = config.get(key).is_some_and(|said| !said.is_null());
        let named = key == "target_modules" && adapter.scheme != Scheme::Peft;
        if !said || named || (told.contains(&key) && !value.is_null()) {
            config.insert(key.to_owned(), value);
        }
    }
    config.sort_keys();
    text(&Value::Object(config))
}

/// A whole number without a point.
fn number(value: f64) -> Value {
    let whole = format!("{value:.0}").parse::<i64>().ok().filter(|_| value.fract() == 0.0);
    whole.map_or_else(|| json!(value), |whole| json!(whole))
}

/// The modules: the last parts of their names where every layer has them, else their whole names.
fn targets(adapter: &Adapter<'_>, layers: Option<u64>) -> Vec<String> {
    let mut kinds: BTreeMap<&str, (BTreeSet<u64>, Vec<&str>)> = BTreeMap::new();
    for module in &adapter.modules {
        let own = module.name.rsplit('.').next().unwrap_or(&module.name);
        let (numbers, names) = kinds.entry(own).or_default();
        numbers.extend(module.name.split('.').find_map(|part| part.parse::<u64>().ok()));
        names.push(&module.name);
    }
    let last = kinds.values().filter_map(|(numbers, _)| numbers.last().copied()).max();
    let count = layers.or_else(|| last?.checked_add(1)).unwrap_or(0);
    let mut targets: Vec<String> = Vec::new();
    for (own, (numbers, names)) in kinds {
        let everywhere = numbers.is_empty() || numbers.iter().copied().eq(0..count);
        if everywhere {
            targets.push(own.to_owned());
        } else {
            targets.extend(names.into_iter().map(str::to_owned));
        }
    }
    targets.sort();
    targets
}
