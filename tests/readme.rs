//! The commands of the README are run as they stand: every fenced block marked `sh run`, in their order, in one folder.
#![expect(clippy::expect_used, reason = "a test says what went wrong by failing")]

use ckpt_tests::room::Room;

/// What the README speaks of, and the fixture that stands for it.
const STAND_INS: &[(&str, &str)] = &[
    ("Llama3.2-1B", "tiny-llama3/mp1"),
    ("output", "tiny-llama3/mp2"),
    ("runs/1000", "tiny-llama2/mp1"),
    ("runs/2000", "hf-tiny"),
];

/// The blocks that are marked to be run.
fn blocks(text: &str) -> Vec<String> {
    text.split("```sh run\n").skip(1).map(|rest| rest.split("```").next().expect("a block").to_owned()).collect()
}

/// A room in which the models lie that the pages speak of.
fn room() -> Room {
    let room = Room::new("hf-tiny tiny-llama2 tiny-llama3");
    for (name, fixture) in STAND_INS {
        let made = room.run(&format!("mkdir -p \"$(dirname {name})\" && cp -r {fixture} {name}"));
        assert_eq!(made.code, 0, "{}", made.stderr);
    }
    room
}

/// Runs the marked blocks of a page. Returns what they printed.
fn run(room: &Room, blocks: &[String]) -> String {
    let answers: Vec<_> = blocks
        .iter()
        .map(|block| {
            let answer = room.run(&format!("set -e\n{block}"));
            assert_eq!(answer.code, 0, "{block}\n{}{}", answer.stdout, answer.stderr);
            answer
        })
        .collect();
    room.check_documents(&answers).expect("documents of the schema");
    answers.iter().map(|answer| answer.stdout.as_str()).collect()
}

#[test]
fn commands_of_convert_run_as_they_stand() {
    let text = std::fs::read_to_string(ckpt_tests::tree().join("tools/ckpt-convert/README.md")).expect("a README");
    let blocks = blocks(&text);
    assert!(blocks.len() >= 4, "only {} blocks are marked", blocks.len());
    let said = run(&room(), &blocks);
    assert!(said.contains("rope_scaling.factor 32") && said.contains(r#"["checked-hf","ok","Llama3.2-1B""#), "{said}");
}

#[test]
fn commands_run_as_they_stand() {
    let text = std::fs::read_to_string(ckpt_tests::tree().join("README.md")).expect("a README");
    let blocks = blocks(&text);
    assert!(blocks.len() >= 4, "only {} blocks are marked", blocks.len());
    let room = room();
    // One of the runs is damaged, so that there is something to find.
    assert_eq!(room.run("cp -r hf-tiny runs/broken && rm runs/broken/*-of-*.safetensors").code, 0);
    let said = run(&room, &blocks);
    assert!(said.contains("no: it would have failed at the save"));
    assert!(said.contains("shard-missing"));
}
