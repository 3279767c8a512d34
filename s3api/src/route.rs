//! From method, host, path and query to an S3 operation. Pure.
//!
//! Invariants: bucket and key are decoded once, are UTF-8, and are never folded (`//`, `.` and `..`
//! are parts of keys). A sub-resource that is not known here, or is known but not implemented, is
//! `NotImplemented`: it is never ignored, so that `DELETE /bucket/key?tagging` cannot delete an
//! object.
//!
//! Not here: whether the parameters of the operation make sense (`ops`), who may do it.

use crate::error::{Code, Result, S3Error};
use crate::percent;

/// Declares [`Operation`] with the AWS name of each operation.
macro_rules! operations {
    ($($name:ident,)*) => {
        /// What a request asks for, by its AWS name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Operation {
            $($name,)*
        }

        impl Operation {
            /// Every operation there is; an operation's place is `operation as usize`.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The operation's AWS name.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }
        }
    };
}

operations! {
    ListBuckets,
    CreateBucket,
    HeadBucket,
    DeleteBucket,
    GetBucketLocation,
    ListObjects,
    ListObjectsV2,
    ListMultipartUploads,
    DeleteObjects,
    PutObject,
    CopyObject,
    GetObject,
    HeadObject,
    DeleteObject,
    CreateMultipartUpload,
    UploadPart,
    UploadPartCopy,
    CompleteMultipartUpload,
    AbortMultipartUpload,
    ListParts,
    ListObjectVersions,
    GetBucketVersioning,
    PutBucketVersioning,
    GetObjectLockConfiguration,
    PutObjectLockConfiguration,
    GetObjectRetention,
    PutObjectRetention,
    GetObjectLegalHold,
    PutObjectLegalHold,
    GetObjectTagging,
    PutObjectTagging,
    DeleteObjectTagging,
    GetBucketTagging,
    PutBucketTagging,
    DeleteBucketTagging,
    GetBucketPolicy,
    PutBucketPolicy,
    DeleteBucketPolicy,
    GetBucketPolicyStatus,
    GetBucketAcl,
    PutBucketAcl,
    GetObjectAcl,
    PutObjectAcl,
    GetPublicAccessBlock,
    PutPublicAccessBlock,
    DeletePublicAccessBlock,
    GetBucketOwnershipControls,
    PutBucketOwnershipControls,
    DeleteBucketOwnershipControls,
    GetBucketCors,
    PutBucketCors,
    DeleteBucketCors,
    Preflight,
    GetBucketEncryption,
    PutBucketEncryption,
    DeleteBucketEncryption,
    GetBucketLifecycleConfiguration,
    PutBucketLifecycleConfiguration,
    DeleteBucketLifecycle,
    GetBucketLogging,
    PutBucketLogging,
    GetBucketNotificationConfiguration,
    PutBucketNotificationConfiguration,
    GetBucketWebsite,
    PutBucketWebsite,
    DeleteBucketWebsite,
    GetBucketRequestPayment,
    PutBucketRequestPayment,
    GetObjectAttributes,
    PostObject,
    RestoreObject,
    RenameObject,
}

impl Operation {
    /// Whether it gives pages of keys, each of which is much work.
    pub fn lists_objects(self) -> bool {
        matches!(
            self,
            Self::ListObjects
                | Self::ListObjectsV2
                | Self::ListObjectVersions
                | Self::ListMultipartUploads
        )
    }
}

/// A request as the operations see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub operation: Operation,
    /// Empty for operations on the service.
    pub bucket: String,
    /// Empty for operations on a bucket or the service.
    pub key: String,
    pub query: Query,
}

/// The parts of a request's head that decide where it goes.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    pub method: &'a str,
    /// The `Host` header.
    pub host: Option<&'a str>,
    /// Path and query, as sent.
    pub target: &'a str,
    /// Whether `x-amz-copy-source` is there, which makes a PUT a copy.
    pub copy: bool,
}

