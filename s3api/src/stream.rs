//! A TCP connection as the byte stream that `http` works on.
//!
//! Invariants: head and body of an answer leave in one `writev`; Nagle's delay is off; the kernel
//! holds little unsent data, so that the pace of writing is the client's pace.
//! It knows nothing of deadlines: the sweeper shuts the descriptor down, and a pending read or
//! write then returns.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};

use engine::platform::glommio::{Reactor, Watched};
use http::Peer;
use socket2::SockRef;

use crate::limits::UNSENT_BYTES_MAX;
use crate::sys::Waker;

#[derive(Debug)]
pub struct TcpConnection {
    stream: Watched<TcpStream>,
    /// Asked for once: a connection that is gone cannot tell any more.
    peer: Peer,
}

impl TcpConnection {
    /// Takes an accepted connection and sets its options. An option that cannot be set costs speed
    /// only, and a connection that is already gone says so at its first read.
    pub(crate) fn new(reactor: &Reactor, stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let socket = SockRef::from(&stream);
        let options = socket
            .set_tcp_nodelay(true)
            .and_then(|()| socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX));
        if let Err(error) = options {
            tracing::debug!(%error, "setting the options of a connection");
        }
        let address = stream.peer_addr().ok().map(|address| address.ip().to_canonical());
        let peer = Peer { address, ..Peer::default() };
        Ok(Self { stream: reactor.register(stream)?, peer })
    }

    /// Makes a call that reads as soon as it does not block.
    pub(crate) async fn read_with<T>(
        &self,
        call: impl FnMut(&TcpStream) -> io::Result<T>,
    ) -> io::Result<T> {
        self.stream.read(call).await
    }

    /// The last read through [`Self::read_with`] gave less than there was room for.
    pub(crate) fn has_no_more(&self) {
        self.stream.has_no_more();
    }

    /// Makes a call that writes as soon as it does not block.
    pub(crate) async fn write_with<T>(
        &self,
        call: impl FnMut(&TcpStream) -> io::Result<T>,
    ) -> io::Result<T> {
        self.stream.write(call).await
    }

    /// What the sweeper shuts this connection down with.
    pub(crate) fn waker(&self) -> Waker {
        Waker::new(self.stream.socket())
    }
}

impl http::Stream for TcpConnection {
    async fn readable(&mut self) {
        self.stream.readable(|socket| socket.peek(&mut [0])).await;
    }

    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.stream.read(|mut socket| socket.read(buffer)).await?;
        if bytes < buffer.len() {
            self.stream.has_no_more();
        }
        Ok(bytes)
    }

    async fn write_two(&mut self, first: &[u8], second: &[u8]) -> io::Result<usize> {
        let slices = [IoSlice::new(first), IoSlice::new(second)];
        // The kernel takes an empty slice as readily, but one less is less to look at.
        let slices = if second.is_empty() { &slices[..1] } else { &slices[..] };
        let bytes = self.stream.write(|mut socket| socket.write_vectored(slices)).await?;
        if bytes < first.len() + second.len() {
            self.stream.has_no_room();
        }
        Ok(bytes)
    }

    fn peer(&self) -> Peer {
        self.peer
    }

    async fn finish_write(&mut self) -> io::Result<()> {
        self.stream.socket().shutdown(Shutdown::Write)
    }
}
