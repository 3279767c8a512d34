//! A TLS connection as the byte stream that `http` works on.
//!
//! Budget: a system call for up to [`ARRIVED_BYTES_MAX`] that arrived, and one for up to 48 KiB that is sent.
//!
//! Invariants: what a write has taken is with the kernel when it returns, so that the pace of writing is the
//! client's pace here too; a connection that waits holds no buffer for what may arrive.

use std::io::{self, BufRead, Read, Write};

use http::Peer;
use rustls::ServerConnection;

use super::Certificates;
use crate::stream::TcpConnection;

/// Two records of the greatest length.
const ARRIVED_BYTES_MAX: usize = 32 << 10;

#[derive(Debug)]
pub struct TlsConnection {
    tcp: TcpConnection,
    tls: ServerConnection,
    /// What came from the socket and was not decrypted yet, behind what was.
    arrived: Vec<u8>,
    decrypted: usize,
}

impl TlsConnection {
    pub(crate) fn new(tcp: TcpConnection, certificates: &Certificates) -> io::Result<Self> {
        Ok(Self { tcp, tls: certificates.begin()?, arrived: Vec::new(), decrypted: 0 })
    }

    /// Agrees on keys with the client. Whoever calls this bounds its time.
    pub(crate) async fn shake_hands(&mut self) -> io::Result<()> {
        while self.tls.is_handshaking() {
            self.flush().await?;
            if self.tls.is_handshaking() && !self.receive().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        self.flush().await
    }

    /// Sends what is encrypted.
    async fn flush(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            let tls = &mut self.tls;
            if self.tcp.write_with(|mut socket| tls.write_tls(&mut socket)).await? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }

    /// Takes records from the socket, unless there are some yet; false at its end.
    async fn receive(&mut self) -> io::Result<bool> {
        if self.decrypted == self.arrived.len() {
            self.fill().await?;
        }
        let has_arrived = !self.arrived.is_empty();
        if let Err(error) = self.decrypt() {
            // The alert that says why; who does not hear it learns no more than that it ended.
            let _ = self.flush().await;
            return Err(error);
        }
        Ok(has_arrived)
    }

    /// Reads what has arrived, when something has.
    async fn fill(&mut self) -> io::Result<()> {
        let Self { tcp, arrived, .. } = self;
        let read = tcp.read_with(|mut socket| {
            // Only now is there something to hold.
            arrived.resize(ARRIVED_BYTES_MAX, 0);
            let outcome = socket.read(arrived);
            match &outcome {
                Ok(bytes) => arrived.truncate(*bytes),
                Err(_) => *arrived = Vec::new(),
            }
            outcome
        });
        if read.await? < ARRIVED_BYTES_MAX {
            self.tcp.has_no_more();
        }
        self.decrypted = 0;
        Ok(())
    }

    /// Decrypts what has arrived until there is something to be read; with nothing, tells of the end.
    fn decrypt(&mut self) -> io::Result<()> {
        loop {
            let mut rest = self.arrived.get(self.decrypted..).unwrap_or_default();
            self.decrypted += self.tls.read_tls(&mut rest)?;
            let state = self
                .tls
                .process_new_packets()
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            if self.decrypted == self.arrived.len() {
                (self.arrived, self.decrypted) = (Vec::new(), 0);
                return Ok(());
            }
            if state.plaintext_bytes_to_read() > 0 {
                return Ok(());
            }
        }
    }
}

impl http::Stream for TlsConnection {
    async fn readable(&mut self) {
        let is_decrypted = !matches!(
            self.tls.reader().fill_buf(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock
        );
        if !is_decrypted && self.decrypted == self.arrived.len() {
            http::Stream::readable(&mut self.tcp).await;
        }
    }

    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.tls.reader().read(buffer) {
                // The client left without a word. Heads and bodies have lengths, so that nothing that was
                // cut short passes for whole.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => return outcome,
            }
            self.flush().await?;
            self.receive().await?;
        }
    }

    async fn write_two(&mut self, first: &[u8], second: &[u8]) -> io::Result<usize> {
        let mut taken = self.tls.writer().write(first)?;
        if taken == first.len() {
            taken += self.tls.writer().write(second)?;
        }
        self.flush().await?;
        Ok(taken)
    }

    fn peer(&self) -> Peer {
        Peer { is_secure: true, ..self.tcp.peer() }
    }

    async fn finish_write(&mut self) -> io::Result<()> {
        self.tls.send_close_notify();
        self.flush().await?;
        self.tcp.finish_write().await
    }
}