/// Finds the operation. `domains` are those under which buckets are addressed by host name, in
/// lower case.
pub fn route(request: Target<'_>, domains: &[String]) -> Result<Route> {
    let (path, query) = request.target.split_once('?').unwrap_or((request.target, ""));
    let query = Query::parse(query)?;
    let (bucket, key) = resource(request.host, path, domains)?;
    let level = match (bucket.is_empty(), key.is_empty()) {
        (true, _) => Level::Service,
        (false, true) => Level::Bucket,
        (false, false) => Level::Object,
    };
    let operation = operation(level, request, &query)?;
    Ok(Route { operation, bucket, key, query })
}

/// The page that a visit to a website asks for; none if the host is not that of a website. `domains` are
/// those whose subdomains are websites, in lower case.
pub fn website(request: Target<'_>, domains: &[String]) -> Option<Result<Route>> {
    if domains.is_empty() {
        return None;
    }
    let bucket = bucket_of_host(request.host?, domains)?;
    let operation = match request.method {
        "GET" => Operation::GetObject,
        "HEAD" => Operation::HeadObject,
        "OPTIONS" => Operation::Preflight,
        other => {
            let error = S3Error::from(Code::MethodNotAllowed).field("Method", other);
            return Some(Err(error.field("ResourceType", "OBJECT")));
        }
    };
    let path = request.target.split('?').next().unwrap_or_default();
    let key = path.strip_prefix('/').and_then(percent::decode_path);
    let key = key.ok_or_else(|| Code::InvalidURI.into());
    Some(key.map(|key| Route { operation, bucket, key, query: Query::default() }))
}

/// Bucket and key, by host name or by path; empty where there is none.
fn resource(host: Option<&str>, path: &str, domains: &[String]) -> Result<(String, String)> {
    let path = path.strip_prefix('/').ok_or(Code::InvalidURI)?;
    if let Some(bucket) = host.and_then(|host| bucket_of_host(host, domains)) {
        return Ok((bucket, percent::decode_path(path).ok_or(Code::InvalidURI)?));
    }
    let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
    if bucket.is_empty() && !key.is_empty() {
        return Err(Code::InvalidURI.into());
    }
    let decode = |text| percent::decode_path(text).ok_or(Code::InvalidURI);
    Ok((decode(bucket)?, decode(key)?))
}

/// The bucket that a host name holds in front of one of the domains. The longest domain wins, so
/// that `s3.example.com` is no bucket `s3` of `example.com` when both are configured.
pub fn bucket_of_host(host: &str, domains: &[String]) -> Option<String> {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_end_matches('.');
    if domains.iter().any(|domain| domain.eq_ignore_ascii_case(name)) {
        return None;
    }
    let in_front_of = |domain: &String| {
        let (front, end) = name.split_at_checked(name.len().checked_sub(domain.len())?)?;
        end.eq_ignore_ascii_case(domain).then_some(front)?.strip_suffix('.')
    };
    domains
        .iter()
        .filter_map(in_front_of)
        .filter(|bucket| !bucket.is_empty())
        .min_by_key(|bucket| bucket.len())
        .map(str::to_ascii_lowercase)
}

/// What a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Service,
    Bucket,
    Object,
}

