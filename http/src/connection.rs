//! The loop of one connection: head, service, answer, and again.
//!
//! Budget of a small request on a kept-alive connection:
//! - system calls: one receive, one send; head and body leave together. One more look where the last receive was
//!   filled to its end. No timer.
//! - copies: the request's head once (usually below 1 KiB), so that it stays readable while the
//!   body passes by; the answer's header lines once; body bytes only if they arrived in the same
//!   read as the head.
//! - allocations: one here, for the service's future, so that a connection that waits does not carry it;
//!   one in `Response` for its header lines.
//! - clock reads: five, one per change of phase, about 20 ns each.
//!
//! Invariants: requests are answered in order, one at a time; the connection goes on only where
//! the next request's first byte is known; a panic ends the connection, never the executor.
//! It does not accept, and does not close: the caller drops the stream when `serve` returns.

use std::panic::{AssertUnwindSafe, catch_unwind};

use futures_lite::FutureExt;

use crate::answer::{self, Form, Sent};
use crate::body::Rest;
use crate::limits::EMPTY_LINES_MAX;
use crate::parse;
use crate::wire::Wire;
use crate::workspace::{Workspace, Workspaces};
use crate::{
    Control, Error, Limits, Method, Payload, Phase, Rejection, RequestBody, RequestHead, Response,
    Result, Service, Stream, Version,
};

/// How a connection ended in good order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// The client closed, or asked to, or was idle for too long; or the server drains.
    Done,
    /// The client broke HTTP or a limit and was told so.
    Refused(Rejection),
}

/// One connection while it has requests.
#[derive(Debug)]
pub struct Connection<'a, S, V> {
    wire: Wire<'a, S>,
    service: &'a V,
    limits: &'a Limits,
    head: &'a mut RequestHead,
    /// The answer's head.
    output: &'a mut Vec<u8>,
}

