//! The table: a row for every operation, and one more for each way of asking that needs other rights.
//!
//! What an operation needs is written down from AWS's documents ("Required permissions for Amazon S3 API
//! operations") and not taken from the server: the test is whether both agree. RenameObject, which AWS has
//! for directory buckets only, needs what a copy and a deletion need; an append, what a read and a write need, and,
//! since tags stay with the bytes, what these need.

mod configurations;

use super::row::{KEPT, On, Place, Row, row};
use s3api::route::Operation as O;

const KEY: On = On::Key(KEPT);
const NEW: On = On::Key("new");

const TAGS: &str =
    "<Tagging><TagSet><Tag><Key>colour</Key><Value>blue</Value></Tag></TagSet></Tagging>";
const CORS: &str = "<CORSConfiguration><CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod></CORSRule></CORSConfiguration>";
pub(super) const RETENTION: &str = "<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>2100-01-01T00:00:00Z</RetainUntilDate></Retention>";
const EARLIER: &str = "<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>2099-01-01T00:00:00Z</RetainUntilDate></Retention>";
pub(super) const HOLD: &str = "<LegalHold><Status>OFF</Status></LegalHold>";
const RESTORE: &str = "<RestoreRequest><Days>1</Days></RestoreRequest>";

pub(super) fn table() -> Vec<Row> {
    [service_and_bucket(), configurations::rows(), objects(), records(), uploads_and_copies()]
        .concat()
}

fn service_and_bucket() -> Vec<Row> {
    let create = || {
        let row = row(O::CreateBucket, "PUT /{b}").at(Place::Nothing).consumes();
        row.needs(On::NewBucket, &["s3:CreateBucket"])
    };
    let delete_kept = |line| {
        let row = row(O::DeleteObjects, line).at(Place::Object).needs(KEY, &["s3:DeleteObject"]);
        row.body("<Delete><Object><Key>kept</Key></Object></Delete>").per_key().consumes()
    };
    vec![
        row(O::ListBuckets, "GET /")
            .at(Place::Nothing)
            .needs(On::Service, &["s3:ListAllMyBuckets"]),
        create(),
        create().what("with object lock").header("x-amz-bucket-object-lock-enabled", "true").needs(
            On::NewBucket,
            &["s3:PutBucketObjectLockConfiguration", "s3:PutBucketVersioning"],
        ),
        create()
            .what("with an ACL")
            .header("x-amz-acl", "public-read")
            .needs(On::NewBucket, &["s3:PutBucketAcl"]),
        create()
            .what("with ownership")
            .header("x-amz-object-ownership", "BucketOwnerEnforced")
            .needs(On::NewBucket, &["s3:PutBucketOwnershipControls"]),
        row(O::HeadBucket, "HEAD /{b}").needs(On::Bucket, &["s3:ListBucket"]),
        row(O::DeleteBucket, "DELETE /{b}")
            .needs(On::Bucket, &["s3:DeleteBucket"])
            .answers(204, "")
            .consumes(),
        row(O::GetBucketLocation, "GET /{b}?location=")
            .needs(On::Bucket, &["s3:GetBucketLocation"]),
        row(O::ListObjects, "GET /{b}").at(Place::Object).needs(On::Bucket, &["s3:ListBucket"]),
        row(O::ListObjectsV2, "GET /{b}?list-type=2")
            .at(Place::Object)
            .needs(On::Bucket, &["s3:ListBucket"]),
        row(O::ListObjectVersions, "GET /{b}?versions=")
            .at(Place::Versioned)
            .needs(On::Bucket, &["s3:ListBucketVersions"]),
        row(O::ListMultipartUploads, "GET /{b}?uploads=")
            .at(Place::Upload)
            .needs(On::Bucket, &["s3:ListBucketMultipartUploads"]),
        delete_kept("POST /{b}?delete="),
        delete_kept("PUT /{b}?delete=").what("by PUT"),
        delete_kept("DELETE /{b}?delete=").what("by DELETE"),
        row(O::DeleteObjects, "POST /{b}?delete=")
            .what("of a version")
            .at(Place::Versioned)
            .body("<Delete><Object><Key>kept</Key><VersionId>{v}</VersionId></Object></Delete>")
            .needs(KEY, &["s3:DeleteObjectVersion"])
            .per_key()
            .consumes(),
        row(O::DeleteObjects, "POST /{b}?delete=")
            .what("of a version under governance")
            .at(Place::Locked)
            .body("<Delete><Object><Key>kept</Key><VersionId>{v}</VersionId></Object></Delete>")
            .header("x-amz-bypass-governance-retention", "true")
            .needs(KEY, &["s3:DeleteObjectVersion", "s3:BypassGovernanceRetention"])
            .per_key()
            .consumes(),
        row(O::PostObject, "POST /{b}").needs(NEW, &["s3:PutObject"]).answers(204, ""),
        row(O::PostObject, "POST /{b}/new")
            .what("to the path of its key")
            .needs(NEW, &["s3:PutObject"])
            .answers(204, ""),
        row(O::PostObject, "POST /{b}")
            .what("with an ACL")
            .header("acl", "bucket-owner-full-control")
            .needs(NEW, &["s3:PutObject", "s3:PutObjectAcl"])
            .answers(204, ""),
        row(O::PostObject, "POST /{b}")
            .what("with tags")
            .header("tagging", TAGS)
            .needs(NEW, &["s3:PutObject", "s3:PutObjectTagging"])
            .answers(204, ""),
        row(O::Preflight, "OPTIONS /{b}/kept")
            .at(Place::Object)
            .after("PUT", "/{b}?cors=", CORS)
            .header("origin", "http://a.test")
            .header("access-control-request-method", "GET")
            .open(),
    ]
}

