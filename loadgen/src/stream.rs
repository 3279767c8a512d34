//! A TCP connection that never blocks its thread, and the buffer into which it receives.
//!
//! All connections of a thread receive into one buffer: it stays in the CPU's cache, where as many
//! buffers as connections would push out all else.
//!
//! **Invariant:** what was received is consumed before its task waits again. Who breaks this loses it,
//! and gets an error for it.
//! **Invariant:** the kernel is asked only for what it may have: after a read that did not fill the
//! buffer, and after a write that was cut short, the next edge is waited for.
//!
//! Deliberately absent: a buffer for what is sent; callers send what they have as it lies.

use crate::client::Failure;
use crate::limits;
use crate::runtime::{Interest, Registration, Watch, register};
use rustix::io::{Errno, writev};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, ipproto, recv, send,
    socket_with,
};
use std::cell::{Cell, Ref, RefCell};
use std::io::{self, IoSlice};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;

#[derive(Debug)]
pub(crate) struct Stream {
    _registration: Registration,
    socket: TcpStream,
    watch: Rc<Watch>,
    buffer: ReceiveBuffer,
    /// Received, and not yet consumed: `start..end` of the buffer.
    start: Cell<usize>,
    end: Cell<usize>,
}

/// A thread's one buffer for what it receives.
#[derive(Debug, Clone)]
pub(crate) struct ReceiveBuffer(Rc<RefCell<Box<[u8]>>>);

impl ReceiveBuffer {
    /// For answers whose bodies have up to so many bytes; longer ones come in pieces.
    pub(crate) fn for_bodies(largest_body: u64) -> Self {
        let (least, most) = (limits::RECEIVE_BYTES_MIN, limits::RECEIVE_BYTES_MAX);
        Self::new((largest_body.min(most as u64) as usize + 1024).clamp(least, most))
    }

    fn new(bytes: usize) -> Self {
        Self(Rc::new(RefCell::new(vec![0; bytes].into_boxed_slice())))
    }
}

impl Stream {
    /// `watch` serves one stream at a time.
    pub(crate) async fn connect(
        address: SocketAddr,
        watch: &Rc<Watch>,
        buffer: &ReceiveBuffer,
    ) -> Result<Self, Failure> {
        let (socket, registration) =
            begin_connect(address, watch).map_err(|error| Failure::Connect(error.to_string()))?;
        let expired = |_| Failure::Connect("no answer within the timeout".to_owned());
        watch.ready(Interest::Write).await.map_err(expired)?;
        let result = match socket.take_error() {
            Ok(None) => Ok(()),
            Ok(Some(error)) | Err(error) => Err(error),
        };
        result.map_err(|error| Failure::Connect(error.to_string()))?;
        Ok(Self {
            _registration: registration,
            socket,
            watch: Rc::clone(watch),
            buffer: buffer.clone(),
            start: Cell::new(0),
            end: Cell::new(0),
        })
    }

    /// Waits until received bytes are there, and says how many; 0 at the end of the stream.
    pub(crate) async fn fill(&self) -> Result<usize, Failure> {
        while !self.has_received() {
            self.watch.ready(Interest::Read).await?;
            let buffer = &mut *self.buffer.0.borrow_mut();
            match recv(&self.socket, &mut **buffer, RecvFlags::empty()) {
                Ok((count, _)) => {
                    if count < buffer.len() {
                        self.watch.drained(Interest::Read);
                    }
                    self.start.set(0);
                    self.end.set(count);
                    return Ok(count);
                }
                Err(error) => self.retry(error, Interest::Read)?,
            }
        }
        Ok(self.end.get() - self.start.get())
    }

    /// Whether there is something without waiting.
    pub(crate) fn has_received(&self) -> bool {
        self.start.get() < self.end.get()
    }

    /// What is there without waiting. Not to be held while waiting.
    pub(crate) fn received(&self) -> Ref<'_, [u8]> {
        let received = self.start.get()..self.end.get();
        Ref::map(self.buffer.0.borrow(), |buffer| &buffer[received])
    }

    /// Of `received`, from its front.
    pub(crate) fn consume(&self, count: usize) {
        let start = self.start.get() + count;
        assert!(start <= self.end.get(), "more was consumed than received");
        self.start.set(start);
    }

    /// Waits until some bytes of the slices were taken, and says how many.
    pub(crate) async fn write(&self, slices: &[IoSlice<'_>]) -> Result<usize, Failure> {
        if self.has_received() {
            return Err(Failure::Protocol("bytes behind the end of the answer"));
        }
        let length: usize = slices.iter().map(|slice| slice.len()).sum();
        loop {
            self.watch.ready(Interest::Write).await?;
            // One slice costs the kernel less as such.
            let written = match slices {
                [slice] => send(&self.socket, slice, SendFlags::NOSIGNAL),
                slices => writev(&self.socket, slices),
            };
            match written {
                Ok(count) => {
                    if count < length {
                        self.watch.drained(Interest::Write);
                    }
                    return Ok(count);
                }
                Err(error) => self.retry(error, Interest::Write)?,
            }
        }
    }

    /// `Ok`: the operation is to be tried again.
    fn retry(&self, error: Errno, interest: Interest) -> Result<(), Failure> {
        match error {
            Errno::AGAIN => {
                self.watch.blocked(interest);
                Ok(())
            }
            Errno::INTR => Ok(()),
            _ => Err(Failure::Io(error.into())),
        }
    }
}

