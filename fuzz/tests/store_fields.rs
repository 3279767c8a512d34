//! Every four bytes at the head of every block of a store, in turn, hold the least and the greatest numbers, under
//! checksums that fit: the store is started, read, written and checked as in the fuzz target `store`.
//!
//! `RINGFORT_FUZZ_STRIDE` says how many of these cases are passed over between two that run; 1 leaves none out.

#![allow(clippy::unwrap_used)]

use ringfort_fuzz::targets::store;
use std::panic::{AssertUnwindSafe, catch_unwind};

const STRIDE: usize = 997;
/// The fields of all headers lie within these; so do heads of records.
const HEAD_BYTES: usize = 256;
/// Written over eight bytes, so that fields of both widths are met.
const VALUES: [[u8; 8]; 4] =
    [[0; 8], [1, 0, 0, 0, 0, 0, 0, 0], [0xFF; 8], [0xFF, 0xFF, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0x7F]];

#[test]
fn a_store_whose_fields_hold_anything_is_started_or_refused() {
    let stride = std::env::var("RINGFORT_FUZZ_STRIDE");
    let stride = stride.map_or(STRIDE, |text| text.parse().expect("a number"));
    let fields = HEAD_BYTES / 4;
    let cases = store::block_count() * fields * VALUES.len();
    for case in (0..cases).step_by(stride) {
        let (block, field, value) = (
            case / VALUES.len() / fields,
            case / VALUES.len() % fields,
            VALUES[case % VALUES.len()],
        );
        let mut input = vec![1];
        input.extend_from_slice(&u16::try_from(block).unwrap().to_le_bytes());
        input.extend_from_slice(&u16::try_from(field * 4).unwrap().to_le_bytes());
        input.push(8);
        input.extend_from_slice(&value);
        let failed = catch_unwind(AssertUnwindSafe(|| store::run(&input))).is_err();
        assert!(!failed, "block {block}, byte {}, {value:?}: {input:?}", field * 4);
    }
}
