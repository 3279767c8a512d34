//! One object written to the target in parts.
//!
//! Invariants: an object is completed only if its parts came to what the source says of it; an upload that
//! does not come to its end is given up, and the journal knows of it before it holds anything.
//!
//! Not here: a composite checksum of the source is not compared: its ETag, or a checksum of the whole, is what
//! the parts must come to.
//!
//! Parts go one after the other: other objects go beside them.

use crate::body::Expected;
use crate::checksum::{Algorithm, Checksum, Digests, OfParts, Running};
use crate::client::Request;
use crate::client::operations::Part;
use crate::error::Failure;
use crate::parts::Knowledge;
use crate::source::{Object, Source};
use crate::write::{Piece, Unwritten, Writer, Written, attributes, lasting};

/// Is told of uploads before they hold anything, and when they are over.
pub trait Uploads: Sync {
    fn begun(&self, bucket: &str, key: &str, upload: &str);
    fn ended(&self, bucket: &str, key: &str, upload: &str);
}

/// The checksum of an upload, and whether the object's is made of those of its parts.
#[derive(Debug, Clone, Copy)]
struct Form {
    algorithm: Option<Algorithm>,
    is_composite: bool,
}

impl Form {
    fn of(object: &Object, algorithm: Option<Algorithm>) -> Self {
        let told = object.head.checksum.as_ref().is_some_and(|checksum| checksum.is_composite);
        // Hashes have no other form in S3, and CRC64NVME has not this one.
        let is_composite = |algorithm: Algorithm| {
            algorithm.is_composite() || (told && algorithm != Algorithm::Crc64Nvme)
        };
        Self { algorithm, is_composite: algorithm.is_some_and(is_composite) }
    }

    fn headers(self) -> Vec<(String, String)> {
        let Some(algorithm) = self.algorithm else { return Vec::new() };
        let of_type = if self.is_composite { "COMPOSITE" } else { "FULL_OBJECT" };
        vec![
            ("x-amz-checksum-algorithm".into(), algorithm.name().into()),
            ("x-amz-checksum-type".into(), of_type.into()),
        ]
    }

    /// Digests of the whole that are wanted beside those of the parts.
    fn whole(self, object: &Object) -> Digests {
        let algorithm = self.algorithm.filter(|_| !self.is_composite);
        match object.head.md5() {
            Some(_) => Digests::new(algorithm),
            None => Digests::without_md5(algorithm),
        }
    }
}

/// Parts that the target has taken.
#[derive(Debug)]
struct Taken {
    parts: Vec<Part>,
    of_parts: OfParts,
    whole: Digests,
}

impl Writer<'_> {
    pub(crate) fn write_parts(
        &self,
        source: &Source,
        object: &Object,
        (sizes, knowledge): (&[u64], Knowledge),
    ) -> Result<Written, Unwritten> {
        let form = Form::of(object, self.algorithm_of(object));
        let mut headers = attributes(object);
        headers.extend(form.headers());
        let place = (self.bucket, object.key.as_str());
        let upload = self.client.create_upload(place, &headers).map_err(lasting)?;
        self.uploads.begun(self.bucket, &object.key, &upload);
        let written = self
            .send_parts((source, object), &upload, sizes, form)
            .and_then(|taken| self.complete(object, &upload, &taken, (form, knowledge)));
        // What cannot be given up now stays in the journal, and the next run does it.
        if written.is_ok() || self.client.abort_upload(place, &upload).is_ok() {
            self.uploads.ended(self.bucket, &object.key, &upload);
        }
        written
    }

    fn send_parts(
        &self,
        (source, object): (&Source, &Object),
        upload: &str,
        sizes: &[u64],
        form: Form,
    ) -> Result<Taken, Unwritten> {
        // A part that is sent twice is one part.
        let writer = Writer { persists: true, ..*self };
        let mut taken =
            Taken { parts: Vec::new(), of_parts: OfParts::default(), whole: form.whole(object) };
        let mut from = 0;
        for (number, &length) in (1..).zip(sizes) {
            let request = Request::new("PUT", self.bucket, &object.key)
                .query("partNumber", number.to_string())
                .query("uploadId", upload);
            let piece = Piece {
                from,
                length,
                algorithm: form.algorithm,
                expected: Expected::default(),
                whole: Some(taken.whole.clone()),
            };
            let sent = writer.put(&request, (source, object), piece, None)?;
            let etag = sent.answer.header("etag").unwrap_or_default().trim_matches('"').to_owned();
            let checksum = sent.digests.checksum.as_ref().map(Running::value);
            taken.of_parts.add(&sent.digests);
            taken.parts.push(Part { etag, checksum });
            taken.whole = sent.whole.unwrap_or(taken.whole);
            from += length;
        }
        Ok(taken)
    }

    fn complete(
        &self,
        object: &Object,
        upload: &str,
        taken: &Taken,
        (form, knowledge): (Form, Knowledge),
    ) -> Result<Written, Unwritten> {
        let etag = taken.of_parts.etag();
        judge_etag(object, &etag, knowledge)?;
        let md5 = object.head.md5().map(str::to_owned);
        let expected = Expected { md5, checksum: object.head.checksum.clone() };
        expected.judge(&taken.whole).map_err(lasting)?;
        let whole = taken.whole.checksum.as_ref().map(|running| Checksum {
            algorithm: running.algorithm(),
            value: running.value(),
            is_composite: false,
        });
        let place = (self.bucket, object.key.as_str());
        let completed = self.client.complete_upload(
            place,
            upload,
            &taken.parts,
            (form.algorithm, whole.as_ref()),
            self.only_new,
        );
        let version = match completed {
            Ok(version) => version,
            // Its answer may have been lost: then the object is there.
            Err(failure) if failure.status() == Some(404) => {
                match self.client.head_object(place, None) {
                    Ok(head) if head.etag.eq_ignore_ascii_case(&etag) => head.version,
                    _ => return Err(lasting(failure).into()),
                }
            }
            Err(failure) => return Err(lasting(failure).into()),
        };
        Ok(Written { etag, version })
    }
}

/// The parts have the ETag that they had, if their boundaries are theirs.
fn judge_etag(object: &Object, etag: &str, knowledge: Knowledge) -> Result<(), Unwritten> {
    if object.head.parts().is_none() || etag.eq_ignore_ascii_case(&object.head.etag) {
        return Ok(());
    }
    match knowledge {
        Knowledge::None => Ok(()),
        Knowledge::Likely => Err(Unwritten::Boundaries),
        Knowledge::Told => {
            let reason = format!("their ETag is {etag}, and should be {}", object.head.etag);
            Err(lasting(Failure::Corrupt(reason)).into())
        }
    }
}
