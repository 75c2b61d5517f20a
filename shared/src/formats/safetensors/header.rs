//! The JSON header, read strictly: every key in the order of the file, so that a repeated one is seen.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::facts::{Dtype, Finding, Id, limits};
use crate::formats::json::{Text, byte_of};

/// One tensor of the header, not checked yet. A header of a mixture has thousands; what need not be copied is
/// borrowed from its text.
pub(super) struct Entry<'a> {
    pub(super) name: Cow<'a, str>,
    /// The dtype, or how an unknown one is spelt.
    pub(super) dtype: Result<Dtype, String>,
    pub(super) shape: Vec<u64>,
    /// Byte range, relative to the end of the header.
    pub(super) begin: u64,
    pub(super) end: u64,
    /// First byte of the header: JSON parsers do not tell where a key stood.
    pub(super) place: u64,
}

/// The header.
#[derive(Default)]
pub(super) struct Header<'a> {
    pub(super) entries: Vec<Entry<'a>>,
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) findings: Vec<Finding>,
}

impl<'a> Header<'a> {
    /// Parses the JSON text that begins at byte `place` of the file.
    pub(super) fn parse(text: &'a [u8], place: u64) -> Result<Header<'a>, Finding> {
        let mut header = Header::default();
        let broken = |offset: u64, message: String| Err(Finding::new(Id::SafetensorsHeader, message).at(offset));
        let text = match std::str::from_utf8(text) {
            Ok(text) => text,
            Err(error) => {
                let offset = u64::try_from(error.valid_up_to()).unwrap_or(0);
                return broken(place.saturating_add(offset), "the header is not UTF-8".to_owned());
            }
        };
        let mut parser = serde_json::Deserializer::from_str(text);
        let seed = Root { header: &mut header, place };
        if let Err(error) = seed.deserialize(&mut parser).and_then(|()| parser.end()) {
            let offset = place.saturating_add(byte_of(text.as_bytes(), &error));
            return broken(offset, format!("the header is not the JSON it should be: {error}"));
        }
        Ok(header)
    }
}

/// Visits the object of the whole header.
struct Root<'h, 'a> {
    header: &'h mut Header<'a>,
    place: u64,
}

impl Root<'_, '_> {
    fn twice(&mut self, what: &str, name: &str) {
        if self.header.findings.len() >= limits::FINDINGS {
            return;
        }
        let message = format!("the header holds the {what} {name:?} twice, and readers disagree on which one counts");
        self.header.findings.push(Finding::new(Id::SafetensorsDuplicate, message).at(self.place).tensor(name));
    }
}

impl<'de> DeserializeSeed<'de> for Root<'_, 'de> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Root<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let mut places: HashMap<Cow<'de, str>, usize> = HashMap::new();
        while let Some(Text(name)) = map.next_key()? {
            let earlier = places.insert(name.clone(), self.header.entries.len());
            if earlier.is_some() {
                self.twice("name", &name);
            }
            if name == "__metadata__" {
                if let Some(Pairs(pairs)) = map.next_value::<Option<Pairs>>()? {
                    for (key, value) in pairs {
                        if self.header.metadata.insert(key.clone(), value).is_some() {
                            self.twice("metadata key", &key);
                        }
                    }
                }
                continue;
            }
            let fields = map.next_value::<Fields<'de>>()?;
            if let Some(field) = fields.twice {
                self.twice("field", &format!("{name}.{field}"));
            }
            let (dtype, shape, [begin, end]) = (fields.dtype, fields.shape, fields.data_offsets);
            let entry = Entry { name, dtype, shape, begin, end, place: self.place };
            // The last one counts, as in the reference reader; the finding has been made.
            match earlier.and_then(|place| self.header.entries.get_mut(place).map(|slot| (place, slot))) {
                Some((place, slot)) => {
                    places.insert(entry.name.clone(), place);
                    *slot = entry;
                }
                None => self.header.entries.push(entry),
            }
        }
        Ok(())
    }
}

/// The string pairs of `__metadata__`, repeated keys kept.
struct Pairs(Vec<(String, String)>);

impl<'de> serde::Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Pairs, D::Error> {
        struct PairsVisitor;
        impl<'de> Visitor<'de> for PairsVisitor {
            type Value = Pairs;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(PairsVisitor)
    }
}

/// The fields of one tensor; others are ignored, as the reference reader does.
struct Fields<'a> {
    dtype: Result<Dtype, String>,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
    twice: Option<Cow<'a, str>>,
}

impl<'de> serde::Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fields<'de>, D::Error> {
        struct FieldsVisitor;
        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with dtype, shape and data_offsets")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                use serde::de::Error;
                let (mut dtype, mut shape, mut offsets, mut twice) = (None, None, None, None);
                while let Some(Text(key)) = map.next_key()? {
                    let again = match &*key {
                        "dtype" => dtype.replace(map.next_value::<Text<'de>>()?).is_some(),
                        "shape" => shape.replace(map.next_value()?).is_some(),
                        "data_offsets" => offsets.replace(map.next_value()?).is_some(),
                        _ => map.next_value::<IgnoredAny>().map(|_| false)?,
                    };
                    if again {
                        twice = Some(key);
                    }
                }
                let Text(dtype) = dtype.ok_or_else(|| A::Error::missing_field("dtype"))?;
                Ok(Fields {
                    dtype: Dtype::from_name(&dtype).ok_or_else(|| dtype.into_owned()),
                    shape: shape.ok_or_else(|| A::Error::missing_field("shape"))?,
                    data_offsets: offsets.ok_or_else(|| A::Error::missing_field("data_offsets"))?,
                    twice,
                })
            }
        }
        deserializer.deserialize_map(FieldsVisitor)
    }
}
