//! safetensors-metadata: the `format` that older transformers ask for.

use ckpt::facts::{Finding, Id};
use ckpt::formats::Format;
use ckpt::layouts::Layout;

use super::explain;
use crate::case::{Case, model_type};

explain! {
    /// In a checkpoint that transformers would load, looks for safetensors files without `format` (`pt`, `tf`, `flax` or
    /// `mlx`) in their `__metadata__`.
    ///
    /// transformers before 4.57 refuse the file, without the metadata with "'NoneType' object has no attribute 'get'".
    ///
    /// `ckpt-convert --to safetensors` writes it; so does `save_file(tensors, path, metadata={"format": "pt"})`.
    SafetensorsMetadata;
}

pub(super) fn check(case: &Case<'_>, findings: &mut Vec<Finding>) {
    if case.checkpoint.layout != Layout::Hf || model_type(case.checkpoint).is_none() {
        return;
    }
    for shard in &case.checkpoint.shards {
        let found = shard.metadata.get("format").map(String::as_str);
        if shard.format == Format::Safetensors
            && !found.is_some_and(|found| ["pt", "tf", "flax", "mlx"].contains(&found))
        {
            let message = "the metadata says no `format`; transformers before 4.57 refuse such a file";
            let finding = Finding::new(Id::SafetensorsMetadata, message).in_file(shard.name.clone());
            findings.push(finding.needed("format: pt", found.unwrap_or("none")));
        }
    }
}
