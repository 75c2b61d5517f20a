//! Chat templates: Jinja text that renders a list of messages as Meta's own code does. Written here; the published
//! ones are under Meta's licence and are not carried.

use ckpt::archs::llama::infer::model_name;
use ckpt::archs::llama::{Generation, ModelFacts};

/// As `ChatFormat` of Meta's llama3 repository: contents are trimmed.
const LLAMA3: &str = include_str!("templates/llama-3.jinja");
/// As `ChatFormat` of the `llama_models` package: contents stay as they are, tools may be called and answer.
const LLAMA31: &str = include_str!("templates/llama-3.1.jinja");
/// As `chat_completion` of Meta's llama and codellama repositories.
const LLAMA2: &str = include_str!("templates/llama-2.jinja");

/// As `ChatFormat` of the `llama_models` package for models that see: a picture's place among the text.
const LLAMA32_VISION: &str = include_str!("templates/llama-3.2-vision.jinja");
/// As `ChatFormat` of its `llama4` part, for text.
const LLAMA4: &str = include_str!("templates/llama-4.jinja");

/// The template of Llama 3.2 Vision, or of Llama 4.
pub(crate) fn seeing(vision: bool) -> &'static str {
    if vision { LLAMA32_VISION } else { LLAMA4 }
}

/// The template of a model, if it is tuned for dialogue and in a form that is known. `path` is that of the
/// checkpoint: Llama Guard wants another form, and says so in its name only.
pub(crate) fn chat_template(facts: &ModelFacts, path: &str) -> Option<&'static str> {
    if !facts.instruct || model_name(path).to_ascii_lowercase().contains("guard") {
        return None;
    }
    match facts.generation {
        Generation::Llama1 => None,
        // Code Llama 70B has a form of its own.
        Generation::CodeLlama if facts.layers == 80 => None,
        Generation::Llama2 | Generation::CodeLlama => Some(LLAMA2),
        Generation::Llama3 => Some(LLAMA3),
        Generation::Llama31 | Generation::Llama32 | Generation::Llama33 => Some(LLAMA31),
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{llama2_7b, llama3_8b, llama32_1b};
    use super::*;

    #[test]
    fn tuned_models_have_the_template_of_their_generation() {
        assert_eq!(chat_template(&llama2_7b(), "x"), Some(LLAMA2));
        assert_eq!(chat_template(&llama3_8b(), "x"), Some(LLAMA3));
        assert_eq!(chat_template(&llama32_1b(), "guards/Llama-3.2-1B-Instruct"), Some(LLAMA31));
        assert_eq!(chat_template(&llama32_1b(), "guards/Llama-Guard-3-1B/original"), None);
        assert_eq!(chat_template(&ModelFacts { instruct: false, ..llama32_1b() }, "x"), None);
        let code = ModelFacts { generation: Generation::CodeLlama, layers: 80, ..llama2_7b() };
        assert_eq!(chat_template(&code, "CodeLlama-70b-Instruct"), None);
    }
}
