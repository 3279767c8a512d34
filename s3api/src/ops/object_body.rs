//! The bytes of an object on their way to a client.
//!
//! Invariant: one verified chunk is held at a time, and it is sent from the buffer that it was read
//! into.

use crate::error::S3Error;
use crate::workers::access_log::Pending;
use engine::platform::Platform;
use engine::{Chunk, ObjectReader};
use http::ResponseBody;
use std::io;

/// Streams what an engine's reader has selected.
pub struct ObjectBody<P: Platform> {
    reader: ObjectReader<P>,
    /// The line of the access log, if there is to be one.
    pending: Option<Box<Pending>>,
}

impl<P: Platform> ObjectBody<P> {
    pub fn new(reader: ObjectReader<P>) -> Self {
        Self { reader, pending: None }
    }

    /// Has the request logged when all that will be sent has been.
    pub(crate) fn log_when_sent(&mut self, pending: Pending) {
        self.pending = Some(Box::new(pending));
    }
}

impl<P: Platform> ResponseBody for ObjectBody<P> {
    type Chunk = Chunk<P>;

    /// An error here cuts the connection: the status was sent. The translation logs its cause.
    async fn next(&mut self) -> io::Result<Option<Self::Chunk>> {
        let next = self.reader.next().await;
        let next = next.map_err(|error| io::Error::other(S3Error::from(error)))?;
        if let (Some(pending), Some(chunk)) = (&mut self.pending, &next) {
            pending.count(chunk.as_ref().len());
        }
        Ok(next)
    }
}

impl<P: Platform> std::fmt::Debug for ObjectBody<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObjectBody").finish_non_exhaustive()
    }
}
