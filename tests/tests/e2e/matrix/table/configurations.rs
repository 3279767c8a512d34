//! The rows of what is read, set and taken away of a bucket by a sub-resource.

use super::super::row::{On, Place, Row, row};
use super::{CORS, TAGS};
use s3api::route::Operation as O;

const POLICY: &str = r#"{"Statement":{"Effect":"Deny","Principal":"*","Action":"s3:GetBucketWebsite","Resource":"arn:aws:s3:::{b}","Condition":{"StringEquals":{"aws:UserAgent":"nobody"}}}}"#;
const NO_BLOCK: &str = "<PublicAccessBlockConfiguration><BlockPublicAcls>false</BlockPublicAcls></PublicAccessBlockConfiguration>";
const OWNERSHIP: &str = "<OwnershipControls><Rule><ObjectOwnership>ObjectWriter</ObjectOwnership></Rule></OwnershipControls>";
const SEALED: &str = "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>";
const LIFECYCLE: &str = "<LifecycleConfiguration><Rule><ID>r</ID><Filter><Prefix>x</Prefix></Filter><Status>Disabled</Status><Expiration><Days>9</Days></Expiration></Rule></LifecycleConfiguration>";
const WEBSITE: &str = "<WebsiteConfiguration><IndexDocument><Suffix>index.html</Suffix></IndexDocument></WebsiteConfiguration>";
const PAYER: &str =
    "<RequestPaymentConfiguration><Payer>BucketOwner</Payer></RequestPaymentConfiguration>";
const VERSIONS: &str =
    "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
const LOCK: &str = "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>";

