//! What the targets compare Ringfort with: the rules again, written from their sources for plainness and without a
//! glance at speed. Nothing here is shared with the code under test.

pub mod aws_chunked;
pub mod form;
pub mod http;
pub mod policy;
pub mod post_policy;