/// Which operation a method and a sub-resource (empty for none) make. Some are split further by
/// [`refine`].
const OPERATIONS: &[(Level, &str, &str, Operation)] = &[
    (Level::Service, "GET", "", Operation::ListBuckets),
    (Level::Bucket, "PUT", "", Operation::CreateBucket),
    (Level::Bucket, "HEAD", "", Operation::HeadBucket),
    (Level::Bucket, "DELETE", "", Operation::DeleteBucket),
    (Level::Bucket, "GET", "", Operation::ListObjects),
    (Level::Bucket, "GET", "location", Operation::GetBucketLocation),
    (Level::Bucket, "GET", "uploads", Operation::ListMultipartUploads),
    (Level::Bucket, "POST", "delete", Operation::DeleteObjects),
    // Not AWS's methods, but those of a service whose documents say so; neither means anything else.
    (Level::Bucket, "PUT", "delete", Operation::DeleteObjects),
    (Level::Bucket, "DELETE", "delete", Operation::DeleteObjects),
    (Level::Object, "PUT", "", Operation::PutObject),
    (Level::Object, "GET", "", Operation::GetObject),
    (Level::Object, "HEAD", "", Operation::HeadObject),
    (Level::Object, "DELETE", "", Operation::DeleteObject),
    (Level::Object, "POST", "uploads", Operation::CreateMultipartUpload),
    (Level::Object, "PUT", "uploadId", Operation::UploadPart),
    (Level::Object, "POST", "uploadId", Operation::CompleteMultipartUpload),
    (Level::Object, "DELETE", "uploadId", Operation::AbortMultipartUpload),
    (Level::Object, "GET", "uploadId", Operation::ListParts),
    (Level::Bucket, "POST", "", Operation::PostObject),
    (Level::Object, "POST", "", Operation::PostObject),
    (Level::Bucket, "GET", "versions", Operation::ListObjectVersions),
    (Level::Bucket, "GET", "versioning", Operation::GetBucketVersioning),
    (Level::Bucket, "PUT", "versioning", Operation::PutBucketVersioning),
    (Level::Bucket, "GET", "object-lock", Operation::GetObjectLockConfiguration),
    (Level::Bucket, "PUT", "object-lock", Operation::PutObjectLockConfiguration),
    (Level::Object, "GET", "retention", Operation::GetObjectRetention),
    (Level::Object, "PUT", "retention", Operation::PutObjectRetention),
    (Level::Object, "GET", "legal-hold", Operation::GetObjectLegalHold),
    (Level::Object, "PUT", "legal-hold", Operation::PutObjectLegalHold),
    (Level::Object, "GET", "tagging", Operation::GetObjectTagging),
    (Level::Object, "PUT", "tagging", Operation::PutObjectTagging),
    (Level::Object, "DELETE", "tagging", Operation::DeleteObjectTagging),
    (Level::Bucket, "GET", "tagging", Operation::GetBucketTagging),
    (Level::Bucket, "PUT", "tagging", Operation::PutBucketTagging),
    (Level::Bucket, "DELETE", "tagging", Operation::DeleteBucketTagging),
    (Level::Bucket, "GET", "policy", Operation::GetBucketPolicy),
    (Level::Bucket, "PUT", "policy", Operation::PutBucketPolicy),
    (Level::Bucket, "DELETE", "policy", Operation::DeleteBucketPolicy),
    (Level::Bucket, "GET", "policyStatus", Operation::GetBucketPolicyStatus),
    (Level::Bucket, "GET", "acl", Operation::GetBucketAcl),
    (Level::Bucket, "PUT", "acl", Operation::PutBucketAcl),
    (Level::Object, "GET", "acl", Operation::GetObjectAcl),
    (Level::Object, "PUT", "acl", Operation::PutObjectAcl),
    (Level::Bucket, "GET", "publicAccessBlock", Operation::GetPublicAccessBlock),
    (Level::Bucket, "PUT", "publicAccessBlock", Operation::PutPublicAccessBlock),
    (Level::Bucket, "DELETE", "publicAccessBlock", Operation::DeletePublicAccessBlock),
    (Level::Bucket, "GET", "ownershipControls", Operation::GetBucketOwnershipControls),
    (Level::Bucket, "PUT", "ownershipControls", Operation::PutBucketOwnershipControls),
    (Level::Bucket, "DELETE", "ownershipControls", Operation::DeleteBucketOwnershipControls),
    (Level::Bucket, "GET", "cors", Operation::GetBucketCors),
    (Level::Bucket, "PUT", "cors", Operation::PutBucketCors),
    (Level::Bucket, "DELETE", "cors", Operation::DeleteBucketCors),
    (Level::Bucket, "GET", "encryption", Operation::GetBucketEncryption),
    (Level::Bucket, "PUT", "encryption", Operation::PutBucketEncryption),
    (Level::Bucket, "DELETE", "encryption", Operation::DeleteBucketEncryption),
    (Level::Bucket, "GET", "lifecycle", Operation::GetBucketLifecycleConfiguration),
    (Level::Bucket, "PUT", "lifecycle", Operation::PutBucketLifecycleConfiguration),
    (Level::Bucket, "DELETE", "lifecycle", Operation::DeleteBucketLifecycle),
    (Level::Bucket, "GET", "logging", Operation::GetBucketLogging),
    (Level::Bucket, "PUT", "logging", Operation::PutBucketLogging),
    (Level::Bucket, "GET", "notification", Operation::GetBucketNotificationConfiguration),
    (Level::Bucket, "PUT", "notification", Operation::PutBucketNotificationConfiguration),
    (Level::Bucket, "GET", "website", Operation::GetBucketWebsite),
    (Level::Bucket, "PUT", "website", Operation::PutBucketWebsite),
    (Level::Bucket, "DELETE", "website", Operation::DeleteBucketWebsite),
    (Level::Bucket, "GET", "requestPayment", Operation::GetBucketRequestPayment),
    (Level::Bucket, "PUT", "requestPayment", Operation::PutBucketRequestPayment),
    (Level::Object, "GET", "attributes", Operation::GetObjectAttributes),
    (Level::Object, "POST", "restore", Operation::RestoreObject),
    (Level::Object, "PUT", "renameObject", Operation::RenameObject),
];

