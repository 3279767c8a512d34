//! Turns the bytes of a request's head into a `RequestHead`.

use crate::{Limits, Rejection, RequestHead};

/// Parses a head at the start of `bytes`: its length, or none while it is incomplete.
pub(crate) fn head(
    _bytes: &[u8],
    _limits: &Limits,
    _head: &mut RequestHead,
) -> Result<Option<usize>, Rejection> {
    Ok(None)
}
