//! One object written to the target in one PUT, and what the target answers compared with what was sent.
//!
//! Invariants: at most one buffer of a body in memory; every body goes with a checksum, unless that was
//! declined.
//!
//! Not here: objects in parts (`upload`), what is copied at all (`copy`), and the look at the finished object
//! (`compare`).

use std::io::Read;

use crate::body::{Expected, Framed, Measured};
use crate::checksum::{Algorithm, Digests, is_md5};
use crate::client::operations::tagging;
use crate::client::{Answer, Attempt, Client, Payload, Request, Stream};
use crate::error::Failure;
use crate::limits::BUFFER_BYTES;
use crate::parts::Layout;
use crate::source::{Object, Opened, Source, attempt_of};
use crate::upload::Uploads;

pub struct Writer<'a> {
    pub client: &'a Client,
    pub bucket: &'a str,
    /// Where the source has no checksum; none: bodies go without.
    pub algorithm: Option<Algorithm>,
    /// Whether a PUT may be sent again, though the first may have been carried out.
    pub persists: bool,
    /// Nothing that is there is written over.
    pub only_new: bool,
    pub uploads: &'a dyn Uploads,
}

impl std::fmt::Debug for Writer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("bucket", &self.bucket).finish_non_exhaustive()
    }
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// That the bytes make; the target's may be another if it encrypts.
    pub etag: String,
    pub version: Option<String>,
}

/// Why a writing came to nothing.
#[derive(Debug)]
pub enum Unwritten {
    Attempt(Attempt),
    /// The boundaries of parts were guessed, and wrong.
    Boundaries,
}

impl From<Attempt> for Unwritten {
    fn from(attempt: Attempt) -> Self {
        Self::Attempt(attempt)
    }
}

/// A failure that another attempt does not mend.
pub fn lasting(failure: Failure) -> Attempt {
    Attempt { failure, again: false }
}

/// Bytes of an object that become one body.
#[derive(Debug)]
pub struct Piece {
    pub from: u64,
    pub length: u64,
    pub algorithm: Option<Algorithm>,
    pub expected: Expected,
    /// Digests of the object up to here.
    pub whole: Option<Digests>,
}

/// A body that the target has taken.
#[derive(Debug)]
pub struct Sent {
    pub answer: Answer,
    pub digests: Digests,
    pub whole: Option<Digests>,
}

