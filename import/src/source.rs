//! Where objects come from: an S3 endpoint, or a directory tree. One interface for both.
//!
//! Invariants: all bytes of an object are of one state of it: reads name the ETag that the first answer had,
//! files are looked at again at their end. A read that breaks off goes on where it broke.
//!
//! Not here: walking a tree (`tree`), what is done with the bytes (`copy`).

use std::io::{self, Read};

use crate::checksum::parts_of;
use crate::client::listing::{Item, Items, Scope, Version, list};
use crate::client::operations::Tags;
use crate::client::{Answer, Attempt, Client, Request};
use crate::error::Failure;
use crate::limits::BUFFER_BYTES;
use crate::meta::Head;
use crate::tree::{Snapshot, Tree};

/// When an object's tags are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TagPolicy {
    /// Where the endpoint says that there are some.
    Counted,
    Always,
    Never,
}

#[derive(Debug)]
pub enum Source {
    S3 {
        client: Client,
        tags: TagPolicy,
        /// ETags are names, not digests.
        has_opaque_etags: bool,
    },
    Tree(Tree),
}

/// An object of the source as its first answer described it.
#[derive(Debug, Clone)]
pub struct Object {
    pub bucket: String,
    pub key: String,
    pub version: Option<String>,
    pub head: Head,
    pub tags: Tags,
    /// Of a file.
    pub(crate) snapshot: Option<Snapshot>,
}

/// An object, and its bytes if they came along.
pub struct Opened<'a> {
    pub object: Object,
    pub body: Option<Box<dyn Read + 'a>>,
}

impl std::fmt::Debug for Opened<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened").field("object", &self.object).finish_non_exhaustive()
    }
}

impl Source {
    pub fn list(&self, scope: Scope) -> Items<'_> {
        match self {
            Self::S3 { client, .. } => list(client, scope),
            Self::Tree(tree) => tree.list(&scope),
        }
    }

    /// The object of one key as it is now.
    pub fn find(&self, bucket: &str, key: &str, versions: bool) -> Result<Option<Item>, Failure> {
        match self {
            Self::S3 { client, .. } => find(client, bucket, key, versions),
            Self::Tree(tree) => tree.find(key),
        }
    }

    /// Small objects are answered with their bytes.
    ///
    /// # Errors
    /// It is not there any more, or cannot be read.
    pub fn open(&self, bucket: &str, key: &str, version: &Version) -> Result<Opened<'_>, Failure> {
        let is_small = version.size <= BUFFER_BYTES && parts_of(&version.etag).is_none();
        match self {
            Self::S3 { .. } if is_small => self.get(bucket, key, version.asked()),
            _ => Ok(Opened { object: self.head(bucket, key, version.asked())?, body: None }),
        }
    }

    /// An object without its bytes.
    ///
    /// # Errors
    /// As of [`Source::open`].
    pub fn head(&self, bucket: &str, key: &str, version: Option<&str>) -> Result<Object, Failure> {
        match self {
            Self::S3 { client, .. } => {
                let head = client.head_object((bucket, key), version).map_err(vanished)?;
                // Some count tags in the answers to GET only.
                let asks = head.tag_count.is_none_or(|count| count > 0);
                self.object((bucket, key), version, head, asks)
            }
            Self::Tree(tree) => {
                let (head, snapshot) = tree.head(key)?;
                Ok(Object {
                    bucket: bucket.to_owned(),
                    key: key.to_owned(),
                    version: None,
                    head,
                    tags: Tags::new(),
                    snapshot: Some(snapshot),
                })
            }
        }
    }

    /// Some of an object's bytes.
    pub fn read<'a>(&'a self, object: &Object, from: u64, length: u64) -> Box<dyn Read + 'a> {
        match (self, &object.snapshot) {
            (Self::Tree(tree), Some(snapshot)) => tree.read(&object.key, snapshot, from, length),
            (Self::S3 { client, .. }, _) => remote(client, object, from, length),
            (Self::Tree(_), None) => unreachable!("objects of trees have a snapshot"),
        }
    }

    pub fn client(&self) -> Option<&Client> {
        match self {
            Self::S3 { client, .. } => Some(client),
            Self::Tree(_) => None,
        }
    }

    fn get(&self, bucket: &str, key: &str, version: Option<&str>) -> Result<Opened<'_>, Failure> {
        let Self::S3 { client, .. } = self else { unreachable!("only endpoints are asked") };
        let request = Request::new("GET", bucket, key)
            .version(version)
            .header("x-amz-checksum-mode", "ENABLED");
        let answer = client.send(&request, b"").map_err(vanished)?;
        let head = Head::read(&answer.headers, None)?;
        let size = head.size;
        let has_tags = head.tag_count.is_some_and(|count| count > 0);
        let object = self.object((bucket, key), version, head, has_tags)?;
        let body = Remote::new(client, &object, (0, size), Some(answer));
        Ok(Opened { body: Some(Box::new(body)), object })
    }

    fn object(
        &self,
        (bucket, key): (&str, &str),
        version: Option<&str>,
        mut head: Head,
        may_have_tags: bool,
    ) -> Result<Object, Failure> {
        let Self::S3 { client, tags, has_opaque_etags } = self else {
            unreachable!("only endpoints are asked")
        };
        let asks = match tags {
            TagPolicy::Counted => may_have_tags,
            TagPolicy::Always => true,
            TagPolicy::Never => false,
        };
        let is_told = *tags == TagPolicy::Always || head.tag_count.is_some();
        let found = asks.then(|| client.object_tags((bucket, key), version)).transpose();
        let tags = match found {
            // Who may not read tags is not told of any either; some endpoints have none.
            Err(failure) if !is_told && matches!(failure.status(), Some(403 | 405 | 501)) => None,
            found => found?,
        };
        let tags = tags.unwrap_or_default();
        head.is_opaque |= *has_opaque_etags;
        Ok(Object {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            version: version.map(str::to_owned),
            head,
            tags,
            snapshot: None,
        })
    }
}