pub(super) fn rows() -> Vec<Row> {
    let get = |operation, line, action| row(operation, line).needs(On::Bucket, &[action]);
    let put = |operation, line, action, body| {
        row(operation, line).needs(On::Bucket, &[action]).body(body)
    };
    let delete = |operation, line, action| {
        row(operation, line).needs(On::Bucket, &[action]).answers(204, "")
    };
    vec![
        get(O::GetBucketVersioning, "GET /{b}?versioning=", "s3:GetBucketVersioning"),
        put(O::PutBucketVersioning, "PUT /{b}?versioning=", "s3:PutBucketVersioning", VERSIONS),
        get(
            O::GetObjectLockConfiguration,
            "GET /{b}?object-lock=",
            "s3:GetBucketObjectLockConfiguration",
        )
        .at(Place::Locked),
        put(
            O::PutObjectLockConfiguration,
            "PUT /{b}?object-lock=",
            "s3:PutBucketObjectLockConfiguration",
            LOCK,
        )
        .at(Place::Versioned),
        get(O::GetBucketTagging, "GET /{b}?tagging=", "s3:GetBucketTagging").after(
            "PUT",
            "/{b}?tagging=",
            TAGS,
        ),
        put(O::PutBucketTagging, "PUT /{b}?tagging=", "s3:PutBucketTagging", TAGS).answers(204, ""),
        delete(O::DeleteBucketTagging, "DELETE /{b}?tagging=", "s3:PutBucketTagging").after(
            "PUT",
            "/{b}?tagging=",
            TAGS,
        ),
        get(O::GetBucketPolicy, "GET /{b}?policy=", "s3:GetBucketPolicy").after(
            "PUT",
            "/{b}?policy=",
            POLICY,
        ),
        put(O::PutBucketPolicy, "PUT /{b}?policy=", "s3:PutBucketPolicy", POLICY)
            .answers(204, "")
            .consumes(),
        delete(O::DeleteBucketPolicy, "DELETE /{b}?policy=", "s3:DeleteBucketPolicy")
            .after("PUT", "/{b}?policy=", POLICY)
            .consumes(),
        get(O::GetBucketPolicyStatus, "GET /{b}?policyStatus=", "s3:GetBucketPolicyStatus").after(
            "PUT",
            "/{b}?policy=",
            POLICY,
        ),
        get(O::GetBucketAcl, "GET /{b}?acl=", "s3:GetBucketAcl"),
        put(O::PutBucketAcl, "PUT /{b}?acl=", "s3:PutBucketAcl", "")
            .header("x-amz-acl", "private")
            .consumes(),
        get(
            O::GetPublicAccessBlock,
            "GET /{b}?publicAccessBlock=",
            "s3:GetBucketPublicAccessBlock",
        )
        .after("PUT", "/{b}?publicAccessBlock=", NO_BLOCK),
        put(
            O::PutPublicAccessBlock,
            "PUT /{b}?publicAccessBlock=",
            "s3:PutBucketPublicAccessBlock",
            NO_BLOCK,
        )
        .consumes(),
        delete(
            O::DeletePublicAccessBlock,
            "DELETE /{b}?publicAccessBlock=",
            "s3:PutBucketPublicAccessBlock",
        )
        .after("PUT", "/{b}?publicAccessBlock=", NO_BLOCK)
        .consumes(),
        get(
            O::GetBucketOwnershipControls,
            "GET /{b}?ownershipControls=",
            "s3:GetBucketOwnershipControls",
        )
        .after("PUT", "/{b}?ownershipControls=", OWNERSHIP),
        put(
            O::PutBucketOwnershipControls,
            "PUT /{b}?ownershipControls=",
            "s3:PutBucketOwnershipControls",
            OWNERSHIP,
        )
        .consumes(),
        delete(
            O::DeleteBucketOwnershipControls,
            "DELETE /{b}?ownershipControls=",
            "s3:PutBucketOwnershipControls",
        )
        .after("PUT", "/{b}?ownershipControls=", OWNERSHIP)
        .consumes(),
        get(O::GetBucketCors, "GET /{b}?cors=", "s3:GetBucketCORS").after(
            "PUT",
            "/{b}?cors=",
            CORS,
        ),
        put(O::PutBucketCors, "PUT /{b}?cors=", "s3:PutBucketCORS", CORS),
        delete(O::DeleteBucketCors, "DELETE /{b}?cors=", "s3:PutBucketCORS").after(
            "PUT",
            "/{b}?cors=",
            CORS,
        ),
        get(O::GetBucketEncryption, "GET /{b}?encryption=", "s3:GetEncryptionConfiguration").after(
            "PUT",
            "/{b}?encryption=",
            SEALED,
        ),
        put(
            O::PutBucketEncryption,
            "PUT /{b}?encryption=",
            "s3:PutEncryptionConfiguration",
            SEALED,
        ),
        delete(
            O::DeleteBucketEncryption,
            "DELETE /{b}?encryption=",
            "s3:PutEncryptionConfiguration",
        )
        .after("PUT", "/{b}?encryption=", SEALED),
        get(
            O::GetBucketLifecycleConfiguration,
            "GET /{b}?lifecycle=",
            "s3:GetLifecycleConfiguration",
        )
        .after("PUT", "/{b}?lifecycle=", LIFECYCLE),
        put(
            O::PutBucketLifecycleConfiguration,
            "PUT /{b}?lifecycle=",
            "s3:PutLifecycleConfiguration",
            LIFECYCLE,
        ),
        delete(O::DeleteBucketLifecycle, "DELETE /{b}?lifecycle=", "s3:PutLifecycleConfiguration")
            .after("PUT", "/{b}?lifecycle=", LIFECYCLE),
        get(O::GetBucketLogging, "GET /{b}?logging=", "s3:GetBucketLogging"),
        put(
            O::PutBucketLogging,
            "PUT /{b}?logging=",
            "s3:PutBucketLogging",
            "<BucketLoggingStatus/>",
        ),
        get(
            O::GetBucketNotificationConfiguration,
            "GET /{b}?notification=",
            "s3:GetBucketNotification",
        ),
        put(
            O::PutBucketNotificationConfiguration,
            "PUT /{b}?notification=",
            "s3:PutBucketNotification",
            "<NotificationConfiguration/>",
        ),
        get(O::GetBucketWebsite, "GET /{b}?website=", "s3:GetBucketWebsite").after(
            "PUT",
            "/{b}?website=",
            WEBSITE,
        ),
        put(O::PutBucketWebsite, "PUT /{b}?website=", "s3:PutBucketWebsite", WEBSITE),
        delete(O::DeleteBucketWebsite, "DELETE /{b}?website=", "s3:DeleteBucketWebsite").after(
            "PUT",
            "/{b}?website=",
            WEBSITE,
        ),
        get(O::GetBucketRequestPayment, "GET /{b}?requestPayment=", "s3:GetBucketRequestPayment"),
        put(
            O::PutBucketRequestPayment,
            "PUT /{b}?requestPayment=",
            "s3:PutBucketRequestPayment",
            PAYER,
        ),
    ]
}
