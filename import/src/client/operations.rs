//! The operations of S3 that an import needs, one function each.
//!
//! Not here: reading and writing of bodies (`source`, `write`), listings of keys (`listing`).

use super::xml::{Element, escaped};
use super::{Attempt, Client, Request, percent};
use crate::checksum::{Algorithm, Checksum};
use crate::error::Failure;
use crate::meta::Head;

pub type Tags = Vec<(String, String)>;

/// A part that the target has taken.
#[derive(Debug, Clone)]
pub struct Part {
    pub etag: String,
    pub checksum: Option<String>,
}

impl Client {
    pub fn list_buckets(&self) -> Result<Vec<String>, Failure> {
        let (mut names, mut token) = (Vec::new(), String::new());
        loop {
            let mut request = Request::new("GET", "", "");
            if !token.is_empty() {
                request = request.query("continuation-token", &token);
            }
            let page = self.send_for_xml(&request, b"", "ListAllMyBucketsResult")?;
            let buckets = page.child("Buckets").map(|buckets| buckets.all("Bucket"));
            let found =
                buckets.into_iter().flatten().map(|bucket| bucket.text_of("Name").to_owned());
            names.extend(found);
            let next = page.text_of("ContinuationToken");
            if next.is_empty() || next == token {
                return Ok(names);
            }
            token = next.to_owned();
        }
    }

    pub fn bucket_exists(&self, bucket: &str) -> Result<bool, Failure> {
        match self.send(&Request::new("HEAD", bucket, ""), b"") {
            Ok(_) => Ok(true),
            Err(failure) if failure.status() == Some(404) => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    pub fn create_bucket(&self, bucket: &str) -> Result<(), Failure> {
        let region = &self.endpoint.region;
        let body = if region == "us-east-1" {
            String::new()
        } else {
            format!(
                "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
                 <LocationConstraint>{}</LocationConstraint></CreateBucketConfiguration>",
                escaped(region)
            )
        };
        self.send(&Request::new("PUT", bucket, ""), body.as_bytes()).map(drop)
    }

    /// Whether every write makes a version.
    pub fn is_versioned(&self, bucket: &str) -> Result<bool, Failure> {
        let request = Request::new("GET", bucket, "").query("versioning", "");
        let told = self.send_for_xml(&request, b"", "VersioningConfiguration")?;
        Ok(told.text_of("Status") == "Enabled")
    }

    pub fn enable_versioning(&self, bucket: &str) -> Result<(), Failure> {
        let body = b"<VersioningConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
                     <Status>Enabled</Status></VersioningConfiguration>";
        self.send(&Request::new("PUT", bucket, "").query("versioning", ""), body).map(drop)
    }

    pub fn head_object(
        &self,
        (bucket, key): (&str, &str),
        version: Option<&str>,
    ) -> Result<Head, Failure> {
        let request = Request::new("HEAD", bucket, key).version(version);
        let answer = self.send(&request.header("x-amz-checksum-mode", "ENABLED"), b"")?;
        Head::read(&answer.headers, None)
    }

    /// Size of a part, and how many there are; none if the endpoint does not tell. Without `If-Match`: some
    /// answer with a part's own ETag.
    pub fn part_size(
        &self,
        (bucket, key): (&str, &str),
        version: Option<&str>,
        number: u64,
    ) -> Result<Option<(u64, u64)>, Failure> {
        let request = Request::new("HEAD", bucket, key)
            .version(version)
            .query("partNumber", number.to_string());
        match self.send(&request, b"") {
            Ok(answer) => {
                let head = Head::read(&answer.headers, None)?;
                Ok(head.part_count.map(|count| (head.size, count)))
            }
            Err(failure) if matches!(failure.status(), Some(400 | 405 | 416 | 501)) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Sorted by name.
    pub fn object_tags(
        &self,
        (bucket, key): (&str, &str),
        version: Option<&str>,
    ) -> Result<Tags, Failure> {
        let request = Request::new("GET", bucket, key).query("tagging", "").version(version);
        let told = self.send_for_xml(&request, b"", "Tagging")?;
        let set = told.child("TagSet").map(|set| set.all("Tag"));
        let pair = |tag: &Element| (tag.text_of("Key").to_owned(), tag.text_of("Value").to_owned());
        let mut tags: Tags = set.into_iter().flatten().map(pair).collect();
        tags.sort();
        Ok(tags)
    }

    /// Deletes a key in a versioned bucket, which adds a marker; one attempt.
    pub fn delete_once(&self, (bucket, key): (&str, &str)) -> Result<(), Attempt> {
        self.send_body(&Request::new("DELETE", bucket, key), b"", 0).map(drop)
    }

    pub fn create_upload(
        &self,
        (bucket, key): (&str, &str),
        headers: &[(String, String)],
    ) -> Result<String, Failure> {
        let request = Request::new("POST", bucket, key).query("uploads", "").headers(headers);
        let told = self.send_for_xml(&request, b"", "InitiateMultipartUploadResult")?;
        let id = told.text_of("UploadId").to_owned();
        if id.is_empty() { Err(self.odd("an upload without an id")) } else { Ok(id) }
    }

    /// The version that the parts became, if it has a name.
    pub fn complete_upload(
        &self,
        (bucket, key): (&str, &str),
        upload: &str,
        parts: &[Part],
        (algorithm, whole): (Option<Algorithm>, Option<&Checksum>),
        only_new: bool,
    ) -> Result<Option<String>, Failure> {
        let mut body = String::from(
            "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">",
        );
        for (number, part) in (1..).zip(parts) {
            let checksum = algorithm.zip(part.checksum.as_ref()).map(|(algorithm, value)| {
                let name = algorithm.element();
                format!("<{name}>{value}</{name}>")
            });
            body.push_str(&format!(
                "<Part><PartNumber>{number}</PartNumber><ETag>\"{}\"</ETag>{}</Part>",
                part.etag,
                checksum.unwrap_or_default()
            ));
        }
        body.push_str("</CompleteMultipartUpload>");
        let mut request = Request::new("POST", bucket, key).query("uploadId", upload);
        if let Some(whole) = whole.filter(|whole| !whole.is_composite) {
            request = request
                .header(whole.algorithm.header(), &whole.value)
                .header("x-amz-checksum-type", "FULL_OBJECT");
        }
        if only_new {
            request = request.header("if-none-match", "*");
        }
        let mut version = None;
        self.persist(|| {
            let (_, answered) =
                self.attempt_for_xml(&request, body.as_bytes(), "CompleteMultipartUploadResult")?;
            version = answered;
            Ok(())
        })?;
        Ok(version)
    }

    /// Gives up an upload; one that is not there any more is given up.
    pub fn abort_upload(&self, (bucket, key): (&str, &str), upload: &str) -> Result<(), Failure> {
        let request = Request::new("DELETE", bucket, key).query("uploadId", upload);
        match self.send(&request, b"") {
            Err(failure) if failure.status() != Some(404) => Err(failure),
            _ => Ok(()),
        }
    }
}

/// As `x-amz-tagging` has them.
pub fn tagging(tags: &Tags) -> String {
    let pair = |(name, value): &(String, String)| {
        format!("{}={}", percent::query(name), percent::query(value))
    };
    tags.iter().map(pair).collect::<Vec<_>>().join("&")
}
