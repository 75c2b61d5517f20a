//! `params.json` of Meta's layout.

use ckpt::archs::llama::{Generation, ModelFacts, ffn};
use serde_json::{Map, Value, json};

use super::text;

/// Whether the file is written as Llama 1 and 2 write theirs: the vocabulary left to the tokenizer, the rotary
/// base to the code.
fn plain(facts: &ModelFacts) -> bool {
    matches!(facts.generation, Generation::Llama1 | Generation::Llama2) && is(facts.rope_theta, 10_000.0)
}

/// Rotary bases are whole numbers.
fn is(theta: f64, other: f64) -> bool {
    (theta - other).abs() < 0.5
}

/// `params.json` of a model. Keys that some code of Meta's does not know are written only where they say
/// something: the older repositories refuse what they do not know.
///
/// # Errors
/// The reason, if no factors give the feed-forward width.
pub(crate) fn params(facts: &ModelFacts) -> Result<Vec<u8>, String> {
    let stored = facts.multiple_of.map(|multiple_of| (multiple_of, facts.ffn_dim_multiplier));
    let stored = stored.filter(|factors| ffn::width(facts.dim, *factors) == Some(facts.ffn));
    let (multiple_of, multiplier) = stored.or_else(|| ffn::factors(facts.dim, facts.ffn)).ok_or_else(|| {
        format!(
            "no multiple_of and ffn_dim_multiplier give a feed-forward width of {} for dim {}",
            facts.ffn, facts.dim
        )
    })?;
    let tiktoken = facts.generation.has_tiktoken();
    let grouped = tiktoken || facts.kv_heads != facts.heads;
    let rows = [
        ("dim", Some(json!(facts.dim))),
        ("n_layers", Some(json!(facts.layers))),
        ("n_heads", Some(json!(facts.heads))),
        ("n_kv_heads", grouped.then(|| json!(facts.kv_heads))),
        ("vocab_size", Some(if tiktoken { json!(facts.vocab) } else { json!(-1) })),
        ("multiple_of", Some(json!(multiple_of))),
        ("ffn_dim_multiplier", multiplier.map(|multiplier| json!(multiplier))),
        ("norm_eps", Some(json!(facts.norm_eps))),
        ("rope_theta", (!plain(facts)).then(|| json!(facts.rope_theta))),
        ("use_scaled_rope", facts.rope_scaling.is_some().then(|| json!(true))),
    ];
    let present = rows.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    Ok(text(&Value::Object(present.collect::<Map<String, Value>>())))
}

/// What `params.json` cannot hold though Meta's code runs the model: one sentence each.
pub(crate) fn losses(facts: &ModelFacts) -> Vec<String> {
    let mut lost = Vec::new();
    if let Some(scaling) = facts.rope_scaling.as_ref().filter(|scaling| !is(scaling.factor, 8.0)) {
        lost.push(format!(
            "rope_scaling.factor {}: params.json only says use_scaled_rope, for which Meta's code takes 8",
            scaling.factor
        ));
    }
    if plain(facts) {
        lost.push(
            "rope_theta 10000: params.json of this generation does not say it, and the llama-models package takes \
             500000 unless told"
                .to_owned(),
        );
    }
    lost
}

#[cfg(test)]
mod tests {
    use super::super::samples::{llama2_7b, llama3_8b, llama32_1b};
    use super::*;

    fn written(facts: &ModelFacts) -> Value {
        serde_json::from_slice(&params(facts).unwrap()).unwrap()
    }

    #[test]
    fn params_are_those_of_the_releases() {
        let llama32 = json!({"dim": 2048, "n_layers": 16, "n_heads": 32, "n_kv_heads": 8, "vocab_size": 128_256,
            "multiple_of": 256, "ffn_dim_multiplier": 1.5, "norm_eps": 1e-5, "rope_theta": 500_000.0, "use_scaled_rope": true});
        assert_eq!(written(&llama32_1b()), llama32);
        // The factors are found again where the source has none.
        let bare = |facts: ModelFacts| ModelFacts { multiple_of: None, ffn_dim_multiplier: None, ..facts };
        assert_eq!(written(&bare(llama32_1b())), llama32);
        let llama3 = json!({"dim": 4096, "n_layers": 32, "n_heads": 32, "n_kv_heads": 8, "vocab_size": 128_256,
            "multiple_of": 1024, "ffn_dim_multiplier": 1.3, "norm_eps": 1e-5, "rope_theta": 500_000.0});
        assert_eq!(written(&bare(llama3_8b())), llama3);
        let llama2 =
            json!({"dim": 4096, "n_layers": 32, "n_heads": 32, "vocab_size": -1, "multiple_of": 256, "norm_eps": 1e-5});
        assert_eq!(written(&bare(llama2_7b())), llama2);
        // Factors of the source that do not give its own width are not repeated.
        assert_eq!(written(&ModelFacts { multiple_of: Some(1000), ..llama32_1b() }), llama32);
        let code = ModelFacts { generation: Generation::CodeLlama, rope_theta: 1e6, ..llama2_7b() };
        assert_eq!(written(&code)["rope_theta"], 1e6);
    }

    #[test]
    fn what_is_lost_is_said() {
        assert_eq!(losses(&llama3_8b()), [""; 0]);
        assert!(losses(&llama32_1b()).first().is_some_and(|lost| lost.contains("factor 32")));
        assert!(losses(&llama2_7b()).first().is_some_and(|lost| lost.contains("rope_theta 10000")));
    }

    #[test]
    fn an_impossible_width_is_refused() {
        assert!(params(&ModelFacts { ffn: 0, ..llama32_1b() }).is_err());
    }
}
