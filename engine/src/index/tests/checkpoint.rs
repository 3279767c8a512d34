//! Walks and what is loaded from them, against a copy of the map made when the walk began; and
//! images with wrong bytes, which must be refused or make an index that works.

use super::{Model, Step, apply, check_walk, filled, next_random, plausible, step};
use crate::format::Malformed;
use crate::index::{Entry, Index, KEY_BYTES_MAX, Loader};
use proptest::prelude::*;

/// A walk over `index` that goes on while the index changes, with what it must find.
struct Observed {
    expected: Model,
    slices: Vec<Vec<u8>>,
    entries: u64,
}

impl Observed {
    fn begin(index: &mut Index, model: &Model) -> Self {
        index.begin_walk();
        assert!(index.is_walking());
        Self { expected: model.clone(), slices: Vec::new(), entries: 0 }
    }

    /// True once the walk is over.
    fn slice(&mut self, index: &mut Index, bytes: usize) -> bool {
        let mut slice = Vec::new();
        let walked = index.walk(&mut slice, bytes);
        assert!(slice.len() < bytes.saturating_add(4096));
        assert_eq!(index.is_walking(), !walked.done);
        self.entries += walked.entries;
        self.slices.push(slice);
        walked.done
    }

    /// Loads what was walked, in another order of slices, and compares.
    fn finish(mut self, index: &mut Index, seed: u64) -> (Index, Model) {
        while !self.slice(index, 16 << 10) {}
        index.check();
        assert_eq!(self.entries, self.expected.len() as u64);
        let turn = seed as usize % self.slices.len();
        self.slices.rotate_left(turn);
        let mut loader = Loader::new();
        let mut sizes = 0u128;
        for slice in &self.slices {
            loader.push(slice, |_, entry| sizes += u128::from(entry.size)).unwrap();
        }
        assert_eq!(sizes, self.expected.values().map(|entry| u128::from(entry.size)).sum());
        let loaded = loader.finish().unwrap();
        check_equal(&loaded, &self.expected);
        (loaded, self.expected)
    }
}

fn check_equal(index: &Index, model: &Model) {
    index.check();
    assert_eq!(index.len(), model.len());
    check_walk(&mut index.cursor(), model, &[], u64::MAX, usize::MAX);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_walk_gives_what_was_there_when_it_began(
        before in prop::collection::vec(step(), 0..800),
        during in prop::collection::vec((step(), prop::option::of(1usize..6000)), 0..400),
        seed in any::<u64>(),
    ) {
        let (mut index, mut model) = (Index::new(), Model::new());
        before.iter().for_each(|step| apply(step, &mut index, &mut model));
        let mut observed = Observed::begin(&mut index, &model);
        for (step, slice) in &during {
            apply(step, &mut index, &mut model);
            if let Some(bytes) = slice && index.is_walking() {
                observed.slice(&mut index, *bytes);
            }
        }
        let (mut loaded, mut expected) = observed.finish(&mut index, seed);
        check_equal(&index, &model);
        // What was loaded is an index like any other.
        during.iter().for_each(|(step, _)| apply(step, &mut loaded, &mut expected));
        check_equal(&loaded, &expected);
    }
}

/// The kinds of keys that make the tree differ in shape.
fn random_key(kind: u64, state: &mut u64) -> Vec<u8> {
    let random = next_random(state);
    match kind % 5 {
        0 => format!("{random:016x}{:024x}", random ^ 0x5555).into_bytes(),
        1 => format!("photos/2026/11/{:09}.jpg", random % 30_000).into_bytes(),
        2 => vec![b'v'; 20 + (random % 3) as usize * 600],
        3 => {
            let mut key = vec![b'a' + (random % 4) as u8; 1000 + (random % 280) as usize];
            key.extend_from_slice(&random.to_be_bytes()[..5]);
            key.truncate(KEY_BYTES_MAX);
            key
        }
        _ => random.to_be_bytes()[..(random % 9) as usize].to_vec(),
    }
}

fn random_insert(kind: u64, state: &mut u64) -> Step {
    let key = random_key(kind, state);
    Step::Insert(key, next_random(state) >> 8, plausible(next_random(state) % 1_000_000))
}