/// Sub-resources of S3's that are not implemented, with or without a value.
const UNSUPPORTED: &[&str] = &[
    "abac",
    "accelerate",
    "analytics",
    "append",
    "intelligent-tiering",
    "inventory",
    "metadataConfiguration",
    "metadataTable",
    "metrics",
    "replication",
    "select",
    "session",
    "torrent",
];

/// Parameters that are no sub-resources: they refine an operation.
const PARAMETERS: &[&str] = &[
    "bucket-region",
    "continuation-token",
    "delimiter",
    "encoding-type",
    "fetch-owner",
    "key-marker",
    "list-type",
    "marker",
    "max-buckets",
    "max-keys",
    "max-parts",
    "max-uploads",
    "part-number-marker",
    "partNumber",
    "prefix",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "start-after",
    "upload-id-marker",
    "version-id-marker",
    "versionId",
    // Signature version 2, so that it is refused as such and not as a sub-resource.
    "AWSAccessKeyId",
    "Expires",
    "Signature",
];

fn operation(level: Level, request: Target<'_>, query: &Query) -> Result<Operation> {
    // A preflight asks for another request, whose query it carries.
    if request.method == "OPTIONS" && level != Level::Service {
        return Ok(Operation::Preflight);
    }
    let subresource = subresource(request.method, query)?;
    let entry = |&&(at, method, name, _): &&(Level, &str, &str, Operation)| {
        at == level && name == subresource && method == request.method
    };
    match OPERATIONS.iter().find(entry) {
        Some((.., operation)) => refine(*operation, request, query),
        None => Err(no_such_operation(level, request.method, subresource)),
    }
}

/// The one sub-resource that the query names, empty for none.
fn subresource<'a>(method: &str, query: &'a Query) -> Result<&'a str> {
    let mut found = "";
    for (name, value) in query.iter() {
        if OPERATIONS.iter().any(|(_, _, known, _)| *known == name) {
            if !found.is_empty() && found != name {
                return Err(S3Error::new(
                    Code::InvalidArgument,
                    format!("Conflicting query string parameters: {found}, {name}"),
                ));
            }
            found = name;
        } else if is_unsupported(method, name, value) {
            return Err(S3Error::from(Code::NotImplemented).field("Parameter", name));
        }
    }
    Ok(found)
}

/// Whether a parameter asks for something that is not there. What is unknown but has a value is
/// harmless on a read (caches are often bypassed that way) and refused on everything else.
fn is_unsupported(method: &str, name: &str, value: &str) -> bool {
    if UNSUPPORTED.contains(&name) {
        return true;
    }
    // `X-Amz-*` are the signature's and `x-id` is the SDKs'; AWS reserves `x-` for its users' logs.
    let known = PARAMETERS.contains(&name)
        || name.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("x-"));
    !known && (value.is_empty() || !matches!(method, "GET" | "HEAD"))
}

