//! SentencePiece models: the `tokenizer.model` of Llama 1, 2, Code Llama and Mistral. A protocol buffer
//! (`sentencepiece_model.proto`), of which only what decides an encoding is read.

use std::collections::HashSet;

use super::protobuf::{self, Value, field};
use crate::bytes::Cursor;
use crate::facts::{Finding, Id};

/// What a piece is for: `SentencePiece.Type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PieceKind {
    /// Found in text.
    Normal,
    /// Stands for text that no piece covers.
    Unknown,
    /// Never found in text: begin, end, fill.
    Control,
    /// Found in text before anything else.
    UserDefined,
    /// Not to be used.
    Unused,
    /// One byte, spelt `<0x0A>`, for text that no other piece covers.
    Byte,
}

impl PieceKind {
    /// Whether pieces of this kind are found in text whole, or never, whatever merges there are: `tokenizer.json` lists
    /// them as added tokens.
    pub fn is_added(self) -> bool {
        matches!(self, PieceKind::Unknown | PieceKind::Control | PieceKind::UserDefined)
    }
}

/// One row: the kind and its number in the file.
const KINDS: [(PieceKind, u64); 6] = [
    (PieceKind::Normal, 1),
    (PieceKind::Unknown, 2),
    (PieceKind::Control, 3),
    (PieceKind::UserDefined, 4),
    (PieceKind::Unused, 5),
    (PieceKind::Byte, 6),
];

/// One token.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    /// Its text, with U+2581 for a space.
    pub text: String,
    /// The higher, the earlier it is merged. Never NaN.
    pub score: f32,
    /// What it is for.
    pub kind: PieceKind,
}

/// How pieces are chosen: `TrainerSpec.ModelType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelType {
    /// By the likeliest segmentation.
    Unigram,
    /// By merging pairs, the best score first.
    Bpe,
    /// Whole words or single characters.
    Other(u64),
}

/// A model: pieces by id, and what decides how text becomes pieces.
#[expect(clippy::struct_excessive_bools, reason = "the fields are those of the file")]
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// The tokens; the id is the position.
    pub pieces: Vec<Piece>,
    /// How they are chosen.
    pub model_type: ModelType,
    /// Text without a piece becomes bytes, not the unknown piece.
    pub byte_fallback: bool,
    /// Spaces end words, where they usually begin them.
    pub whitespace_as_suffix: bool,
    /// The unknown piece.
    pub unk: u32,
    /// The piece that begins a text, if there is one.
    pub bos: Option<u32>,
    /// The piece that ends a text, if there is one.
    pub eos: Option<u32>,
    /// The piece that fills batches, if there is one.
    pub pad: Option<u32>,
    /// A space is put before the text.
    pub add_dummy_prefix: bool,
    /// Spaces at the ends are dropped and runs of them become one.
    pub remove_extra_whitespaces: bool,
    /// Spaces become U+2581.
    pub escape_whitespaces: bool,
    /// Bytes of the compiled table of character replacements; 0 for the identity.
    pub charsmap: usize,
}

fn invalid(message: impl Into<String>) -> Finding {
    Finding::new(Id::TokenizerInvalid, message)
}

/// Says at which byte, unless the finding says so already.
fn placed(mut finding: Finding, offset: u64) -> Finding {
    finding.offset.get_or_insert(offset);
    finding
}

impl Model {
    /// A model of those pieces with the settings of Llama 1 and 2: byte-pair merges, bytes for unknown text, a
    /// space before the text, and nothing else changed.
    pub fn llama(pieces: Vec<Piece>) -> Model {
        Model {
            pieces,
            model_type: ModelType::Bpe,
            byte_fallback: true,
            remove_extra_whitespaces: false,
            ..Model::unset()
        }
    }

    /// What the fields mean where the file does not have them: the defaults of `sentencepiece_model.proto`.
    fn unset() -> Model {
        Model {
            pieces: Vec::new(),
            model_type: ModelType::Unigram,
            byte_fallback: false,
            whitespace_as_suffix: false,
            unk: 0,
            bos: Some(1),
            eos: Some(2),
            pad: None,
            add_dummy_prefix: true,
            remove_extra_whitespaces: true,
            escape_whitespaces: true,
            charsmap: 0,
        }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`Id::TokenizerInvalid`], with the byte where the wire form breaks: a field that does not end, a piece
    /// that is not UTF-8, occurs twice or has no score, an id beyond the pieces.
    pub fn parse(file: &[u8]) -> Result<Model, Finding> {
        let mut model = Model::unset();
        let mut cursor = Cursor::new(file, 0);
        while let Some((number, value)) = field(&mut cursor)? {
            // `ModelProto`: pieces 1, trainer_spec 2, normalizer_spec 3.
            if let Value::Bytes(bytes, offset) = value {
                let message = Cursor::new(bytes, offset);
                match number {
                    1 => model.pieces.push(piece(message).map_err(|finding| placed(finding, offset))?),
                    2 => model.trainer(message)?,
                    3 => model.normalizer(message)?,
                    _ => {}
                }
            }
        }
        model.check()?;
        Ok(model)
    }

