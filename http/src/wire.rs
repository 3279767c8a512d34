//! A stream under its connection's deadlines, and the bytes read ahead from it.
//!
//! Invariants: `Input` keeps bytes in their order of arrival, bounded by the longest head; what
//! one request does not use stays for the next (pipelining). Whoever waits has entered a phase
//! with a deadline, and a wait that the sweeper ended is told as `TimedOut`, whatever it yielded.
//! It does not interpret a byte.

use crate::limits::INPUT_BYTES_MIN;
use crate::stream::after;
use crate::{Control, Error, Phase, Result, Stream};

/// Bytes that arrived and are not yet used: `bytes[start..end]`.
#[derive(Debug)]
pub(crate) struct Input {
    /// Always filled to its length; the length is the buffer's size.
    bytes: Vec<u8>,
    /// `start <= end <= bytes.len()`.
    start: usize,
    end: usize,
    size_max: usize,
}

impl Input {
    pub(crate) fn new(head_bytes_max: usize) -> Self {
        let size_max = head_bytes_max.max(INPUT_BYTES_MIN);
        Self { bytes: Vec::new(), start: 0, end: 0, size_max }
    }

    pub(crate) fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Drops up to `bytes` unread bytes; says how many.
    pub(crate) fn consume(&mut self, bytes: usize) -> usize {
        let bytes = bytes.min(self.end - self.start);
        self.start += bytes;
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
        }
        bytes
    }

    /// Moves unread bytes into `buffer`; says how many.
    pub(crate) fn take(&mut self, buffer: &mut [u8]) -> usize {
        let unread = self.unread();
        let bytes = unread.len().min(buffer.len());
        buffer[..bytes].copy_from_slice(&unread[..bytes]);
        self.consume(bytes)
    }

    /// Room behind the unread bytes; empty only when the longest head would fill the buffer.
    fn spare(&mut self) -> &mut [u8] {
        if self.end == self.bytes.len() {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.bytes.len() {
            let size = (self.bytes.len() * 2).clamp(INPUT_BYTES_MIN, self.size_max);
            self.bytes.resize(size, 0);
        }
        &mut self.bytes[self.end..]
    }

    /// Gives back what a long head made it grow to. Only an empty buffer may shrink.
    pub(crate) fn shrink(&mut self) {
        if self.is_empty() && self.bytes.len() > INPUT_BYTES_MIN {
            self.bytes.truncate(INPUT_BYTES_MIN);
            self.bytes.shrink_to_fit();
        }
    }
}

/// Borrowed parts of a connection, lent to a request's body in turn.
#[derive(Debug)]
pub(crate) struct Wire<'a, S> {
    pub(crate) stream: &'a mut S,
    pub(crate) input: &'a mut Input,
    pub(crate) control: &'a Control,
}

impl<S: Stream> Wire<'_, S> {
    pub(crate) fn lend(&mut self) -> Wire<'_, S> {
        Wire { stream: self.stream, input: self.input, control: self.control }
    }

    /// Reads once into the input, in the phase that the caller entered; 0 is the end.
    pub(crate) async fn fill(&mut self) -> Result<usize> {
        let spare = self.input.spare();
        let size = spare.len();
        let bytes = received(self.control, size, self.stream.read(spare).await)?;
        self.input.end += bytes;
        Ok(bytes)
    }

    /// Reads once into `buffer`, past the input, which must be empty.
    pub(crate) async fn receive(&mut self, buffer: &mut [u8]) -> Result<usize> {
        debug_assert!(self.input.is_empty());
        let size = buffer.len();
        received(self.control, size, self.stream.read(buffer).await)
    }

    /// Sends all of `first` and `second`, then returns to `Work`.
    pub(crate) async fn send(&mut self, mut first: &[u8], mut second: &[u8]) -> Result<()> {
        self.control.enter(Phase::Write);
        while !(first.is_empty() && second.is_empty()) {
            let taken = self.stream.write_two(first, second).await;
            if self.control.timed_out() {
                return Err(Error::TimedOut);
            }
            let taken = taken?;
            (first, second) = after(first, second, taken)?;
            self.control.progress(taken);
        }
        self.control.enter(Phase::Work);
        Ok(())
    }
}

/// Judges what a read yielded. A request that arrives just as its idle connection is ended is
/// served: its client could not know.
fn received(control: &Control, size: usize, outcome: std::io::Result<usize>) -> Result<usize> {
    let is_late_request = control.phase() == Phase::Idle && matches!(outcome, Ok(1..));
    if control.timed_out() && !is_late_request {
        return Err(Error::TimedOut);
    }
    let bytes = outcome?;
    if bytes > size {
        return Err(std::io::Error::other("the stream claims more bytes than fit").into());
    }
    control.progress(bytes);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(input: &mut Input, bytes: &[u8]) -> usize {
        let spare = input.spare();
        let count = bytes.len().min(spare.len());
        spare[..count].copy_from_slice(&bytes[..count]);
        input.end += count;
        count
    }

    #[test]
    fn input_grows_to_its_bound_and_shrinks_when_empty() {
        let mut input = Input::new(32 << 10);
        let mut filled = 0;
        loop {
            let count = put(&mut input, &[7; 3000]);
            if count == 0 {
                break;
            }
            filled += count;
        }
        assert_eq!(filled, 32 << 10);
        assert_eq!(input.consume(usize::MAX), 32 << 10);
        input.shrink();
        assert_eq!(input.bytes.capacity(), INPUT_BYTES_MIN);
    }

    #[test]
    fn input_keeps_order_when_it_moves_bytes_to_the_front() {
        let mut input = Input::new(0);
        assert_eq!(put(&mut input, &[1; INPUT_BYTES_MIN]), INPUT_BYTES_MIN);
        assert_eq!(input.consume(INPUT_BYTES_MIN - 2), INPUT_BYTES_MIN - 2);
        assert_eq!(put(&mut input, b"abc"), 3);
        let mut taken = [0; 4];
        assert_eq!(input.take(&mut taken), 4);
        assert_eq!(&taken, b"\x01\x01ab");
        assert_eq!(input.unread(), b"c");
    }
}