/// Thousands of entries, so that there are branches of several levels, and whole ranges that go
/// and come back while the walk is under way: leaves are cut, joined and dropped, and their places
/// used again.
#[test]
fn walks_are_consistent_whatever_happens_to_the_leaves() {
    for seed in 0..24 {
        let mut state = seed;
        let (mut index, mut model) = (Index::new(), Model::new());
        for _ in 0..2_500 {
            apply(&random_insert(seed, &mut state), &mut index, &mut model);
        }
        let mut observed = Observed::begin(&mut index, &model);
        for _ in 0..60 {
            let at = random_key(seed, &mut state);
            let doomed = next_random(&mut state) as usize % 150;
            apply(&Step::RemoveFrom(at, doomed), &mut index, &mut model);
            for _ in 0..next_random(&mut state) % 80 {
                apply(&random_insert(seed, &mut state), &mut index, &mut model);
            }
            if index.is_walking() {
                observed.slice(&mut index, next_random(&mut state) as usize % 8_000);
            }
        }
        let (mut loaded, mut expected) = observed.finish(&mut index, seed);
        check_equal(&index, &model);
        for _ in 0..40 {
            let at = random_key(seed, &mut state);
            apply(&Step::RemoveFrom(at, 120), &mut loaded, &mut expected);
            apply(&random_insert(seed, &mut state), &mut loaded, &mut expected);
        }
        check_equal(&loaded, &expected);
    }
}

#[test]
fn everything_removed_during_a_walk_is_still_given() {
    let mut state = 5;
    let (mut index, mut model) = (Index::new(), Model::new());
    for _ in 0..3_000 {
        apply(&random_insert(0, &mut state), &mut index, &mut model);
    }
    let before = index.memory_bytes();
    let mut observed = Observed::begin(&mut index, &model);
    observed.slice(&mut index, 20_000);
    apply(&Step::RemoveFrom(Vec::new(), usize::MAX), &mut index, &mut model);
    assert!(index.is_empty());
    // The copies of nearly all leaves are counted.
    let copies = index.memory_bytes();
    assert!(copies > before / 2 && copies < before * 5 / 4, "{copies} of {before}");
    observed.finish(&mut index, 3);
    assert!(index.memory_bytes() < before / 5);
}

#[test]
fn an_empty_index_is_walked_and_loaded() {
    let mut index = Index::new();
    let observed = Observed::begin(&mut index, &Model::new());
    index.insert(b"later", 1, Entry::default());
    let (mut loaded, _) = observed.finish(&mut index, 0);
    assert!(loaded.is_empty());
    loaded.insert(b"key", 1, Entry::default());
    loaded.check();
    // A leaf that is emptied is not given either.
    index.remove(b"later", 1);
    Observed::begin(&mut index, &Model::new()).finish(&mut index, 0);
}

#[test]
fn a_walk_begun_again_starts_over_and_one_ended_gives_nothing() {
    let mut index = filled((0..2_000u32).map(|number| number.to_be_bytes().to_vec()));
    let idle = index.memory_bytes();
    let walk_all = |index: &mut Index| {
        let mut out = Vec::new();
        let walked = index.walk(&mut out, usize::MAX);
        (walked.done, walked.entries, out.is_empty())
    };
    assert_eq!(walk_all(&mut index), (true, 0, true));
    index.begin_walk();
    index.walk(&mut Vec::new(), 30_000);
    index.begin_walk();
    assert_eq!(walk_all(&mut index), (true, 2_000, false));
    index.begin_walk();
    assert!(index.is_walking() && index.memory_bytes() > idle);
    index.end_walk();
    assert!(!index.is_walking() && index.memory_bytes() == idle);
    assert_eq!(walk_all(&mut index), (true, 0, true));
}

/// The images of a small index of a kind of keys.
fn images(kind: u64, entries: usize, state: &mut u64) -> Vec<Vec<u8>> {
    let (mut index, mut model) = (Index::new(), Model::new());
    for _ in 0..entries {
        apply(&random_insert(kind, state), &mut index, &mut model);
    }
    index.begin_walk();
    let mut images = Vec::new();
    while index.is_walking() {
        let mut slice = Vec::new();
        index.walk(&mut slice, 1);
        images.push(slice);
    }
    images.retain(|image| !image.is_empty());
    images
}

fn load(images: &[u8]) -> Result<Index, Malformed> {
    let mut loader = Loader::new();
    loader.push(images, |_, _| ())?;
    loader.finish()
}

/// Whether the images are refused. What is not must do all that an index does.
fn is_refused(images: &[u8]) -> bool {
    let Ok(mut index) = load(images) else { return true };
    index.check();
    let (mut pairs, mut cursor) = (Vec::new(), index.cursor());
    while let Some((key, version, entry)) = cursor.next() {
        pairs.push((key.to_vec(), version, entry));
    }
    for (number, (key, version, entry)) in pairs.iter().enumerate() {
        assert_eq!(index.get(key, *version), Some(*entry));
        index.insert(key, version ^ 1, plausible(number as u64));
        let mut longer = key.clone();
        longer.push(number as u8);
        longer.truncate(KEY_BYTES_MAX);
        index.insert(&longer, number as u64, Entry { label: 1, ..Entry::default() });
        index.insert(key, *version, Entry { size: u64::MAX, etag: [1; 16], ..*entry });
    }
    index.check();
    for (key, version, _) in &pairs {
        assert!(index.remove(key, *version).is_some());
    }
    index.check();
    false
}

