//! A request's body, decoded from its framing while it is read.
//!
//! Invariants: bytes go from the stream straight into the service's buffer, except those that
//! arrived with the head; never a byte of the next request; a body that ends early or is
//! malformed is an error, never a short success. `100 Continue` is sent by the first read alone.
//! It keeps no whole body and sets no bound on its length: that is the service's.

use crate::chunked::{Chunked, Due};
use crate::headers::Framing;
use crate::limits::INPUT_BYTES_MIN;
use crate::wire::Wire;
use crate::{Error, Peer, Phase, RequestHead, Result, Stream};

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

#[derive(Debug)]
enum State {
    /// So many bytes to come.
    Length(u64),
    Chunked(Chunked),
}

/// What a service left of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// So many bytes, on their way; 0 if it was read to its end.
    Bytes(u64),
    /// Nobody can say where the next request would begin.
    Unknown,
}

/// The body of one request, read straight into the service's buffers.
#[derive(Debug)]
pub struct RequestBody<'a, S> {
    wire: Wire<'a, S>,
    state: State,
    /// False during a read and ever after one that failed or was dropped midway: the place in the
    /// stream is lost.
    intact: bool,
    /// The client waits for `100 Continue` before it sends the body.
    withheld: bool,
    /// Bytes given to the service so far.
    received: u64,
    /// Who sends it, if that is not the other end of the stream.
    peer: Option<Peer>,
}

impl<'a, S: Stream> RequestBody<'a, S> {
    pub(crate) fn new(wire: Wire<'a, S>, head: &RequestHead) -> Self {
        let state = match head.framing {
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Chunked(Chunked::new()),
        };
        // Whoever has sent bytes already is not waiting (RFC 9110, section 10.1.1). Whoever has none
        // to send may be: botocore asks for leave to send nothing, and misreads the answer to the
        // next request of a connection on which it was not given.
        let withheld = head.expects_continue && wire.input.is_empty();
        Self { wire, state, intact: true, withheld, received: 0, peer: None }
    }

    /// Reads some bytes of the body into `buffer`, which is not empty; 0 is the verified end.
    /// After an error, or a read whose future was dropped, every further read fails: the rest of
    /// the body is lost.
    pub async fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        debug_assert!(!buffer.is_empty());
        if !self.intact {
            return Err(Error::UnexpectedEnd);
        }
        self.intact = false;
        let outcome = match self.state {
            State::Length(0) => self.ask().await.map(|()| 0),
            State::Length(remaining) => self.read_plain(remaining, buffer).await,
            State::Chunked(_) => self.read_chunked(buffer).await,
        };
        self.intact = outcome.is_ok();
        self.received += *outcome.as_ref().unwrap_or(&0) as u64;
        outcome
    }

    /// Who sends it: the other end of the stream, or whom that speaks for.
    pub fn peer(&self) -> Peer {
        self.peer.unwrap_or_else(|| self.wire.stream.peer())
    }

    /// The other end of the stream speaks for somebody else.
    pub fn speaks_for(&mut self, peer: Peer) {
        self.peer = Some(peer);
    }

    /// Bytes read so far, without framing.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Bytes still to come, where the length was declared.
    pub fn remaining(&self) -> Option<u64> {
        match self.state {
            State::Length(remaining) => Some(remaining),
            State::Chunked(_) => None,
        }
    }

    async fn read_plain(&mut self, remaining: u64, buffer: &mut [u8]) -> Result<usize> {
        let buffer = up_to(buffer, remaining);
        let mut bytes = self.wire.input.take(buffer);
        if bytes == 0 {
            bytes = self.receive(buffer).await?;
        }
        self.state = State::Length(remaining - bytes as u64);
        Ok(bytes)
    }

    async fn read_chunked(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        loop {
            let free = &mut buffer[filled..];
            match self.skip_framing()? {
                Due::End => return Ok(filled),
                Due::Data(remaining) if !self.wire.input.is_empty() && !free.is_empty() => {
                    let bytes = self.wire.input.take(up_to(free, remaining));
                    self.pass(bytes);
                    filled += bytes;
                    continue;
                }
                _ if filled > 0 => return Ok(filled),
                // Long chunks go past the input; of short ones several come in one read.
                Due::Data(remaining) if up_to(free, remaining).len() >= INPUT_BYTES_MIN => {
                    let bytes = self.receive(up_to(free, remaining)).await?;
                    self.pass(bytes);
                    return Ok(bytes);
                }
                _ => self.fill().await?,
            }
        }
    }

    /// Uses the framing that arrived.
    fn skip_framing(&mut self) -> Result<Due> {
        let State::Chunked(chunked) = &mut self.state else { return Ok(Due::End) };
        let (used, due) = chunked.skip(self.wire.input.unread())?;
        self.wire.input.consume(used);
        Ok(due)
    }

    fn pass(&mut self, bytes: usize) {
        if let State::Chunked(chunked) = &mut self.state {
            chunked.pass(bytes as u64);
        }
    }

    /// One read from the stream into `buffer`, at least one byte.
    async fn receive(&mut self, buffer: &mut [u8]) -> Result<usize> {
        self.ask().await?;
        self.wire.control.enter(Phase::Body);
        let bytes = self.wire.receive(buffer).await?;
        self.wire.control.enter(Phase::Work);
        if bytes == 0 { Err(Error::UnexpectedEnd) } else { Ok(bytes) }
    }

    /// One read from the stream into the input, at least one byte.
    async fn fill(&mut self) -> Result<()> {
        self.ask().await?;
        self.wire.control.enter(Phase::Body);
        let bytes = self.wire.fill().await?;
        self.wire.control.enter(Phase::Work);
        if bytes == 0 { Err(Error::UnexpectedEnd) } else { Ok(()) }
    }

    /// Tells a client that waits for it to send the body.
    async fn ask(&mut self) -> Result<()> {
        if self.withheld {
            self.withheld = false;
            self.wire.send(CONTINUE, &[]).await?;
        }
        Ok(())
    }

    /// What is left when the service is done. A client that was not asked for its body may send
    /// it or not: the next bytes could be either, so the connection cannot go on.
    pub(crate) fn rest(mut self) -> Rest {
        if self.withheld || !self.intact {
            return Rest::Unknown;
        }
        match self.state {
            State::Length(remaining) => Rest::Bytes(remaining),
            State::Chunked(_) => self.rest_chunked(),
        }
    }

    /// A service that knows its body's length from elsewhere stops before the last chunk's
    /// framing; what has arrived of it is used, no read is made for it.
    fn rest_chunked(&mut self) -> Rest {
        loop {
            match self.skip_framing() {
                Ok(Due::End) => return Rest::Bytes(0),
                Ok(Due::Data(remaining)) if !self.wire.input.is_empty() => {
                    let bytes = usize::try_from(remaining).unwrap_or(usize::MAX);
                    let bytes = self.wire.input.consume(bytes);
                    self.pass(bytes);
                }
                _ => return Rest::Unknown,
            }
        }
    }
}

/// The first `bytes` of the buffer, or all of it.
fn up_to(buffer: &mut [u8], bytes: u64) -> &mut [u8] {
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX).min(buffer.len());
    &mut buffer[..bytes]
}
