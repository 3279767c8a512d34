//! What libFuzzer drives: one binary for all targets, of which `RINGFORT_FUZZ_TARGET` names one.

#![no_main]
// libFuzzer calls a function by its unmangled name; the macro makes it.
#![allow(unsafe_code)]

use ringfort_fuzz::{Target, target};
use std::sync::LazyLock;

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("RINGFORT_FUZZ_TARGET").unwrap_or_default();
    target(&name).unwrap_or_else(|| panic!("RINGFORT_FUZZ_TARGET names no target: {name:?}"))
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| TARGET(data));
