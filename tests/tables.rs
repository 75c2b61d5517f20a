//! The tables of the README, kept true: what each tool can do with every format, layout, trainer, quantisation and
//! family that the code knows. The tools do it here, with a fixture for each word; `BLESS=1` writes what they did.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what went wrong by failing, and a key that a document lacks is null"
)]

use std::collections::{BTreeMap, BTreeSet};

use ckpt::archs::ARCHS;
use ckpt::formats::Format;
use ckpt::layouts::Layout;
use ckpt::layouts::inside::Kind;
use ckpt::layouts::training::FORMS;
use ckpt::quantized::METHODS;
use ckpt_tests::room::Room;
use serde_json::Value;

/// A word of a table and the path that stands for it. What is not committed as it stands is made by [`MADE`].
type Fixture = (&'static str, &'static str);

const FORMATS: &[Fixture] = &[
    ("safetensors", "safetensors/aliases.safetensors"),
    ("torch-zip", "torch/views.pt"),
    ("torch-legacy", "torch/legacy.pt"),
    ("torch-tar", "neighbours/torch/tar_of_2016.pt"),
    ("torchscript", "neighbours/torch/scripted.pt"),
    ("pt2", "neighbours/torch/exported.pt2"),
    ("gguf", "gguf/llama-q8_0.gguf"),
    ("npy", "neighbours/numpy/columns.npy"),
    ("npz", "neighbours/mlx/weights.npz"),
    ("msgpack", "neighbours/flax/model.msgpack"),
    ("onnx", "neighbours/onnx/model.onnx"),
    ("nemo", "neighbours/nemo/model.nemo"),
    ("distcp", "distcp/ranks"),
    ("pickle", "neighbours/refused/bare.pkl"),
    ("tar", "neighbours/refused/other.tar"),
    ("hdf5", "neighbours/refused/weights.h5"),
    ("keras", "neighbours/refused/model.keras"),
    ("ocdbt", "neighbours/refused/manifest.ocdbt"),
    ("tf-index", "neighbours/refused/model.ckpt.index"),
    ("gzip", "neighbours/refused/packed.gz"),
    ("xz", "neighbours/refused/packed.xz"),
    ("bzip2", "neighbours/refused/packed.bz2"),
    ("zstd", "neighbours/refused/packed.zst"),
    ("7z", "neighbours/refused/packed.7z"),
    ("rar", "neighbours/refused/packed.rar"),
];

const LAYOUTS: &[Fixture] = &[
    ("hf", "hf-tiny"),
    ("meta", "tiny-llama3/mp2"),
    ("mistral", "tiny-mistral/dense"),
    ("dcp", "distcp/ranks"),
    ("deepspeed", "zero/stage2/global_step2"),
    ("megatron", "neighbours/megatron/iter_0000007"),
    ("adapter", "adapters/lora"),
    ("directory", "neighbours/dtensor"),
    ("file", "torch/parameters.pt"),
    ("run", "training/run"),
    ("tree", "tree"),
    ("cache", "cache"),
];

const TRAINERS: &[Fixture] = &[
    ("hf-trainer", "training/run/checkpoint-4"),
    ("accelerate", "training/accelerate"),
    ("lightning", "training/epoch=0-step=4.ckpt"),
    ("torchtune", "torchtune"),
    ("dcp", "distcp/ranks"),
    ("file", "training/train_state.pt"),
];

/// A family and the names its tensors have in a fixture.
const FAMILIES: &[(&str, &str, &str)] = &[
    ("llama", "meta", "tiny-llama3/mp1"),
    ("llama", "torchtune", "tiny-tune"),
    ("llama", "hf", "hf-tiny"),
    ("llama", "gguf", "gguf/llama-q8_0.gguf"),
    ("gemma", "hf", "families/gemma"),
    ("gemma2", "hf", "families/gemma2"),
    ("gemma2", "gguf", "families/gemma2.gguf"),
    ("gemma3", "hf", "families/gemma3"),
    ("gemma3_text", "hf", "families/gemma3_text"),
    ("gemma3_text", "gguf", "families/gemma3_text.gguf"),
    ("llama4", "meta", "llama4-meta"),
    ("llama4", "hf", "families/llama4"),
    ("llama4_text", "hf", "families/llama4_text"),
    ("mistral", "mistral", "tiny-mistral/dense"),
    ("mistral", "hf", "families/mistral"),
    ("mixtral", "mistral", "tiny-mistral/mixture"),
    ("mixtral", "hf", "families/mixtral"),
    ("mixtral", "gguf", "families/mixtral.gguf"),
    ("mllama", "meta", "mllama-meta"),
    ("mllama", "hf", "families/mllama"),
    ("phi3", "hf", "families/phi3"),
    ("phi3", "gguf", "families/phi3.gguf"),
    ("qwen2", "hf", "families/qwen2"),
    ("qwen2", "gguf", "families/qwen2.gguf"),
    ("qwen2_moe", "hf", "families/qwen2_moe"),
    ("qwen2_moe", "gguf", "families/qwen2_moe.gguf"),
    ("qwen3", "hf", "families/qwen3"),
    ("qwen3", "gguf", "families/qwen3.gguf"),
    ("qwen3_moe", "hf", "families/qwen3_moe"),
    ("qwen3_moe", "gguf", "families/qwen3_moe.gguf"),
];

