//! The byte stream beneath a connection, and the bytes read ahead from it.
//!
//! Invariants: `Input` holds bytes in the order of arrival and never more than the head's limit;
//! what one request does not use stays for the next (pipelining).
//! It does not interpret a byte, and knows no deadlines.

use std::io;
use std::net::IpAddr;

/// The other end of a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Peer {
    /// An address of IPv4, also where it came by way of IPv6.
    pub address: Option<IpAddr>,
    /// Who sent it on, if that is somebody else.
    pub proxy: Option<IpAddr>,
    /// Nobody between can read what passes.
    pub is_secure: bool,
}

/// A connected byte stream: TCP, TLS, or a script in a test. Used by one task on one core.
#[expect(async_fn_in_trait, reason = "the futures stay on their core and need not be Send")]
pub trait Stream {
    /// Waits until a read has something to tell, as far as the stream knows: it may have to wait all the same. Whoever
    /// waits here needs no buffer yet.
    async fn readable(&mut self);

    /// Reads some bytes; 0 is the end of the stream, or of what its owner lets through.
    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes some bytes of `first` followed by `second` in one system call (`sendmsg`), and
    /// says how many of the two together were taken: at least 1, unless both are empty.
    /// Either may be empty. It does not loop: the caller counts each return as progress.
    async fn write_two(&mut self, first: &[u8], second: &[u8]) -> io::Result<usize>;

    /// Who is at the other end, as far as the stream knows.
    fn peer(&self) -> Peer {
        Peer::default()
    }

    /// Ends the sending direction and leaves the receiving one open.
    async fn finish_write(&mut self) -> io::Result<()>;

    /// Writes all of `bytes`.
    async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all_two(bytes, &[]).await
    }

    /// Writes all of `first`, then all of `second`, in as few system calls as the peer allows.
    async fn write_all_two(&mut self, mut first: &[u8], mut second: &[u8]) -> io::Result<()> {
        while !(first.is_empty() && second.is_empty()) {
            let taken = self.write_two(first, second).await?;
            (first, second) = after(first, second, taken)?;
        }
        Ok(())
    }
}

/// What is left of two slices after `taken` bytes of their concatenation were written.
pub(crate) fn after<'a>(
    first: &'a [u8],
    second: &'a [u8],
    taken: usize,
) -> io::Result<(&'a [u8], &'a [u8])> {
    if taken == 0 {
        return Err(io::ErrorKind::WriteZero.into());
    }
    let from_first = taken.min(first.len());
    let from_second = taken - from_first;
    match (first.get(from_first..), second.get(from_second..)) {
        (Some(first), Some(second)) => Ok((first, second)),
        _ => Err(io::Error::other("the stream claims to have written more than it was given")),
    }
}
