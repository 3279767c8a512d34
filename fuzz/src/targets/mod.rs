//! The targets, one file for each kind of input.

pub mod aws_chunked;
pub mod disk;
pub mod forms;
pub mod http_stream;
pub mod leaves;
pub mod policy;
pub mod range;
pub mod routes;
pub mod signatures;
pub mod store;
pub mod stored;
pub mod xml;
