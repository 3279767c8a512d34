//! Which actions each operation needs: the one table.
//!
//! Invariant: an operation without a row does not compile.
//!
//! Source: AWS, "Required permissions for Amazon S3 API operations".

use crate::access::action::Action;
use crate::route::Operation;

/// What of a request's head asks for more than its operation does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extras {
    /// A version is named.
    pub version: bool,
    /// A canned ACL or a grant.
    pub acl: bool,
    pub tagging: bool,
    /// A retention.
    pub retention: bool,
    pub legal_hold: bool,
    /// Of a new bucket.
    pub object_lock: bool,
    pub ownership: bool,
}

/// The actions that an operation needs, all of them on the resource that its path names. What it needs
/// of another resource (the source of a copy), or of single objects of many (DeleteObjects), it asks for
/// itself; so does one whose caller is known only from its body (PostObject).
pub fn needed(operation: Operation, extras: Extras) -> Vec<Action> {
    use Action as A;
    use Operation as O;
    let versioned = |plain, of_version| if extras.version { of_version } else { plain };
    let mut actions = match operation {
        O::ListBuckets => vec![A::ListAllMyBuckets],
        O::CreateBucket => vec![A::CreateBucket],
        O::HeadBucket | O::ListObjects | O::ListObjectsV2 => vec![A::ListBucket],
        O::DeleteBucket => vec![A::DeleteBucket],
        O::GetBucketLocation => vec![A::GetBucketLocation],
        O::ListMultipartUploads => vec![A::ListBucketMultipartUploads],
        O::ListObjectVersions => vec![A::ListBucketVersions],
        O::DeleteObjects | O::PostObject | O::Preflight => vec![],
        O::PutObject
        | O::CopyObject
        | O::CreateMultipartUpload
        | O::UploadPart
        | O::UploadPartCopy
        | O::CompleteMultipartUpload
        | O::RenameObject => vec![A::PutObject],
        O::GetObject | O::HeadObject => vec![versioned(A::GetObject, A::GetObjectVersion)],
        O::GetObjectAttributes => vec![
            versioned(A::GetObject, A::GetObjectVersion),
            versioned(A::GetObjectAttributes, A::GetObjectVersionAttributes),
        ],
        O::DeleteObject => vec![versioned(A::DeleteObject, A::DeleteObjectVersion)],
        O::AbortMultipartUpload => vec![A::AbortMultipartUpload],
        O::ListParts => vec![A::ListMultipartUploadParts],
        O::GetBucketVersioning => vec![A::GetBucketVersioning],
        O::PutBucketVersioning => vec![A::PutBucketVersioning],
        O::GetObjectLockConfiguration => vec![A::GetBucketObjectLockConfiguration],
        O::PutObjectLockConfiguration => vec![A::PutBucketObjectLockConfiguration],
        O::GetObjectRetention => vec![A::GetObjectRetention],
        O::PutObjectRetention => vec![A::PutObjectRetention],
        O::GetObjectLegalHold => vec![A::GetObjectLegalHold],
        O::PutObjectLegalHold => vec![A::PutObjectLegalHold],
        O::GetObjectTagging => vec![versioned(A::GetObjectTagging, A::GetObjectVersionTagging)],
        O::PutObjectTagging => vec![versioned(A::PutObjectTagging, A::PutObjectVersionTagging)],
        O::DeleteObjectTagging => {
            vec![versioned(A::DeleteObjectTagging, A::DeleteObjectVersionTagging)]
        }
        O::GetBucketTagging => vec![A::GetBucketTagging],
        O::PutBucketTagging | O::DeleteBucketTagging => vec![A::PutBucketTagging],
        O::GetBucketPolicy => vec![A::GetBucketPolicy],
        O::PutBucketPolicy => vec![A::PutBucketPolicy],
        O::DeleteBucketPolicy => vec![A::DeleteBucketPolicy],
        O::GetBucketPolicyStatus => vec![A::GetBucketPolicyStatus],
        O::GetBucketAcl => vec![A::GetBucketAcl],
        O::PutBucketAcl => vec![A::PutBucketAcl],
        O::GetObjectAcl => vec![versioned(A::GetObjectAcl, A::GetObjectVersionAcl)],
        O::PutObjectAcl => vec![versioned(A::PutObjectAcl, A::PutObjectVersionAcl)],
        O::GetPublicAccessBlock => vec![A::GetBucketPublicAccessBlock],
        O::PutPublicAccessBlock | O::DeletePublicAccessBlock => {
            vec![A::PutBucketPublicAccessBlock]
        }
        O::GetBucketOwnershipControls => vec![A::GetBucketOwnershipControls],
        O::PutBucketOwnershipControls | O::DeleteBucketOwnershipControls => {
            vec![A::PutBucketOwnershipControls]
        }
        O::GetBucketCors => vec![A::GetBucketCORS],
        O::PutBucketCors | O::DeleteBucketCors => vec![A::PutBucketCORS],
        O::GetBucketEncryption => vec![A::GetEncryptionConfiguration],
        O::PutBucketEncryption | O::DeleteBucketEncryption => vec![A::PutEncryptionConfiguration],
        O::GetBucketLifecycleConfiguration => vec![A::GetLifecycleConfiguration],
        O::PutBucketLifecycleConfiguration | O::DeleteBucketLifecycle => {
            vec![A::PutLifecycleConfiguration]
        }
        O::GetBucketLogging => vec![A::GetBucketLogging],
        O::PutBucketLogging => vec![A::PutBucketLogging],
        O::GetBucketNotificationConfiguration => vec![A::GetBucketNotification],
        O::PutBucketNotificationConfiguration => vec![A::PutBucketNotification],
        O::GetBucketWebsite => vec![A::GetBucketWebsite],
        O::PutBucketWebsite => vec![A::PutBucketWebsite],
        O::DeleteBucketWebsite => vec![A::DeleteBucketWebsite],
        O::GetBucketRequestPayment => vec![A::GetBucketRequestPayment],
        O::PutBucketRequestPayment => vec![A::PutBucketRequestPayment],
        O::RestoreObject => vec![A::RestoreObject],
    };
    let makes_object = matches!(operation, O::PutObject | O::CopyObject | O::CreateMultipartUpload);
    let makes_bucket = operation == O::CreateBucket;
    let mut also = |condition, action| {
        if condition {
            actions.push(action);
        }
    };
    also(makes_object && extras.acl, A::PutObjectAcl);
    also(makes_object && extras.tagging, A::PutObjectTagging);
    also(makes_object && extras.retention, A::PutObjectRetention);
    also(makes_object && extras.legal_hold, A::PutObjectLegalHold);
    also(makes_bucket && extras.acl, A::PutBucketAcl);
    also(makes_bucket && extras.object_lock, A::PutBucketObjectLockConfiguration);
    also(makes_bucket && extras.object_lock, A::PutBucketVersioning);
    also(makes_bucket && extras.ownership, A::PutBucketOwnershipControls);
    actions
}

