//! Names and shapes of model families: one table a family, one row a tensor.
//!
//! A row tells a tensor's whole story: its name in every naming scheme, its shape in the family's own sizes, the
//! dimension along which model parallelism splits it, and the change its values undergo between schemes.

mod gemma;
mod keys;
pub mod llama;
mod llama4;
pub mod mistral;
mod mllama;
mod pattern;
mod phi;
mod qwen;
mod row;
mod sizes;
mod torchtune;

use std::borrow::Cow;

use row::Stack;

pub use keys::{KEYS, Kept, Key};
pub use pattern::Match;
pub use row::{Change, Naming, Need, On, Row, Size, Split};
pub use sizes::{MAX_TILES, Sizes, setting};

/// A family.
#[derive(Debug)]
pub struct Arch {
    /// Name in documents.
    pub name: &'static str,
    /// `model_type` in `config.json`.
    pub model_types: &'static [&'static str],
    /// `general.architecture` in GGUF; empty if llama.cpp's names for the family are not in the table.
    pub gguf: &'static str,
    /// Its tensors, in the order of transformers' state dict: layers' rows stand together, and so do experts'.
    pub rows: &'static [Row],
    /// Numbers that transformers takes where `config.json` does not say them, by path.
    pub defaults: &'static [(&'static str, u64)],
    /// The output head is the embedding where the config does not say `tie_word_embeddings`.
    pub tied: bool,
    /// Beginnings of names that other versions of transformers write, each with that of the table.
    pub aliases: &'static [(&'static str, &'static str)],
}

/// Every family. One whose tensors are another's and some more stands before it: names are taken for the first that
/// they fit.
pub static ARCHS: &[&Arch] = &[
    &qwen::QWEN2,
    &llama::LLAMA,
    &mistral::MISTRAL,
    &mistral::MIXTRAL,
    &qwen::QWEN3,
    &qwen::QWEN2_MOE,
    &qwen::QWEN3_MOE,
    &gemma::GEMMA,
    &gemma::GEMMA2,
    &gemma::GEMMA3_TEXT,
    &gemma::GEMMA3,
    &phi::PHI3,
    &mllama::MLLAMA,
    &llama4::LLAMA4,
    &llama4::LLAMA4_TEXT,
    &mllama::MLLAMA_META,
    &llama4::LLAMA4_META,
    &torchtune::GEMMA_TUNE,
    &torchtune::GEMMA2_TUNE,
    &torchtune::PHI3_TUNE,
    &torchtune::MLLAMA_TUNE,
];

/// How many of a family's numbered parts a model has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Layers of the language model.
    pub layers: u64,
    /// Layers of the language model that attend to images, where they are numbered for themselves.
    pub cross: u64,
    /// Layers of the vision tower.
    pub vision: u64,
    /// Those of its layers that see all tiles of an image at once, numbered for themselves.
    pub global: u64,
    /// Experts of a layer.
    pub experts: u64,
}

impl Counts {
    /// Those of a model that has nothing but layers.
    pub fn of_layers(layers: u64) -> Counts {
        Counts { layers, ..Counts::default() }
    }

    fn of(self, stack: Stack) -> u64 {
        match stack {
            Stack::Language => self.layers,
            Stack::Cross => self.cross,
            Stack::Vision => self.vision,
            Stack::VisionGlobal => self.global,
        }
    }

    /// Grows to hold what a name belongs to.
    pub fn cover(&mut self, found: &Match) {
        let layers = match found.row.on.stack() {
            Stack::Language => &mut self.layers,
            Stack::Cross => &mut self.cross,
            Stack::Vision => &mut self.vision,
            Stack::VisionGlobal => &mut self.global,
        };
        if found.row.per_layer() {
            *layers = (*layers).max(found.layer.saturating_add(1));
        }
        if found.row.per_expert() {
            self.experts = self.experts.max(found.expert.saturating_add(1));
        }
    }
}

