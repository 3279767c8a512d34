//! Into which parts an object goes, so that its ETag at the target is the one that it had.
//!
//! An ETag that ends in `-N` is made of N parts, whose boundaries an endpoint tells by `partNumber`. Most
//! writers make all parts but the last of one size: then the first tells all, and only if the ETag disagrees
//! in the end is every part asked for.

use crate::client::Client;
use crate::error::Failure;
use crate::limits::{MULTIPART_FROM_BYTES, PART_BYTES, PARTS_MAX, PUT_BYTES_MAX};
use crate::source::Object;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layout {
    /// One PUT.
    Whole,
    Parts {
        sizes: Vec<u64>,
        knowledge: Knowledge,
    },
}

/// What is known about the boundaries of an object's parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Knowledge {
    /// The endpoint told all of them.
    Told,
    /// They follow from one, if all but the last are alike.
    Likely,
    /// They are our own.
    None,
}

/// # Errors
/// The source did not answer.
pub fn layout(client: Option<&Client>, object: &Object, asks_all: bool) -> Result<Layout, Failure> {
    let size = object.head.size;
    let Some((client, count)) = client.zip(object.head.parts()) else {
        // Without a digest to keep, parts are better than one long PUT.
        let must_be_whole = object.head.md5().is_some() && size <= PUT_BYTES_MAX;
        return Ok(if must_be_whole || size < MULTIPART_FROM_BYTES {
            Layout::Whole
        } else {
            own(size)
        });
    };
    let place = (object.bucket.as_str(), object.key.as_str());
    let of_part = |number| client.part_size(place, object.version.as_deref(), number);
    let first = of_part(1)?.filter(|(_, told)| *told == count).map(|(first, _)| first);
    let even = first.or_else(|| usual(size, count)).and_then(|first| even(size, count, first));
    if let (Some(sizes), false) = (even, asks_all) {
        let knowledge =
            if count <= 2 && first.is_some() { Knowledge::Told } else { Knowledge::Likely };
        return Ok(Layout::Parts { sizes, knowledge });
    }
    if first.is_none() {
        return Ok(own(size));
    }
    let sizes = (1..=count).map(of_part).collect::<Result<Option<Vec<_>>, _>>()?;
    let sizes: Option<Vec<u64>> = sizes.map(|all| all.into_iter().map(|(size, _)| size).collect());
    Ok(match sizes {
        Some(sizes) if sum(&sizes) == Some(size) => {
            Layout::Parts { sizes, knowledge: Knowledge::Told }
        }
        _ => own(size),
    })
}

fn sum(sizes: &[u64]) -> Option<u64> {
    sizes.iter().try_fold(0_u64, |sum, size| sum.checked_add(*size))
}

/// So many parts, all but the last as large as the first; none if that does not come to the size.
fn even(size: u64, count: u64, first: u64) -> Option<Vec<u64>> {
    let before = first.checked_mul(count - 1)?;
    let last = size.checked_sub(before)?;
    let fits = last <= first && (last > 0 || count == 1);
    fits.then(|| {
        let mut sizes = vec![first; usize::try_from(count - 1).unwrap_or_default()];
        sizes.push(last);
        sizes
    })
}

/// The part size that clients would have taken to make so many parts: a round number of MiB.
fn usual(size: u64, count: u64) -> Option<u64> {
    if count == 1 {
        return Some(size);
    }
    let usual =
        [5, 6, 7, 8, 10, 15, 16, 20, 25, 32, 50, 64, 100, 128, 256, 512, 1024, 2048, 4096, 5120];
    usual.into_iter().map(|mib: u64| mib << 20).find(|part| size.div_ceil(*part) == count)
}

fn own(size: u64) -> Layout {
    let part = PART_BYTES.max(size.div_ceil(PARTS_MAX).next_multiple_of(1 << 20));
    let count = size.div_ceil(part).max(1);
    let sizes = even(size, count, part).unwrap_or_else(|| vec![size]);
    Layout::Parts { sizes, knowledge: Knowledge::None }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn parts_come_to_the_size() {
        assert_eq!(even(25, 3, 10).unwrap(), [10, 10, 5]);
        assert_eq!(even(30, 3, 10).unwrap(), [10, 10, 10]);
        assert_eq!(even(0, 1, 5).unwrap(), [0]);
        for (size, count, first) in [(20, 3, 10), (31, 3, 10), (5, 3, 10), (u64::MAX, 10, u64::MAX)]
        {
            assert_eq!(even(size, count, first), None);
        }
    }

    #[test]
    fn own_parts_are_not_too_many() {
        for size in [MULTIPART_FROM_BYTES, 1 << 40, 5 << 40] {
            let Layout::Parts { sizes, .. } = own(size) else { unreachable!() };
            assert!(sizes.len() as u64 <= PARTS_MAX);
            assert_eq!(sizes.iter().sum::<u64>(), size);
        }
    }

    #[test]
    fn usual_sizes_are_found_by_the_count() {
        assert_eq!(usual(20 << 20, 4), Some(5 << 20));
        assert_eq!(usual(20 << 20, 3), Some(7 << 20));
        assert_eq!(usual(24 << 20, 3), Some(8 << 20));
        assert_eq!(usual(1, 7), None);
    }
}