/// Whether the object that is there decides too: by its ACL and its owner, and by its tags.
pub fn is_judged_by_object(operation: Operation) -> bool {
    use Operation as O;
    matches!(
        operation,
        O::GetObject
            | O::HeadObject
            | O::GetObjectAttributes
            | O::GetObjectAcl
            | O::PutObjectAcl
            | O::GetObjectTagging
            | O::PutObjectTagging
            | O::DeleteObjectTagging
            | O::GetObjectRetention
            | O::PutObjectRetention
            | O::GetObjectLegalHold
            | O::PutObjectLegalHold
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(operation: Operation, extras: Extras, expected: &[&str]) {
        let names: Vec<&str> = needed(operation, extras).into_iter().map(Action::name).collect();
        assert_eq!(names, expected, "{operation:?} {extras:?}");
    }

    #[test]
    fn operations_need_what_aws_says() {
        let plain = Extras::default();
        let version = Extras { version: true, ..plain };
        check(Operation::GetObject, plain, &["s3:GetObject"]);
        check(Operation::HeadObject, version, &["s3:GetObjectVersion"]);
        check(Operation::DeleteObject, version, &["s3:DeleteObjectVersion"]);
        check(Operation::ListObjectVersions, plain, &["s3:ListBucketVersions"]);
        check(Operation::HeadBucket, plain, &["s3:ListBucket"]);
        check(
            Operation::PutObject,
            Extras { acl: true, tagging: true, retention: true, legal_hold: true, ..plain },
            &[
                "s3:PutObject",
                "s3:PutObjectAcl",
                "s3:PutObjectTagging",
                "s3:PutObjectRetention",
                "s3:PutObjectLegalHold",
            ],
        );
        check(
            Operation::CreateBucket,
            Extras { acl: true, object_lock: true, ownership: true, ..plain },
            &[
                "s3:CreateBucket",
                "s3:PutBucketAcl",
                "s3:PutBucketObjectLockConfiguration",
                "s3:PutBucketVersioning",
                "s3:PutBucketOwnershipControls",
            ],
        );
        check(
            Operation::GetObjectAttributes,
            version,
            &["s3:GetObjectVersion", "s3:GetObjectVersionAttributes"],
        );
    }

    #[test]
    fn only_those_that_ask_themselves_need_nothing_beforehand() {
        for operation in Operation::ALL {
            let asks_itself = matches!(
                operation,
                Operation::DeleteObjects | Operation::PostObject | Operation::Preflight
            );
            let needs = needed(*operation, Extras::default());
            assert_eq!(needs.is_empty(), asks_itself, "{operation:?}");
        }
    }
}