#[test]
fn wrong_bytes_are_refused_or_make_an_index_that_works() {
    let (mut refused, mut taken) = (0, 0);
    for seed in 0..1_500u64 {
        let mut state = seed;
        let entries = 1 + next_random(&mut state) as usize % 120;
        let mut images = images(seed, entries, &mut state).concat();
        assert!(load(&images).is_ok());
        for _ in 0..1 + seed % 3 {
            let bit = next_random(&mut state) as usize % (images.len() * 8);
            images[bit / 8] ^= 1 << (bit % 8);
        }
        match is_refused(&images) {
            true => refused += 1,
            false => taken += 1,
        }
    }
    // Both happen often: bits of rows are as good as any, bits of structure are not.
    assert!(refused > 100 && taken > 100, "{refused} refused, {taken} taken");
}

#[test]
fn every_value_of_every_byte_of_a_header_is_refused_or_works() {
    const HEADER_BYTES: usize = 2 + 52;
    let mut state = 11;
    for kind in 0..5 {
        let image = images(kind, 12, &mut state).swap_remove(0);
        for at in 0..HEADER_BYTES {
            for value in 0..=u8::MAX {
                let mut image = image.clone();
                image[at] = value;
                is_refused(&image);
            }
        }
    }
}

#[test]
fn images_that_are_cut_short_are_refused() {
    let mut state = 12;
    for kind in 0..5 {
        let images = images(kind, 60, &mut state);
        let whole = images.concat();
        let starts: Vec<usize> = images
            .iter()
            .scan(0, |start, image| Some(std::mem::replace(start, *start + image.len())))
            .collect();
        for bytes in (0..whole.len()).step_by(7).filter(|bytes| !starts.contains(bytes)) {
            assert!(load(&whole[..bytes]).is_err(), "{bytes} bytes");
        }
        // A count of bytes that agrees with what is there does not help.
        let image = &images[0][2..];
        for bytes in 0..image.len() {
            let cut = [&(bytes as u16).to_le_bytes(), &image[..bytes]].concat();
            assert!(load(&cut).is_err(), "{bytes} bytes of a leaf");
        }
    }
}

#[test]
fn leaves_that_overlap_are_refused() {
    let mut state = 13;
    for kind in 0..5 {
        let mut images = images(kind, 300, &mut state);
        let twice = images[0].clone();
        images.push(twice);
        assert_eq!(load(&images.concat()).unwrap_err(), Malformed("two leaves overlap"));
    }
    // One leaf within the range of another.
    let image = |keys: [&[u8]; 2]| {
        let mut index = Index::new();
        for key in keys {
            index.insert(key, 1, Entry::default());
        }
        index.begin_walk();
        let mut out = Vec::new();
        index.walk(&mut out, usize::MAX);
        out
    };
    let nested = [image([b"a", b"d"]), image([b"b", b"c"])].concat();
    assert_eq!(load(&nested).unwrap_err(), Malformed("two leaves overlap"));
    assert_eq!(load(&[image([b"c", b"d"]), image([b"a", b"b"])].concat()).unwrap().len(), 4);
}

/// Changes a sound image; `bytes` is by how much it grows, which its counts of bytes then say.
fn check_refused(image: &[u8], bytes: u16, change: impl Fn(&mut Vec<u8>), reason: &'static str) {
    assert!(load(image).is_ok());
    let mut image = image.to_vec();
    change(&mut image);
    [0, 4].iter().for_each(|at| grow(&mut image, *at, bytes));
    assert_eq!(load(&image).unwrap_err(), Malformed(reason));
}

fn grow(image: &mut [u8], at: usize, by: u16) {
    let value = u16::from_le_bytes([image[at], image[at + 1]]) + by;
    image[at..at + 2].copy_from_slice(&value.to_le_bytes());
}

fn image_of(pairs: &[(&[u8], Entry)]) -> Vec<u8> {
    let mut index = Index::new();
    for (key, entry) in pairs {
        index.insert(key, 0x1122_3344_5566_7788, *entry);
    }
    index.begin_walk();
    let mut image = Vec::new();
    assert_eq!(index.walk(&mut image, usize::MAX).leaves, 1);
    image
}

