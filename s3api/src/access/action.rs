//! The actions that policies allow and deny.
//!
//! Not here: which of them an operation needs (`needs`).
//!
//! Source: AWS, "Actions, resources, and condition keys for Amazon S3".

/// What an action is done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Service,
    Bucket,
    Object,
}

/// Declares [`Action`]: the name behind `s3:`, and what it is done to.
macro_rules! actions {
    ($($level:ident: $($name:ident)*;)*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Action {
            $($($name,)*)*
        }

        impl Action {
            pub const ALL: &[Self] = &[$($(Self::$name,)*)*];

            /// As policies name it.
            pub fn name(self) -> &'static str {
                match self {
                    $($(Self::$name => concat!("s3:", stringify!($name)),)*)*
                }
            }

            pub fn level(self) -> Level {
                match self {
                    $($(Self::$name)|* => Level::$level,)*
                }
            }
        }
    };
}

actions! {
    Service: ListAllMyBuckets;
    Bucket: CreateBucket DeleteBucket
        ListBucket ListBucketVersions ListBucketMultipartUploads
        GetBucketLocation
        GetBucketVersioning PutBucketVersioning
        GetBucketObjectLockConfiguration PutBucketObjectLockConfiguration
        GetBucketTagging PutBucketTagging
        GetBucketPolicy PutBucketPolicy DeleteBucketPolicy GetBucketPolicyStatus
        GetBucketAcl PutBucketAcl
        GetBucketPublicAccessBlock PutBucketPublicAccessBlock
        GetBucketOwnershipControls PutBucketOwnershipControls
        GetBucketCORS PutBucketCORS
        GetEncryptionConfiguration PutEncryptionConfiguration
        GetLifecycleConfiguration PutLifecycleConfiguration
        GetBucketLogging PutBucketLogging
        GetBucketNotification PutBucketNotification
        GetBucketWebsite PutBucketWebsite DeleteBucketWebsite
        GetBucketRequestPayment PutBucketRequestPayment;
    Object: GetObject GetObjectVersion
        PutObject DeleteObject DeleteObjectVersion
        AbortMultipartUpload ListMultipartUploadParts
        GetObjectAcl GetObjectVersionAcl PutObjectAcl PutObjectVersionAcl
        GetObjectTagging GetObjectVersionTagging
        PutObjectTagging PutObjectVersionTagging
        DeleteObjectTagging DeleteObjectVersionTagging
        GetObjectAttributes GetObjectVersionAttributes
        GetObjectRetention PutObjectRetention
        GetObjectLegalHold PutObjectLegalHold
        BypassGovernanceRetention
        RestoreObject;
}

/// Actions that AWS has, and a policy may therefore name, for operations that are not here.
pub const OTHER_ACTIONS: [(&str, Level); 26] = [
    ("s3:GetAccelerateConfiguration", Level::Bucket),
    ("s3:PutAccelerateConfiguration", Level::Bucket),
    ("s3:GetAnalyticsConfiguration", Level::Bucket),
    ("s3:PutAnalyticsConfiguration", Level::Bucket),
    ("s3:GetIntelligentTieringConfiguration", Level::Bucket),
    ("s3:PutIntelligentTieringConfiguration", Level::Bucket),
    ("s3:GetInventoryConfiguration", Level::Bucket),
    ("s3:PutInventoryConfiguration", Level::Bucket),
    ("s3:GetMetricsConfiguration", Level::Bucket),
    ("s3:PutMetricsConfiguration", Level::Bucket),
    ("s3:GetReplicationConfiguration", Level::Bucket),
    ("s3:PutReplicationConfiguration", Level::Bucket),
    ("s3:GetAccountPublicAccessBlock", Level::Service),
    ("s3:PutAccountPublicAccessBlock", Level::Service),
    ("s3:ListAccessPoints", Level::Service),
    ("s3:ListJobs", Level::Service),
    ("s3:CreateJob", Level::Service),
    ("s3:GetObjectTorrent", Level::Object),
    ("s3:GetObjectVersionTorrent", Level::Object),
    ("s3:GetObjectVersionForReplication", Level::Object),
    ("s3:InitiateReplication", Level::Object),
    ("s3:ReplicateObject", Level::Object),
    ("s3:ReplicateDelete", Level::Object),
    ("s3:ReplicateTags", Level::Object),
    ("s3:ObjectOwnerOverrideToBucketOwner", Level::Object),
    ("s3:UpdateObjectEncryption", Level::Object),
];

/// Every action that a policy may name.
pub fn known() -> impl Iterator<Item = (&'static str, Level)> {
    Action::ALL.iter().map(|action| (action.name(), action.level())).chain(OTHER_ACTIONS)
}