/// Bytes of an object at an endpoint, over as many answers as it takes.
pub fn remote<'a>(
    client: &'a Client,
    object: &Object,
    from: u64,
    length: u64,
) -> Box<dyn Read + 'a> {
    Box::new(Remote::new(client, object, (from, from + length), None))
}

/// One key of an endpoint with its versions.
pub fn find(
    client: &Client,
    bucket: &str,
    key: &str,
    versions: bool,
) -> Result<Option<Item>, Failure> {
    let scope = Scope { bucket: bucket.to_owned(), prefix: key.to_owned(), after: None, versions };
    // It is the first of all keys that begin with it.
    let first = list(client, scope).next().transpose()?;
    Ok(first.filter(|item| item.key == key))
}

fn vanished(failure: Failure) -> Failure {
    match failure.status() {
        Some(404) => Failure::Changed(format!("it is not there any more ({failure})")),
        _ => failure,
    }
}

/// Bytes of an object over as many answers as it takes.
struct Remote<'a> {
    client: &'a Client,
    request: Request,
    etag: String,
    next: u64,
    end: u64,
    /// Attempts without a byte since.
    tried: u32,
    is_whole: bool,
    current: Option<Box<dyn Read>>,
}

impl<'a> Remote<'a> {
    fn new(
        client: &'a Client,
        object: &Object,
        (from, end): (u64, u64),
        first: Option<Answer>,
    ) -> Self {
        let mut request =
            Request::new("GET", &object.bucket, &object.key).version(object.version.as_deref());
        if !object.head.etag.is_empty() {
            request = request.header("if-match", format!("\"{}\"", object.head.etag));
        }
        Self {
            client,
            request,
            etag: object.head.etag.clone(),
            next: from,
            end,
            tried: 0,
            is_whole: from == 0 && end == object.head.size,
            current: first.map(|answer| Box::new(answer.body.into_reader()) as Box<dyn Read>),
        }
    }

    fn reopen(&mut self) -> Result<(), Failure> {
        let mut request = self.request.clone();
        let is_part = !self.is_whole || self.next > 0;
        if is_part {
            request = request.header("range", format!("bytes={}-{}", self.next, self.end - 1));
        }
        let answer = self.client.send(&request, b"").map_err(|failure| match failure.status() {
            Some(412) => Failure::Changed("it was written anew".into()),
            Some(416) => Failure::Changed("it became shorter".into()),
            _ => vanished(failure),
        })?;
        let etag = answer.header("etag").unwrap_or_default().trim_matches('"');
        if etag != self.etag {
            return Err(Failure::Changed(format!("its ETag was {}, and is {etag}", self.etag)));
        }
        let begin = format!("bytes {}-{}/", self.next, self.end - 1);
        let range = answer.header("content-range").unwrap_or_default();
        if is_part && !range.starts_with(&begin) {
            let reason = format!("asked for {begin} it answered {} {range:?}", answer.status);
            return Err(self.client.odd(reason));
        }
        self.current = Some(Box::new(answer.body.into_reader()));
        Ok(())
    }

    /// After an answer that ended early.
    fn broke(&mut self, reason: String) -> io::Result<()> {
        self.current = None;
        if self.tried >= self.client.retries() {
            let side = self.client.side;
            let reason = format!("a body broke off at byte {}: {reason}", self.next);
            return Err(io::Error::other(Failure::Unavailable { side, reason }));
        }
        self.client.pause(self.tried);
        self.tried += 1;
        Ok(())
    }
}

impl Read for Remote<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let left = usize::try_from(self.end - self.next).unwrap_or(usize::MAX);
            if left == 0 || buffer.is_empty() {
                return Ok(0);
            }
            let Some(current) = &mut self.current else {
                self.reopen().map_err(io::Error::other)?;
                continue;
            };
            let most = left.min(buffer.len());
            match current.read(&mut buffer[..most]) {
                Ok(0) => self.broke("it ended".into())?,
                Ok(count) => {
                    (self.next, self.tried) = (self.next + count as u64, 0);
                    if self.next == self.end {
                        // The end of an answer has to be seen for its connection to be used again.
                        let _ = current.read(&mut [0]);
                        self.current = None;
                    }
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => self.broke(error.to_string())?,
            }
        }
    }
}

/// What a failed read means for the attempt that it was part of.
pub fn attempt_of(error: &io::Error) -> Attempt {
    let told = error.get_ref().and_then(|inner| inner.downcast_ref::<Failure>());
    let failure = told.cloned().unwrap_or_else(|| Failure::Local(error.to_string()));
    // A read has been tried again already.
    Attempt { failure, again: false }
}
