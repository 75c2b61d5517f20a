//! What PEFT's config says of some modules and not of others: `rank_pattern`, `alpha_pattern`, `target_modules`.

use std::collections::HashMap;

use serde_json::Value;

/// Characters by which a key is an expression, and no plain name.
const EXPRESSION: &[char] = &['\\', '*', '+', '?', '(', ')', '[', ']', '{', '}', '|', '^', '$'];

/// What is said of modules by their names, or by what their names end with.
#[derive(Debug, Default)]
pub struct Patterns<'v> {
    /// By the end of a name: the place in the table, for the first that fits counts, and what is said.
    ends: HashMap<String, (usize, &'v Value)>,
    /// By the whole name.
    whole: HashMap<String, (usize, &'v Value)>,
    /// The first key that is not understood.
    unread: Option<&'v str>,
}

impl<'v> Patterns<'v> {
    /// A table of PEFT's, whose keys it takes for regular expressions that a module's name ends with (`get_pattern_key`).
    /// Those that are plain names are understood, with a `^` before them or a `$` behind.
    pub(super) fn of(table: Option<&'v Value>) -> Patterns<'v> {
        let mut patterns = Patterns::default();
        for (place, (key, value)) in table.and_then(Value::as_object).into_iter().flatten().enumerate() {
            let name = key.strip_suffix('$').unwrap_or(key);
            let (name, table) = match name.strip_prefix('^') {
                Some(name) => (name, &mut patterns.whole),
                None => (name, &mut patterns.ends),
            };
            let name = name.replace("\\.", ".");
            if name.contains(EXPRESSION) {
                patterns.unread.get_or_insert(key);
            } else {
                table.entry(name).or_insert((place, value));
            }
        }
        patterns
    }

    /// A list of names as they are.
    pub fn list(names: &'v [Value]) -> Patterns<'v> {
        let named =
            names.iter().enumerate().filter_map(|(place, name)| Some((name.as_str()?.to_owned(), (place, name))));
        Patterns { ends: named.collect(), ..Patterns::default() }
    }

    /// What is said of a module.
    pub fn get(&self, module: &str) -> Option<&'v Value> {
        let ends = ends(module).filter_map(|end| self.ends.get(end));
        ends.chain(self.whole.get(module)).min_by_key(|(place, _)| *place).map(|(_, value)| *value)
    }

    /// The first key that is an expression, of which nothing here can tell which modules it means.
    pub fn unread(&self) -> Option<&'v str> {
        self.unread
    }

    /// Whether nothing is said of any module.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty() && self.whole.is_empty() && self.unread.is_none()
    }
}

/// A name, and what is left of it after each point.
pub fn ends(name: &str) -> impl Iterator<Item = &str> {
    let points = name.match_indices('.').filter_map(|(at, _)| name.get(at.saturating_add(1)..));
    std::iter::once(name).chain(points)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_are_names_or_ends_of_names() {
        let table =
            json!({"k_proj": 1, "model.layers.0.mlp.up_proj": 2, "^lm_head": 3, "layers\\.1\\.mlp\\.up_proj$": 4});
        let patterns = Patterns::of(Some(&table));
        let number = |module: &str| patterns.get(module).and_then(Value::as_u64);
        assert_eq!(number("model.layers.9.self_attn.k_proj"), Some(1));
        assert_eq!(number("model.layers.0.mlp.up_proj"), Some(2));
        assert_eq!(number("model.layers.10.mlp.up_proj"), None);
        assert_eq!(number("model.layers.1.mlp.up_proj"), Some(4));
        assert_eq!(number("lm_head"), Some(3));
        assert_eq!(number("model.lm_head"), None);
        assert_eq!(number("blk_proj"), None);
        assert_eq!(patterns.unread(), None);
    }

    #[test]
    fn the_first_that_fits_counts() {
        let table = json!({"up_proj": 1, "mlp.up_proj": 2});
        assert_eq!(Patterns::of(Some(&table)).get("layers.0.mlp.up_proj"), Some(&json!(1)));
        let table = json!({"mlp.up_proj": 2, "up_proj": 1});
        assert_eq!(Patterns::of(Some(&table)).get("layers.0.mlp.up_proj"), Some(&json!(2)));
    }

    #[test]
    fn expressions_are_not_guessed_at() {
        for key in ["q_proj|k_proj", ".*q_proj", "layers\\.[0-4]\\..*", "(q)_proj", "\\w+"] {
            let table = json!({key: 1});
            let patterns = Patterns::of(Some(&table));
            assert_eq!(patterns.unread(), Some(key));
            assert!(!patterns.is_empty());
        }
        assert!(Patterns::of(Some(&json!({}))).is_empty() && Patterns::of(None).is_empty());
    }
}
