//! A visit to a bucket that is a website: GET and HEAD under a website's host name.
//!
//! Invariants: a visitor reads what anybody may read of the bucket, or what the secret of its origin that the
//! request bears lets in to, and nothing else, whatever they sign;
//! every object of an answer, error documents included, was asked for as such a read.
//!
//! Not here: the rules of websites (`website`), which host names are websites and how an error looks
//! that no document stands for (`service`).
//!
//! Source: AWS, "Hosting a static website using Amazon S3".

use super::{Answer, Body, Context, run};
use crate::access::{Caller, Subject};
use crate::auth::payload::RawBody;
use crate::auth::{Payload as Form, PayloadReader};
use crate::error::{Code, Result, S3Error};
use crate::percent;
use crate::route::Route;
use crate::website::{Origin, Pages, Redirection, WebsiteConfiguration};
use engine::Bucket;
use engine::platform::Platform;
use http::{Payload, RequestHead, Response};
use std::sync::Arc;

const REDIRECT: &str = "x-amz-website-redirect-location";

/// Answers a visit. `context` holds the route of the GetObject or HeadObject of what was asked for.
pub(crate) async fn visit<P: Platform>(context: &Context<'_, P>) -> Result<Answer<P>> {
    let bucket = context.find_bucket(&context.route.bucket)?;
    let configuration = context.setting::<WebsiteConfiguration>(&bucket)?.ok_or_else(|| {
        S3Error::from(Code::NoSuchWebsiteConfiguration).field("BucketName", &bucket.name)
    })?;
    let host = context.head.host().unwrap_or_default();
    let origin = Origin { host, is_secure: context.caller.peer.is_secure };
    let pages = match &*configuration {
        WebsiteConfiguration::RedirectAll(place) => {
            return Ok(redirected(place.redirect(context.head.target(), origin)));
        }
        WebsiteConfiguration::Pages(pages) => pages,
    };
    let key = context.key();
    if let Some(redirection) = pages.redirect(key, origin) {
        return Ok(redirected(redirection));
    }
    match read(context, context.head, &pages.page(key), false).await {
        Ok(answer) => Ok(answer),
        Err(error) => failed(context, &bucket, pages, origin, error).await,
    }
}

/// What a visit comes to that found no page.
async fn failed<P: Platform>(
    context: &Context<'_, P>,
    bucket: &Arc<Bucket>,
    pages: &Pages,
    origin: Origin<'_>,
    error: S3Error,
) -> Result<Answer<P>> {
    let (key, status) = (context.key(), error.code.status());
    let is_missing = matches!(status, 403 | 404);
    // Error documents and indices are looked for by a request without conditions and ranges.
    let head = plain_head(context, bucket)?;
    if is_missing && !key.is_empty() && !key.ends_with('/') {
        let folder = format!("{key}/");
        if read(context, &head, &pages.page(&folder), false).await.is_ok() {
            let location = folder_location(&folder);
            return Ok(redirected(Redirection { status: 302, location }));
        }
    }
    if let Some(redirection) = pages.redirect_error(key, status, origin) {
        return Ok(redirected(redirection));
    }
    let document = pages.error_key.as_deref().filter(|_| (400..500).contains(&status));
    let Some(document) = document else { return Err(error) };
    match read(context, &head, document, true).await {
        Ok(mut answer) => {
            if answer.status() == 200 {
                answer.set_status(status);
            }
            answer.header("x-amz-error-code", error.code.name());
            answer.header("x-amz-error-message", &*error.message);
            Ok(answer)
        }
        Err(_) => Err(error),
    }
}

/// A folder as a reference. Two slashes at its start would name another host.
fn folder_location(folder: &str) -> String {
    match folder.strip_prefix('/') {
        Some(rest) => format!("/%2F{}", percent::encode(rest)),
        None => format!("/{}", percent::encode(folder)),
    }
}

/// Reads an object as anybody may, or as the document of an error. One that stands for another place sends there.
async fn read<P: Platform>(
    context: &Context<'_, P>,
    head: &RequestHead,
    key: &str,
    is_for_error: bool,
) -> Result<Answer<P>> {
    let route = Route { key: key.to_owned(), ..context.route.clone() };
    let Caller { peer, now, .. } = *context.caller;
    let visitor = Caller { peer, now, is_for_error, ..Caller::new(Subject::Anonymous, None) };
    let inner = Context { head, route: &route, caller: &visitor, ..*context };
    let mut nothing = NoBytes;
    let body =
        Body { reader: PayloadReader::new(Form::Unsigned, &mut nothing), size_bytes: Some(0) };
    let answer = Box::pin(run(&inner, body)).await?;
    match answer.get_header(REDIRECT) {
        Some(location) if answer.status() == 200 => {
            let answer = Response::new(301).with_header("Location", location);
            Ok(answer.with_payload(Payload::Empty))
        }
        _ => Ok(answer),
    }
}

fn redirected<P: Platform>(redirection: Redirection) -> Answer<P> {
    Response::new(redirection.status).with_header("Location", redirection.location)
}

/// The request's head without all but who asks where: its host, and what it shows of the bucket's secret.
fn plain_head<P: Platform>(context: &Context<'_, P>, bucket: &Arc<Bucket>) -> Result<RequestHead> {
    let method = context.head.method_name();
    let host = context.head.host().unwrap_or_default();
    let mut head = format!("{method} / HTTP/1.1\r\nHost: {host}\r\n").into_bytes();
    let caches = context.setting::<crate::origin::Origin>(bucket)?;
    if let Some(secret) = caches.as_ref().and_then(|caches| caches.secret.as_ref())
        && let Some(shown) = context.head.header(&secret.header)
    {
        head.extend_from_slice(secret.header.as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(shown);
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    RequestHead::parse(&head).map_err(|_| Code::BadRequest.into())
}

/// A body that is not there.
struct NoBytes;

impl RawBody for NoBytes {
    async fn read(&mut self, _: &mut [u8]) -> Result<usize, http::Error> {
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An object `/evil.test/index.html` made a website send its visitors from `//evil.test` to that host.
    #[test]
    fn a_folder_is_never_the_name_of_another_host() {
        for (folder, location) in [
            ("docs/", "/docs/"),
            ("a b/", "/a%20b/"),
            ("/evil.test/", "/%2Fevil.test/"),
            ("//evil.test/", "/%2F/evil.test/"),
            ("\\evil.test/", "/%5Cevil.test/"),
        ] {
            assert_eq!(folder_location(folder), location);
        }
    }
}