fn objects() -> Vec<Row> {
    let put = || row(O::PutObject, "PUT /{b}/new").body("other bytes");
    let put = || put().needs(NEW, &["s3:PutObject"]);
    vec![
        put(),
        row(O::PutObject, "PUT /{b}/kept")
            .what("over an object")
            .body("other bytes")
            .at(Place::Object)
            .needs(KEY, &["s3:PutObject"])
            .consumes(),
        row(O::PutObject, "PUT /{b}/kept")
            .what("to the end of an object")
            .body("other bytes")
            .at(Place::Object)
            .header("x-amz-write-offset-bytes", "30")
            .needs(KEY, &["s3:PutObject", "s3:GetObject", "s3:PutObjectTagging"])
            .consumes(),
        row(O::PutObject, "PUT /{b}/kept")
            .what("over an object of that size")
            .body("other bytes")
            .at(Place::Object)
            .header("x-amz-if-match-size", "30")
            .needs(KEY, &["s3:PutObject", "s3:GetObject"])
            .consumes(),
        put()
            .what("with an ACL")
            .header("x-amz-acl", "bucket-owner-full-control")
            .needs(NEW, &["s3:PutObjectAcl"]),
        put().what("with tags").header("x-amz-tagging", "a=b").needs(NEW, &["s3:PutObjectTagging"]),
        put()
            .what("with a retention")
            .at(Place::Locked)
            .header("x-amz-object-lock-mode", "GOVERNANCE")
            .header("x-amz-object-lock-retain-until-date", "2100-01-01T00:00:00Z")
            .needs(NEW, &["s3:PutObjectRetention"]),
        put()
            .what("with a legal hold")
            .at(Place::Locked)
            .header("x-amz-object-lock-legal-hold", "ON")
            .needs(NEW, &["s3:PutObjectLegalHold"]),
        row(O::GetObject, "GET /{b}/kept")
            .at(Place::Object)
            .needs(KEY, &["s3:GetObject"])
            .missing(404, "NoSuchKey"),
        row(O::GetObject, "GET /{b}/kept?versionId={v}")
            .what("of a version")
            .at(Place::Versioned)
            .needs(KEY, &["s3:GetObjectVersion"])
            .missing(404, "NoSuchVersion"),
        row(O::HeadObject, "HEAD /{b}/kept")
            .at(Place::Object)
            .needs(KEY, &["s3:GetObject"])
            .missing(404, ""),
        row(O::HeadObject, "HEAD /{b}/kept?versionId={v}")
            .what("of a version")
            .at(Place::Versioned)
            .needs(KEY, &["s3:GetObjectVersion"])
            .missing(404, ""),
        row(O::DeleteObject, "DELETE /{b}/kept")
            .at(Place::Object)
            .needs(KEY, &["s3:DeleteObject"])
            .answers(204, "")
            .consumes(),
        row(O::DeleteObject, "DELETE /{b}/kept")
            .what("of that size")
            .at(Place::Object)
            .header("x-amz-if-match-size", "30")
            .needs(KEY, &["s3:DeleteObject", "s3:GetObject"])
            .answers(204, "")
            .consumes(),
        row(O::DeleteObject, "DELETE /{b}/kept?versionId={v}")
            .what("of a version of that size")
            .at(Place::Versioned)
            .header("x-amz-if-match-size", "30")
            .needs(KEY, &["s3:DeleteObjectVersion", "s3:GetObjectVersion"])
            .answers(204, "")
            .consumes(),
        row(O::DeleteObject, "DELETE /{b}/kept?versionId={v}")
            .what("of a version")
            .at(Place::Versioned)
            .needs(KEY, &["s3:DeleteObjectVersion"])
            .answers(204, "")
            .consumes(),
        row(O::DeleteObject, "DELETE /{b}/kept?versionId={v}")
            .what("of a version under governance")
            .at(Place::Locked)
            .header("x-amz-bypass-governance-retention", "true")
            .needs(KEY, &["s3:DeleteObjectVersion", "s3:BypassGovernanceRetention"])
            .answers(204, "")
            .consumes(),
        row(O::GetObjectAttributes, "GET /{b}/kept?attributes=")
            .at(Place::Object)
            .header("x-amz-object-attributes", "ETag")
            .needs(KEY, &["s3:GetObject", "s3:GetObjectAttributes"])
            .missing(404, "NoSuchKey"),
        row(O::GetObjectAttributes, "GET /{b}/kept?attributes=&versionId={v}")
            .what("of a version")
            .at(Place::Versioned)
            .header("x-amz-object-attributes", "ETag")
            .needs(KEY, &["s3:GetObjectVersion", "s3:GetObjectVersionAttributes"])
            .missing(404, "NoSuchVersion"),
        // Nothing is ever archived: who may is told so.
        row(O::RestoreObject, "POST /{b}/kept?restore=")
            .at(Place::Object)
            .body(RESTORE)
            .needs(KEY, &["s3:RestoreObject"])
            .answers(403, "InvalidObjectState")
            .missing(404, "NoSuchKey"),
        row(O::RenameObject, "PUT /{b}/new?renameObject=")
            .at(Place::Object)
            .header("x-amz-rename-source", "kept")
            .needs(NEW, &["s3:PutObject", "s3:PutObjectTagging"])
            .needs(KEY, &["s3:GetObject", "s3:DeleteObject"])
            .missing(404, "NoSuchKey")
            .consumes(),
    ]
}

