//! The plan of a conversion, and the executor that runs it in bounded blocks into a sink.
//!
//! [`crate::facts::check`] has proved that a recipe is well made; [`blocks`] cuts a value into bounded pieces; [`read`] makes the
//! bytes of one piece; the sinks [`mod@write`], [`digest`] and [`compare`] are what can be done with them.

pub mod blocks;
mod cast;
pub mod compare;
pub mod container;
pub mod describe;
pub mod digest;
mod gather;
pub mod read;
mod unpack;
pub mod write;

#[cfg(test)]
mod tests;