/// Tells apart the operations that share method and sub-resource.
fn refine(operation: Operation, request: Target<'_>, query: &Query) -> Result<Operation> {
    match operation {
        Operation::ListObjects => match query.get("list-type") {
            None | Some("1") => Ok(Operation::ListObjects),
            Some("2") => Ok(Operation::ListObjectsV2),
            Some(other) => Err(S3Error::invalid_argument(
                "Invalid List Type specified in Request",
                "list-type",
                other,
            )),
        },
        Operation::PutObject if query.get("versionId").is_some() => {
            let message = "This operation does not accept a version-id.";
            Err(S3Error::invalid_argument(message, "versionId", ""))
        }
        Operation::PutObject if query.get("partNumber").is_some() => Err(
            S3Error::invalid_argument("A part needs the uploadId of its upload.", "uploadId", ""),
        ),
        Operation::PutObject if request.copy => Ok(Operation::CopyObject),
        Operation::UploadPart if query.get("partNumber").is_none() => {
            Err(S3Error::invalid_argument("This operation needs a part number.", "partNumber", ""))
        }
        Operation::UploadPart if request.copy => Ok(Operation::UploadPartCopy),
        other => Ok(other),
    }
}

/// The sub-resource is one of ours but not with this method, or the method is none of S3's here.
fn no_such_operation(level: Level, method: &str, subresource: &str) -> S3Error {
    let known_here = OPERATIONS.iter().any(|(at, _, name, _)| *at == level && *name == subresource);
    if !known_here || method == "OPTIONS" {
        return Code::NotImplemented.into();
    }
    S3Error::from(Code::MethodNotAllowed).field("Method", method).field(
        "ResourceType",
        match level {
            Level::Service => "SERVICE",
            Level::Bucket => "BUCKET",
            Level::Object => "OBJECT",
        },
    )
}

/// A decoded query, in the order in which it was sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    parameters: Vec<(String, String)>,
}

impl Query {
    fn parse(query: &str) -> Result<Self> {
        let decode = |text| percent::decode_query(text).ok_or(Code::InvalidURI);
        let parameters = query.split('&').filter(|piece| !piece.is_empty()).map(|piece| {
            let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
            Ok((decode(name)?, decode(value)?))
        });
        Ok(Self { parameters: parameters.collect::<Result<_>>()? })
    }

    /// The first value of a parameter; empty for one without a value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(found, _)| *found == name).map(|(_, value)| value)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Operation::*;
    use proptest::prelude::*;

