//! One checkpoint against another, in whatever layouts they are.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that indexes wrongly fails, which is what it is for"
)]

mod support;

use support::{Copy, Said, Stored, copy, edit_tensor, edit_tensors, fixtures, verify};

fn against(path: &str, other: &str) -> Said {
    verify(&fixtures(), &[path, "--against", other])
}

#[test]
fn the_same_model_is_the_same_in_every_layout() {
    for (path, other) in [
        ("tiny-llama3/mp1", "tiny-llama3/mp2"),
        ("tiny-llama3/mp1", "hf-tiny"),
        ("hf-tiny", "tiny-llama3/mp2"),
        ("tiny-llama2/mp2", "tiny-llama2/mp1"),
        ("safetensors/sharded", "safetensors/sharded"),
        ("torch/views.pt", "torch/views.pt"),
    ] {
        let said = against(path, other);
        assert_eq!((said.code, said.document["verify"]["against"].as_str()), (0, Some(other)), "{path}");
        assert!(said.findings().iter().all(|finding| finding["severity"] != "error"), "{path} {other}");
    }
}

#[test]
fn each_difference_is_named() {
    let copy = Copy::of("hf-tiny");
    let second = copy.path.join("model-00002-of-00002.safetensors");
    let (up, down, norm) = (
        "model.layers.1.mlp.up_proj.weight",
        "model.layers.1.mlp.down_proj.weight",
        "model.layers.1.input_layernorm.weight",
    );
    edit_tensor(&second, up, |tensor| tensor.bytes[2 * (3 * 64 + 5)] ^= 1);
    edit_tensor(&second, norm, |tensor| tensor.dtype = "F16".into());
    edit_tensors(&second, |_, tensors| {
        tensors.retain(|tensor| tensor.name != down);
        tensors.push(Stored { name: "model.new".into(), dtype: "BF16".into(), shape: vec![1], bytes: vec![0; 2] });
    });
    std::fs::remove_file(copy.path.join("model.safetensors.index.json")).unwrap();
    let other = fixtures().join("tiny-llama3/mp2");
    let said = verify(copy.root.path(), &["model", "--against", other.to_str().unwrap(), "--jobs", "3"]);
    let mut found: Vec<(&str, &str, &str)> = said
        .findings()
        .iter()
        .filter(|finding| finding["id"].as_str().unwrap().starts_with("against"))
        .map(|finding| {
            let text = |key: &str| finding[key].as_str().unwrap_or("-");
            (text("id"), text("tensor"), text("found"))
        })
        .collect();
    found.sort_unstable();
    assert_eq!(
        found,
        [
            ("against-added", "model.new", "-"),
            ("against-geometry", norm, "F16 [64]"),
            ("against-missing", down, "-"),
            ("against-values", up, "the first difference at element 197, [3, 5]"),
        ]
    );
    assert_eq!(said.code, 1);
}

#[test]
fn ranks_that_contradict_each_other_are_no_one_model() {
    let copy = Copy::of("tiny-llama3/mp2");
    let file = copy.path.join("consolidated.01.pth");
    let mut bytes = std::fs::read(&file).unwrap();
    // The last record of data is a norm of the last layer or the last of the model: every rank holds it whole.
    let intact = against("tiny-llama3/mp2", "hf-tiny");
    assert_eq!(intact.code, 0);
    let norm = norm_offset(&copy.path, &bytes);
    bytes[norm] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let other = fixtures().join("hf-tiny");
    let said = verify(copy.root.path(), &["model", "--against", other.to_str().unwrap()]);
    assert_eq!(said.complaints(), ["error replica-differs - norm.weight"]);
    assert_eq!(said.code, 1);
    // As the other one, it is why there is no answer.
    let said = verify(copy.root.path(), &[other.to_str().unwrap(), "--against", "model"]);
    assert_eq!((said.code, said.document["error"]["id"].as_str()), (2, Some("replica-differs")));
}

