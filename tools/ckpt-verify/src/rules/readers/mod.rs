//! Rules that readers and layouts decide while they read. Here they are explained.

pub(super) mod gguf;
pub(super) mod neighbours;
pub(super) mod path;
pub(super) mod safetensors;
pub(super) mod shards;
pub(super) mod torch;
