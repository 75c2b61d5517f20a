//! A section of a document: typed where a tool makes it, raw where it passes it on.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// What one tool says.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Section<T> {
    /// Said by this run.
    Own(Box<T>),
    /// Said by an earlier run, perhaps of a later version: handed on as it came.
    Passed(Value),
}

impl<T> Section<T> {
    /// The typed section, if this run made it.
    pub fn own(&self) -> Option<&T> {
        match self {
            Self::Own(section) => Some(section),
            Self::Passed(_) => None,
        }
    }

    /// As [`Section::own`], to add to it.
    pub fn own_mut(&mut self) -> Option<&mut T> {
        match self {
            Self::Own(section) => Some(section),
            Self::Passed(_) => None,
        }
    }
}

impl<T: Serialize> Section<T> {
    /// The section as plain JSON.
    pub fn into_value(self) -> Value {
        match self {
            Self::Own(section) => serde_json::to_value(section).unwrap_or_default(),
            Self::Passed(value) => value,
        }
    }
}

impl<T> From<T> for Section<T> {
    fn from(section: T) -> Self {
        Self::Own(Box::new(section))
    }
}

// What is read is never believed, so it is never typed.
impl<'de, T> Deserialize<'de> for Section<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::Passed)
    }
}

impl<T: JsonSchema> JsonSchema for Section<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        generator.subschema_for::<T>()
    }
}