impl Writer<'_> {
    /// # Errors
    /// It was not written, and nothing of it is left, unless the answer was lost.
    pub fn write(
        &self,
        source: &Source,
        opened: Opened<'_>,
        layout: &Layout,
    ) -> Result<Written, Unwritten> {
        match layout {
            Layout::Whole => Ok(self.write_whole(source, opened)?),
            Layout::Parts { sizes, knowledge } => {
                self.write_parts(source, &opened.object, (sizes, *knowledge))
            }
        }
    }

    /// That of the source, if it has one.
    pub fn algorithm_of(&self, object: &Object) -> Option<Algorithm> {
        let own = object.head.checksum.as_ref().map(|checksum| checksum.algorithm);
        self.algorithm.map(|default| own.unwrap_or(default))
    }

    fn write_whole(&self, source: &Source, opened: Opened<'_>) -> Result<Written, Attempt> {
        let Opened { object, body } = opened;
        let mut request =
            Request::new("PUT", self.bucket, &object.key).headers(&attributes(&object));
        if self.only_new {
            request = request.header("if-none-match", "*");
        }
        let expected = Expected {
            md5: object.head.md5().map(str::to_owned),
            checksum: object.head.checksum.clone(),
        };
        let (algorithm, length) = (self.algorithm_of(&object), object.head.size);
        let piece = Piece { from: 0, length, algorithm, expected, whole: None };
        let sent = self.put(&request, (source, &object), piece, body)?;
        let version = sent.answer.header("x-amz-version-id").map(str::to_owned);
        Ok(Written { etag: sent.digests.md5_hex(), version })
    }

    /// Sends one body: from memory if it is short, else as it is read, each time anew.
    ///
    /// # Errors
    /// It could not be read or sent, or the target has something else.
    pub fn put<'s>(
        &self,
        request: &Request,
        (source, object): (&'s Source, &Object),
        piece: Piece,
        mut body: Option<Box<dyn Read + 's>>,
    ) -> Result<Sent, Attempt> {
        let retries = if self.persists { self.client.retries() } else { 0 };
        let is_short = piece.length <= BUFFER_BYTES;
        let mut tried = 0;
        loop {
            let mut reader =
                body.take().unwrap_or_else(|| source.read(object, piece.from, piece.length));
            let (length, expected) = (piece.length, piece.expected.clone());
            let mut measured = Measured::new(&mut *reader, length, piece.algorithm, expected)
                .with_whole(piece.whole.clone());
            let answered = if is_short {
                self.put_buffer(request, &mut measured, retries)
            } else {
                self.put_stream(request, &mut measured, (length, piece.algorithm))
            };
            match answered {
                Ok(answer) => {
                    let judged = judge_answer(&answer, &measured.digests);
                    judged.map_err(|failure| lasting(self.taken(failure)))?;
                    let Measured { digests, whole, .. } = measured;
                    return Ok(Sent { answer, digests, whole });
                }
                Err(attempt) if is_short || !attempt.again || tried >= retries => {
                    return Err(attempt);
                }
                Err(_) => self.client.pause(tried),
            }
            tried += 1;
        }
    }

    /// What was taken and is wrong is written anew, but not where that makes one more version.
    fn taken(&self, failure: Failure) -> Failure {
        match failure {
            Failure::Corrupt(reason) if !self.persists => self.client.odd(reason),
            other => other,
        }
    }

    fn put_buffer(
        &self,
        request: &Request,
        body: &mut Measured<'_>,
        retries: u32,
    ) -> Result<Answer, Attempt> {
        let buffer = body.buffer().map_err(|error| attempt_of(&error))?;
        let mut request = request.clone();
        if let Some(running) = &body.digests.checksum {
            request = request.header(running.algorithm().header(), running.value());
        }
        self.client.send_body(&request, &buffer, retries)
    }

    fn put_stream(
        &self,
        request: &Request,
        body: &mut Measured<'_>,
        (length, algorithm): (u64, Option<Algorithm>),
    ) -> Result<Answer, Attempt> {
        let Some(algorithm) = algorithm else {
            let stream = Stream { reader: body, length, payload: Payload::Unsigned };
            return self.client.attempt_stream(request, stream);
        };
        let mut request = request.clone();
        match request.headers.iter_mut().find(|(name, _)| name == "content-encoding") {
            Some((_, codings)) => *codings = format!("aws-chunked,{codings}"),
            None => request = request.header("content-encoding", "aws-chunked"),
        }
        let request = request
            .header("x-amz-decoded-content-length", length.to_string())
            .header("x-amz-trailer", algorithm.header());
        let mut framed = Framed::new(body, algorithm);
        let length = Framed::length(length, algorithm);
        let stream = Stream { reader: &mut framed, length, payload: Payload::Trailer };
        self.client.attempt_stream(&request, stream)
    }
}

/// Metadata and tags of a new object.
pub fn attributes(object: &Object) -> Vec<(String, String)> {
    let mut headers: Vec<(String, String)> =
        object.head.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    if !object.tags.is_empty() {
        headers.push(("x-amz-tagging".into(), tagging(&object.tags)));
    }
    headers
}

/// What the target says that it has, against what was sent.
fn judge_answer(answer: &Answer, sent: &Digests) -> Result<(), Failure> {
    let etag = answer.header("etag").unwrap_or_default().trim_matches('"');
    let encryption = answer.header("x-amz-server-side-encryption").unwrap_or_default();
    let md5 = sent.md5_hex();
    if is_md5(etag) && !encryption.starts_with("aws:kms") && !etag.eq_ignore_ascii_case(&md5) {
        let reason = format!("the target's ETag is {etag}, the MD5 of what was sent {md5}");
        return Err(Failure::Corrupt(reason));
    }
    if let Some(running) = &sent.checksum
        && let Some(told) = answer.header(running.algorithm().header())
        && told != running.value()
    {
        let name = running.algorithm().name();
        let reason = format!("the target's {name} is {told}, of what was sent {}", running.value());
        return Err(Failure::Corrupt(reason));
    }
    Ok(())
}
