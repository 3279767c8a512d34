//! Taking connections of one port on one core, and serving each in a task of its own.
//!
//! Invariants: accepting happens in one task, which ends when its listener is shut down or it is cancelled. A panic in a connection's task ends that
//! connection alone. Beyond the limit a connection that waits for a request gives way; if there is none, the
//! client hears 503, over TLS nothing, instead of waiting in the kernel's queue.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::TcpStream;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use engine::platform::glommio::{Reactor, Watched};
use futures_lite::FutureExt;
use http::{Connection, Control, Limits, Service, Time, Workspaces};
use socket2::{SockRef, Socket};

use super::connections::Connections;
use crate::client_stream::ClientStream;
use crate::limits::{
    ACCEPT_PAUSE, CROWDED_IN_A_ROW_MAX, HANDSHAKE_PATIENCE, ROOM_PAUSE, ROOM_TRIES,
};
use crate::metrics::Recorder;
use crate::stream::TcpConnection;
use crate::tls::Certificates;

const BUSY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 1\r\nConnection: close\r\n\r\n";

/// Everything that a connection of this port needs.
#[derive(Debug)]
pub(super) struct Port<V> {
    pub(super) reactor: Reactor,
    pub(super) service: Rc<V>,
    /// None: without TLS.
    pub(super) certificates: Option<Arc<Certificates>>,
    pub(super) connections: Rc<Connections>,
    /// How many more connections there may be, over all cores.
    pub(super) free: Arc<AtomicUsize>,
    pub(super) places: Places,
    pub(super) recorder: Rc<Recorder>,
    pub(super) limits: Limits,
    pub(super) time: Rc<Time>,
    pub(super) workspaces: Workspaces,
}

/// One connection's place under the limit.
#[derive(Debug)]
struct Permit(Arc<AtomicUsize>);

/// Places of connections of this core that gave way, for those of this core that came instead: were they
/// free for all, one core could lose its last.
#[derive(Debug, Default)]
pub(super) struct Places {
    handed_on: RefCell<Vec<Permit>>,
    awaited: Cell<usize>,
}

impl Places {
    /// A connection has ended: its place is for who waits for one here, else for anybody.
    fn give(&self, permit: Permit) {
        let mut handed_on = self.handed_on.borrow_mut();
        if handed_on.len() < self.awaited.get() {
            handed_on.push(permit);
        }
    }

    /// The place of a connection that is on its way out; none if it takes too long.
    async fn wait(&self, reactor: &Reactor, free: &Arc<AtomicUsize>) -> Option<Permit> {
        self.awaited.set(self.awaited.get() + 1);
        let mut found = None;
        for _ in 0..ROOM_TRIES {
            found = self.handed_on.borrow_mut().pop().or_else(|| Permit::take(free));
            if found.is_some() {
                break;
            }
            reactor.sleep(ROOM_PAUSE).await;
        }
        self.awaited.set(self.awaited.get() - 1);
        // What nobody waits for any more is free for all.
        self.handed_on.borrow_mut().truncate(self.awaited.get());
        found
    }
}

impl Permit {
    fn take(free: &Arc<AtomicUsize>) -> Option<Self> {
        free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).ok()?;
        Some(Self(Arc::clone(free)))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Accepts until the listener is shut down.
pub(super) async fn accept<V>(port: Rc<Port<V>>, listener: Watched<Socket>)
where
    V: Service<ClientStream> + 'static,
{
    let mut crowded = 0u32;
    loop {
        match listener.read(Socket::accept).await {
            // Of one kind or the other: what is done with it is the same.
            Ok((stream, _)) => {
                if !admit(&port, stream.into()) {
                    crowded = crowded.wrapping_add(1);
                    if crowded.is_multiple_of(CROWDED_IN_A_ROW_MAX) {
                        port.reactor.yield_now().await;
                    }
                }
            }
            Err(_) if port.connections.is_draining() => return,
            Err(error) => {
                if error.kind() == io::ErrorKind::ConnectionAborted {
                    continue;
                }
                // Most likely no descriptor or memory is left; connections that end give some back.
                tracing::warn!(%error, "accepting a connection");
                port.reactor.sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Whether there was a place for it: if not, all connections were looked through for one that may end.
fn admit<V>(port: &Rc<Port<V>>, stream: TcpStream) -> bool
where
    V: Service<ClientStream> + 'static,
{
    let permit = Permit::take(&port.free);
    let was_free = permit.is_some();
    if !was_free && !port.connections.make_room() {
        refuse(port, &stream);
        return false;
    }
    let port = Rc::clone(port);
    glommio::spawn_local(async move {
        let permit = match permit {
            Some(permit) => Some(permit),
            None => port.places.wait(&port.reactor, &port.free).await,
        };
        let Some(permit) = permit else { return refuse(&port, &stream) };
        port.recorder.connection_opened();
        let serving = AssertUnwindSafe(serve(&port, stream)).catch_unwind();
        if serving.await.is_err() {
            tracing::error!("a connection's task panicked; the connection is closed");
        }
        port.recorder.connection_closed();
        port.places.give(permit);
    })
    .detach();
    was_free
}

fn refuse<V>(port: &Port<V>, stream: &TcpStream) {
    port.recorder.connection_refused();
    if port.certificates.is_none() {
        turn_away(stream);
    }
}

async fn serve<V: Service<ClientStream>>(port: &Port<V>, stream: TcpStream) {
    let certificates = port.certificates.as_deref();
    let stream = TcpConnection::new(&port.reactor, stream)
        .and_then(|tcp| ClientStream::new(tcp, certificates));
    let (mut stream, waker) = match stream {
        Ok(stream) => stream,
        Err(error) => return tracing::warn!(%error, "a connection cannot be watched"),
    };
    let control = Control::new(Rc::clone(&port.time), &port.limits);
    // Declared after the stream, hence dropped before it: see `Listed`.
    let _listed = port.connections.list(Rc::clone(&control), waker);
    if certificates.is_some() {
        let late = async {
            port.reactor.sleep(HANDSHAKE_PATIENCE).await;
            Err(io::ErrorKind::TimedOut.into())
        };
        if let Err(error) = stream.begin().or(late).await {
            return tracing::debug!(%error, "a client and this server did not agree on keys");
        }
    }
    let Port { service, limits, workspaces, .. } = port;
    let result = Connection::serve(&mut stream, &**service, limits, &control, workspaces).await;
    match result {
        Ok(_) => {}
        // A storage error behind an answer that was cut has been logged where it happened.
        Err(error) => tracing::debug!(%error, "a connection ended"),
    }
}

/// Says that there is no room, as far as that is possible without waiting.
fn turn_away(stream: &TcpStream) {
    // The client may be gone already; it learns nothing then, and needs nothing.
    let _ = SockRef::from(stream).send_with_flags(BUSY, libc::MSG_DONTWAIT);
}