/// Makes of the fixtures what is not committed: a smaller copy would only say the same twice.
const MADE: &str = "set -e
mkdir -p tree cache/models--o--t/refs cache/models--o--t/snapshots torchtune
cp -r hf-tiny tree/one && cp -r families/qwen2 tree/two
printf c0ffee >cache/models--o--t/refs/main && cp -r hf-tiny cache/models--o--t/snapshots/c0ffee
cp hf-tiny/* training/recipe_state.pt torchtune
for family in llama4 mllama; do ckpt-convert -q families/$family --to meta --out $family-meta; done";

/// The words of `ckpt-convert --to`, in its order, and what each is made of here.
const KINDS: &[Fixture] = &[
    ("hf", MODEL),
    ("meta", MODEL),
    ("mistral", "tiny-mistral/dense"),
    ("hub", MODEL),
    ("safetensors", MODEL),
    ("torch", MODEL),
    ("gguf", MODEL),
    ("peft", ADAPTER),
    ("torchtune", ADAPTER),
];
/// A tree of models is converted whole by some of them.
const TREES: &[Fixture] = &[("safetensors", "tree"), ("torch", "tree")];
const MODEL: &str = "tiny-llama3/mp1";
const ADAPTER: &str = "adapters/lora --base hf-tiny";
/// Of these, the ones that give tensors other names and make the small files of a family.
const FAMILY_KINDS: &[&str] = &["hf", "meta", "mistral", "hub", "gguf"];
/// What a family lacks in each naming to be found out by verify.
const DROPPED: &[(&str, &str)] = &[("hf", "*.1.post_attention_layernorm.weight"), ("torchtune", "*.1.mlp_norm.scale")];

/// What inspect, verify, hash and convert do with a row, the latter as source and as target.
type Cells = [String; 5];

struct Table {
    room: Room,
    next: std::cell::Cell<u32>,
}

fn said(yes: bool) -> String {
    if yes { "✓" } else { "–" }.to_owned()
}

fn list(words: impl IntoIterator<Item = String>) -> String {
    let words: Vec<String> = words.into_iter().map(|word| format!("`{word}`")).collect();
    if words.is_empty() { said(false) } else { words.join(" ") }
}

/// Whether any of the findings, or the error, names this format as one that is not read.
fn names<'a>(findings: impl IntoIterator<Item = &'a Value>, word: &str) -> bool {
    let words = |message: &str| message.split_whitespace().any(|part| part == word);
    findings.into_iter().any(|finding| {
        let (id, message) = (finding["id"].as_str(), finding["message"].as_str().unwrap_or_default());
        id == Some("unsupported") && words(message)
    })
}

impl Table {
    fn new() -> Table {
        let fixtures = "adapters families gguf hf-tiny distcp neighbours quantised safetensors tiny-llama3 tiny-mistral tiny-tune torch training zero";
        let room = Room::new(fixtures);
        let made = room.run(MADE);
        assert_eq!(made.code, 0, "{}", made.stderr);
        Table { room, next: std::cell::Cell::new(0) }
    }

    /// The document that a tool answers with; its status says how it went.
    fn ask(&self, command: &str) -> Value {
        let answer = self.room.run(&format!("ckpt-{command}"));
        serde_json::from_str(&answer.stdout).unwrap_or_else(|_| panic!("{command}: {}", answer.stderr))
    }

    fn convert(&self, path: &str, kind: &str, more: &str) -> Value {
        self.next.set(self.next.get().saturating_add(1));
        self.ask(&format!("convert -q {path} --to {kind} {more} --out made/{}", self.next.get()))
    }

    /// What each tool does with a path that `is` says to be what the word means.
    fn row(&self, word: &str, path: &str, expect: &str, is: impl Fn(&Value) -> bool) -> Cells {
        let named = |findings: &[&Value]| names(findings.iter().copied(), word).then(|| "named".to_owned());
        let seen = self.ask(&format!("inspect -q {path}"));
        let inspect = named(&[&seen["error"]]).unwrap_or_else(|| said(seen["status"] == "ok" && is(&seen)));
        let checked = self.ask(&format!("verify -q {expect} {path}"));
        let findings: Vec<&Value> = checked["verify"]["findings"].as_array().into_iter().flatten().collect();
        let verify = named(&findings).unwrap_or_else(|| said(checked["status"] == "ok"));
        let hashed = self.ask(&format!("hash -q --brief {path}"));
        let children = || hashed["children"].as_array().into_iter().flatten();
        let rooted = |document: &Value| document["hash"]["root"].is_string();
        let hash = rooted(&hashed) || (children().count() > 0 && children().all(rooted));
        let made = self.convert(path, "safetensors", "");
        let one = made["error"]["message"].as_str().is_some_and(|message| message.contains("one at a time"));
        let from = if one { "each".to_owned() } else { said(made["status"] == "ok") };
        [inspect, verify, said(hash), from, said(false)]
    }

    /// What each kind writes, into a folder and where it can into one file: the kind, and what inspect says of it.
    fn written(&self) -> Vec<(&'static str, Value)> {
        let usage = self.room.run("ckpt-convert nothing --to nothing --out nothing").stderr;
        let words: Vec<&str> = KINDS.iter().map(|kind| kind.0).collect();
        assert!(usage.contains(&format!("[possible values: {}]", words.join(", "))), "{usage}");
        let ask = |&(kind, source): &Fixture| {
            let file = format!("made/whole.{}", if kind == "torch" { "pth" } else { kind });
            let whole = self.ask(&format!("convert -q {source} --to {kind} --out {file}"));
            let made =
                [self.convert(source, kind, ""), whole].into_iter().filter(|document| document["status"] == "ok");
            let paths: Vec<String> = made.map(|made| made["path"].as_str().expect("a path").to_owned()).collect();
            assert!(!paths.is_empty(), "nothing is made by {kind}");
            paths.into_iter().map(move |path| (kind, self.ask(&format!("inspect -q {path}"))["inspect"].take()))
        };
        KINDS.iter().chain(TREES).flat_map(ask).collect()
    }
}

/// The row with the kinds that make what it speaks of: one of the formats, or the layout.
fn with_kinds(written: &[(&str, Value)], word: &str, key: &str, cells: Cells) -> Cells {
    let [inspect, verify, hash, from, _] = cells;
    let is = |value: &Value| value == word || value.as_array().is_some_and(|list| list.iter().any(|item| item == word));
    let made = |kind: &&Fixture| written.iter().any(|row| row.0 == kind.0 && is(&row.1[key]));
    let kinds = KINDS.iter().filter(made).map(|kind| kind.0.to_owned());
    [inspect, verify, hash, from, list(kinds)]
}

fn has_parts(document: &Value) -> bool {
    document["inspect"]["parameters"].as_u64().is_some_and(|count| count > 0)
}

/// The path that stands for a word.
fn fixture(table: &[Fixture], word: &str) -> &'static str {
    table.iter().find(|row| row.0 == word).unwrap_or_else(|| panic!("{word} has no fixture in this test")).1
}

/// Holds a table of the README against what was done: the same words, and in every row what each of them can do.
fn hold(name: &str, known: &BTreeSet<String>, cells: impl Fn(&str) -> Cells) {
    let path = ckpt_tests::tree().join("README.md");
    let text = std::fs::read_to_string(&path).expect("a README");
    let mark = format!("<!-- table: {name} -->\n\n");
    let (before, rest) = text.split_once(&mark).expect("the table's mark");
    let (rows, after) = rest.split_once("\n\n").expect("an end of the table");
    let mut listed = BTreeSet::new();
    let made: Vec<String> = rows
        .lines()
        .enumerate()
        .map(|(number, row)| {
            let columns: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
            let [words, about, ..] = columns.as_slice() else { panic!("{row}: a row has seven columns") };
            if number < 2 {
                return row.to_owned();
            }
            let words: Vec<&str> = words.split_whitespace().map(|word| word.trim_matches('`')).collect();
            listed.extend(words.iter().map(|word| (*word).to_owned()));
            let can: BTreeMap<&str, Cells> = words.iter().map(|word| (*word, cells(word))).collect();
            let first = can.values().next().expect("a row has a word");
            assert!(
                can.values().all(|cells| cells == first),
                "{row}: these differ and need rows of their own: {can:?}"
            );
            format!("| {} | {about} | {} |", list(words.iter().map(|word| (*word).to_owned())), first.join(" | "))
        })
        .collect();
    assert_eq!(&listed, known, "the README's words in the table of {name}, and those of the code");
    if std::env::var_os("BLESS").is_some() {
        let whole = format!("{before}{mark}{}\n\n{after}", made.join("\n"));
        std::fs::write(&path, whole).expect("the README is written");
    } else {
        let rows: Vec<&str> = rows.lines().collect();
        assert_eq!(rows, made, "the table of {name} in the README: run with BLESS=1 and read the difference");
    }
}

fn set<'a>(words: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    words.into_iter().map(str::to_owned).collect()
}

#[test]
fn tables_say_what_the_tools_do() {
    let table = Table::new();
    let written = table.written();
    hold("formats", &set(Format::names()), |word| {
        let has =
            |seen: &Value| seen["inspect"]["formats"].as_array().is_some_and(|list| list.iter().any(|it| it == word));
        let cells = table.row(word, fixture(FORMATS, word), "", |seen| has_parts(seen) && has(seen));
        with_kinds(&written, word, "formats", cells)
    });
    hold("layouts", &set(Layout::names().chain(Kind::NAMES)), |word| {
        let inside = |seen: &Value| seen["children"].as_array().is_some_and(|list| list.iter().all(has_parts));
        let is = |seen: &Value| (has_parts(seen) || inside(seen)) && seen["inspect"]["layout"] == word;
        with_kinds(&written, word, "layout", table.row(word, fixture(LAYOUTS, word), "", is))
    });
    hold("trainers", &set(FORMS.iter().map(|form| form.name)), |word| {
        let is = |seen: &Value| has_parts(seen) && seen["inspect"]["training"]["form"] == word;
        table.row(word, fixture(TRAINERS, word), "--expect resume", is)
    });
    hold("quantised", &set(METHODS.iter().copied()), |word| quantised(&table, word));
    hold("families", &set(ARCHS.iter().map(|arch| arch.name)), |word| family(&table, word));
}

/// A weight of 16 x 64 and four others; MXFP4 is of experts, and there are two.
fn quantised(table: &Table, word: &str) -> Cells {
    let path = format!("quantised/{word}");
    let weights = if word == "mxfp4" { 2 * 16 * 64 + 4 } else { 16 * 64 + 4 };
    let [inspect, verify, hash, _, to] = table.row(word, &path, "", |seen| seen["inspect"]["parameters"] == weights);
    let made = table.convert(&path, "safetensors", "--dequantize=BF16");
    let written = || table.ask(&format!("inspect -q {}", made["path"].as_str().expect("a path")));
    let undone = made["status"] == "ok" && written()["inspect"]["dtypes"]["BF16"]["parameters"] == weights;
    [inspect, verify, hash, said(undone), to]
}

fn family(table: &Table, word: &str) -> Cells {
    let rows: Vec<_> = FAMILIES.iter().filter(|row| row.0 == word).collect();
    assert!(!rows.is_empty(), "{word} has no fixture in this test");
    let inspect =
        rows.iter().all(|row| table.ask(&format!("inspect -q {}", row.2))["inspect"]["family"]["name"] == word);
    let verify = rows.iter().all(|row| {
        let whole = table.ask(&format!("verify -q {}", row.2));
        let Some((_, dropped)) = DROPPED.iter().find(|drop| drop.0 == row.1) else { return whole["status"] == "ok" };
        let less = table.convert(row.2, "safetensors", &format!("--exclude '{dropped}'"));
        let found = table.ask(&format!("verify -q {}", less["path"].as_str().expect("a path")));
        let found = found["verify"]["findings"].as_array().into_iter().flatten().any(|it| it["id"] == "tensor-missing");
        whole["status"] == "ok" && found
    });
    let canonical =
        |path: &str| table.ask(&format!("hash -q --canonical --brief {path}"))["hash"]["names"] == "canonical";
    let from: Vec<_> = rows.iter().filter(|row| canonical(row.2)).collect();
    let makes = |kind: &&&str| rows.iter().any(|row| table.convert(row.2, kind, "")["status"] == "ok");
    let to = FAMILY_KINDS.iter().filter(makes).map(|kind| (*kind).to_owned());
    [
        said(inspect),
        said(verify),
        said(from.len() == rows.len()),
        list(from.iter().map(|row| row.1.to_owned())),
        list(to),
    ]
}
