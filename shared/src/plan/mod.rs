//! The plan of a conversion, and the executor that runs it in bounded blocks into a sink.
//!
//! [`crate::facts::check`] has proved that a recipe is well made; [`blocks`] cuts a value into bounded pieces; [`read`] makes the
//! bytes of one piece; the sinks [`mod@write`], [`digest`], [`scan`] and [`compare`] are what can be done with them.

pub mod blocks;
mod cast;
pub mod compare;
pub mod container;
mod decode;
mod dequant;
pub mod describe;
pub mod digest;
mod gather;
mod lowrank;
mod math;
pub mod read;
pub mod scan;
pub mod write;

pub use decode::numbers;

#[cfg(test)]
mod tests;
