//! A client's connection to one of the ports, with TLS or without.

use std::io;

use http::{Peer, Stream};

use crate::stream::TcpConnection;
use crate::sys::Waker;
use crate::tls::{Certificates, TlsConnection};

#[derive(Debug)]
pub enum ClientStream {
    Plain(TcpConnection),
    // A connection without TLS is not to be as large as one with it.
    Secure(Box<TlsConnection>),
}

impl ClientStream {
    /// What is sent over a connection, encrypted if the port has certificates; and what shuts it down.
    pub(crate) fn new(
        tcp: TcpConnection,
        certificates: Option<&Certificates>,
    ) -> io::Result<(Self, Waker)> {
        let waker = tcp.waker();
        let stream = match certificates {
            None => Self::Plain(tcp),
            Some(certificates) => Self::Secure(Box::new(TlsConnection::new(tcp, certificates)?)),
        };
        Ok((stream, waker))
    }
}

impl ClientStream {
    /// What goes before the first byte of a request; whoever calls this bounds its time.
    pub(crate) async fn begin(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Secure(stream) => stream.shake_hands().await,
        }
    }
}

impl Stream for ClientStream {
    async fn readable(&mut self) {
        match self {
            Self::Plain(stream) => stream.readable().await,
            Self::Secure(stream) => stream.readable().await,
        }
    }

    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer).await,
            Self::Secure(stream) => stream.read(buffer).await,
        }
    }

    async fn write_two(&mut self, first: &[u8], second: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write_two(first, second).await,
            Self::Secure(stream) => stream.write_two(first, second).await,
        }
    }

    fn peer(&self) -> Peer {
        match self {
            Self::Plain(stream) => stream.peer(),
            Self::Secure(stream) => stream.peer(),
        }
    }

    async fn finish_write(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.finish_write().await,
            Self::Secure(stream) => stream.finish_write().await,
        }
    }
}
