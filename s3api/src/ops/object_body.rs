//! The bytes of an object on their way to a client or into a copy.
//!
//! Invariant: one verified chunk is held at a time, and it is sent from the buffer that it was read
//! into; of an encrypted object, from the one that it was decrypted into.

use super::encryption;
use crate::audit;
use crate::encryption::opener::{Opener, Plain, StreamInfo};
use crate::encryption::secret::SecretKey;
use crate::error::{Result, S3Error};
use crate::throttle::Pace;
use crate::workers::access_log::Pending;
use engine::platform::Platform;
use engine::{Chunk, ObjectReader};
use http::ResponseBody;
use std::cell::Cell;
use std::io;
use std::ops::Range;
use std::rc::Rc;

/// Streams a range of an object's plain bytes.
pub struct ObjectBody<P: Platform> {
    reader: ObjectReader<P>,
    sealed: Option<Box<Sealed>>,
    /// The line of the access log, if there is to be one.
    pending: Option<Box<Pending>>,
    /// The line of the audit log, if there is one.
    audited: Option<Box<audit::record::Pending>>,
    /// What its bytes wait by, if they are to.
    pace: Option<Box<Pace<P>>>,
}

struct Sealed {
    opener: Opener,
    /// The buffer, while no chunk has it.
    spare: Rc<Cell<Option<Plain>>>,
}

/// Plain bytes, ready to be sent.
#[derive(Debug)]
pub enum BodyChunk<P: Platform> {
    Stored(Chunk<P>),
    Opened(Opened<P>),
}

/// Decrypted bytes; their buffer goes back to its stream.
pub struct Opened<P: Platform> {
    plain: Plain,
    home: Rc<Cell<Option<Plain>>>,
    /// Keeps what the engine's budget counts for it counted.
    _stored: Chunk<P>,
}

impl<P: Platform> ObjectBody<P> {
    /// The bytes `range` of the object, which lie within it. `data_key`: that of an encrypted one.
    pub fn new(
        mut reader: ObjectReader<P>,
        data_key: Option<SecretKey>,
        range: Range<u64>,
    ) -> Result<Self> {
        let Some(data_key) = data_key else {
            reader.select(range);
            return Ok(Self { reader, sealed: None, pending: None, audited: None, pace: None });
        };
        let mut opener = Opener::new(data_key, streams(&reader, &range)?);
        reader.select(opener.select(range));
        let sealed = Sealed { opener, spare: Rc::default() };
        Ok(Self {
            reader,
            sealed: Some(Box::new(sealed)),
            pending: None,
            audited: None,
            pace: None,
        })
    }

    /// Waits for the memory that it takes, so that the answer can still be that there is none.
    pub async fn admit(&mut self) -> Result<()> {
        Ok(self.reader.admit().await?)
    }

    /// Has the request logged when all that will be sent has been.
    pub(crate) fn log_when_sent(&mut self, pending: Pending) {
        self.pending = Some(Box::new(pending));
    }

    /// Has the audit log told of the request when all that will be sent has been.
    pub(crate) fn audit_when_sent(&mut self, pending: audit::record::Pending) {
        self.audited = Some(Box::new(pending));
    }

    /// Has the bytes wait until they are due.
    pub(crate) fn pace(&mut self, pace: Pace<P>) {
        self.pace = Some(Box::new(pace));
    }

    /// The next bytes; none at the end.
    pub async fn next_chunk(&mut self) -> Result<Option<BodyChunk<P>>> {
        let Some(sealed) = &mut self.sealed else {
            return Ok(self.reader.next().await?.map(BodyChunk::Stored));
        };
        while let Some(stored) = self.reader.next().await? {
            let mut plain = sealed.spare.take().unwrap_or_default();
            plain.clear();
            if sealed.opener.push(stored.as_ref(), &mut plain).is_err() {
                return Err(corrupt("a block of it does not decrypt"));
            }
            if !plain.as_ref().is_empty() {
                let home = sealed.spare.clone();
                return Ok(Some(BodyChunk::Opened(Opened { plain, home, _stored: stored })));
            }
            sealed.spare.set(Some(plain));
        }
        if sealed.opener.is_done() { Ok(None) } else { Err(corrupt("it ends early")) }
    }
}

fn corrupt(what: &str) -> S3Error {
    engine::Error::Corrupt(format!("an encrypted object: {what}")).into()
}

/// The streams of an encrypted object. Of those that the range does not touch the salt is left out:
/// an object may have ten thousand.
fn streams<P: Platform>(reader: &ObjectReader<P>, range: &Range<u64>) -> Result<Vec<StreamInfo>> {
    let info = reader.info();
    let salt_of = |attributes: &[u8]| {
        let envelope = encryption::envelope_of(attributes)?;
        envelope.map(|envelope| envelope.salt).ok_or_else(|| corrupt("a salt is missing"))
    };
    if info.parts.is_empty() {
        let salt = salt_of(&info.attributes)?;
        return Ok(vec![StreamInfo { part: 0, salt, plain_bytes: info.current.size }]);
    }
    let mut streams = Vec::with_capacity(info.parts.len());
    let mut start = 0;
    for part in &info.parts {
        let plain_bytes = encryption::part_size(info, part)?;
        let end = start + plain_bytes;
        let is_touched = start < range.end && range.start <= end;
        let salt = if is_touched { salt_of(&part.attributes)? } else { Default::default() };
        streams.push(StreamInfo { part: part.number, salt, plain_bytes });
        start = end;
    }
    Ok(streams)
}

impl<P: Platform> ResponseBody for ObjectBody<P> {
    type Chunk = BodyChunk<P>;

    /// An error here cuts the connection: the status was sent. The translation logs its cause.
    async fn next(&mut self) -> io::Result<Option<Self::Chunk>> {
        let next = self.next_chunk().await.map_err(io::Error::other)?;
        if let (Some(pace), Some(chunk)) = (&self.pace, &next) {
            pace.pass(chunk.as_ref().len()).await;
        }
        if let (Some(pending), Some(chunk)) = (&mut self.pending, &next) {
            pending.count(chunk.as_ref().len());
        }
        if let (Some(pending), Some(chunk)) = (&mut self.audited, &next) {
            pending.count(chunk.as_ref().len());
        }
        Ok(next)
    }
}

impl<P: Platform> AsRef<[u8]> for BodyChunk<P> {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Stored(chunk) => chunk.as_ref(),
            Self::Opened(opened) => opened.plain.as_ref(),
        }
    }
}

impl<P: Platform> Drop for Opened<P> {
    fn drop(&mut self) {
        self.home.set(Some(std::mem::take(&mut self.plain)));
    }
}

impl<P: Platform> std::fmt::Debug for Opened<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened").finish_non_exhaustive()
    }
}

impl<P: Platform> std::fmt::Debug for ObjectBody<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObjectBody").finish_non_exhaustive()
    }
}
