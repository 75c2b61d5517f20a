//! The JSON Schema of a document, made from the types.

use schemars::Schema;

use super::Document;

/// The schema that `--schema` prints; the committed copy is `ckpt-1.schema.json` beside this file.
pub fn schema() -> Schema {
    schemars::schema_for!(Document)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_committed_schema_is_that_of_the_types() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/document/ckpt-1.schema.json");
        let made = format!("{}\n", serde_json::to_string_pretty(&super::schema()).unwrap());
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(path, &made).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(made == committed, "the types have changed: run the test with BLESS=1 and read the difference");
    }
}
