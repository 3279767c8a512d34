//! Versions in requests: which one is meant, what is answered where it is not there, how an answer names
//! it; and changes of what is kept with one.
//!
//! Not here: the form of ids (`versioning`), and removals (`removal`).

use super::{Answer, Context};
use crate::access::action::Action;
use crate::access::{self, Given};
use crate::attributes::Attributes;
use crate::dates::{self, HttpDate};
use crate::error::{Code, Refusal, Result, S3Error};
use crate::object_lock::ObjectLockSetting;
use crate::versioning::{self, Status, VersioningSetting};
use engine::platform::Platform;
use engine::{Amended, Bucket, ConditionFailure, Current, ObjectReader, Which};
use std::sync::Arc;

pub(super) const VERSION_ID: &str = "x-amz-version-id";
pub(super) const DELETE_MARKER: &str = "x-amz-delete-marker";

impl<P: Platform> Context<'_, P> {
    /// Seconds since the Unix epoch.
    pub(super) fn now(&self) -> i64 {
        let seconds = self.engine.platform().wall_clock_ns() / 1_000_000_000;
        i64::try_from(seconds).unwrap_or(i64::MAX)
    }

    pub(super) fn versioning(&self, bucket: &Arc<Bucket>) -> Result<Status> {
        Ok(Status::of(self.setting::<VersioningSetting>(bucket)?.as_deref()))
    }

    /// The version that the request names, the latest without one.
    pub(super) fn which(&self) -> Result<Which> {
        versioning::which(self.query("versionId"))
    }

    /// What the request names, for its record alone; never a delete marker.
    pub(super) async fn open_record(&self, bucket: &Arc<Bucket>) -> Result<ObjectReader<P>> {
        self.open_decided(bucket, &Given::default()).await
    }

    /// The same, decided about with what the request's body gives.
    async fn open_decided(
        &self,
        bucket: &Arc<Bucket>,
        given: &Given<'_>,
    ) -> Result<ObjectReader<P>> {
        let reader = self.engine.head(bucket.id, self.key().as_bytes(), self.which()?).await?;
        let reader = self.present(reader)?;
        access::authorise::check_object(self, bucket, &reader.info().attributes, given)?;
        Ok(reader)
    }

    /// What was opened, if it is there and no delete marker.
    pub(super) fn present(&self, reader: Option<ObjectReader<P>>) -> Result<ObjectReader<P>> {
        match reader {
            None => Err(self.not_there()),
            Some(reader) if reader.info().current.is_marker => {
                Err(self.is_marker(&reader.info().current))
            }
            Some(reader) => Ok(reader),
        }
    }

    /// What the request names is not there.
    fn not_there(&self) -> S3Error {
        self.of_missing(match self.query("versionId") {
            Some(id) => versioning::no_such_version(self.key(), id),
            None => self.no_such_key(),
        })
    }

    /// What the request names is a delete marker.
    fn is_marker(&self, marker: &Current) -> S3Error {
        let error = match self.query("versionId") {
            None => self.no_such_key(),
            Some(_) => S3Error::from(Code::MethodNotAllowed)
                .field("Method", self.head.method_name())
                .field("ResourceType", "DeleteMarker")
                .header("Allow", "DELETE")
                .header("Last-Modified", HttpDate(dates::seconds(marker.version)).to_string()),
        };
        let error = error.header(DELETE_MARKER, "true");
        self.of_missing(error.header(VERSION_ID, versioning::id_of(marker)))
    }

    /// Names a version in an answer, where the bucket has or had versions.
    pub(super) fn write_version(
        &self,
        answer: &mut Answer<P>,
        bucket: &Arc<Bucket>,
        current: &Current,
    ) -> Result<()> {
        if let Some(id) = self.versioning(bucket)?.shown_id(current) {
            answer.header(VERSION_ID, id);
        }
        Ok(())
    }

    /// Changes what is kept with the version that the request names: durably, at once for all readers,
    /// and judged with what is kept at that very moment. `given`: what of the request's body decides
    /// whether the caller may.
    pub(super) async fn amend(
        &self,
        bucket: &Arc<Bucket>,
        given: &Given<'_>,
        change: impl FnOnce(&mut Attributes) -> Result<(), ConditionFailure> + Send + 'static,
    ) -> Result<Current> {
        let which = if access::authorise::is_decided(self) {
            self.which()?
        } else {
            // The very version that was decided about.
            let reader = self.open_decided(bucket, given).await?;
            Which::Exactly(reader.info().current.version)
        };
        self.amend_version(bucket, which, change).await
    }

    /// The same for a version that was decided about.
    pub(super) async fn amend_version(
        &self,
        bucket: &Arc<Bucket>,
        which: Which,
        change: impl FnOnce(&mut Attributes) -> Result<(), ConditionFailure> + Send + 'static,
    ) -> Result<Current> {
        let key = self.key().as_bytes();
        let amendment = move |current: &Current, encoded: &[u8]| {
            let mut attributes =
                Attributes::decode(encoded).map_err(|_| Refusal::AttributesUnreadable)?;
            change(&mut attributes)?;
            let label = super::label::amended(current.label, &attributes);
            let attributes = attributes.encode().map_err(|_| Refusal::AttributesTooLarge)?;
            Ok(Amended { attributes, label })
        };
        match self.engine.amend(bucket.id, key, which, Box::new(amendment)).await {
            Ok(current) => Ok(current),
            Err(engine::Error::Condition(ConditionFailure::NoSuchKey) | engine::Error::Marker) => {
                // Says which of the two, with the marker's id.
                match self.open_record(bucket).await {
                    Err(error) => Err(error),
                    Ok(_) => Err(Code::OperationAborted.into()),
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Whether versions of the bucket are removed with a code of the root's device only.
    pub(super) fn has_mfa_delete(&self, bucket: &Arc<Bucket>) -> Result<bool> {
        Ok(self
            .setting::<VersioningSetting>(bucket)?
            .is_some_and(|setting| setting.has_mfa_delete()))
    }

    /// Whether the bucket has object lock.
    pub(super) fn has_lock(&self, bucket: &Arc<Bucket>) -> Result<bool> {
        Ok(self.setting::<ObjectLockSetting>(bucket)?.is_some())
    }

    /// The caller wants to bypass governance for a key, and may.
    pub(super) fn bypasses_governance(&self, bucket: &Arc<Bucket>, key: &str) -> bool {
        self.header("x-amz-bypass-governance-retention")
            .is_some_and(|text| text.eq_ignore_ascii_case("true"))
            && self.check_action(bucket, Action::BypassGovernanceRetention, key).is_ok()
    }
}
