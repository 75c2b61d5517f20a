//! What is not a tensor, as documents show it: JSON's scalars, and strings that describe the rest.

use serde_json::Value as Json;

use crate::facts::Dtype;
use crate::formats::pickle::{Global, Node, Object, Pickle, Value};

/// Characters of a text that are kept.
const TEXT: usize = 10_000;

/// The JSON of a value without parts; `None` for containers and objects that have to be looked into.
pub(super) fn scalar(pickle: &Pickle<'_>, node: Node) -> Option<Json> {
    Some(match pickle.get(node) {
        Value::None => Json::Null,
        Value::Bool(value) => Json::from(*value),
        Value::Int(value) => Json::from(*value),
        Value::Big(digits) => digits.parse::<u64>().map_or_else(|_| Json::from(digits.as_str()), Json::from),
        Value::Float(value) => float(*value),
        Value::Str(value) => Json::from(text(value)),
        Value::Bytes(bytes) => Json::from(format!("<bytes of {}>", bytes.len())),
        Value::Set(items) => Json::from(format!("<set of {}>", items.len())),
        Value::Buffer => Json::from("<buffer>"),
        Value::Global(_) => {
            let class = pickle.global(node)?;
            let dtype = Dtype::from_torch(&class.name).is_some() && class.module == "torch";
            let name = format!("{}.{}", class.module, class.name);
            Json::from(if dtype { name } else { format!("<{name}>") })
        }
        Value::Persistent(id) => Json::from(match pickle.sequence(*id) {
            Some([_, class, _, _, count, ..]) => match (pickle.global(*class), pickle.int(*count)) {
                (Some(class), Some(count)) => format!("<{}.{} of {count}>", class.module, class.name),
                _ => "<persistent id>".to_owned(),
            },
            _ => "<persistent id>".to_owned(),
        }),
        Value::List(_) | Value::Tuple(_) | Value::Dict(_) | Value::Object(_) => return None,
    })
}

/// The JSON of an object that stands for something small: a device, a layout, a path, a complex number.
pub(super) fn small(pickle: &Pickle<'_>, object: &Object) -> Option<Json> {
    let class = pickle.global(object.class)?;
    let args = pickle.sequence(object.args)?;
    let texts = || args.iter().map(|arg| key(pickle, *arg)).collect::<Vec<_>>();
    Some(match (class.module3(), &*class.name) {
        ("torch", "device") => Json::from(texts().join(":")),
        ("torch.serialization", "_get_layout") => Json::from(texts().concat()),
        ("pathlib" | "pathlib._local", _) => Json::from(text(&texts().join("/"))),
        ("builtins", "complex") => match args {
            [real, imaginary] => match (pickle.get(*real), pickle.get(*imaginary)) {
                (Value::Float(real), Value::Float(imaginary)) => Json::from(format!("{real}{imaginary:+}j")),
                _ => return None,
            },
            _ => return None,
        },
        ("builtins", "set" | "frozenset") => {
            let count = args.first().and_then(|items| pickle.sequence(*items)).map_or(0, <[Node]>::len);
            Json::from(format!("<set of {}>", count.saturating_add(object.list.len())))
        }
        ("builtins", "bytearray") | ("_codecs", "encode") => match args.first().map(|arg| pickle.get(*arg)) {
            Some(Value::Bytes(bytes)) => Json::from(format!("<bytes of {}>", bytes.len())),
            // Protocol 2 spells a byte as the character of that number.
            Some(Value::Str(text)) => Json::from(format!("<bytes of {}>", text.chars().count())),
            _ => Json::from("<bytes of 0>"),
        },
        _ => return None,
    })
}

/// The class or function at a node; old files of whole models name their classes by a persistent id, with the source
/// beside the class.
pub(super) fn callee<'p, 'a>(pickle: &'p Pickle<'a>, node: Node) -> Option<&'p Global<'a>> {
    let Value::Persistent(id) = pickle.get(node) else { return pickle.global(node) };
    match pickle.sequence(*id)? {
        [kind, class, ..] if pickle.str(*kind) == Some("module") => pickle.global(*class),
        _ => None,
    }
}

/// The name of an object's class, in angle brackets.
pub(super) fn class(pickle: &Pickle<'_>, node: Node) -> String {
    match callee(pickle, node) {
        Some(class) => format!("<{}.{}>", class.module, class.name),
        None => "<object>".to_owned(),
    }
}

/// A key of a dictionary as a part of a name.
pub(super) fn key(pickle: &Pickle<'_>, node: Node) -> String {
    match pickle.get(node) {
        Value::Str(text) => text.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Big(digits) => digits.clone(),
        Value::Float(value) => value.to_string(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::None => "None".to_owned(),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Tuple(items) => {
            let simple = |item: &Node| !matches!(pickle.get(*item), Value::Tuple(_) | Value::List(_));
            let parts: Vec<String> = items
                .iter()
                .take(16)
                .map(|item| if simple(item) { key(pickle, *item) } else { "…".to_owned() })
                .collect();
            format!("({})", parts.join(","))
        }
        Value::Global(_) | Value::Object(_) => match pickle.object(node) {
            Some(object) => class(pickle, object.class),
            None => class(pickle, node),
        },
        Value::List(_) | Value::Set(_) | Value::Dict(_) | Value::Persistent(_) | Value::Buffer => "<key>".to_owned(),
    }
}

/// A float as JSON, which has no infinities.
pub(super) fn float(value: f64) -> Json {
    serde_json::Number::from_f64(value).map_or_else(
        || {
            Json::from(match value {
                _ if value.is_nan() => "NaN",
                _ if value > 0.0 => "Infinity",
                _ => "-Infinity",
            })
        },
        Json::Number,
    )
}

fn text(value: &str) -> String {
    match value.char_indices().nth(TEXT) {
        Some((end, _)) => format!("{}…", value.get(..end).unwrap_or_default()),
        None => value.to_owned(),
    }
}
