//! S3's XML documents: one bounded reader and one writer.
//!
//! What each document holds is the business of the operation that speaks it; here is only how
//! elements are read and written. Nothing else in the crate names `quick-xml`.

pub mod reader;
pub mod writer;

pub use reader::{Element, malformed};
pub use writer::Writer;
