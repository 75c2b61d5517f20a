//! One row of a family's table: what there is to say of a tensor, and the words for it.

/// A scheme of tensor names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// The names of the family's own files: Meta's `.pth`, Mistral's `consolidated.safetensors`.
    Meta,
    /// The names of Hugging Face's transformers.
    Hf,
    /// The names of llama.cpp's GGUF files.
    Gguf,
    /// The names of torchtune's state dicts.
    Tune,
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
    /// Query, key and value heads, all in one.
    Qkv,
    /// One head.
    Head,
    /// Half a head: one rotary frequency each.
    HalfHead,
    /// Width of the feed-forward layer.
    Ffn,
    /// Twice that: gate and up in one.
    TwiceFfn,
    /// Number of experts.
    Experts,
    /// Width of one expert's feed-forward layer.
    ExpertFfn,
    /// Width of the experts that every token takes.
    SharedFfn,
    /// Patches of an image that a vision tower sees.
    Patches,
    /// Shapes that an image cut into tiles can have, and one for no image.
    Ratios,
    /// So many.
    Exactly(u64),
    /// What the config says under this path, keys joined by `/`.
    Key(&'static str),
    /// What no config says; nothing is held against it.
    Unsaid,
    /// All of these together.
    Plus(&'static [Size]),
    /// One times the other.
    Times(&'static [Size]),
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
    /// GGUF holds the factor itself, and Hugging Face the factor less one.
    LessOne,
    /// Meta keeps the kernels of a convolution one a row, Hugging Face each by colours, rows and columns.
    Kernels,
    /// Hugging Face keeps the first element alone.
    First,
    /// Meta keeps the embeddings of a square of tiles, Hugging Face for every shape of an image those of its tiles in
    /// a row, zeros behind them.
    Ratios,
    /// Rows and columns are exchanged.
    Transposed,
    /// Meta keeps the matrices of experts one below the other, Hugging Face one behind the other. Those of two rows of
    /// one name stand side by side there.
    Experts,
    /// Below what the row before it has under the same name.
    Below,
    /// Meta keeps several of Hugging Face's tensors in one, and each rank its share of every one: their names, and what
    /// their rows are in proportion to.
    Parts(&'static [(&'static str, Size)]),
}

/// Whether a model needs the tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Always.
    Always,
    /// The output head: left out where it is the embedding.
    Head,
    /// Where the config says `true` under this key, and nowhere else.
    Where(&'static str),
    /// Where the config says anything under this key, and nowhere else.
    With(&'static str),
    /// Never: it follows from the config.
    Derived,
}

/// In which layers a row with a place for their number stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// In every layer of the language model.
    All,
    /// In layers with one feed-forward layer for all tokens.
    Dense,
    /// In layers with experts.
    Sparse,
    /// In layers where text attends to itself.
    SelfAttention,
    /// In layers where text attends to an image.
    CrossAttention,
    /// In such layers, where they are numbered for themselves.
    CrossAlone,
    /// In such layers, where each has the number of the layer of text that comes after it.
    CrossBefore,
    /// In layers of the vision tower.
    Vision,
    /// In layers of the vision tower that see all tiles of an image at once.
    VisionGlobal,
}

/// One tensor of a family, in all its layers. `{}` in a name stands for the layer's number and `{e}` for the
/// expert's.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Name in the family's own scheme; empty if it has none.
    pub meta: &'static str,
    /// Name in Hugging Face's scheme; empty if it has none.
    pub hf: &'static str,
    /// Name in GGUF; empty if it has none.
    pub gguf: &'static str,
    /// Name in torchtune, of a table of its own; in the others it follows from Hugging Face's.
    pub tune: &'static str,
    /// Shape, in the family's sizes.
    pub shape: &'static [Size],
    /// How ranks divide it.
    pub split: Split,
    /// How its values differ between the schemes.
    pub change: Change,
    /// Whether it must be there.
    pub need: Need,
    /// In which layers.
    pub on: On,
}

/// A tensor that every model of the family has in every layer, of the same values in every scheme.
pub(super) const fn row(hf: &'static str, gguf: &'static str, shape: &'static [Size]) -> Row {
    let (split, change, need, on) = (Split::Replicated, Change::Same, Need::Always, On::All);
    Row { meta: "", hf, gguf, tune: "", shape, split, change, need, on }
}

/// Layers that are numbered together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stack {
    Language,
    Cross,
    Vision,
    VisionGlobal,
}

impl On {
    /// The layers among which this row's are numbered.
    pub(super) fn stack(self) -> Stack {
        match self {
            On::All | On::Dense | On::Sparse | On::SelfAttention | On::CrossAttention | On::CrossBefore => {
                Stack::Language
            }
            On::CrossAlone => Stack::Cross,
            On::Vision => Stack::Vision,
            On::VisionGlobal => Stack::VisionGlobal,
        }
    }
}

impl Row {
    /// With a name in the family's own scheme, and how ranks divide it there.
    pub(super) const fn own(self, meta: &'static str, split: Split) -> Row {
        Row { meta, split, ..self }
    }

    /// With a name in torchtune.
    pub(super) const fn tuned(self, tune: &'static str) -> Row {
        Row { tune, ..self }
    }

    /// With values that differ between the schemes.
    pub(super) const fn change(self, change: Change) -> Row {
        Row { change, ..self }
    }

    /// That is not always there.
    pub(super) const fn need(self, need: Need) -> Row {
        Row { need, ..self }
    }

    /// That is in some layers only.
    pub(super) const fn on(self, on: On) -> Row {
        Row { on, ..self }
    }

    /// The name pattern in a scheme; empty if it has none there.
    pub fn name(&self, naming: Naming) -> &'static str {
        match naming {
            Naming::Meta => self.meta,
            Naming::Hf => self.hf,
            Naming::Gguf => self.gguf,
            Naming::Tune if self.tune.is_empty() => super::torchtune::name(self.hf),
            Naming::Tune => self.tune,
        }
    }

    /// Whether every layer has one.
    pub fn per_layer(&self) -> bool {
        self.meta.contains("{}") || self.hf.contains("{}")
    }

    /// Whether every expert of a layer has one.
    pub fn per_expert(&self) -> bool {
        self.meta.contains("{e}") || self.hf.contains("{e}")
    }

    /// Whether a scheme keeps the experts of a layer in one tensor, one behind the other.
    pub fn stacks(&self, naming: Naming) -> bool {
        let name = self.name(naming);
        self.per_expert() && !name.is_empty() && !name.contains("{e}")
    }

    /// What GGUF files called each expert's tensor before llama.cpp kept those of a layer in one.
    pub(super) fn apart(&self) -> Option<String> {
        self.stacks(Naming::Gguf).then(|| self.gguf.replacen("_exps", ".{e}", 1))
    }

    /// Shape in a scheme, in the family's sizes: GGUF has no rows of which there is one.
    pub fn shape_in(&self, naming: Naming) -> Vec<Size> {
        let experts = self.stacks(naming).then_some(Size::Experts);
        let one = naming == Naming::Gguf && self.shape.first() == Some(&Size::Exactly(1));
        experts.into_iter().chain(self.shape.iter().copied().skip(usize::from(one))).collect()
    }

    /// Whether it is the embedding of tokens.
    pub fn is_embedding(&self) -> bool {
        let rows = |size: &Size| match size {
            Size::Vocab => true,
            // Tokens that only an image's place has stand below the vocabulary.
            Size::Plus(sizes) => sizes.first() == Some(&Size::Vocab),
            _ => false,
        };
        matches!(self.shape, [first, Size::Dim] if rows(first)) && self.need == Need::Always
    }
}
