//! The loop of one connection: head, service, answer, and again.

use crate::{Control, Limits, Result, Service, Stream};

/// How a connection ended in good order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// The client closed, or asked to, or was idle for too long.
    Done,
    /// The client broke HTTP and was told so.
    Refused,
}

#[derive(Debug)]
pub struct Connection;

impl Connection {
    /// Serves requests until the connection must end. The caller then drops the stream.
    pub async fn serve<S: Stream, V: Service<S>>(
        _stream: &mut S,
        _service: &V,
        _limits: &Limits,
        _control: &Control,
    ) -> Result<Closed> {
        Ok(Closed::Done)
    }
}
