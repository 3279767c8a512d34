//! Binding both ports, and the management port's socket on this host, before any core starts.
//!
//! Invariants: a port that another process serves is refused, though SO_REUSEPORT would share it; all
//! cores share the one port that the first socket was given when 0 was asked for; no connection is
//! queued before `listen` is called on the core that will serve it.

use std::fs::{self, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, lchown};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::config::{AdminSocket, Config};
use crate::limits::LISTEN_BACKLOG;
use crate::privileges;
use crate::start_error::StartError;

/// Bound sockets that do not listen yet.
#[derive(Debug)]
pub struct Sockets {
    /// The real address of the S3 port.
    pub listen: SocketAddr,
    pub admin_listen: SocketAddr,
    /// One per core.
    s3: Vec<Socket>,
    admin: Option<Socket>,
    admin_local: Option<Socket>,
}

impl Sockets {
    pub fn bind(config: &Config, cores: usize) -> Result<Self, StartError> {
        let (first, listen) = bind_first(config.listen, "listen")?;
        let mut s3 = vec![first];
        for _ in 1..cores {
            s3.push(bind(listen, true).map_err(|e| refused("listen", listen, e))?);
        }
        let (admin, admin_listen) = bind_first(config.admin_listen, "admin-listen")?;
        let admin_local =
            config.admin_socket.as_ref().map(|s| bind_local(s, config.user.as_deref()));
        let admin_local = admin_local.transpose()?;
        Ok(Self { listen, admin_listen, s3, admin: Some(admin), admin_local })
    }

    pub(super) fn take_s3(&mut self) -> Option<Socket> {
        self.s3.pop()
    }

    pub(super) fn take_admin(&mut self) -> Option<Socket> {
        self.admin.take()
    }

    pub(super) fn take_admin_local(&mut self) -> Option<Socket> {
        self.admin_local.take()
    }
}

/// Starts to queue connections.
pub(super) fn listen(socket: &Socket) -> Result<(), StartError> {
    let backlog = i32::try_from(LISTEN_BACKLOG).unwrap_or(i32::MAX);
    socket.listen(backlog).map_err(|e| StartError::io("listening", e))
}

/// The first socket of a port. SO_REUSEPORT lets any process of the same user join a port, so whether
/// it is free is tried without that first.
fn bind_first(address: SocketAddr, field: &str) -> Result<(Socket, SocketAddr), StartError> {
    let alone = bind(address, false).map_err(|e| refused(field, address, e))?;
    drop(alone);
    let socket = bind(address, true).map_err(|e| refused(field, address, e))?;
    let real =
        socket.local_addr().map_err(|e| refused(field, address, e))?.as_socket().unwrap_or(address);
    Ok((socket, real))
}

/// A socket on this host. What a server that was killed left in its place is removed; what a server answers
/// on is not. It belongs to whom the server will be.
fn bind_local(socket: &AdminSocket, user: Option<&str>) -> Result<Socket, StartError> {
    let user = user.map(privileges::find).transpose()?;
    let AdminSocket { path, mode } = socket;
    let failed = |e| StartError::io(format!("--admin-socket: binding {}", path.display()), e);
    let address = SockAddr::unix(path).map_err(failed)?;
    let new = || Socket::new(Domain::UNIX, Type::STREAM, None);
    let is_socket = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    if is_socket {
        let probe = new().and_then(|probe| probe.set_nonblocking(true).map(|()| probe));
        match probe.and_then(|probe| probe.connect(&address)) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path).map_err(failed)?;
            }
            _ => return Err(failed(io::ErrorKind::AddrInUse.into())),
        }
    }
    let bound = new().map_err(failed)?;
    // Nobody can connect before it listens.
    bound
        .bind(&address)
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(*mode)))
        .map_err(failed)?;
    if let Some(user) = user.filter(|_| privileges::is_root()) {
        lchown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())).map_err(failed)?;
    }
    Ok(bound)
}

fn bind(address: SocketAddr, reuse_port: bool) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of the process before us may still linger on the port.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(reuse_port)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn refused(field: &str, address: SocketAddr, error: std::io::Error) -> StartError {
    StartError::io(format!("--{field}: binding {address}"), error)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_local_socket_has_its_permissions_and_takes_no_other_servers_place() {
        let dir = tempfile::tempdir().unwrap();
        let socket = AdminSocket { path: dir.path().join("admin.sock"), mode: 0o600 };
        let first = bind_local(&socket, None).unwrap();
        let mode = fs::metadata(&socket.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        listen(&first).unwrap();
        let message = bind_local(&socket, None).unwrap_err().to_string();
        assert!(message.contains("--admin-socket"), "{message}");
        // What a killed server left.
        drop(first);
        bind_local(&socket, None).unwrap();
        // What is no socket stays.
        fs::remove_file(&socket.path).unwrap();
        fs::write(&socket.path, "mine").unwrap();
        assert!(bind_local(&socket, None).is_err());
        assert_eq!(fs::read(&socket.path).unwrap(), b"mine");
    }

    #[test]
    fn cores_share_a_port_that_no_other_process_can_join() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let (first, real) = bind_first(any, "listen").unwrap();
        assert_ne!(real.port(), 0);
        let second = bind(real, true).unwrap();
        listen(&first).unwrap();
        listen(&second).unwrap();
        let message = bind_first(real, "listen").unwrap_err().to_string();
        assert!(message.contains("--listen") && message.contains(&real.to_string()), "{message}");
    }
}