/// Where the values of `norm.weight` begin in a rank: found by the bytes that the library reads for them.
fn norm_offset(model: &std::path::Path, file: &[u8]) -> usize {
    let checkpoint = ckpt::layouts::open(model, None, 1).unwrap();
    let tensor = checkpoint.tensor("norm.weight").unwrap();
    let reader = ckpt::plan::read::Reader::new(&checkpoint.pool);
    let mut values = Vec::new();
    reader
        .stream(&tensor.recipe, 1 << 20, &ckpt::facts::Progress::default(), |_, bytes| {
            values.extend_from_slice(bytes);
            Ok(())
        })
        .unwrap();
    file.windows(values.len()).position(|window| window == values).unwrap()
}

#[test]
fn a_damaged_other_is_compared_as_far_as_it_goes() {
    let copy = Copy::of("tiny-llama3/mp2");
    std::fs::write(copy.path.join("tokenizer.model"), b"?").unwrap();
    std::fs::write(copy.path.join("x.json"), b"{").unwrap();
    let path = fixtures().join("hf-tiny");
    let said = verify(copy.root.path(), &[path.to_str().unwrap(), "--against", "model"]);
    // What is wrong with the other one is not this one's fault.
    assert_eq!((said.code, said.complaints()), (0, vec![]));
    std::fs::remove_file(copy.path.join("consolidated.00.pth")).unwrap();
    std::fs::remove_file(copy.path.join("consolidated.01.pth")).unwrap();
    let said = verify(copy.root.path(), &[path.to_str().unwrap(), "--against", "model"]);
    assert_eq!((said.code, said.document["status"].as_str()), (2, Some("error")));
}

/// A copy of `hf-tiny` in another dtype: every element rounded or widened.
fn cast(to: &str) -> Copy {
    let copy = Copy::of("hf-tiny");
    for file in ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"] {
        edit_tensors(&copy.path.join(file), |_, tensors| {
            for tensor in tensors {
                let values = tensor
                    .bytes
                    .as_chunks()
                    .0
                    .iter()
                    .map(|bytes| f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16));
                tensor.bytes = match to {
                    "F32" => values.flat_map(f32::to_le_bytes).collect(),
                    _ => values.flat_map(|value| f64::from(value * 1.001).to_le_bytes()).collect(),
                };
                tensor.dtype = to.into();
            }
        });
    }
    copy
}

#[test]
fn values_may_be_near_enough_in_another_dtype() {
    let other = fixtures().join("tiny-llama3/mp2");
    let other = other.to_str().unwrap();
    let run = |copy: &Copy, tolerance: &str| {
        verify(copy.root.path(), &["model", "--against", other, "--tolerance", tolerance])
    };
    let told = |said: &Said| said.document["verify"]["compared"].as_array().unwrap().clone();
    let ids = |said: &Said| -> Vec<String> {
        let against = said.complaints().into_iter().filter(|said| said.contains(" against-"));
        against.map(|said| said.split(' ').nth(1).unwrap().to_owned()).collect()
    };
    let wide = cast("F32");
    let said = run(&wide, "0");
    assert_eq!((ids(&said), told(&said).len()), (vec![], 0), "the same numbers, and nothing to tell");
    assert!(!ids(&verify(wide.root.path(), &["model", "--against", other])).is_empty());

    let scaled = cast("F64");
    let said = run(&scaled, "0.01");
    assert_eq!((ids(&said), said.code), (vec![], 0));
    let rows = told(&said);
    assert_eq!(rows.len(), 20, "every tensor of the model differs a little");
    for row in &rows {
        let figure = |key: &str| row[key].as_f64().unwrap();
        assert!((figure("max_rel") - 0.001).abs() < 1e-5 && figure("max_abs") > 0.0, "{row}");
        assert!(figure("cosine") > 0.999_999 && row["first"].is_null(), "{row}");
    }
    // Embeddings are below 1, so that what is allowed is absolute; norms are about 1.
    let said = run(&scaled, "0.0005");
    assert_eq!(said.code, 1);
    let beyond: Vec<&str> =
        said.findings().iter().filter(|f| f["id"] == "against-values").filter_map(|f| f["tensor"].as_str()).collect();
    assert!(beyond.contains(&"model.norm.weight") && beyond.len() < 20, "{beyond:?}");
    let first = told(&said).iter().filter(|row| !row["first"].is_null()).count();
    assert_eq!(first, beyond.len());

    let path = scaled.path.join("model-00002-of-00002.safetensors");
    edit_tensor(&path, "model.norm.weight", |tensor| tensor.bytes[80..88].copy_from_slice(&f64::NAN.to_le_bytes()));
    let said = run(&scaled, "1e9");
    assert_eq!((ids(&said), said.code), (vec!["against-values".to_owned()], 1));
    let row = told(&said).into_iter().find(|row| row["name"] == "model.norm.weight").unwrap();
    assert_eq!((row["first"].as_u64(), row["max_abs"].is_null()), (Some(10), true));
}