impl<S: Stream, V: Service<S>> Connection<'_, S, V> {
    /// Serves requests until the connection must end; the caller then drops the stream.
    /// An error means that it was cut: the client may have got part of an answer, or none.
    pub async fn serve(
        stream: &mut S,
        service: &V,
        limits: &Limits,
        control: &Control,
        workspaces: &Workspaces,
    ) -> Result<Closed> {
        loop {
            control.enter(Phase::Idle);
            stream.readable().await;
            let mut workspace = workspaces.take();
            let Workspace { input, head, output } = &mut *workspace;
            let wire = Wire { stream, input, control };
            let closed = Connection { wire, service, limits, head, output }.exchanges().await?;
            workspaces.give(workspace);
            if let Some(closed) = closed {
                return Ok(closed);
            }
        }
    }

    /// Requests and their answers, until nothing of another has arrived; how the connection ended, if it did.
    async fn exchanges(&mut self) -> Result<Option<Closed>> {
        loop {
            let closed = self.exchange().await?;
            if closed.is_some() || self.wire.input.is_empty() {
                return Ok(closed);
            }
            self.wire.control.enter(Phase::Head);
        }
    }

    /// One request and its answer; how the connection ended, if it did.
    async fn exchange(&mut self) -> Result<Option<Closed>> {
        match self.read_head().await {
            Ok(true) => {}
            Ok(false) => return Ok(Some(Closed::Done)),
            Err(Error::Rejected(rejection)) => {
                self.refuse(rejection).await?;
                return Ok(Some(Closed::Refused(rejection)));
            }
            Err(error) => return Err(error),
        }
        let (response, rest) = self.call().await;
        let left = match rest {
            Rest::Bytes(left) if left <= self.limits.drain_bytes_max => Some(left),
            _ => None,
        };
        let keeps = self.head.keep_alive && !response.close && !self.wire.control.is_draining();
        let goes_on = self.answer(response, keeps && left.is_some()).await?;
        match left {
            Some(left) if goes_on => {
                self.drain(left).await?;
                Ok(None)
            }
            _ => {
                let nothing_follows = rest == Rest::Bytes(0) && !self.head.keep_alive;
                self.finish(!nothing_follows).await;
                Ok(Some(Closed::Done))
            }
        }
    }

    /// Reads the next request's head; false if the client has no more requests.
    async fn read_head(&mut self) -> Result<bool> {
        let control = self.wire.control;
        let (mut tried, mut empty_lines) = (0usize, 0);
        loop {
            while self.wire.input.unread().starts_with(b"\r\n") {
                empty_lines += 1;
                if empty_lines > EMPTY_LINES_MAX {
                    return Err(Rejection::bad_request("empty lines before a request").into());
                }
                tried = tried.saturating_sub(self.wire.input.consume(2));
            }
            if self.parse_head(tried)? {
                // A request that crossed the end of an idle connection is served if it is all here.
                // Otherwise it is left without an answer, and the client sends it again elsewhere:
                // that its body ends early would be our doing.
                return Ok(!control.cut_idle() || self.body_has_arrived());
            }
            tried = self.wire.input.unread().len();
            match self.wire.fill().await {
                Ok(0) if self.wire.input.is_empty() => return Ok(false),
                Ok(0) => {
                    // A last line without its end may be wrong already.
                    self.parse_head(0)?;
                    return Err(Error::UnexpectedEnd);
                }
                Ok(_) if control.phase() == Phase::Idle => control.enter(Phase::Head),
                Ok(_) => {}
                // Nothing was begun: no matter how such a connection ends.
                Err(_) if control.phase() == Phase::Idle => return Ok(false),
                Err(Error::TimedOut) => {
                    return Err(Rejection::new(408, "the request head took too long").into());
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Parses what arrived, if that can be of use: a head's verdict changes only with a line's
    /// end (so one that dribbles in is parsed as often as it has lines, not bytes), or when it
    /// is too long; and at its first byte, which tells another protocol at once.
    fn parse_head(&mut self, tried: usize) -> Result<bool> {
        let head_bytes_max = self.limits.head_bytes_max;
        let unread = self.wire.input.unread();
        let fresh = unread.get(tried..).unwrap_or_default();
        let is_due = tried == 0 || fresh.contains(&b'\n') || unread.len() >= head_bytes_max;
        if unread.is_empty() || !is_due {
            return Ok(false);
        }
        let length = parse::head(unread, head_bytes_max, self.head)?;
        self.wire.input.consume(length.unwrap_or(0));
        Ok(length.is_some())
    }

    fn body_has_arrived(&self) -> bool {
        let arrived = self.wire.input.unread().len() as u64;
        !self.head.is_chunked() && self.head.content_length().unwrap_or(0) <= arrived
    }

    /// Has the service answer the request; says what it left of the body.
    async fn call(&mut self) -> (Response<V::Body>, Rest) {
        self.wire.control.enter(Phase::Work);
        let mut body = RequestBody::new(self.wire.lend(), self.head);
        // Made where it stays: its ten kilobytes are copied once otherwise.
        let call =
            Box::write(Box::new_uninit(), async { self.service.call(self.head, &mut body).await });
        match AssertUnwindSafe(Box::into_pin(call)).catch_unwind().await {
            Ok(response) => (response, body.rest()),
            Err(panic) => {
                // Not the target: it may carry a presigned signature.
                tracing::error!(
                    method = self.head.method_name(),
                    "the service panicked: {}",
                    answer::panic_message(&*panic)
                );
                let mut response = self.error_response(500, "internal error");
                response.close();
                (response, Rest::Unknown)
            }
        }
    }

    /// Sends an answer; whether the connection may go on, which `keeps` allows.
    async fn answer(&mut self, response: Response<V::Body>, keeps: bool) -> Result<bool> {
        let is_head = self.head.method == Method::Head;
        let connection = match (keeps, self.head.version) {
            (false, _) => Some("close"),
            (true, Version::Http10) => Some("keep-alive"),
            (true, Version::Http11) => None,
        };
        let form = Form { is_head, connection };
        match answer::send(&mut self.wire, self.output, response, form).await? {
            Sent::Whole => Ok(keeps),
            Sent::Nothing(error) => {
                tracing::error!(method = self.head.method_name(), "the answer failed: {error}");
                self.answer_error(500, "internal error", is_head).await?;
                Ok(false)
            }
        }
    }

    /// Tells a client why its request was not understood, and ends the connection.
    async fn refuse(&mut self, rejection: Rejection) -> Result<()> {
        self.answer_error(rejection.status, rejection.reason, false).await?;
        self.finish(true).await;
        Ok(())
    }

    /// Sends the service's answer to a failure, as the last one of the connection.
    async fn answer_error(&mut self, status: u16, reason: &str, is_head: bool) -> Result<()> {
        let response = self.error_response(status, reason);
        let form = Form { is_head, connection: Some("close") };
        match answer::send(&mut self.wire, self.output, response, form).await? {
            Sent::Whole => Ok(()),
            Sent::Nothing(error) => Err(Error::Answer(error)),
        }
    }

    /// The service's answer to a failure, made harmless: the right status, no stream, no panic.
    fn error_response(&self, status: u16, reason: &str) -> Response<V::Body> {
        let made = catch_unwind(AssertUnwindSafe(|| self.service.error_body(status, reason)));
        let mut response = made.unwrap_or_else(|panic| {
            let message = answer::panic_message(&*panic);
            tracing::error!("the service panicked in an error's answer: {message}");
            Response::new(status)
        });
        response.set_status(status);
        if matches!(response.payload, Payload::Stream { .. } | Payload::LengthOnly(_)) {
            response.payload = Payload::Empty;
        }
        response
    }

    /// Throws away the rest of a body, so that the next request comes first. Its answer was sent: the connection waits
    /// for a request, gives way to others as one that does, and has a head's time.
    async fn drain(&mut self, mut left: u64) -> Result<()> {
        let wanted = |left| usize::try_from(left).unwrap_or(usize::MAX);
        left -= self.wire.input.consume(wanted(left)) as u64;
        if left > 0 {
            self.wire.control.enter(Phase::Head);
        }
        while left > 0 {
            if self.wire.fill().await? == 0 {
                return Err(Error::UnexpectedEnd);
            }
            left -= self.wire.input.consume(wanted(left)) as u64;
        }
        Ok(())
    }

    /// Ends the sending side. If the client may still be sending, its bytes are thrown away for a
    /// while: closing over unread bytes would reset the connection, and the client would lose the
    /// answer (RFC 9112, section 9.6).
    async fn finish(&mut self, lingers: bool) {
        self.wire.control.enter(Phase::Linger);
        if self.wire.stream.finish_write().await.is_err() || !lingers {
            return;
        }
        let mut left = self.limits.linger_bytes_max;
        while left > 0 {
            self.wire.input.consume(usize::MAX);
            match self.wire.fill().await {
                Ok(bytes @ 1..) => left = left.saturating_sub(bytes as u64),
                _ => return,
            }
        }
    }
}