    fn request<'a>(method: &'a str, host: &'a str, target: &'a str) -> Target<'a> {
        Target { method, host: Some(host), target, copy: false }
    }

    fn check(method: &str, target: &str, expected: Result<(Operation, &str, &str), Code>) {
        let route = route(request(method, "localhost:9000", target), &[]);
        let actual = match &route {
            Ok(route) => Ok((route.operation, route.bucket.as_str(), route.key.as_str())),
            Err(error) => Err(error.code),
        };
        assert_eq!(actual, expected, "{method} {target}");
    }

    #[test]
    fn operations_on_the_service_and_on_buckets() {
        check("GET", "/", Ok((ListBuckets, "", "")));
        check("GET", "/?max-buckets=5&prefix=a&x-id=ListBuckets", Ok((ListBuckets, "", "")));
        check("PUT", "/b", Ok((CreateBucket, "b", "")));
        check("PUT", "/b/", Ok((CreateBucket, "b", "")));
        check("HEAD", "/b", Ok((HeadBucket, "b", "")));
        check("DELETE", "/b", Ok((DeleteBucket, "b", "")));
        check("GET", "/b?location", Ok((GetBucketLocation, "b", "")));
        check("GET", "/b/?prefix=a%2Fb&delimiter=/", Ok((ListObjects, "b", "")));
        check("GET", "/b?list-type=2&encoding-type=url", Ok((ListObjectsV2, "b", "")));
        check("GET", "/b?list-type=3", Err(Code::InvalidArgument));
        check("GET", "/b?uploads", Ok((ListMultipartUploads, "b", "")));
        for method in ["POST", "PUT", "DELETE"] {
            check(method, "/b?delete=", Ok((DeleteObjects, "b", "")));
        }
    }

    #[test]
    fn operations_on_objects() {
        check("PUT", "/b/k?x-id=PutObject", Ok((PutObject, "b", "k")));
        check("GET", "/b/k", Ok((GetObject, "b", "k")));
        check("GET", "/b/k?versionId=null", Ok((GetObject, "b", "k")));
        check("GET", "/b/k?partNumber=2", Ok((GetObject, "b", "k")));
        check("HEAD", "/b/k", Ok((HeadObject, "b", "k")));
        check("DELETE", "/b/k", Ok((DeleteObject, "b", "k")));
        check("POST", "/b/k?uploads", Ok((CreateMultipartUpload, "b", "k")));
        check("PUT", "/b/k?partNumber=1&uploadId=x", Ok((UploadPart, "b", "k")));
        check("PUT", "/b/k?uploadId=x", Err(Code::InvalidArgument));
        check("PUT", "/b/k?partNumber=1", Err(Code::InvalidArgument));
        check("PUT", "/b/k?versionId=null", Err(Code::InvalidArgument));
        check("POST", "/b/k?uploadId=x", Ok((CompleteMultipartUpload, "b", "k")));
        check("DELETE", "/b/k?uploadId=x", Ok((AbortMultipartUpload, "b", "k")));
        check("GET", "/b/k?uploadId=x", Ok((ListParts, "b", "k")));
        check(
            "GET",
            "/b/k?X-Amz-Signature=0&X-Amz-Date=1&response-expires=x",
            Ok((GetObject, "b", "k")),
        );
    }

    #[test]
    fn websites_have_host_names_of_their_own() {
        let domains = ["web.test".to_owned()];
        let page = |method, host, target| {
            let target = Target { method, host: Some(host), target, copy: false };
            website(target, &domains).map(|route| {
                route.map(|route| (route.bucket, route.key)).map_err(|error| error.code)
            })
        };
        let found = |bucket: &str, key: &str| Some(Ok((bucket.to_owned(), key.to_owned())));
        assert_eq!(page("GET", "b.web.test:80", "/"), found("b", ""));
        assert_eq!(page("HEAD", "B.WEB.test", "/a%20b/?acl"), found("b", "a b/"));
        assert_eq!(page("GET", "my.b.web.test", "//x"), found("my.b", "/x"));
        assert_eq!(page("GET", "web.test", "/b/k"), None);
        assert_eq!(page("GET", "b.other.test", "/k"), None);
        assert_eq!(page("GET", "b.web.test", "/%zz"), Some(Err(Code::InvalidURI)));
        assert_eq!(page("PUT", "b.web.test", "/k"), Some(Err(Code::MethodNotAllowed)));
    }

    #[test]
    fn sub_resources_belong_to_their_level() {
        check("GET", "/b?acl", Ok((GetBucketAcl, "b", "")));
        check("GET", "/b/k?acl&versionId=1", Ok((GetObjectAcl, "b", "k")));
        check("DELETE", "/b?tagging", Ok((DeleteBucketTagging, "b", "")));
        check("DELETE", "/b/k?tagging", Ok((DeleteObjectTagging, "b", "k")));
        check("GET", "/b?versions&prefix=x", Ok((ListObjectVersions, "b", "")));
        check("PUT", "/b/k?renameObject", Ok((RenameObject, "b", "k")));
        check("POST", "/b", Ok((PostObject, "b", "")));
        check("POST", "/b/k", Ok((PostObject, "b", "k")));
        check("OPTIONS", "/b/k?partNumber=1&uploadId=x", Ok((Preflight, "b", "k")));
        check("DELETE", "/b?acl", Err(Code::MethodNotAllowed));
    }

    #[test]
    fn every_operation_is_routed_to() {
        let refined = [ListObjectsV2, CopyObject, UploadPartCopy, Preflight];
        for operation in Operation::ALL {
            let is_routed = OPERATIONS.iter().any(|(.., routed)| routed == operation);
            assert!(is_routed || refined.contains(operation), "{operation:?}");
        }
    }

    #[test]
    fn a_copy_source_makes_a_put_a_copy() {
        let operation = |target| {
            let request = Target { copy: true, ..request("PUT", "h", target) };
            route(request, &[]).map(|route| route.operation).map_err(|error| error.code)
        };
        assert_eq!(operation("/b/k"), Ok(CopyObject));
        assert_eq!(operation("/b/k?partNumber=1&uploadId=x"), Ok(UploadPartCopy));
        assert_eq!(operation("/b"), Ok(CreateBucket));
    }

    #[test]
    fn keys_are_decoded_once_and_never_folded() {
        check("GET", "/b/a%20b+c%2Bd", Ok((GetObject, "b", "a b+c+d")));
        check("GET", "/b//a/../b/./", Ok((GetObject, "b", "/a/../b/./")));
        check("GET", "/b/%2520", Ok((GetObject, "b", "%20")));
        check("GET", "/b/%C3%BC%00", Ok((GetObject, "b", "ü\0")));
        check("GET", "/b/a%2Fb", Ok((GetObject, "b", "a/b")));
        check("GET", "/b/%", Err(Code::InvalidURI));
        check("GET", "/b/%ff", Err(Code::InvalidURI));
        check("GET", "//k", Err(Code::InvalidURI));
        check("GET", "*", Err(Code::InvalidURI));
        check("GET", "/b?prefix=%ff", Err(Code::InvalidURI));
    }

    #[test]
    fn no_sub_resource_is_ignored() {
        for (method, target) in [
            ("GET", "/b?accelerate"),
            ("PUT", "/b?replication"),
            ("DELETE", "/b?metrics&id=1"),
            ("GET", "/b?inventory&id=1"),
            ("GET", "/b/k?torrent"),
            ("PUT", "/b/k?cors"),
            ("DELETE", "/b/k?policy"),
            ("GET", "/b/k?versions"),
            ("POST", "/b/k?select&select-type=2"),
            ("GET", "/b/k?brand-new-thing"),
            ("DELETE", "/b/k?brand-new-thing=1"),
            ("PUT", "/b?brand-new-thing="),
            ("GET", "/b/k?location"),
            ("OPTIONS", "/"),
        ] {
            check(method, target, Err(Code::NotImplemented));
        }
        check("GET", "/b/k?cache-buster=17", Ok((GetObject, "b", "k")));
        check("PUT", "/b/k?x-trace=17", Ok((PutObject, "b", "k")));
        check("GET", "/b?location&uploads", Err(Code::InvalidArgument));
    }

    #[test]
    fn methods_that_a_resource_does_not_have() {
        check("PATCH", "/b/k", Err(Code::MethodNotAllowed));
        check("PATCH", "/b/k", Err(Code::MethodNotAllowed));
        check("DELETE", "/", Err(Code::MethodNotAllowed));
        check("PUT", "/b?location", Err(Code::MethodNotAllowed));
        check("GET", "/b/k?uploads", Err(Code::MethodNotAllowed));
    }

    proptest! {
        #[test]
        fn what_is_routed_has_a_bucket_wherever_it_has_a_key(
            method in "GET|PUT|POST|DELETE|HEAD|X",
            host in "[a-z.:0-9]{0,12}",
            target in "/?[a-c/%0-9A-F?&=+.\u{e0}-\u{f0}]{0,40}",
        ) {
            let domains = ["a.b".to_owned()];
            if let Ok(route) = route(request(&method, &host, &target), &domains) {
                prop_assert!(route.key.is_empty() || !route.bucket.is_empty());
            }
        }
    }

    fn check_host(host: &str, target: &str, bucket: &str, key: &str) {
        let domains = ["example.com".to_owned(), "s3.example.com".to_owned()];
        let route = route(request("GET", host, target), &domains);
        let actual = route.map(|route| (route.bucket, route.key));
        assert_eq!(actual, Ok((bucket.to_owned(), key.to_owned())), "{host} {target}");
    }

    #[test]
    fn buckets_are_addressed_by_host_name_under_configured_domains() {
        check_host("photos.s3.example.com", "/a/b", "photos", "a/b");
        check_host("Photos.S3.example.com:9000", "//a", "photos", "/a");
        check_host("my.photos.s3.example.com.", "/", "my.photos", "");
        check_host("photos.example.com", "/a", "photos", "a");
        check_host("s3.example.com:9000", "/photos/a", "photos", "a");
        check_host("example.com", "/photos/a", "photos", "a");
        check_host("badexample.com", "/photos/a", "photos", "a");
        check_host("127.0.0.1:9000", "/photos/a", "photos", "a");
        check_host("[::1]:9000", "/photos/a", "photos", "a");
    }
}
