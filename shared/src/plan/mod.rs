//! The plan of a conversion, and the executor that runs it in bounded blocks into a sink.
