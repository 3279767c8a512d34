//! Who reads as a cache does: without an access key, with the secret of the bucket's origin in a header.
//!
//! It lets in to GetObject and HeadObject of current objects, and to nothing else. It is asked last, where
//! nothing else lets the request in, so that it can never take anything away, and goes behind what denies: a
//! policy's explicit denial holds. It is no public access, since who has no secret is not let in, and so the
//! blocking of public access is not about it. An object that somebody else owns than its bucket is a matter
//! of its owner's, as it is for policies.
//!
//! Not here: what a secret is (`crate::origin`).

use super::action::Action;
use crate::error::Result;
use crate::ops::Context;
use crate::origin::Origin;
use crate::route::Operation;
use engine::Bucket;
use engine::platform::Platform;
use std::sync::Arc;

/// Whether the request shows the secret of the bucket, and asks for no more than that is good for.
pub(super) fn lets_in<P: Platform>(
    context: &Context<'_, P>,
    bucket: &Arc<Bucket>,
    action: Action,
) -> Result<bool> {
    let is_read = action == Action::GetObject
        && matches!(context.route.operation, Operation::GetObject | Operation::HeadObject);
    if !is_read || context.caller.subject.person().is_some() {
        return Ok(false);
    }
    let Some(origin) = context.setting::<Origin>(bucket)? else { return Ok(false) };
    let Some(secret) = &origin.secret else { return Ok(false) };
    Ok(context.head.header(&secret.header).is_some_and(|value| secret.is_shown_by(value)))
}
