//! The names of Meta's special tokens, 256 of Llama 3 and 2048 of Llama 4, which stand in no tokenizer file but in the
//! code of each release; and those of Mistral's tokenizer files.

/// How the slots after the ranks are named. A slot without a name of its own is called reserved, and those are
/// counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// Llama 3, as `tokenizer.py` of its repository and the hub have them.
    Llama3,
    /// Llama 3.1, 3.2 and 3.3, as on the hub.
    Llama31,
    /// Meta's `llama_models` package, which names two more.
    LlamaModels,
}

/// Slots of a Llama 3 tokenizer (`num_reserved_special_tokens`).
pub const SLOTS: u32 = 256;

/// Ranks of the Llama 4 tokenizer, which alone has [`SLOTS_LLAMA4`].
pub const RANKS_LLAMA4: u32 = 200_000;
/// Slots of a Llama 4 tokenizer.
pub const SLOTS_LLAMA4: u32 = 2048;

/// One row: the slot, its name, and the namings that have it (Llama 3, 3.1, `llama_models`).
const ROWS: [(u32, &str, [bool; 3]); 10] = [
    (0, "begin_of_text", [true, true, true]),
    (1, "end_of_text", [true, true, true]),
    (4, "finetune_right_pad_id", [false, true, true]),
    (5, "step_id", [false, false, true]),
    (6, "start_header_id", [true, true, true]),
    (7, "end_header_id", [true, true, true]),
    (8, "eom_id", [false, true, true]),
    (9, "eot_id", [true, true, true]),
    (10, "python_tag", [false, true, true]),
    (11, "image", [false, false, true]),
];

impl Naming {
    fn has(self, [llama3, llama31, llama_models]: [bool; 3]) -> bool {
        match self {
            Naming::Llama3 => llama3,
            Naming::Llama31 => llama31,
            Naming::LlamaModels => llama_models,
        }
    }

    /// The names, by slot.
    pub fn names(self) -> Vec<String> {
        let mut reserved = 0_u32..;
        (0..SLOTS)
            .map(|slot| match ROWS.iter().find(|(row, _, namings)| *row == slot && self.has(*namings)) {
                Some((_, name, _)) => format!("<|{name}|>"),
                None => format!("<|reserved_special_token_{}|>", reserved.next().unwrap_or_default()),
            })
            .collect()
    }

    /// Every naming.
    pub const ALL: [Naming; 3] = [Naming::Llama3, Naming::Llama31, Naming::LlamaModels];
}

/// Where an image stands in a text.
pub const IMAGE: &str = "<|image|>";

/// The names of Llama 3.2 Vision as the hub has them: those of `llama_models`, but that an image's place has an id of its
/// own behind the slots, 128256.
pub fn vision() -> Vec<String> {
    let mut reserved = 0_u32..;
    let slot = |(slot, name): (usize, String)| match slot {
        // The slots without a name of their own count on from where `llama_models` has the image.
        11.. => {
            format!("<|reserved_special_token_{}|>", reserved.next().unwrap_or_default().saturating_add(2))
        }
        _ => name,
    };
    let own = Naming::LlamaModels.names().into_iter().enumerate().map(slot);
    own.chain([IMAGE.to_owned()]).collect()
}

/// Runs of slots of Llama 4 (`llama4/tokenizer.py` of `llama_models`): a name, or with `{}` so many of them, counted
/// from a number on.
const LLAMA4: &[(&str, u32, u32)] = &[
    ("begin_of_text", 0, 1),
    ("end_of_text", 0, 1),
    ("fim_prefix", 0, 1),
    ("fim_middle", 0, 1),
    ("fim_suffix", 0, 1),
    ("header_start", 0, 1),
    ("header_end", 0, 1),
    ("eom", 0, 1),
    ("eot", 0, 1),
    ("step", 0, 1),
    ("text_post_train_reserved_special_token_{}", 0, 6),
    ("python_start", 0, 1),
    ("python_end", 0, 1),
    ("finetune_right_pad", 0, 1),
    ("text_post_train_reserved_special_token_{}", 8, 61),
    ("image_start", 0, 1),
    ("image_end", 0, 1),
    ("vision_reserved_special_token_{}", 0, 2),
    ("tile_x_separator", 0, 1),
    ("tile_y_separator", 0, 1),
    ("vision_reserved_special_token_{}", 2, 4),
    ("image", 0, 1),
    ("vision_reserved_special_token_{}", 6, 1),
    ("patch", 0, 1),
    ("vision_reserved_special_token_{}", 7, 1041),
    ("reasoning_reserved_special_token_{}", 0, 8),
    ("reasoning_thinking_start", 0, 1),
    ("reasoning_thinking_end", 0, 1),
    ("reserved_special_token_{}", 0, 904),
];

