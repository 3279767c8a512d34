//! Uploads in parts: begun, parts beside each other, completed. One that fails is aborted.
//!
//! With a checksum, each part carries its own, and the document that completes the upload repeats them.
//!
//! The whole is one `multipart`, each part one `part`; the bytes count with the parts.

use super::write::begin_upload;
use super::{End, Receiver, Shared, Worker, elements};
use crate::body::{Body, Stretch};
use crate::checksum::Checksum;
use crate::client::{Answer, Connection, Failure};
use crate::content::Content;
use crate::keyspace::WriteEnd;
use crate::options::{Payload, Target};
use crate::pace::Start;
use crate::request::Head;
use crate::runtime::spawn;
use crate::sign::UNSIGNED_PAYLOAD;
use crate::workload::Operation;
use sha2::{Digest, Sha256};
use std::cell::{Cell, RefCell};
use std::fmt::Write;
use std::rc::Rc;
use std::time::Instant;

/// What those who send the parts of one upload share.
struct Upload {
    shared: Rc<Shared>,
    target: Rc<Target>,
    content: Content,
    path: String,
    upload_id: String,
    /// Of the next part to be sent, from 0 on.
    next: Cell<u64>,
    /// By number.
    parts: RefCell<Vec<Part>>,
    failed: Cell<bool>,
    in_window: bool,
}

/// Empty until the part was acknowledged.
#[derive(Debug, Clone, Default)]
struct Part {
    etag: Vec<u8>,
    /// Its text, if parts have one.
    checksum: String,
}

impl Worker {
    pub(super) async fn multipart(&mut self, start: Start) -> End {
        let Some(write) = self.begin_write(false) else { return End::Skipped };
        let content = self.content_of(write);
        self.log(|ledger, key| ledger.put(write.version, content.size, key));
        let begun = self.call("POST", "uploads=", Some(b""), self.shared.options.checksum).await;
        let upload_id = {
            let text = String::from_utf8_lossy(&self.collected);
            elements(&text, "<UploadId>", "</UploadId>").next().map(encode)
        };
        let upload_id = match (begun, upload_id) {
            (Ok(answer), Some(upload_id)) if answer.status == 200 => upload_id,
            (other, _) => {
                self.settle_write(write, WriteEnd::Refused);
                return self.fail(Operation::Multipart, start, other);
            }
        };
        let upload = self.send_parts(start, content, upload_id).await;
        let query = format!("uploadId={}", upload.upload_id);
        if upload.failed.get() {
            self.settle_write(write, WriteEnd::Refused);
            return match self.call("DELETE", &query, None, None).await {
                Ok(answer) if answer.status == 204 => End::Done,
                other => self.fail(Operation::Multipart, start, other),
            };
        }
        let document = completion(&upload.parts.borrow(), self.shared.options.checksum);
        let result = self.call("POST", &query, Some(document.as_bytes()), None).await;
        // An error may be found after the status was sent; then it is in the body.
        let refused_late = String::from_utf8_lossy(&self.collected).contains("<Error>");
        if let (Ok(_), true) = (&result, refused_late) {
            self.settle_write(write, WriteEnd::Unknown);
            return self.fail(Operation::Multipart, start, result);
        }
        self.end_write(Operation::Multipart, write, start, 0, result)
    }

    /// A request of the upload as a whole. Its answer's body is in `collected`.
    async fn call(
        &mut self,
        method: &str,
        query: &str,
        body: Option<&[u8]>,
        checksum_algorithm: Option<Checksum>,
    ) -> Result<Answer, Failure> {
        let plain = Head::plain(method, &self.target.host, &self.path);
        let hash = match (body, self.shared.options.payload) {
            (Some(body), Payload::Signed) => hex::encode(Sha256::digest(body)),
            (Some(_), _) => UNSIGNED_PAYLOAD.to_owned(),
            (None, _) => plain.payload_hash.to_owned(),
        };
        let content_length = body.map(|body| body.len() as u64);
        let payload_hash = &hash;
        let head = Head { query, payload_hash, content_length, checksum_algorithm, ..plain };
        self.shared.requests.borrow_mut().write(&head, &mut self.head);
        let mut receiver = Receiver::collecting(&self.shared.pattern, &mut self.collected);
        let body = body.map_or(Body::None, Body::Text);
        self.connection.exchange(&mut self.head, body, false, &mut receiver).await
    }