    /// `TrainerSpec`; most of it is how the model came to be.
    fn trainer(&mut self, mut message: Cursor<'_>) -> Result<(), Finding> {
        while let Some((number, value)) = field(&mut message)? {
            let Value::Varint(value) = value else { continue };
            match number {
                3 => {
                    self.model_type = match value {
                        1 => ModelType::Unigram,
                        2 => ModelType::Bpe,
                        other => ModelType::Other(other),
                    }
                }
                24 => self.whitespace_as_suffix = value != 0,
                35 => self.byte_fallback = value != 0,
                40 => self.unk = optional_id(value).ok_or_else(|| invalid("the model has no unknown piece"))?,
                41 => self.bos = optional_id(value),
                42 => self.eos = optional_id(value),
                43 => self.pad = optional_id(value),
                _ => {}
            }
        }
        Ok(())
    }

    /// `NormalizerSpec`.
    fn normalizer(&mut self, mut message: Cursor<'_>) -> Result<(), Finding> {
        while let Some((number, value)) = field(&mut message)? {
            match (number, value) {
                (2, Value::Bytes(map, _)) => self.charsmap = map.len(),
                (3, Value::Varint(value)) => self.add_dummy_prefix = value != 0,
                (4, Value::Varint(value)) => self.remove_extra_whitespaces = value != 0,
                (5, Value::Varint(value)) => self.escape_whitespaces = value != 0,
                _ => {}
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Finding> {
        if self.pieces.is_empty() {
            return Err(invalid("the SentencePiece model has no pieces"));
        }
        let mut seen = HashSet::with_capacity(self.pieces.len());
        for (id, piece) in self.pieces.iter().enumerate() {
            if !seen.insert(piece.text.as_str()) {
                return Err(invalid(format!("the piece of id {id} occurs twice")));
            }
        }
        for id in [Some(self.unk), self.bos, self.eos, self.pad].into_iter().flatten() {
            if self.piece(id).is_none() {
                return Err(invalid("the model names a piece beyond its last").needed(self.pieces.len(), id));
            }
        }
        Ok(())
    }

    /// The piece of that id.
    pub fn piece(&self, id: u32) -> Option<&Piece> {
        self.pieces.get(usize::try_from(id).ok()?)
    }

    /// The file: what decides the encoding, nothing of how the model was trained.
    pub fn write(&self) -> Vec<u8> {
        let mut file = Vec::new();
        let mut message = Vec::new();
        for piece in &self.pieces {
            message.clear();
            protobuf::put_bytes(1, piece.text.as_bytes(), &mut message);
            protobuf::put_fixed32(2, piece.score.to_le_bytes(), &mut message);
            // The default is left out, as protobuf does.
            if piece.kind != PieceKind::Normal {
                let kind = KINDS.iter().find(|(kind, _)| *kind == piece.kind).map_or(1, |(_, number)| *number);
                protobuf::put_number(3, kind, &mut message);
            }
            protobuf::put_bytes(1, &message, &mut file);
        }
        protobuf::put_bytes(2, &self.trainer_spec(), &mut file);
        message.clear();
        protobuf::put_bytes(1, b"identity", &mut message);
        protobuf::put_number(3, u64::from(self.add_dummy_prefix), &mut message);
        protobuf::put_number(4, u64::from(self.remove_extra_whitespaces), &mut message);
        protobuf::put_number(5, u64::from(self.escape_whitespaces), &mut message);
        protobuf::put_bytes(3, &message, &mut file);
        file
    }

    fn trainer_spec(&self) -> Vec<u8> {
        let mut message = Vec::new();
        let model_type = match self.model_type {
            ModelType::Unigram => 1,
            ModelType::Bpe => 2,
            ModelType::Other(other) => other,
        };
        protobuf::put_number(3, model_type, &mut message);
        protobuf::put_number(4, u64::try_from(self.pieces.len()).unwrap_or(u64::MAX), &mut message);
        protobuf::put_number(24, u64::from(self.whitespace_as_suffix), &mut message);
        protobuf::put_number(35, u64::from(self.byte_fallback), &mut message);
        for (number, id) in [(40, Some(self.unk)), (41, self.bos), (42, self.eos), (43, self.pad)] {
            // -1 says that there is none.
            protobuf::put_number(number, id.map_or(u64::MAX, u64::from), &mut message);
        }
        for (number, id) in [(45, Some(self.unk)), (46, self.bos), (47, self.eos), (48, self.pad)] {
            if let Some(piece) = id.and_then(|id| self.piece(id)) {
                protobuf::put_bytes(number, piece.text.as_bytes(), &mut message);
            }
        }
        message
    }
}

/// An `int32` that is -1 for "none".
fn optional_id(value: u64) -> Option<u32> {
    u32::try_from(value).ok().filter(|id| i32::try_from(*id).is_ok())
}

/// One `SentencePiece`.
fn piece(mut message: Cursor<'_>) -> Result<Piece, Finding> {
    let mut piece = Piece { text: String::new(), score: 0.0, kind: PieceKind::Normal };
    while let Some((number, value)) = field(&mut message)? {
        match (number, value) {
            (1, Value::Bytes(text, _)) => {
                let text = str::from_utf8(text).map_err(|_| invalid("a piece is not UTF-8"))?;
                text.clone_into(&mut piece.text);
            }
            (2, Value::Fixed32(score)) => piece.score = f32::from_le_bytes(score),
            (3, Value::Varint(kind)) => {
                let row = KINDS.iter().find(|(_, row)| *row == kind);
                piece.kind = row.ok_or_else(|| invalid(format!("a piece has type {kind}, which does not exist")))?.0;
            }
            _ => {}
        }
    }
    if piece.score.is_nan() {
        return Err(invalid("the score of a piece is not a number"));
    }
    Ok(piece)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn small() -> Model {
        let control = [("<unk>", PieceKind::Unknown), ("<s>", PieceKind::Control), ("</s>", PieceKind::Control)];
        let mut pieces: Vec<Piece> =
            control.map(|(text, kind)| Piece { text: text.into(), score: 0.0, kind }).into_iter().collect();
        pieces.extend((0..=u8::MAX).map(|byte| Piece {
            text: format!("<0x{byte:02X}>"),
            score: 0.0,
            kind: PieceKind::Byte,
        }));
        for (text, score) in [("\u{2581}t", -0.0), ("\u{2581}", -1e9), ("t", -2.0)] {
            pieces.push(Piece { text: text.into(), score, kind: PieceKind::Normal });
        }
        Model::llama(pieces)
    }

    #[test]
    fn a_model_is_read_as_it_was_written() {
        let model = Model { pad: Some(0), add_dummy_prefix: false, ..small() };
        assert_eq!(Model::parse(&model.write()).unwrap(), model);
        let model = Model { bos: None, unk: 1, ..small() };
        assert_eq!(Model::parse(&model.write()).unwrap(), model);
    }

    #[test]
    fn the_first_pieces_have_the_bytes_of_a_real_model() {
        // The head of every Llama model: `<unk>`, score 0, type 2.
        assert!(small().write().starts_with(b"\x0a\x0e\x0a\x05<unk>\x15\x00\x00\x00\x00\x18\x02\x0a\x0c"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let mut twice = small();
        twice.pieces.push(Piece { text: "t".into(), score: 0.0, kind: PieceKind::Normal });
        assert!(Model::parse(&twice.write()).unwrap_err().message.contains("id 262 occurs twice"));
        let beyond = Model { eos: Some(262), ..small() };
        assert!(Model::parse(&beyond.write()).unwrap_err().message.contains("beyond its last"));
        let mut nan = small();
        nan.pieces[1].score = f32::NAN;
        assert_eq!(Model::parse(&nan.write()).unwrap_err().offset, Some(18));
        assert!(Model::parse(b"").is_err());
    }

    proptest! {
        #[test]
        fn damage_never_panics(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut file = small().write();
            let at = at.index(file.len());
            drop(Model::parse(&file[..at]));
            file[at] = byte;
            if let Ok(model) = Model::parse(&file) {
                drop(model.write());
            }
        }
    }
}