/// What is kept with an object, of the current one and of a version.
fn records() -> Vec<Row> {
    let of_object = |operation, line, action| {
        let row = row(operation, line).at(Place::Object).needs(KEY, &[action]);
        row.missing(404, "NoSuchKey")
    };
    let of_version = |operation, line, action| {
        let row = row(operation, line).at(Place::Versioned).needs(KEY, &[action]);
        row.what("of a version").missing(404, "NoSuchVersion")
    };
    vec![
        of_object(O::GetObjectTagging, "GET /{b}/kept?tagging=", "s3:GetObjectTagging"),
        of_version(
            O::GetObjectTagging,
            "GET /{b}/kept?tagging=&versionId={v}",
            "s3:GetObjectVersionTagging",
        ),
        of_object(O::PutObjectTagging, "PUT /{b}/kept?tagging=", "s3:PutObjectTagging").body(TAGS),
        of_version(
            O::PutObjectTagging,
            "PUT /{b}/kept?tagging=&versionId={v}",
            "s3:PutObjectVersionTagging",
        )
        .body(TAGS),
        of_object(O::DeleteObjectTagging, "DELETE /{b}/kept?tagging=", "s3:DeleteObjectTagging")
            .answers(204, ""),
        of_version(
            O::DeleteObjectTagging,
            "DELETE /{b}/kept?tagging=&versionId={v}",
            "s3:DeleteObjectVersionTagging",
        )
        .answers(204, ""),
        of_object(O::GetObjectAcl, "GET /{b}/kept?acl=", "s3:GetObjectAcl"),
        of_version(O::GetObjectAcl, "GET /{b}/kept?acl=&versionId={v}", "s3:GetObjectVersionAcl"),
        of_object(O::PutObjectAcl, "PUT /{b}/kept?acl=", "s3:PutObjectAcl")
            .header("x-amz-acl", "private")
            .consumes(),
        of_version(O::PutObjectAcl, "PUT /{b}/kept?acl=&versionId={v}", "s3:PutObjectVersionAcl")
            .header("x-amz-acl", "private")
            .consumes(),
        of_object(O::GetObjectRetention, "GET /{b}/kept?retention=", "s3:GetObjectRetention")
            .at(Place::Locked),
        of_object(O::PutObjectRetention, "PUT /{b}/kept?retention=", "s3:PutObjectRetention")
            .at(Place::Locked)
            .body(RETENTION),
        of_object(O::PutObjectRetention, "PUT /{b}/kept?retention=", "s3:PutObjectRetention")
            .what("that ends earlier")
            .at(Place::Locked)
            .header("x-amz-bypass-governance-retention", "true")
            .body(EARLIER)
            .needs(KEY, &["s3:BypassGovernanceRetention"])
            .consumes(),
        of_object(O::GetObjectLegalHold, "GET /{b}/kept?legal-hold=", "s3:GetObjectLegalHold")
            .at(Place::Locked),
        of_object(O::PutObjectLegalHold, "PUT /{b}/kept?legal-hold=", "s3:PutObjectLegalHold")
            .at(Place::Locked)
            .body(HOLD),
    ]
}

