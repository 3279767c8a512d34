//! Sockets on the loopback, and whoever waits for them.

#![allow(clippy::unwrap_used)]
use super::super::Reactor;
use super::*;
use std::future::Future;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use ::glommio::timer::sleep;
use ::glommio::{LocalExecutorBuilder, Placement};
use futures_lite::FutureExt;
use futures_lite::future::{yield_now, zip};

/// More than any wait here takes; reached only by a hang.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs a test with a reactor; one that hangs fails.
fn with_reactor<F: Future<Output = ()>>(test: impl FnOnce(Reactor) -> F + Send + 'static) {
    let executor = LocalExecutorBuilder::new(Placement::Unbound)
        .io_memory(1 << 20)
        .ring_depth(128)
        .spawn(|| async move {
            let reactor = Reactor::new(0, 0, Duration::ZERO).unwrap();
            let hang = async {
                sleep(PATIENCE).await;
                panic!("a hang");
            };
            test(reactor).or(hang).await;
        });
    executor.unwrap().join().unwrap();
}

/// A watched socket, and its peer, which blocks.
fn pair(reactor: &Reactor) -> (Watched<TcpStream>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (socket, _) = listener.accept().unwrap();
    socket.set_nonblocking(true).unwrap();
    (reactor.register(socket).unwrap(), peer)
}

async fn read(socket: &Watched<TcpStream>, buffer: &mut [u8]) -> usize {
    let bytes = socket.read(|mut socket| socket.read(buffer)).await.unwrap();
    if bytes < buffer.len() {
        socket.has_no_more();
    }
    bytes
}

#[test]
fn reads_wait_for_what_comes_later_again_and_again() {
    with_reactor(|reactor| async move {
        let (socket, mut peer) = pair(&reactor);
        for round in 0..100u8 {
            let sender = ::glommio::spawn_local(async move {
                // The reader waits by then, in most rounds.
                yield_now().await;
                peer.write_all(&[round]).unwrap();
                peer
            });
            let mut buffer = [0; 16];
            assert_eq!(read(&socket, &mut buffer).await, 1);
            assert_eq!(buffer[0], round);
            peer = sender.await;
        }
    });
}

/// What was read to its end exactly leaves a mark, and nothing to read.
#[test]
fn a_mark_that_is_left_is_looked_at_once_more() {
    with_reactor(|reactor| async move {
        let (socket, mut peer) = pair(&reactor);
        let mut buffer = [0; 4];
        for last in [false, false, true] {
            peer.write_all(b"four").unwrap();
            assert_eq!(read(&socket, &mut buffer).await, 4);
            let waiting = Cell::new(true);
            let wait = async {
                socket.readable(|socket| socket.peek(&mut [0])).await;
                waiting.set(false);
            };
            let arrive = async {
                sleep(Duration::from_millis(20)).await;
                assert!(waiting.get(), "there is nothing to be read");
                match last {
                    true => peer.shutdown(Shutdown::Write).unwrap(),
                    false => peer.write_all(b"more").unwrap(),
                }
            };
            zip(wait, arrive).await;
            assert_eq!(read(&socket, &mut buffer).await, if last { 0 } else { 4 });
        }
    });
}

#[test]
fn an_end_that_came_with_the_last_bytes_is_seen() {
    with_reactor(|reactor| async move {
        let (socket, mut peer) = pair(&reactor);
        peer.write_all(b"last").unwrap();
        drop(peer);
        // Both are there, and marked by one edge, before the first read.
        sleep(Duration::from_millis(20)).await;
        let mut buffer = [0; 16];
        assert_eq!(read(&socket, &mut buffer).await, 4);
        assert_eq!(read(&socket, &mut buffer).await, 0);
    });
}

#[test]
fn a_write_goes_on_when_the_peer_has_made_room() {
    const BYTES: usize = 32 << 20;
    with_reactor(|reactor| async move {
        let (socket, mut peer) = pair(&reactor);
        let reader = std::thread::spawn(move || {
            let (mut total, mut buffer) = (0, vec![0; 1 << 16]);
            loop {
                match peer.read(&mut buffer).unwrap() {
                    0 => return total,
                    bytes => total += bytes,
                }
            }
        });
        let body = vec![7; BYTES];
        let (mut sent, mut short) = (0, 0);
        while sent < BYTES {
            let rest = &body[sent..];
            let bytes = socket.write(|mut socket| socket.write(rest)).await.unwrap();
            if bytes < rest.len() {
                socket.has_no_room();
                short += 1;
            }
            sent += bytes;
        }
        assert!(short > 0, "nothing ever waited");
        drop(socket);
        assert_eq!(reader.join().unwrap(), BYTES);
    });
}

#[test]
fn shutting_a_socket_down_wakes_who_waits() {
    with_reactor(|reactor| async move {
        let (socket, _peer) = pair(&reactor);
        let handle = socket.socket().try_clone().unwrap();
        let sweeper = ::glommio::spawn_local(async move {
            sleep(Duration::from_millis(5)).await;
            handle.shutdown(Shutdown::Both).unwrap();
        });
        assert_eq!(read(&socket, &mut [0; 16]).await, 0);
        sweeper.await;

        let (socket, _peer) = pair(&reactor);
        let handle = socket.socket().try_clone().unwrap();
        let sweeper = ::glommio::spawn_local(async move {
            sleep(Duration::from_millis(5)).await;
            handle.shutdown(Shutdown::Write).unwrap();
        });
        let body = vec![0; 1 << 20];
        // Full at some time, since nobody reads.
        while socket.write(|mut socket| socket.write(&body)).await.is_ok() {}
        sweeper.await;
    });
}