    /// Sends all parts, as many at a time as there are connections for them.
    async fn send_parts(
        &mut self,
        start: Start,
        content: Content,
        upload_id: String,
    ) -> Rc<Upload> {
        let parts = content.size.div_ceil(self.shared.options.part_size).max(1);
        let upload = Rc::new(Upload {
            shared: Rc::clone(&self.shared),
            target: Rc::clone(&self.target),
            content,
            path: self.path.clone(),
            upload_id,
            next: Cell::new(0),
            parts: RefCell::new(vec![Part::default(); parts as usize]),
            failed: Cell::new(false),
            in_window: start.in_window,
        });
        let senders: Vec<_> = std::mem::take(&mut self.part_connections)
            .into_iter()
            .map(|connection| spawn(Rc::clone(&upload).send(connection)))
            .collect();
        for sender in senders {
            self.part_connections.push(sender.await);
        }
        upload
    }
}

impl Upload {
    /// Sends parts until none is left or one has failed; gives the connection back.
    async fn send(self: Rc<Self>, mut connection: Connection) -> Connection {
        let (mut head, mut collected, mut query) = (Vec::new(), Vec::new(), String::new());
        let part_size = self.shared.options.part_size;
        while !self.failed.get() {
            let index = self.next.replace(self.next.get() + 1);
            if index >= self.parts.borrow().len() as u64 {
                break;
            }
            let from = index * part_size;
            let length = part_size.min(self.content.size - from);
            query.clear();
            write!(query, "partNumber={}&uploadId={}", index + 1, self.upload_id)
                .expect("writing to a String cannot fail");
            let now = Instant::now();
            connection.refresh(now);
            let stretch = Stretch::new(&self.content, &self.shared.pattern, from, length);
            // A trailer computes it once more as the part passes; the document needs it here.
            let algorithm = self.shared.options.checksum;
            let text = algorithm.map(|algorithm| stretch.checksum(algorithm));
            let checksum = algorithm.zip(text.as_deref());
            let plain = Head::plain("PUT", &self.target.host, &self.path);
            let request = Head { query: &query, checksum, ..plain };
            let body = begin_upload(&self.shared, request, stretch, &mut head);
            let mut receiver = Receiver::collecting(&self.shared.pattern, &mut collected);
            let start = Start { intended: now, real: now, in_window: self.in_window };
            match connection.exchange(&mut head, body, false, &mut receiver).await {
                Ok(answer) if answer.status == 200 && !connection.etag.is_empty() => {
                    let etag = connection.etag.clone();
                    let part = Part { etag, checksum: text.unwrap_or_default() };
                    self.parts.borrow_mut()[index as usize] = part;
                    self.shared.complete(Operation::Part, start, &answer, length);
                }
                other => {
                    self.failed.set(true);
                    self.shared.fail(Operation::Part, &self.path, &collected, other);
                }
            }
        }
        connection
    }
}

/// The document that names the parts of an upload.
fn completion(parts: &[Part], checksum: Option<Checksum>) -> String {
    let mut document = String::from("<CompleteMultipartUpload>");
    for (part, number) in parts.iter().zip(1..) {
        let etag = String::from_utf8_lossy(&part.etag).replace('"', "&quot;");
        write!(document, "<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag>")
            .expect("writing to a String cannot fail");
        if let Some(checksum) = checksum {
            let (name, text) = (checksum.name(), &part.checksum);
            write!(document, "<Checksum{name}>{text}</Checksum{name}>")
                .expect("writing to a String cannot fail");
        }
        document.push_str("</Part>");
    }
    document.push_str("</CompleteMultipartUpload>");
    document
}

/// In canonical form for a query.
fn encode(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("writing to a String cannot fail");
        }
    }
    out
}
