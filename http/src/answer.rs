//! Sends one answer: its head joined with the first bytes of its body, then the rest.
//!
//! Invariants: exactly the announced length is sent, or the connection must be cut; HEAD, 204 and
//! 304 carry no body. A body's source that panics counts as one that failed.
//! It does not decide whether the connection goes on.

use std::any::Any;
use std::io;
use std::panic::AssertUnwindSafe;

use futures_lite::FutureExt;

use crate::response::Frame;
use crate::wire::Wire;
use crate::{Error, Payload, Response, ResponseBody, Result, Stream};

/// What the request and the connection's state say about the answer's form.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Form {
    /// The request was HEAD: the length is told, the body is not.
    pub(crate) is_head: bool,
    /// The value of the `Connection` header, if one is due.
    pub(crate) connection: Option<&'static str>,
}

#[derive(Debug)]
pub(crate) enum Sent {
    Whole,
    /// The body failed before a byte was sent: another answer can take its place.
    Nothing(io::Error),
}

/// Sends `response`, using `output` for its head.
pub(crate) async fn send<S: Stream, B: ResponseBody>(
    wire: &mut Wire<'_, S>,
    output: &mut Vec<u8>,
    response: Response<B>,
    form: Form,
) -> Result<Sent> {
    if matches!(response.payload, Payload::LengthOnly(_)) && !form.is_head {
        return Ok(Sent::Nothing(io::Error::other("a length without a body answers HEAD only")));
    }
    let frame = Frame {
        date: wire.control.time().date(),
        length: response.has_length().then(|| response.payload.length()),
        connection: form.connection,
    };
    response.write_head(&frame, output);
    let payload =
        if form.is_head || !response.has_length() { Payload::Empty } else { response.payload };
    match payload {
        Payload::Empty | Payload::LengthOnly(_) => wire.send(output, &[]).await?,
        Payload::Bytes(bytes) => wire.send(output, &bytes).await?,
        Payload::Static(bytes) => wire.send(output, bytes).await?,
        Payload::Stream { length, source } => return stream(wire, output, length, source).await,
    }
    Ok(Sent::Whole)
}

/// Sends `head` with the first chunk of `source`, then chunk by chunk up to `length`.
async fn stream<S: Stream, B: ResponseBody>(
    wire: &mut Wire<'_, S>,
    mut head: &[u8],
    length: u64,
    mut source: B,
) -> Result<Sent> {
    let mut left = length;
    while left > 0 {
        let chunk = match next(&mut source, left).await {
            Ok(chunk) => chunk,
            Err(error) if head.is_empty() => return Err(Error::Answer(error)),
            Err(error) => return Ok(Sent::Nothing(error)),
        };
        let bytes = chunk.as_ref();
        if !bytes.is_empty() {
            left -= bytes.len() as u64;
            wire.send(head, bytes).await?;
            head = &[];
        }
    }
    // Of an empty body, the head is still to be sent.
    wire.send(head, &[]).await?;
    Ok(Sent::Whole)
}

/// The next chunk of a body of which `left` bytes are due.
async fn next<B: ResponseBody>(source: &mut B, left: u64) -> io::Result<B::Chunk> {
    let outcome = AssertUnwindSafe(async { source.next().await }).catch_unwind().await;
    match outcome {
        Ok(Ok(Some(chunk))) if chunk.as_ref().len() as u64 <= left => Ok(chunk),
        Ok(Ok(Some(_))) => Err(io::Error::other("the body is longer than announced")),
        Ok(Ok(None)) => Err(io::Error::other("the body is shorter than announced")),
        Ok(Err(error)) => Err(error),
        Err(panic) => Err(io::Error::other(format!("panic: {}", panic_message(&*panic)))),
    }
}

/// What a caught panic said.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
