//! The bytes of an object on their way to a client.
//!
//! Invariant: one verified chunk is held at a time, and it is sent from the buffer that it was read
//! into.

use crate::error::S3Error;
use engine::platform::Platform;
use engine::{Chunk, ObjectReader};
use http::ResponseBody;
use std::io;

/// Streams what an engine's reader has selected.
pub struct ObjectBody<P: Platform> {
    reader: ObjectReader<P>,
}

impl<P: Platform> ObjectBody<P> {
    pub fn new(reader: ObjectReader<P>) -> Self {
        Self { reader }
    }
}

impl<P: Platform> ResponseBody for ObjectBody<P> {
    type Chunk = Chunk<P>;

    /// An error here cuts the connection: the status was sent. The translation logs its cause.
    async fn next(&mut self) -> io::Result<Option<Self::Chunk>> {
        self.reader.next().await.map_err(|error| io::Error::other(S3Error::from(error)))
    }
}

impl<P: Platform> std::fmt::Debug for ObjectBody<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObjectBody").finish_non_exhaustive()
    }
}