#[test]
fn a_tolerance_is_a_number_and_for_a_comparison() {
    for arguments in
        [["hf-tiny", "--tolerance", "1"].as_slice(), &["hf-tiny", "--against", "hf-tiny", "--tolerance", "-1"]]
    {
        assert_eq!(verify(&fixtures(), arguments).code, 2);
    }
}

/// What `--deep --stats` notes of the step before: `grade id tensor`.
fn since(said: &Said) -> Vec<String> {
    let of = said.findings().iter().filter(|finding| finding["id"].as_str().unwrap().starts_with("step-"));
    of.map(|finding| {
        let text = |key: &str| finding[key].as_str().unwrap_or("-");
        format!("{} {} {}", text("severity"), text("id"), text("tensor"))
    })
    .collect()
}

#[test]
fn figures_tell_what_changed_since_the_step_before() {
    let first = Copy::of("hf-tiny");
    let root = first.root.path();
    std::fs::rename(&first.path, root.join("checkpoint-9")).unwrap();
    for name in ["checkpoint-10", "checkpoint-11"] {
        copy(&root.join("checkpoint-9"), &root.join(name));
    }
    let second = "model-00002-of-00002.safetensors";
    let (up, norm) = ("model.layers.1.mlp.up_proj.weight", "model.layers.1.input_layernorm.weight");
    // Four times the numbers: two more in the exponent.
    edit_tensor(&root.join("checkpoint-11").join(second), up, |tensor| {
        tensor.bytes.as_chunks_mut::<2>().0.iter_mut().filter(|pair| pair[1] & 0x7f > 0).for_each(|pair| pair[1] += 1);
    });
    edit_tensor(&root.join("checkpoint-11").join(second), norm, |tensor| tensor.bytes[0] ^= 1);
    let stats = |path: &str| verify(root, &[path, "--deep", "--stats"]);
    assert_eq!(since(&stats("checkpoint-9")), [""; 0]);
    assert_eq!(since(&stats("checkpoint-10")), ["warning step-unchanged -"]);
    let said = stats("checkpoint-11");
    assert_eq!(since(&said), ["note step-unchanged -", &format!("note step-jump {up}")]);
    let unchanged = said.findings().iter().find(|finding| finding["id"] == "step-unchanged").unwrap();
    let message = unchanged["message"].as_str().unwrap();
    assert!(message.contains("18 of 20 tensors") && message.contains("checkpoint-10"), "{message}");
    assert_eq!(since(&verify(root, &["checkpoint-11", "--deep"])), [""; 0]);
    // From within, and beside a checkpoint that is named.
    assert_eq!(since(&verify(&root.join("checkpoint-10"), &[".", "--deep", "--stats"])), ["warning step-unchanged -"]);
    let said = verify(root, &["checkpoint-10", "--deep", "--stats", "--against", "checkpoint-11"]);
    assert_eq!((said.code, since(&said)), (1, vec!["note step-unchanged -".into(), format!("note step-jump {up}")]));
}