/// The names of Llama 4's special tokens, by slot.
pub fn llama4() -> Vec<String> {
    let run = |&(name, first, count): &(&'static str, u32, u32)| {
        (first..first.saturating_add(count))
            .map(move |number| format!("<|{}|>", name.replace("{}", &number.to_string())))
    };
    LLAMA4.iter().flat_map(run).collect()
}

/// How many special tokens Meta's code adds to a file of that many ranks.
pub fn slots(ranks: u64) -> u32 {
    if ranks == u64::from(RANKS_LLAMA4) { SLOTS_LLAMA4 } else { SLOTS }
}

/// The tokenizer of Mistral's own form among files on top: `tekken.json`, else the `tokenizer.model` of the highest
/// version, as `tokenizer.model.v3`, else that without one.
pub fn mistral<'a>(names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let version = |name: &str| -> Option<u64> {
        if name == "tekken.json" {
            return Some(u64::MAX);
        }
        let version = name.strip_prefix("tokenizer.model")?;
        if version.is_empty() {
            return Some(0);
        }
        // Version 7 of models that see is called `v7m1`.
        version.strip_prefix(".v")?.split('m').next()?.parse().ok()
    };
    names.filter_map(|name| Some((version(name)?, name))).max().map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_mistrals_tokenizers_is_taken() {
        let mut names =
            vec!["a/tekken.json", "tokenizer.model", "tokenizer.model.v1", "tokenizer.model.vx", "tokenizer.json"];
        assert_eq!(mistral(names.iter().copied()), Some("tokenizer.model.v1"));
        names.push("tokenizer.model.v11");
        names.push("tokenizer.model.v7m1");
        assert_eq!(mistral(names.iter().copied()), Some("tokenizer.model.v11"));
        names.push("tekken.json");
        assert_eq!(mistral(names.iter().copied()), Some("tekken.json"));
        assert_eq!(mistral(["tokenizer.json"].into_iter()), None);
    }

    #[test]
    fn names_are_those_of_the_releases() {
        let [llama3, llama31, models] = Naming::ALL.map(Naming::names);
        assert_eq!([llama3.len(), llama31.len(), models.len()], [256; 3]);
        assert_eq!((llama3[8].as_str(), llama3[9].as_str()), ("<|reserved_special_token_4|>", "<|eot_id|>"));
        assert_eq!(llama3[255], "<|reserved_special_token_250|>");
        assert_eq!((llama31[5].as_str(), llama31[8].as_str()), ("<|reserved_special_token_2|>", "<|eom_id|>"));
        assert_eq!(llama31[255], "<|reserved_special_token_247|>");
        assert_eq!((models[5].as_str(), models[11].as_str()), ("<|step_id|>", "<|image|>"));
        assert_eq!(models[12], "<|reserved_special_token_2|>");
        let vision = vision();
        assert_eq!((vision.len(), vision[5].as_str(), vision[256].as_str()), (257, "<|step_id|>", "<|image|>"));
        assert_eq!((vision[10].as_str(), vision[11].as_str()), ("<|python_tag|>", "<|reserved_special_token_2|>"));
        assert_eq!(vision[255], "<|reserved_special_token_246|>");
        let llama4 = llama4();
        assert_eq!(llama4.len(), 2048);
        for (slot, name) in
            [(8, "eot"), (16, "python_start"), (18, "finetune_right_pad"), (80, "image_start"), (90, "image")]
        {
            assert_eq!(llama4[slot], format!("<|{name}|>"));
        }
        for (slot, name) in [
            (84, "tile_x_separator"),
            (92, "patch"),
            (1142, "reasoning_thinking_start"),
            (1144, "reserved_special_token_0"),
        ] {
            assert_eq!(llama4[slot], format!("<|{name}|>"));
        }
    }
}
