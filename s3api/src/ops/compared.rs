//! What the conditions of writes and removals tell of the object that is there.
//!
//! Invariant: nobody learns from a condition of an entity tag, a time or a size what they may not read. AWS asks for
//! `s3:GetObject` there too ("Conditional writes", "Conditional deletes").

use super::Context;
use super::receive::check_early;
use crate::access::action::Action;
use crate::access::{self, Given, Other};
use crate::conditional::Conditions;
use crate::error::Result;
use crate::versioning;
use engine::platform::Platform;
use engine::{Bucket, Condition, ConditionFailure, Current, Which};
use std::sync::Arc;

/// With what conditions are compared that tell more of an object than that it is there.
#[derive(Debug, Clone, Copy)]
pub(super) enum Compared {
    /// There are no such conditions.
    Nothing,
    /// What the caller may read: an object, or that there is none.
    With(Option<Current>),
}

impl Compared {
    /// Decides whether the caller may hear how the conditions compare. `version_id`: of a version that is to be
    /// removed; conditions on the null version are compared with the latest, as on an object.
    pub(super) async fn of<P: Platform>(
        context: &Context<'_, P>,
        bucket: &Arc<Bucket>,
        key: &str,
        version_id: Option<&str>,
        conditions: &Conditions,
    ) -> Result<Self> {
        if !conditions.tell_of_content() {
            return Ok(Self::Nothing);
        }
        let (which, version_id, action) = match versioning::which(version_id)? {
            exactly @ Which::Exactly(_) => (exactly, version_id, Action::GetObjectVersion),
            Which::Latest | Which::Null => (Which::Latest, None, Action::GetObject),
        };
        let reader = context.engine.head(bucket.id, key.as_bytes(), which).await?;
        let reader = reader.filter(|reader| !reader.info().current.is_marker);
        let attributes = reader.as_ref().map_or(&[][..], |reader| &reader.info().attributes);
        let given = Given::of(Other { version_id, etag: None });
        access::authorise::check_given(context, bucket, key, attributes, &given, &[action])?;
        Ok(Self::With(reader.map(|reader| reader.info().current)))
    }

    /// The condition, which holds of no object that was written since: that would be compared with what the caller
    /// may be unable to read, and a body can take as long as its sender likes.
    pub(super) fn pin(self, condition: Option<Condition>) -> Option<Condition> {
        let Self::With(judged) = self else { return condition };
        let (condition, version) = (condition?, judged.map(|judged| judged.version));
        Some(Box::new(move |current| match current {
            Some(current) if Some(current.version) != version => {
                Err(ConditionFailure::PreconditionFailed)
            }
            current => condition(current),
        }))
    }
}

/// As [`check_early`], once the caller was found to have the right to hear what comes of it.
pub(super) async fn check_conditions<P: Platform>(
    context: &Context<'_, P>,
    bucket: &Arc<Bucket>,
    conditions: &Conditions,
) -> Result<Compared> {
    let compared = Compared::of(context, bucket, context.key(), None, conditions).await?;
    match &compared {
        Compared::Nothing => check_early(context, bucket.id, conditions).await?,
        Compared::With(current) => {
            conditions.judge_write(current.as_ref()).map_err(engine::Error::Condition)?;
        }
    }
    Ok(compared)
}