fn uploads_and_copies() -> Vec<Row> {
    let copy = || {
        let row = row(O::CopyObject, "PUT /{b}/new").at(Place::Source).missing(404, "NoSuchKey");
        row.header("x-amz-copy-source", "{s}/kept")
            .needs(NEW, &["s3:PutObject"])
            .needs(On::SourceKey(KEPT), &["s3:GetObject"])
    };
    let copy_version = || {
        let row = row(O::CopyObject, "PUT /{b}/new").at(Place::VersionedSource);
        row.header("x-amz-copy-source", "{s}/kept?versionId={v}")
            .needs(NEW, &["s3:PutObject"])
            .needs(On::SourceKey(KEPT), &["s3:GetObjectVersion"])
    };
    vec![
        row(O::CreateMultipartUpload, "POST /{b}/new?uploads=").needs(NEW, &["s3:PutObject"]),
        row(O::CreateMultipartUpload, "POST /{b}/new?uploads=")
            .what("with an ACL and tags")
            .header("x-amz-acl", "bucket-owner-full-control")
            .header("x-amz-tagging", "a=b")
            .needs(NEW, &["s3:PutObject", "s3:PutObjectAcl", "s3:PutObjectTagging"]),
        row(O::UploadPart, "PUT /{b}/kept?partNumber=2&uploadId={u}")
            .at(Place::Upload)
            .body("other bytes")
            .needs(KEY, &["s3:PutObject"])
            .missing(404, "NoSuchUpload"),
        row(O::UploadPartCopy, "PUT /{b}/kept?partNumber=2&uploadId={u}")
            .at(Place::UploadAndSource)
            .header("x-amz-copy-source", "{s}/kept")
            .needs(KEY, &["s3:PutObject"])
            .needs(On::SourceKey(KEPT), &["s3:GetObject"]),
        row(O::CompleteMultipartUpload, "POST /{b}/kept?uploadId={u}")
            .at(Place::Upload)
            .body("<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{e}</ETag></Part></CompleteMultipartUpload>")
            .needs(KEY, &["s3:PutObject"])
            .missing(404, "NoSuchUpload")
            .consumes(),
        row(O::CompleteMultipartUpload, "POST /{b}/kept?uploadId={u}")
            .what("over an object of that size")
            .at(Place::Upload)
            .header("x-amz-if-match-size", "30")
            .body("<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{e}</ETag></Part></CompleteMultipartUpload>")
            .needs(KEY, &["s3:PutObject", "s3:GetObject"])
            .consumes(),
        row(O::AbortMultipartUpload, "DELETE /{b}/kept?uploadId={u}")
            .at(Place::Upload)
            .needs(KEY, &["s3:AbortMultipartUpload"])
            .answers(204, "")
            .missing(404, "NoSuchUpload")
            .consumes(),
        row(O::ListParts, "GET /{b}/kept?uploadId={u}")
            .at(Place::Upload)
            .needs(KEY, &["s3:ListMultipartUploadParts"])
            .missing(404, "NoSuchUpload"),
        copy().header("x-amz-tagging-directive", "REPLACE"),
        copy()
            .what("with its tags")
            .needs(NEW, &["s3:PutObjectTagging"])
            .needs(On::SourceKey(KEPT), &["s3:GetObjectTagging"]),
        copy()
            .what("with an ACL")
            .header("x-amz-tagging-directive", "REPLACE")
            .header("x-amz-acl", "bucket-owner-full-control")
            .needs(NEW, &["s3:PutObjectAcl"]),
        copy_version().what("of a version").header("x-amz-tagging-directive", "REPLACE"),
        copy_version()
            .what("of a version with its tags")
            .needs(NEW, &["s3:PutObjectTagging"])
            .needs(On::SourceKey(KEPT), &["s3:GetObjectVersionTagging"]),
    ]
}
