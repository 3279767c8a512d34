//! The `ringfort` binary.
fn main() {}
