//! PUT and DELETE, and the forms in which bodies are sent.

use super::{End, Receiver, Shared, Worker};
use crate::body::{Body, Chunked, Stretch};
use crate::client::{Answer, Failure};
use crate::content::Content;
use crate::keyspace::{KeyWrite, WriteEnd, content_hash, name_key};
use crate::options::Payload;
use crate::pace::Start;
use crate::request::{Chunking, Head};
use crate::sign::UNSIGNED_PAYLOAD;
use crate::workload::Operation;

impl Worker {
    pub(super) async fn put(&mut self, start: Start) -> End {
        let Some(write) = self.begin_write(false) else { return End::Skipped };
        let content = self.content_of(write);
        self.log(|ledger, key| ledger.put(write.version, content.size, key));
        let stretch = Stretch::whole(&content, &self.shared.pattern);
        let request = Head::plain("PUT", &self.target.host, &self.path);
        let body = begin_upload(&self.shared, request, stretch, &mut self.head);
        let mut receiver = Receiver::collecting(&self.shared.pattern, &mut self.collected);
        let result = self.connection.exchange(&mut self.head, body, false, &mut receiver).await;
        self.end_write(Operation::Put, write, start, content.size, result)
    }

    pub(super) async fn delete(&mut self, start: Start) -> End {
        if self.shared.pace.deletes_once && self.shared.keyspace.borrow().passed_once() {
            self.shared.pace.finish();
            return End::Done;
        }
        let Some(write) = self.begin_write(true) else { return End::Skipped };
        self.log(|ledger, key| ledger.delete(write.version, key));
        let head = Head::plain("DELETE", &self.target.host, &self.path);
        self.shared.requests.borrow_mut().write(&head, &mut self.head);
        let mut receiver = Receiver::collecting(&self.shared.pattern, &mut self.collected);
        let exchange = self.connection.exchange(&mut self.head, Body::None, false, &mut receiver);
        let result = exchange.await;
        self.end_write(Operation::Delete, write, start, 0, result)
    }

    pub(super) fn begin_write(&mut self, delete: bool) -> Option<KeyWrite> {
        let mut keyspace = self.shared.keyspace.borrow_mut();
        let write = keyspace.begin_write(delete, &mut self.shared.random.borrow_mut());
        match write {
            Some(write) => name_key(&mut self.path, &self.path_prefix, keyspace.index(write.slot)),
            None => self.shared.stats.borrow_mut().skipped += 1,
        }
        write
    }

    /// The body of a write of the key that the path names.
    pub(super) fn content_of(&self, write: KeyWrite) -> Content {
        let hash = content_hash(&self.path);
        Content::new(hash, write.version, self.shared.options.size.of(hash, write.version))
    }

    pub(super) fn end_write(
        &mut self,
        operation: Operation,
        write: KeyWrite,
        start: Start,
        bytes: u64,
        result: Result<Answer, Failure>,
    ) -> End {
        let end = match &result {
            Ok(answer) => match answer.status {
                200..300 => WriteEnd::Acknowledged,
                500.. => WriteEnd::Unknown,
                _ => WriteEnd::Refused,
            },
            Err(failure) if failure.nothing_was_sent() => WriteEnd::Refused,
            Err(_) => WriteEnd::Lost,
        };
        self.settle_write(write, end);
        match result {
            Ok(answer) if end == WriteEnd::Acknowledged => {
                self.complete(operation, start, &answer, bytes);
                End::Done
            }
            other => self.fail(operation, start, other),
        }
    }

    /// Tells the ledger and the keyspace how a write has ended.
    pub(super) fn settle_write(&mut self, write: KeyWrite, end: WriteEnd) {
        match end {
            WriteEnd::Acknowledged => self.log_acknowledged(write.version),
            WriteEnd::Refused => self.log(|ledger, key| ledger.refused(write.version, key)),
            WriteEnd::Unknown | WriteEnd::Lost => {}
        }
        let mut keyspace = self.shared.keyspace.borrow_mut();
        keyspace.end_write(write, end);
        if end == WriteEnd::Acknowledged {
            keyspace.see_etag(write.slot, write.version, &self.connection.etag);
        }
    }
}

/// Writes the head of a request that sends a stretch of content, in the form that the options ask
/// for, and returns the body in that form. A checksum that stands in the request is not computed again.
pub(super) fn begin_upload<'a>(
    shared: &Shared,
    request: Head<'_>,
    stretch: Stretch<'a>,
    head: &mut Vec<u8>,
) -> Body<'a> {
    let (payload, checksum) = (shared.options.payload, shared.options.checksum);
    let mut requests = shared.requests.borrow_mut();
    let length = stretch.remaining();
    if matches!(payload, Payload::Signed | Payload::Unsigned) {
        let mut digest = [0; 64];
        let payload_hash = if payload == Payload::Signed {
            hex::encode_to_slice(stretch.sha256(), &mut digest)
                .expect("the space is twice the input");
            std::str::from_utf8(&digest).expect("hex is ASCII")
        } else {
            UNSIGNED_PAYLOAD
        };
        let missing = checksum.filter(|_| request.checksum.is_none());
        let text = missing.map(|checksum| (checksum, stretch.checksum(checksum)));
        let text = text.as_ref().map(|(checksum, text)| (*checksum, text.as_str()));
        let checksum = request.checksum.or(text);
        let content_length = Some(length);
        requests.write(&Head { payload_hash, content_length, checksum, ..request }, head);
        return Body::Plain(stretch);
    }
    let signed = payload == Payload::Streaming;
    let payload_hash = match (signed, checksum) {
        (true, None) => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        (true, Some(_)) => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
        (false, _) => "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
    };
    let request = Head {
        payload_hash,
        content_length: Some(Chunked::encoded_length(length, signed, checksum)),
        chunked: Some(Chunking { decoded_length: length, trailer: checksum }),
        checksum: None,
        ..request
    };
    let seed = requests.write(&request, head);
    let signer = seed.filter(|_| signed).map(|seed| requests.chunk_signer(seed));
    Body::Chunked(Box::new(Chunked::new(stretch, signer, checksum)))
}