#[test]
fn a_port_ends_when_it_is_shut_down() {
    with_reactor(|reactor| async move {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let listener = reactor.register(listener).unwrap();
        let _peers: Vec<_> = (0..50).map(|_| TcpStream::connect(address).unwrap()).collect();
        for _ in 0..50 {
            listener.read(TcpListener::accept).await.unwrap();
        }
        let handle = listener.socket().try_clone().unwrap();
        let sweeper = ::glommio::spawn_local(async move {
            sleep(Duration::from_millis(5)).await;
            rustix::net::shutdown(handle, rustix::net::Shutdown::Read).unwrap();
        });
        assert!(listener.read(TcpListener::accept).await.is_err());
        sweeper.await;
    });
}

/// Where a turn of all others takes long, a port that took few at a time would be the narrowest place of all.
#[test]
fn a_port_takes_all_who_wait_at_once() {
    with_reactor(|reactor| async move {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let _peers: Vec<_> = (0..120).map(|_| TcpStream::connect(address).unwrap()).collect();
        let turns = Rc::new(Cell::new(0));
        let others = {
            let (reactor, turns) = (reactor.clone(), Rc::clone(&turns));
            ::glommio::spawn_local(async move {
                loop {
                    turns.set(turns.get() + 1);
                    reactor.yield_now().await;
                }
            })
        };
        let listener = reactor.register_port(listener).unwrap();
        listener.read(TcpListener::accept).await.unwrap();
        let before = turns.get();
        for _ in 1..120 {
            listener.read(TcpListener::accept).await.unwrap();
        }
        assert!(turns.get() - before <= 1, "{} turns of others", turns.get() - before);
        others.cancel().await;
    });
}

#[test]
fn timers_have_their_turn_beside_busy_sockets() {
    with_reactor(|reactor| async move {
        let (one, peer) = pair(&reactor);
        peer.set_nonblocking(true).unwrap();
        let other = reactor.register(peer).unwrap();
        let is_over = Rc::new(Cell::new(false));
        let busy = Rc::clone(&is_over);
        let echo = ::glommio::spawn_local(async move {
            let mut rounds = 0u64;
            while !busy.get() {
                for (from, to) in [(&one, &other), (&other, &one)] {
                    from.write(|mut socket| socket.write(b"x")).await.unwrap();
                    assert_eq!(read(to, &mut [0; 16]).await, 1);
                }
                rounds += 1;
            }
            rounds
        });
        let begin = Instant::now();
        for _ in 0..20 {
            sleep(Duration::from_millis(1)).await;
        }
        let took = begin.elapsed();
        is_over.set(true);
        assert!(echo.await > 0);
        // The runtime's preemption alone would take 100 ms for each.
        assert!(took < Duration::from_secs(1), "{took:?}");
    });
}

#[test]
fn few_are_woken_at_a_time_and_more_where_the_core_has_worked_for_long() {
    with_reactor(|_| async move {
        let sockets = Rc::new(Sockets::new(Rc::new(Turn::new().unwrap())).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        // Each can be written to.
        let _clients: Vec<_> = (0..400)
            .map(|_| {
                let peer = TcpStream::connect(address).unwrap();
                (sockets.register(listener.accept().unwrap().0).unwrap(), peer)
            })
            .collect();
        let mut events = Events::new();
        let works = [1, 6, 60_000, 1].map(Duration::from_millis);
        let counts = works.map(|work| {
            assert!(sockets.collect(&mut events));
            events.worked(work);
            events.count
        });
        assert_eq!(counts, [32, 32, 100, 236]);
        assert_eq!(events.room, 32);
    });
}

/// Looks that small requests alone have filled get smaller: 256 of them take less than 256 may.
#[test]
fn looks_filled_by_small_requests_alone_become_small_again() {
    let mut events = Events::new();
    events.worked(Duration::from_secs(1));
    for _ in 0..10 {
        events.worked(Duration::from_micros(45) * u32::try_from(events.room).unwrap());
    }
    assert_eq!(events.room, 32);
}

#[test]
fn numbers_are_given_out_again() {
    with_reactor(|reactor| async move {
        let kept = pair(&reactor);
        for _ in 0..100 {
            let (socket, mut peer) = pair(&reactor);
            assert!(socket.number < 3);
            peer.write_all(b"x").unwrap();
            assert_eq!(read(&socket, &mut [0; 2]).await, 1);
        }
        drop(kept);
        let (socket, _peer) = pair(&reactor);
        assert_eq!(socket.home.marks.borrow().len(), 1);
    });
}

#[test]
fn a_socket_that_is_always_ready_leaves_the_others_their_turn() {
    with_reactor(|reactor| async move {
        let (flooded, mut flood) = pair(&reactor);
        let is_over = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let sending = {
            let is_over = is_over.clone();
            std::thread::spawn(move || {
                let bytes = vec![0; 1 << 20];
                while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                    if flood.write_all(&bytes).is_err() {
                        return;
                    }
                }
            })
        };
        // Never waits: there is always another byte.
        let reading =
            ::glommio::spawn_local(async move { while read(&flooded, &mut [0; 1]).await > 0 {} });
        sleep(Duration::from_millis(20)).await;
        let (other, mut peer) = pair(&reactor);
        let begin = Instant::now();
        for _ in 0..20 {
            peer.write_all(b"x").unwrap();
            assert_eq!(read(&other, &mut [0; 2]).await, 1);
            sleep(Duration::from_millis(1)).await;
        }
        let took = begin.elapsed();
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        // 100 ms each, if only the runtime's preemption lets others in.
        assert!(took < Duration::from_secs(1), "{took:?}");
        reading.cancel().await;
        sending.join().unwrap();
    });
}