/// Places are those of `leaf`, and two more for the count of bytes.
#[test]
fn every_rule_of_an_image_is_checked() {
    let entry = Entry { size: 3000, ..Entry::default() };
    let image = &image_of(&[(b"k-aurora", entry), (b"k-avalanche", Entry { size: 3001, ..entry })]);
    let (size_base, first_cell, second_cell) = (2 + 40, 2 + 52 + 3, 2 + 52 + 3 + 4);
    check_refused(image, 0, |image| image[2 + 9] = 1, "a leaf's header");
    check_refused(image, 0, |image| image[2 + 10] += 1, "a leaf's header");
    // A run's position that no leaf has.
    check_refused(image, 0, |image| image[2 + 7] = 1, "a leaf's header");
    check_refused(image, 0, |image| image[2 + 11 + 1] = 5, "a frame of rows that no leaf has");
    check_refused(image, 0, |image| image[2 + 19] = 2, "a frame of rows that no leaf has");
    // The second row's size is one more than the base.
    let greatest_base = |image: &mut Vec<u8>| image[size_base..size_base + 8].fill(0xff);
    check_refused(image, 0, greatest_base, "a row exceeds its types");
    check_refused(image, 0, |image| image[first_cell] = 200, "where a key ends");
    check_refused(image, 0, |image| image[second_cell] = 1, "where a key ends");
    check_refused(
        image,
        0,
        |image| image[second_cell + 2] = b'A',
        "a leaf's keys are not in order",
    );
    check_refused(image, 1, |image| image.push(b'x'), "bytes behind a leaf's last key");
    let empty = [&[52, 0, 0, 0, 52, 0][..], &[0; 48]].concat();
    assert_eq!(load(&empty).unwrap_err(), Malformed("a leaf's header"));
}

#[test]
fn keys_that_are_too_long_are_refused() {
    let long = [[b'k'; KEY_BYTES_MAX], [b'l'; KEY_BYTES_MAX]];
    let entry = Entry::default();
    // All of the only key is its prefix.
    let longer_prefix = |image: &mut Vec<u8>| {
        image.insert(2 + 52, b'k');
        grow(image, 2 + 4, 1);
    };
    check_refused(&image_of(&[(&long[0], entry)]), 1, longer_prefix, "a leaf's header");
    // Two with nothing in common have heads and tails.
    let longer_tail = |image: &mut Vec<u8>| {
        image.push(b'l');
        grow(image, 2 + 52 + 4, 1);
    };
    let image = image_of(&[(&long[0], entry), (&long[1], entry)]);
    check_refused(&image, 1, longer_tail, "a key is too long");
}

/// What is on disk somewhere must load for ever: whoever changes an image changes the format.
#[test]
fn an_image_is_what_the_format_says() {
    let mut index = Index::new();
    let entry = Entry {
        segment: 7,
        offset_units: 0x1000,
        span_bytes: 4096,
        size: 3000,
        etag: [0xee; 16],
        parts: 0,
        flags: 1,
        label: 2,
    };
    index.insert(b"photos/aurora", 0x1122_3344_5566_7788, entry);
    let second = Entry { offset_units: 0x1200, size: 3001, ..entry };
    index.insert(b"photos/avalanche", 0x1122_3344_5566_7799, second);
    index.begin_walk();
    let mut image = Vec::new();
    let walked = index.walk(&mut image, usize::MAX);
    assert_eq!((walked.leaves, walked.entries, walked.done), (1, 2, true));
    let base = |value: u64, bytes: usize| value.to_le_bytes()[..bytes].to_vec();
    let expected = [
        // 117 bytes, 2 entries, a prefix of 8; the second one went on with a run.
        &[117, 0, 2, 0, 117, 0, 8, 0, 1, 0, 1, 2, 20][..],
        // Widths: versions and sizes differ by less than 256, offsets by more.
        &[1, 0, 2, 0, 1, 0, 0, 0, 1],
        &base(0x1122_3344_5566_7788, 8),
        &base(7, 4),
        // A base that saves nothing is left out.
        &base(0, 4),
        &base(4096, 4),
        &base(3000, 8),
        &[0, 0, 1, 2],
        b"photos/a",
        &[3, 0, b'u', b'r', 9, 0, b'v', b'a'],
        &[0x00, 0x00, 0x10, 0],
        &[0xee; 16],
        &[0x11, 0x00, 0x12, 1],
        &[0xee; 16],
        b"ora",
        b"lanche",
    ]
    .concat();
    assert_eq!(image, expected);
}