fn begin_connect(address: SocketAddr, watch: &Rc<Watch>) -> io::Result<(TcpStream, Registration)> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    // A socket that is not connecting counts as closed, so it is registered after this.
    match connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    let socket = TcpStream::from(socket);
    socket.set_nodelay(true)?;
    let registration = register(&socket, watch)?;
    Ok((socket, registration))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::runtime::{run, sleep, spawn};
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread::JoinHandle;
    use std::time::Duration;

    const SHORT: Duration = Duration::from_millis(5);

    /// Accepts one connection and does with it as told, on a thread of its own.
    fn serve<T: Send + 'static>(
        peer: impl FnOnce(TcpStream) -> T + Send + 'static,
    ) -> (SocketAddr, JoinHandle<T>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (address, std::thread::spawn(move || peer(listener.accept().unwrap().0)))
    }

    async fn connect_to(address: SocketAddr, buffer_bytes: usize) -> Stream {
        let buffer = ReceiveBuffer::new(buffer_bytes);
        Stream::connect(address, &Rc::default(), &buffer).await.unwrap()
    }

    /// All that comes until the end, in pieces as they were received.
    async fn receive_all(stream: &Stream) -> Vec<Vec<u8>> {
        let mut pieces = Vec::new();
        while stream.fill().await.unwrap() > 0 {
            pieces.push(stream.received().to_vec());
            stream.consume(pieces.last().map_or(0, Vec::len));
        }
        pieces
    }

    async fn send_all(stream: &Stream, bytes: &[u8]) {
        let mut sent = 0;
        while sent < bytes.len() {
            sent += stream.write(&[IoSlice::new(&bytes[sent..])]).await.unwrap();
        }
    }

    #[test]
    fn each_edge_is_seen_after_a_buffer_that_was_filled_exactly_and_after_one_that_was_not() {
        let (address, peer) = serve(|mut socket| {
            for length in [8, 8, 3, 16, 1, 9] {
                socket.write_all(&vec![length as u8; length]).unwrap();
                std::thread::sleep(SHORT);
            }
        });
        let pieces = run(async move { receive_all(&connect_to(address, 8).await).await });
        let bytes = pieces.unwrap().concat();
        let expected: Vec<u8> = [8, 8, 3, 16, 1, 9]
            .into_iter()
            .flat_map(|length| vec![length; length.into()])
            .collect();
        assert_eq!(bytes, expected);
        peer.join().unwrap();
    }

    #[test]
    fn the_end_of_the_stream_is_seen_though_it_came_together_with_the_last_bytes() {
        let (address, peer) = serve(|mut socket| socket.write_all(b"last words").unwrap());
        let pieces = run(async move {
            let stream = connect_to(address, 100).await;
            // All of it has arrived before the first look.
            peer.join().unwrap();
            sleep(SHORT).await;
            receive_all(&stream).await
        });
        assert_eq!(pieces.unwrap(), [b"last words"]);
    }

    #[test]
    fn the_end_of_the_stream_is_seen_by_who_waits_for_it() {
        let (address, peer) = serve(|mut socket| {
            socket.write_all(b"last words").unwrap();
            std::thread::sleep(4 * SHORT);
        });
        let pieces = run(async move { receive_all(&connect_to(address, 100).await).await });
        assert_eq!(pieces.unwrap().concat(), b"last words");
        peer.join().unwrap();
    }

    #[test]
    fn a_reset_is_an_error_for_who_reads_and_for_who_writes() {
        let (address, peer) = serve(|socket| {
            std::thread::sleep(SHORT);
            // Closing with bytes unread resets the connection.
            drop(socket);
        });
        run(async move {
            let stream = connect_to(address, 100).await;
            send_all(&stream, b"never read").await;
            assert!(matches!(stream.fill().await, Err(Failure::Io(_))));
            assert!(matches!(stream.write(&[IoSlice::new(b"x")]).await, Err(Failure::Io(_))));
        })
        .unwrap();
        peer.join().unwrap();
    }

    #[test]
    fn a_write_that_is_cut_short_goes_on_when_there_is_room() {
        const LENGTH: usize = 32 << 20;
        let (address, peer) = serve(|mut socket| {
            let mut received = Vec::new();
            std::thread::sleep(10 * SHORT);
            socket.read_to_end(&mut received).unwrap();
            received
        });
        let bytes: Vec<u8> = (0..LENGTH).map(|index| (index % 251) as u8).collect();
        let sent = bytes.clone();
        let writes = run(async move {
            let stream = connect_to(address, 100).await;
            let (mut position, mut writes) = (0, 0);
            while position < LENGTH {
                let (first, second) = sent[position..].split_at((LENGTH - position) / 2);
                let slices = [IoSlice::new(first), IoSlice::new(second)];
                position += stream.write(&slices).await.unwrap();
                writes += 1;
            }
            writes
        });
        assert!(writes.unwrap() > 1);
        assert!(peer.join().unwrap() == bytes);
    }

    #[test]
    fn both_directions_of_a_connection_have_their_own_readiness() {
        const LENGTH: usize = 8 << 20;
        let (address, peer) = serve(|mut socket| {
            socket.write_all(b"early").unwrap();
            std::thread::sleep(4 * SHORT);
            let mut received = vec![0; LENGTH];
            socket.read_exact(&mut received).unwrap();
            socket.write_all(b"late").unwrap();
        });
        run(async move {
            let stream = connect_to(address, 100).await;
            // The edge of the early answer comes while the writer waits.
            send_all(&stream, &vec![1; LENGTH]).await;
            assert_eq!(receive_all(&stream).await.concat(), b"earlylate");
        })
        .unwrap();
        peer.join().unwrap();
    }

    #[test]
    fn more_connections_than_events_in_a_turn_are_all_served() {
        const CONNECTIONS: usize = 400;
        const ROUNDS: usize = 20;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let peer = std::thread::spawn(move || {
            let sockets: Vec<_> = (0..CONNECTIONS).map(|_| listener.accept().unwrap().0).collect();
            // Each round's questions are read before the first of them is answered.
            for _ in 0..ROUNDS {
                let mut questions = vec![[0; 2]; CONNECTIONS];
                for (mut socket, question) in sockets.iter().zip(&mut questions) {
                    socket.read_exact(question).unwrap();
                }
                for (mut socket, question) in sockets.iter().zip(&questions).rev() {
                    socket.write_all(question).unwrap();
                }
            }
        });
        run(async move {
            // One buffer for all of them.
            let buffer = ReceiveBuffer::new(16);
            let talk = |number: usize| {
                let buffer = buffer.clone();
                async move {
                    let stream = Stream::connect(address, &Rc::default(), &buffer).await.unwrap();
                    for round in 0..ROUNDS {
                        let question = [number as u8, round as u8];
                        send_all(&stream, &question).await;
                        stream.fill().await.unwrap();
                        assert_eq!(*stream.received(), question);
                        stream.consume(2);
                    }
                }
            };
            let tasks: Vec<_> = (0..CONNECTIONS).map(|number| spawn(talk(number))).collect();
            for task in tasks {
                task.await;
            }
        })
        .unwrap();
        peer.join().unwrap();
    }

    #[test]
    fn a_watch_serves_one_connection_after_the_other() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let peer = std::thread::spawn(move || {
            for number in 0..20 {
                listener.accept().unwrap().0.write_all(&[number]).unwrap();
            }
        });
        run(async move {
            let watch = Rc::default();
            for number in 0..20 {
                let stream =
                    Stream::connect(address, &watch, &ReceiveBuffer::new(16)).await.unwrap();
                assert_eq!(receive_all(&stream).await.concat(), [number]);
            }
        })
        .unwrap();
        peer.join().unwrap();
    }

    #[test]
    fn a_port_that_nobody_listens_on_refuses() {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let result = run(async move {
            Stream::connect(address, &Rc::default(), &ReceiveBuffer::new(16)).await
        });
        assert!(matches!(result.unwrap(), Err(Failure::Connect(_))));
    }

    #[test]
    fn a_connection_on_which_nothing_moves_is_given_up_after_the_ticks_and_not_before() {
        let (address, peer) = serve(|mut socket| {
            std::thread::sleep(2 * SHORT);
            socket.write_all(b"in time").unwrap();
            socket.read_to_end(&mut Vec::new()).unwrap();
        });
        run(async move {
            let watch = Rc::<Watch>::default();
            let ticker = {
                let watch = Rc::clone(&watch);
                spawn(async move {
                    loop {
                        sleep(SHORT).await;
                        watch.tick(40);
                    }
                })
            };
            let stream = Stream::connect(address, &watch, &ReceiveBuffer::new(16)).await.unwrap();
            assert_eq!(stream.fill().await.unwrap(), 7);
            stream.consume(7);
            assert!(matches!(stream.fill().await, Err(Failure::Timeout)));
            ticker.cancel();
        })
        .unwrap();
        peer.join().unwrap();
    }
}