impl Arch {
    /// The family that a `config.json` with this `model_type` belongs to.
    pub fn of_model_type(model_type: &str) -> Option<&'static Arch> {
        ARCHS.iter().copied().find(|arch| arch.model_types.contains(&model_type))
    }

    /// The family that a GGUF file of this `general.architecture` belongs to, with experts or without.
    pub fn of_gguf(architecture: &str, experts: bool) -> Option<&'static Arch> {
        let mut own = ARCHS.iter().copied().filter(|arch| !arch.gguf.is_empty() && arch.gguf == architecture);
        own.find(|arch| arch.rows.iter().any(Row::per_expert) == experts)
    }

    /// The same family's table of Hugging Face's names, if this is one of its own names alone, whose tensors are cut
    /// or numbered otherwise.
    pub fn in_hf(&self) -> Option<&'static Arch> {
        if self.model_types.is_empty() { Arch::of_model_type(self.name) } else { None }
    }

    /// The scheme of a table of own names.
    pub fn own_naming(&self) -> Option<Naming> {
        let meta = || self.rows.iter().any(|row| !row.meta.is_empty());
        self.model_types.is_empty().then(|| if meta() { Naming::Meta } else { Naming::Tune })
    }

    /// The table of this family's own names in a scheme, if its tensors are cut or numbered otherwise there.
    pub fn own_table(&self, naming: Naming) -> Option<&'static Arch> {
        ARCHS.iter().copied().find(|arch| arch.name == self.name && arch.own_naming() == Some(naming))
    }

    /// The row that a name belongs to, with its numbers.
    pub fn find(&self, naming: Naming, name: &str) -> Option<Match> {
        let name = self.table_name(naming, name);
        let plain = self.rows.iter().find_map(|row| {
            let (layer, expert) = pattern::numbers(row.name(naming), &name)?;
            Some(Match { row, layer, expert })
        });
        let apart = |row: &'static Row| {
            let (layer, expert) = pattern::numbers(&row.apart()?, &name)?;
            Some(Match { row, layer, expert })
        };
        plain.or_else(|| self.rows.iter().filter(|_| naming == Naming::Gguf).find_map(apart))
    }

    /// The embedding of tokens.
    pub fn embedding(&self) -> Option<&'static Row> {
        self.rows.iter().find(|row| row.is_embedding())
    }

    /// The output head.
    pub fn head(&self) -> Option<&'static Row> {
        self.rows.iter().find(|row| row.need == Need::Head)
    }

    /// A name as the table has it.
    pub fn table_name<'a>(&self, naming: Naming, name: &'a str) -> Cow<'a, str> {
        let known = |alias: &(&str, &str)| Some(format!("{}{}", alias.1, name.strip_prefix(alias.0)?));
        let other = self.aliases.iter().filter(|_| naming == Naming::Hf).find_map(known);
        other.map_or(Cow::Borrowed(name), Cow::Owned)
    }

    /// Whether a set of names is this family's in a scheme: none is unknown, and the first layer has all that every
    /// layer needs.
    pub fn recognises<'a>(&self, naming: Naming, names: impl IntoIterator<Item = &'a str>) -> bool {
        let counts = |row: &Row| row.need == Need::Always && row.on == On::All;
        let mut first_layer = 0usize;
        for name in names {
            match self.find(naming, name) {
                Some(found) if found.layer == 0 && counts(found.row) => first_layer = first_layer.saturating_add(1),
                Some(_) => {}
                None => return false,
            }
        }
        first_layer == self.rows.iter().filter(|row| counts(row)).count()
    }

    /// Every name that a model with so many parts can have, in the order of transformers' state dict.
    pub fn expected(&self, counts: Counts) -> impl Iterator<Item = Match> {
        self.rows.chunk_by(same_stack).flat_map(move |stack| {
            let layers = match stack.first() {
                Some(row) if row.per_layer() => counts.of(row.on.stack()),
                _ => 1,
            };
            (0..layers).flat_map(move |layer| {
                stack.chunk_by(both_experts).flat_map(move |group| {
                    let experts = if group.first().is_some_and(Row::per_expert) { counts.experts } else { 1 };
                    (0..experts).flat_map(move |expert| group.iter().map(move |row| Match { row, layer, expert }))
                })
            })
        })
    }

    /// The place of a tensor in the order of transformers' state dict: rows before the layers, layer by layer and in
    /// them expert by expert, rows after them.
    pub fn place(&self, found: &Match) -> (usize, u64, usize, u64, usize) {
        let own = self.rows.iter().position(|row| std::ptr::eq(row, found.row)).unwrap_or(0);
        let first = |same: fn(&Row, &Row) -> bool| {
            let before = self.rows.get(..=own).unwrap_or_default();
            let start = before.windows(2).rposition(|pair| matches!(pair, [a, b] if !same(a, b)));
            start.map_or(0, |start| start.saturating_add(1))
        };
        (first(same_stack), found.layer, first(both_experts), found.expert, own)
    }
}

/// Whether two neighbouring rows are numbered by the same layers.
fn same_stack(a: &Row, b: &Row) -> bool {
    a.per_layer() && b.per_layer() && a.on.stack() == b.on.stack()
}

fn both_experts(a: &Row, b: &Row) -> bool {
    a.per_expert() && b.per_expert()
}

#[cfg(test)]
mod tests;
