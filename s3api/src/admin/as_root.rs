//! Operations of S3 that the management API has done as root would do them, with root's rights and no
//! others: the same checks, locks, events and lines of access logs and the audit log.
//!
//! Invariant: a request is made whole and runs through `ops` as one that came by the S3 port, so that
//! no rule is written a second time here.
//!
//! Not here: operations with a body.

use std::rc::Rc;
use std::time::Instant;

use engine::platform::Platform;
use http::RequestHead;

use super::management::Management;
use crate::access::Caller;
use crate::audit::{self, record::S3Request};
use crate::auth::payload::{Payload, PayloadReader, RawBody};
use crate::error::{Code, Result, S3Error};
use crate::ops::{self, Answer, Body, Context, Ids};
use crate::percent;
use crate::route::{self, Target};
use crate::throttle::Admission;
use crate::workers::access_log::record::{Answered, Asked, record};

/// What is asked of S3: bucket, key (or none) and query, all decoded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Order<'a> {
    pub(super) method: &'a str,
    pub(super) bucket: &'a str,
    pub(super) key: &'a str,
    pub(super) query: &'a [(&'a str, &'a str)],
    /// Names and values that are constants.
    pub(super) headers: &'a [(&'static str, &'static str)],
}

impl Order<'_> {
    fn target(&self) -> String {
        let mut target = format!("/{}", percent::encode(self.bucket));
        if !self.key.is_empty() {
            target = format!("{target}/{}", percent::encode(self.key));
        }
        for (at, (name, value)) in self.query.iter().enumerate() {
            let mark = if at == 0 { '?' } else { '&' };
            target = format!("{target}{mark}{name}={}", percent::encode(value));
        }
        target
    }

    fn head(&self) -> Result<RequestHead> {
        let headers: String =
            self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head = format!(
            "{} {} HTTP/1.1\r\nHost: management\r\n{headers}\r\n",
            self.method,
            self.target()
        );
        RequestHead::parse(head.as_bytes())
            .map_err(|rejection| S3Error::new(Code::InvalidRequest, rejection.reason))
    }
}

/// A body that is none.
#[derive(Debug)]
struct Nothing;

impl RawBody for Nothing {
    async fn read(&mut self, _: &mut [u8]) -> std::result::Result<usize, http::Error> {
        Ok(0)
    }
}

impl<P: Platform> Management<'_, P> {
    pub(super) async fn as_root(&self, order: Order<'_>) -> Result<Answer<P>> {
        let started = Instant::now();
        let head = order.head()?;
        let target =
            Target { method: head.method_name(), host: None, target: head.target(), copy: false };
        let route = route::route(target, &[])?;
        let root = Caller::root(self.owner.clone());
        let caller = Caller {
            peer: self.peer,
            now: self.now(),
            is_vouched: true,
            manager: Some(Rc::new(self.caller.clone())),
            ..root
        };
        let ids = Ids {
            request: format!("{:016X}", self.engine.platform().random_u64()),
            host: self.host_id,
        };
        let admission = Admission::default();
        let context = Context {
            engine: self.engine,
            region: self.region,
            owner: self.owner,
            caller: &caller,
            admission: &admission,
            services: self.services,
            authenticator: self.authenticator,
            ids: &ids,
            head: &head,
            route: &route,
        };
        let mut nothing = Nothing;
        let reader = PayloadReader::new(Payload::Unsigned, &mut nothing);
        let result = Box::pin(ops::run(&context, Body { reader, size_bytes: Some(0) })).await;
        let asked = Asked {
            head: &head,
            route: &route,
            caller: Some(&caller),
            source: self.peer.address,
            ids: &ids,
            root: &self.owner.id,
        };
        let error = result.as_ref().err().map(|error| error.code);
        let answered = Answered { asked, error, received: 0, started };
        let tell = |answer: &mut Answer<P>| {
            record(self.engine, self.services, &answered, answer);
            if let Some(audit) = &self.services.audit {
                let request = S3Request {
                    head: &head,
                    route: Some(&route),
                    caller: Some(&caller),
                    is_vouched: true,
                    peer: self.peer,
                    request_id: &ids.request,
                };
                audit::record::record(audit, &request, (error, 0, started), answer);
            }
        };
        match result {
            Ok(mut answer) => {
                tell(&mut answer);
                Ok(answer)
            }
            Err(error) => {
                tell(&mut http::Response::new(error.code.status()));
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn whatever_a_key_holds_the_request_is_for_that_key() {
        for key in ["a", "a/b", "a//../b", "a b?c#d%2F&=", "ü\r\nX: y", "/", "a/"] {
            let query = [("versionId", "1&x=2\r\n")];
            let order = Order { method: "DELETE", bucket: "b-1", key, query: &query, headers: &[] };
            let head = order.head().unwrap();
            let (method, target) = (head.method_name(), head.target());
            let route =
                route::route(Target { method, host: None, target, copy: false }, &[]).unwrap();
            assert_eq!((route.bucket.as_str(), route.key.as_str()), ("b-1", key), "{key:?}");
            assert_eq!(route.query.get("versionId"), Some("1&x=2\r\n"));
            assert_eq!(head.headers().count(), 1);
        }
    }
}
