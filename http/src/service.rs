//! What a server does with a request: the one interface between HTTP and the program above.

use crate::{RequestBody, RequestHead, Response, ResponseBody, Stream};

/// Answers requests. One value may serve a core, or one connection (to know its peer).
#[expect(async_fn_in_trait, reason = "the futures stay on their core and need not be Send")]
pub trait Service<S: Stream> {
    type Body: ResponseBody;

    /// Answers one request. The body may be read while the head is in use, or left unread.
    ///
    /// The first read of a body that its client holds back (`Expect: 100-continue`) asks for it,
    /// so decide first whether it is wanted. Read to the end (a read of 0) where possible: a body
    /// that is left unread may cost the connection.
    /// A panic is answered with 500 and closes the connection; the executor survives.
    async fn call(&self, head: &RequestHead, body: &mut RequestBody<'_, S>)
    -> Response<Self::Body>;

    /// The answer to a request that never reached `call` (or whose call panicked): its status is
    /// kept as given. `reason` is one English phrase, safe to show to the client. A streamed
    /// payload is not asked here: the answer to a failure must not be able to fail itself.
    fn error_body(&self, status: u16, reason: &str) -> Response<Self::Body>;
}
