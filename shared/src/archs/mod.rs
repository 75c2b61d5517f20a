//! Names and shapes of model families: one table a family, one row a tensor.
//!
//! A row tells a tensor's whole story: its name in every naming scheme, its shape in the family's own sizes, the
//! dimension along which model parallelism splits it, and the change its values undergo between schemes.

pub mod llama;
mod pattern;

pub use pattern::Match;

/// A scheme of tensor names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// The names of Meta's own `.pth` files.
    Meta,
    /// The names of Hugging Face's transformers.
    Hf,
    /// The names of llama.cpp's GGUF files.
    Gguf,
}

/// A size that a family's shapes are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// Rows of the embedding.
    Vocab,
    /// Width of the residual stream.
    Dim,
    /// All query heads side by side.
    Heads,
    /// All key or value heads side by side.
    KvHeads,
    /// Width of the feed-forward layer.
    Ffn,
    /// Half a head: one rotary frequency each.
    HalfHead,
}

/// How model parallelism divides a tensor among ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// By rows (dimension 0): a column-parallel layer in Megatron's terms.
    Rows,
    /// By columns (dimension 1): a row-parallel layer.
    Columns,
    /// By rows or columns, as the shapes say: by columns up to Llama 2, by rows since.
    Embedding,
    /// Whole in every rank.
    Replicated,
}

/// What happens to a tensor's values between Hugging Face's scheme and the others: llama.cpp keeps Meta's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    Same,
    /// The rows of each query head change their rotary order.
    RotaryQuery,
    /// The rows of each key head change their rotary order.
    RotaryKey,
}

/// Whether a model needs the tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Always.
    Always,
    /// The output head: left out where it is the embedding.
    Head,
    /// Never: it follows from the config.
    Derived,
}

/// One tensor of a family, in all its layers. `{}` in a name stands for the layer's number.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Name in Meta's scheme.
    pub meta: &'static str,
    /// Name in Hugging Face's scheme; empty if it has none.
    pub hf: &'static str,
    /// Name in GGUF; empty if it has none.
    pub gguf: &'static str,
    /// Shape, in the family's sizes.
    pub shape: &'static [Size],
    /// How ranks divide it.
    pub split: Split,
    /// How its values differ between the schemes.
    pub change: Change,
    /// Whether it must be there.
    pub need: Need,
}

impl Row {
    /// The name pattern in a scheme; empty if it has none there.
    pub fn name(&self, naming: Naming) -> &'static str {
        match naming {
            Naming::Meta => self.meta,
            Naming::Hf => self.hf,
            Naming::Gguf => self.gguf,
        }
    }

    /// The name in a scheme, of a layer; `None` if the scheme has no name for it.
    pub fn named(&self, naming: Naming, layer: u64) -> Option<String> {
        let name = self.name(naming);
        (!name.is_empty()).then(|| name.replacen("{}", &layer.to_string(), 1))
    }

    /// Whether every layer has one.
    pub fn per_layer(&self) -> bool {
        self.meta.contains("{}")
    }
}

/// A family.
#[derive(Debug)]
pub struct Arch {
    /// Name in documents.
    pub name: &'static str,
    /// `model_type` in `config.json`.
    pub model_types: &'static [&'static str],
    /// Its tensors, in the order of transformers' state dict: layers' rows stand together.
    pub rows: &'static [Row],
}

/// Every family.
pub static ARCHS: &[&Arch] = &[&llama::LLAMA];

impl Arch {
    /// The family that a `config.json` with this `model_type` belongs to.
    pub fn of_model_type(model_type: &str) -> Option<&'static Arch> {
        ARCHS.iter().copied().find(|arch| arch.model_types.contains(&model_type))
    }

    /// The row that a name belongs to, and its layer.
    pub fn find(&self, naming: Naming, name: &str) -> Option<Match> {
        self.rows.iter().find_map(|row| {
            let layer = pattern::layer(row.name(naming), name)?;
            Some(Match { row, layer })
        })
    }

    /// Whether a set of names is this family's in a scheme: none is unknown, and the first layer has all it needs.
    pub fn recognises<'a>(&self, naming: Naming, names: impl IntoIterator<Item = &'a str>) -> bool {
        let mut first_layer = 0usize;
        for name in names {
            match self.find(naming, name) {
                Some(found) if found.layer == 0 && found.row.need == Need::Always => {
                    first_layer = first_layer.saturating_add(1);
                }
                Some(_) => {}
                None => return false,
            }
        }
        first_layer == self.rows.iter().filter(|row| row.need == Need::Always).count()
    }

    /// Every name a model of that many layers needs in a scheme, in the order of transformers' state dict.
    pub fn expected(&self, layers: u64) -> impl Iterator<Item = Match> {
        let (before, rest): (Vec<_>, Vec<_>) = {
            let first = self.rows.iter().position(Row::per_layer).unwrap_or(self.rows.len());
            (self.rows.iter().take(first).collect(), self.rows.iter().skip(first).collect())
        };
        let (inside, after): (Vec<_>, Vec<_>) = rest.into_iter().partition(|row| row.per_layer());
        let alone = |row| Match { row, layer: 0 };
        let layered =
            (0..layers).flat_map(move |layer| inside.clone().into_iter().map(move |row| Match { row, layer }));
        before.into_iter().map(alone).chain(layered).chain(after.into_iter().map(alone))
    }
}
