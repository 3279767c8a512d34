//! A TCP connection of the runtime as the byte stream that `http` works on.
//!
//! Invariants: head and body of an answer leave in one `sendmsg`; Nagle's delay is off; the kernel
//! holds little unsent data, so that the pace of writing is the client's pace.
//! It knows nothing of deadlines: the sweeper shuts the descriptor down, and a pending read or
//! write then returns.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::pin::Pin;

use futures_lite::{AsyncReadExt, AsyncWrite};
use glommio::net::TcpStream;
use http::Peer;
use socket2::SockRef;

use crate::limits::UNSENT_BYTES_MAX;
use crate::sys::{self, Waker};

#[derive(Debug)]
pub struct TcpConnection {
    stream: TcpStream,
    /// Asked for once: a connection that is gone cannot tell any more.
    peer: Peer,
}

impl TcpConnection {
    /// Takes an accepted connection and sets its options. An option that cannot be set costs speed
    /// only, and a connection that is already gone says so at its first read.
    pub fn new(stream: TcpStream) -> Self {
        let descriptor = sys::borrow(&stream);
        let socket = SockRef::from(&descriptor);
        let options = socket
            .set_tcp_nodelay(true)
            .and_then(|()| socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX));
        if let Err(error) = options {
            tracing::debug!(%error, "setting the options of a connection");
        }
        // Without TLS.
        let address = socket.peer_addr().ok().and_then(|address| address.as_socket());
        let address = address.map(|address| address.ip().to_canonical());
        Self { stream, peer: Peer { address, is_secure: false } }
    }

    /// What the sweeper shuts this connection down with.
    pub(crate) fn waker(&self) -> Waker {
        Waker::new(&self.stream)
    }
}

impl http::Stream for TcpConnection {
    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer).await
    }

    async fn write_two(&mut self, first: &[u8], second: &[u8]) -> io::Result<usize> {
        let slices = [IoSlice::new(first), IoSlice::new(second)];
        // The runtime sends an empty slice as readily, but one less is less to look at.
        let slices = if second.is_empty() { &slices[..1] } else { &slices[..] };
        poll_fn(|context| Pin::new(&mut self.stream).poll_write_vectored(context, slices)).await
    }

    fn peer(&self) -> Peer {
        self.peer
    }

    async fn finish_write(&mut self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write).await.map_err(io::Error::from)
    }
}
