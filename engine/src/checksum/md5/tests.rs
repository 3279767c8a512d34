//! Every implementation against RFC 1321's vectors and against another one's digests.

use super::*;
use md5::Digest as _;
use proptest::prelude::*;

/// Lengths around those at which padding and blocks begin and end, and some long ones.
const LENGTHS: [usize; 20] = [
    0, 1, 55, 56, 57, 63, 64, 65, 119, 120, 127, 128, 129, 640, 1000, 4095, 4096, 4097, 8192,
    20_000,
];

fn witness(bytes: &[u8]) -> [u8; 16] {
    md5::Md5::digest(bytes).into()
}

fn content(bytes: usize, seed: usize) -> Vec<u8> {
    (0..bytes)
        .map(|at| ((at + seed * 7919).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u8)
        .collect()
}

/// One stream, and at which places its updates end.
#[derive(Debug)]
struct Stream {
    bytes: Vec<u8>,
    cuts: Vec<usize>,
}

impl Stream {
    fn uncut(bytes: Vec<u8>) -> Self {
        Self { bytes, cuts: Vec::new() }
    }

    /// The bytes of update `number`, empty behind the last one.
    fn piece(&self, number: usize) -> &[u8] {
        let at = |number: usize| self.cuts.get(number).copied().unwrap_or(self.bytes.len());
        let start = if number == 0 { 0 } else { at(number - 1) };
        &self.bytes[start..at(number)]
    }
}

/// Takes the streams in together, update by update, and compares each digest with the witness's.
fn check(kernel: Kernel, streams: &[Stream]) {
    let mut states = vec![Md5::new(); streams.len()];
    let updates = streams.iter().map(|stream| stream.cuts.len() + 1).max().unwrap_or(0);
    for number in 0..updates {
        let mut pieces: Vec<Piece<'_>> = states
            .iter_mut()
            .zip(streams)
            .map(|(md5, stream)| Piece { md5, bytes: stream.piece(number) })
            .collect();
        update_with(kernel, &mut pieces);
    }
    for (at, (md5, stream)) in states.into_iter().zip(streams).enumerate() {
        let (length, count) = (stream.bytes.len(), streams.len());
        let context = format!("{kernel:?}: stream {at} of {count}, {length} bytes");
        assert_eq!(md5.finish(), witness(&stream.bytes), "{context}");
    }
}

/// RFC 1321, appendix A.5.
#[test]
fn published_vectors() {
    let vectors: [(&str, u128); 7] = [
        ("", 0xd41d_8cd9_8f00_b204_e980_0998_ecf8_427e),
        ("a", 0x0cc1_75b9_c0f1_b6a8_31c3_99e2_6977_2661),
        ("abc", 0x9001_5098_3cd2_4fb0_d696_3f7d_28e1_7f72),
        ("message digest", 0xf96b_697d_7cb7_938d_525a_2f31_aaf1_61d0),
        ("abcdefghijklmnopqrstuvwxyz", 0xc3fc_d3d7_6192_e400_7dfb_496c_ca67_e13b),
        (
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
            0xd174_ab98_d277_d9f5_a561_1c2c_9f41_9d9f,
        ),
        (
            "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
            0x57ed_f4a2_2be3_c955_ac49_da2e_2107_b67a,
        ),
    ];
    for (input, expected) in vectors {
        let mut md5 = Md5::new();
        input.as_bytes().chunks(5).for_each(|piece| md5.update(piece));
        assert_eq!(md5.finish(), expected.to_be_bytes(), "{input:?}");
        for kernel in Kernel::all() {
            let mut states = vec![Md5::new(); 16];
            let mut pieces: Vec<Piece<'_>> =
                states.iter_mut().map(|md5| Piece { md5, bytes: input.as_bytes() }).collect();
            update_with(kernel, &mut pieces);
            for md5 in states {
                assert_eq!(md5.finish(), expected.to_be_bytes(), "{kernel:?}: {input:?}");
            }
        }
    }
}

#[test]
fn one_stream_by_itself_at_every_length() {
    let bytes = content(300, 1);
    for length in 0..=bytes.len() {
        let mut md5 = Md5::new();
        md5.update(&bytes[..length / 3]);
        md5.update(&bytes[length / 3..length]);
        assert_eq!(md5.finish(), witness(&bytes[..length]), "{length} bytes");
    }
}

#[test]
fn every_number_of_streams_of_one_length() {
    for kernel in Kernel::all() {
        for count in 1..=33 {
            for length in LENGTHS {
                let streams: Vec<Stream> =
                    (0..count).map(|seed| Stream::uncut(content(length, seed))).collect();
                check(kernel, &streams);
            }
        }
    }
}

#[test]
fn every_number_of_streams_of_different_lengths() {
    for kernel in Kernel::all() {
        for count in 1..=33 {
            let streams: Vec<Stream> = (0..count)
                .map(|seed| Stream::uncut(content(LENGTHS[(seed * 7 + count) % 20], seed)))
                .collect();
            check(kernel, &streams);
        }
    }
}

/// The 64-bit count of bits is what ends a message, beyond 2^32 bits too.
#[test]
fn a_message_of_more_than_512_mib() {
    let piece = content(1 << 20, 3);
    let (mut states, mut expected) = (vec![Md5::new(); 2], md5::Md5::new());
    for _ in 0..513 {
        let mut pieces: Vec<Piece<'_>> =
            states.iter_mut().map(|md5| Piece { md5, bytes: &piece }).collect();
        update_many(&mut pieces);
        expected.update(&piece);
    }
    let expected: [u8; 16] = expected.finalize().into();
    for md5 in states {
        assert_eq!(md5.finish(), expected);
    }
}

fn streams() -> impl Strategy<Value = Vec<Stream>> {
    let length = prop_oneof![
        proptest::sample::select(&LENGTHS[..]),
        0usize..600,
        (0usize..80).prop_map(|blocks| blocks * BLOCK_BYTES),
    ];
    let cuts = proptest::collection::vec(0.0..1.0f64, 0..4);
    let stream = (length, cuts, 0usize..1000).prop_map(|(length, cuts, seed)| {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| (cut * length as f64) as usize).collect();
        cuts.sort_unstable();
        Stream { bytes: content(length, seed), cuts }
    });
    proptest::collection::vec(stream, 1..=33)
}

proptest! {
    #[test]
    fn digests_do_not_depend_on_cuts_and_company(streams in streams()) {
        for kernel in Kernel::all() {
            check(kernel, &streams);
        }
    }
}
