//! Pickles of whole checkpoints: which files are looked into, what is said of them, how long it takes.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::as_conversions,
    reason = "a test that overflows or indexes wrongly fails, which is what it is for"
)]

mod support;

use serde_json::Value;
use support::{Copy, Said, fixtures, set, verify, verify_within};

/// Bytes that would call `os.system` if anything ran them.
const HARM: &[u8] = b"\x80\x02cos\nsystem\nX\x01\0\0\0x\x85R.";

/// What is said of pickles; a lone file of a trainer is also told to be a part of a save.
fn of_pickles(said: &Said) -> Vec<String> {
    said.complaints().into_iter().filter(|said| said.contains(" pickle-")).collect()
}

#[test]
fn no_file_of_a_checkpoint_is_passed_over() {
    for name in [
        "optimizer.pt",
        "training_args.bin",
        "rng_state_0.pth",
        "extra.pkl",
        ".metadata",
        "notes.txt",
        "a/b/x",
        "x.npy",
    ] {
        let copy = Copy::of("hf-tiny");
        let file = copy.path.join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, HARM).unwrap();
        let said = verify(copy.root.path(), &["model"]);
        assert_eq!((said.code, of_pickles(&said)), (1, vec![format!("error pickle-dangerous {name} -")]), "{name}");
        assert_eq!(said.findings().iter().find(|one| one["id"] == "pickle-dangerous").unwrap()["offset"], 2);
    }
}

#[test]
fn a_pickle_cut_short_is_damage() {
    let copy = Copy::of("hf-tiny");
    std::fs::write(copy.path.join("scheduler.pt"), b"\x80\x02X\xff\0\0\0last_epoch").unwrap();
    let said = verify(copy.root.path(), &["model"]);
    assert_eq!(of_pickles(&said), ["error pickle-incomplete scheduler.pt -"]);
}

#[test]
fn a_harmful_pickle_is_an_answer_whatever_it_is_not() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("only")).unwrap();
    for (name, path) in [("only/x.bin", "only"), ("only/x.pkl", "only"), ("x.pkl", "x.pkl"), ("x.pt", "x.pt")] {
        std::fs::write(root.path().join(name), HARM).unwrap();
        let said = verify(root.path(), &[path]);
        assert_eq!((said.code, &said.document["status"]), (1, &Value::from("findings")), "{path}");
        assert!(said.complaints().iter().any(|said| said.starts_with("error pickle-dangerous")), "{path}");
    }
}

#[test]
fn nothing_is_said_against_pickles_that_torch_writes() {
    let harm = ["pickle-dangerous", "pickle-smuggled", "pickle-bomb", "pickle-incomplete", "pickle-trailing"];
    let mut files = 0;
    for folder in ["torch", "tiny-llama2", "tiny-llama3", "hf-tiny"] {
        let said = verify(&fixtures(), &[folder]);
        files += usize::from(!said.document.is_null());
        let alarms: Vec<&Value> =
            said.findings().iter().filter(|said| harm.iter().any(|harm| said["id"] == *harm)).collect();
        assert_eq!(alarms, [&Value::Null; 0], "{folder}");
    }
    assert_eq!(files, 4);
}

#[test]
fn code_and_pickled_weights_are_notes() {
    let copy = Copy::of("hf-tiny");
    set(&copy.path.join("config.json"), &[("auto_map", serde_json::json!({"AutoModel": "modeling_x.X"}))]);
    std::fs::write(copy.path.join("modeling_x.py"), "class X: pass\n").unwrap();
    let said = verify(copy.root.path(), &["model"]);
    let notes: Vec<&Value> = said.findings().iter().map(|finding| &finding["file"]).collect();
    assert_eq!((said.code, notes), (0, vec![&Value::from("config.json"), &Value::from("modeling_x.py")]));

    let root = tempfile::tempdir().unwrap();
    std::fs::copy(fixtures().join("tiny-llama3/mp1/consolidated.00.pth"), root.path().join("pytorch_model.bin"))
        .unwrap();
    let said = verify(root.path(), &["."]);
    assert!(said.findings().iter().any(|finding| finding["id"] == "pickled-weights"));
}

/// A `.pth` of as many storages, of four bytes each.
fn many(count: u32) -> Vec<u8> {
    let mut pickle = b"\x80\x02}(".to_vec();
    let text = |text: &str| [b"X".as_slice(), &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
    for number in 0..count {
        pickle.extend(text(&format!("layers.{number}.weight")));
        pickle.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        pickle.extend(text("storage"));
        pickle.extend(b"ctorch\nFloatStorage\n");
        pickle.extend(text(&number.to_string()));
        pickle.extend(text("cpu"));
        pickle.extend(b"K\x01tQK\x00K\x01\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtR");
    }
    pickle.extend(b"u.");
    let mut members = vec![("m/data.pkl".to_owned(), pickle), ("m/version".to_owned(), b"3\n".to_vec())];
    members.extend((0..count).map(|number| (format!("m/data/{number}"), vec![0; 4])));
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes) in &members {
        let at = (file.len() as u32).to_le_bytes();
        let size = (bytes.len() as u32).to_le_bytes();
        let length = (name.len() as u16).to_le_bytes();
        // No CRC-32 is recorded.
        let fields = [b"\x14\0\0\0\0\0\0\0\0\0\0\0\0\0".as_slice(), &size, &size, &length, b"\0\0"].concat();
        file.extend([b"PK\x03\x04", fields.as_slice(), name.as_bytes(), bytes].concat());
        directory.extend([b"PK\x01\x02\x14\0", fields.as_slice(), &[0; 10], &at, name.as_bytes()].concat());
    }
    let start = file.len() as u64;
    let (length, count) = (directory.len() as u64, (members.len() as u64).to_le_bytes());
    file.extend(directory);
    let wide = file.len() as u64;
    file.extend([b"PK\x06\x06".as_slice(), &44u64.to_le_bytes(), &[45, 0, 45, 0], &[0; 8], &count, &count].concat());
    file.extend([length.to_le_bytes(), start.to_le_bytes()].concat());
    file.extend([b"PK\x06\x07\0\0\0\0".as_slice(), &wide.to_le_bytes(), &1u32.to_le_bytes()].concat());
    file.extend([b"PK\x05\x06\0\0\0\0".as_slice(), &[0xff; 12], &[0, 0]].concat());
    file
}

#[test]
fn seventy_thousand_members_and_bombs_take_no_time() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("big.pth"), many(70_000)).unwrap();
    let mut laughs = b"\x80\x02X\x03\0\0\0lol".to_vec();
    laughs.extend(b"q\x010](h\x01h\x01h\x01h\x01h\x01h\x01h\x01h\x01h\x01h\x01e".repeat(1000));
    laughs.push(b'.');
    std::fs::write(root.path().join("bomb.pkl"), laughs).unwrap();
    for (path, complaints) in [("big.pth", &[][..]), ("bomb.pkl", &["pickle-bomb"])] {
        // A second when optimised; tests are not.
        let said = verify_within(20, root.path(), &[path]);
        // A bare pickle is no weight file either.
        let errors = said.findings().iter().filter(|one| one["severity"] == "error" && one["id"] != "unsupported");
        let ids: Vec<&str> = errors.map(|error| error["id"].as_str().unwrap()).collect();
        assert_eq!(ids, complaints, "{path}");
    }
}
