//! Damage to what many ranks saved together: chunks of torch.distributed, ZeRO, the run they stand in. What the steps of
//! a run say themselves is said in their own documents, so ZeRO's step is checked as what it is.

use std::path::Path;

use super::{Case, cut, remove, rename, replace, write};

/// What the directory of `distcp/ranks` says of its first tensor, pickled: its sizes, and those of its first chunk.
const SIZES: &[u8; 18] = b"K\x07K\x06\x86\x94\x85\x94R\x94\x8c\x06chunks";
const CHUNK: &[u8; 15] = b"\x8c\x05sizes\x94h\"K\x02K\x06\x86";

/// Takes the step out of its run.
fn step(run: &Path) {
    for entry in std::fs::read_dir(run.join("global_step2")).unwrap() {
        let entry = entry.unwrap();
        std::fs::rename(entry.path(), run.join(entry.file_name())).unwrap();
    }
    std::fs::remove_dir(run.join("global_step2")).unwrap();
    remove(run, &["latest"]);
}

/// The file of a rank's part of the optimizer.
fn optimizer(rank: u32) -> String {
    format!("bf16_zero_pp_rank_{rank}_mp_rank_00_optim_states.pt")
}

pub(crate) const CASES: &[Case] = &[
    (
        "file of a rank's chunks lost",
        "distcp/ranks",
        |model| remove(model, &["__1_0.distcp"]),
        &["error shard-missing __1_0.distcp app.model.rows"],
    ),
    (
        "file of a rank's chunks cut short",
        "distcp/ranks",
        |model| cut(model, "__1_0.distcp", 40),
        &["error zip-truncated __1_0.distcp app.optim.state.rows.exp_avg"],
    ),
    (
        "chunks of another save beside these",
        "distcp/ranks",
        |model| {
            std::fs::copy(model.join("__3_0.distcp"), model.join("__4_0.distcp")).unwrap();
            write(model, "__5_0.distcp", b"");
        },
        &["warning shard-stray __4_0.distcp -"],
    ),
    (
        "chunks that cover only a part of their tensor",
        "distcp/ranks",
        |model| replace(model, ".metadata", SIZES, b"K\x08K\x06\x86\x94\x85\x94R\x94\x8c\x06chunks"),
        &["error shard-mismatch .metadata app.model.rows"],
    ),
    (
        "chunks that lead out of their tensor",
        "distcp/ranks",
        |model| replace(model, ".metadata", SIZES, b"K\x06K\x06\x86\x94\x85\x94R\x94\x8c\x06chunks"),
        &["error shard-mismatch .metadata app.model.rows"],
    ),
    (
        "a chunk that is larger than its bytes",
        "distcp/ranks",
        |model| replace(model, ".metadata", CHUNK, b"\x8c\x05sizes\x94h\"K\x03K\x06\x86"),
        &["error shard-mismatch __0_0.distcp app.model.rows"],
    ),
    (
        "directory of a rank's chunks lost",
        "distcp/each-rank",
        |model| remove(model, &["__2.metadata"]),
        &["error shard-missing __2.metadata -"],
    ),
    ("a step of ZeRO, whole", "zero/stage2", step, &[]),
    (
        "a rank of ZeRO lost",
        "zero/stage2",
        |run| {
            step(run);
            remove(run, &[&optimizer(1)]);
        },
        &["error shard-missing bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt -"],
    ),
    (
        "a rank of ZeRO left over from a larger world",
        "zero/stage2",
        |run| {
            step(run);
            std::fs::copy(run.join(optimizer(2)), run.join(optimizer(3))).unwrap();
        },
        &["error shard-mismatch bf16_zero_pp_rank_3_mp_rank_00_optim_states.pt -"],
    ),
    (
        "ranks of ZeRO under each other's numbers",
        "zero/stage2",
        |run| {
            step(run);
            rename(run, &optimizer(2), "x");
            rename(run, &optimizer(1), &optimizer(2));
            rename(run, "x", &optimizer(1));
        },
        &["error shard-mismatch bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt -"],
    ),
    ("a universal step of ZeRO, whole", "zero/universal/global_step2", |_| (), &[]),
    (
        "a parameter of a universal step lost",
        "zero/universal/global_step2",
        |step| std::fs::remove_dir_all(step.join("zero/scale")).unwrap(),
        &["error shard-missing zero/scale/fp32.pt scale"],
    ),
    (
        "the model's states of a universal step lost",
        "zero/universal/global_step2",
        |step| remove(step, &["mp_rank_00_model_states.pt"]),
        &["error shard-missing mp_rank_00_model_states.pt -"],
    ),
    (
        "a run whose newest step was removed",
        "zero/stage2",
        |run| write(run, "latest", b"global_step4"),
        &["error tracker-stale latest -"],
    ),
    (
        "a run that lost the name of its newest step",
        "zero/stage2",
        |run| write(run, "latest", b""),
        &["error tracker-stale latest -"],
    ),
    (
        "a tracker of Megatron's that is ahead of its steps",
        "neighbours/megatron",
        |run| write(run, "latest_checkpointed_iteration.txt", b"8"),
        &["error tracker-stale latest_checkpointed_iteration.txt -"],
    ),
];
