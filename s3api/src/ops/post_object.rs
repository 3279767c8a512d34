//! POST Object: a file that a browser's form uploads, and what the form says of it.
//!
//! The fields of the form become the head of a PutObject, so that whatever that understands (metadata,
//! checksums, encryption, tags, locks, ACLs) a form can ask for, and nothing is understood twice.
//!
//! Invariants: who sends the form, what their policy allows and where the file goes is decided before
//! the first byte of the file is used; nothing is stored of a form that is not whole.
//!
//! Not here: the form (`form`), its signature and policy (`auth::post_policy`).

use super::put_object::store;
use super::receive::Size;
use super::{Answer, Body, Context, request_payment};
use crate::access::{self, Caller};
use crate::auth::payload::RawBody;
use crate::auth::post_policy::{self, Signed};
use crate::auth::{Payload, PayloadReader};
use crate::error::{Code, Result, S3Error};
use crate::form::{Fields, FormReader};
use crate::limits::PUT_BYTES_MAX;
use crate::percent;
use crate::route::{Operation, Query, Route};
use crate::tags::{TagSet, Tagged};
use crate::throttle;
use crate::workers::notify::EventName;
use crate::xml::Writer;
use engine::platform::Platform;
use http::RequestHead;
use std::ops::RangeInclusive;

pub(super) async fn post_object<P: Platform, B: RawBody>(
    context: &Context<'_, P>,
    body: Body<'_, B>,
) -> Result<Answer<P>> {
    context.bucket()?;
    if context.head.content_length().is_none() && !context.head.is_chunked() {
        return Err(Code::MissingContentLength.into());
    }
    let content_type = context.header("content-type").unwrap_or_default();
    let mut form = FormReader::new(content_type, body.reader)?;
    let mut fields = form.fields().await?;
    if fields.get("key").is_none() && !context.key().is_empty() {
        // The path names the key where the form does not.
        fields.add("key", context.key().to_owned())?;
    }
    let signed = {
        let users = context.users();
        post_policy::authenticate(&fields, context.authenticator.credentials(), &users)?
    };
    let limits = limits(context, &fields, signed.as_ref())?;
    let key = fields.get("key").ok_or_else(|| {
        let message = "Bucket POST must contain a field named 'key'.  If it is specified, please \
            check the order of the fields.";
        S3Error::invalid_argument(message, "key", "")
    })?;
    let target = Target::new(context, key);
    let head = put_head(context, &fields, &target)?;
    let route = Route {
        operation: Operation::PutObject,
        bucket: context.route.bucket.clone(),
        key: key.to_owned(),
        query: Query::default(),
    };
    let caller = match &signed {
        Some(signed) => Caller {
            peer: context.caller.peer,
            is_form: true,
            signed_at: Some(signed.signed_at),
            now: context.caller.now,
            ..Caller::of_access_key(&context.users(), Some(&signed.access_key))?
        },
        None => context.caller.clone(),
    };
    if signed.is_some() {
        // Once a request: it is the first.
        let _ = context.caller.form_signer.set(Box::new(caller.clone()));
    }
    let inner = Context { head: &head, route: &route, caller: &caller, ..*context };
    throttle::admit_caller(&inner)?;
    if let Some(bucket) = access::authorise(&inner)? {
        throttle::admit_to_bucket(&inner, &bucket)?;
    }
    request_payment::is_charged(&inner)?;
    let reader = PayloadReader::new(Payload::Unsigned, &mut form);
    let body = Body { reader, size_bytes: None };
    let stored = store(&inner, body, Size::Within(limits), EventName::CreatedPost).await;
    match stored {
        Ok(answer) => Ok(done(&fields, &target, answer)),
        // What the reader found says more than that the body ended.
        Err(error) => Err(form.failure().unwrap_or(error)),
    }
}

/// How long the file may be, as far as the form's policy says.
fn limits<P: Platform>(
    context: &Context<'_, P>,
    fields: &Fields,
    signed: Option<&Signed>,
) -> Result<RangeInclusive<u64>> {
    let limits = match signed {
        Some(signed) => signed.policy.check(fields, &context.route.bucket, context.now())?,
        // Whether its sender may is asked of what is set for the bucket.
        None => 0..=PUT_BYTES_MAX,
    };
    Ok(*limits.start()..=(*limits.end()).min(PUT_BYTES_MAX))
}

/// Where the file goes.
struct Target<'a> {
    bucket: &'a str,
    key: &'a str,
    /// As the client reaches it.
    location: String,
}

impl<'a> Target<'a> {
    fn new<P: Platform>(context: &Context<'a, P>, key: &'a str) -> Self {
        let bucket = context.route.bucket.as_str();
        let host = context.head.host().unwrap_or_default();
        let path = context.head.target().split('?').next().unwrap_or_default();
        // A bucket in the host's name is not in the path.
        let in_path = path.strip_prefix('/').unwrap_or(path);
        let is_in_path = in_path == bucket || in_path.starts_with(&format!("{bucket}/"));
        let folder = if is_in_path { format!("/{bucket}") } else { String::new() };
        let location = format!("http://{host}{folder}/{}", percent::encode(key));
        Self { bucket, key, location }
    }
}

/// Fields of the form that are headers of PutObject under the same name.
const HEADERS: [&str; 7] = [
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-md5",
    "content-type",
    "expires",
];

/// Fields that say who sends the form, and so nothing of the object.
const SIGNING: [&str; 5] = [
    "x-amz-algorithm",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-security-token",
    "x-amz-signature",
];

/// Headers of the form's own request that count for the PutObject too.
const PASSED_ON: [&str; 4] =
    ["x-amz-expected-bucket-owner", "x-amz-request-payer", "user-agent", "referer"];

/// The head of the PutObject that the form stands for.
fn put_head<P: Platform>(
    context: &Context<'_, P>,
    fields: &Fields,
    target: &Target<'_>,
) -> Result<RequestHead> {
    let host = context.head.host().unwrap_or_default();
    let path = percent::encode(target.key);
    let mut text = format!("PUT /{}/{path} HTTP/1.1\r\nHost: {host}\r\n", target.bucket);
    let mut add = |name: &str, value: &str| {
        // A name that ended early would make a header of what follows in it.
        let ends_early = name.contains(':');
        if ends_early || name.bytes().chain(value.bytes()).any(|byte| byte.is_ascii_control()) {
            let message = "A field of the form holds characters that are not allowed.";
            return Err(S3Error::invalid_argument(message, name, value));
        }
        text.push_str(&format!("{name}: {value}\r\n"));
        Ok(())
    };
    for name in PASSED_ON {
        let is_field = name.starts_with("x-amz-") && fields.get(name).is_some();
        let value = context.header(name).filter(|value| !value.contains(char::is_control));
        if let Some(value) = value.filter(|_| !is_field) {
            add(name, value)?;
        }
    }
    for (name, value) in fields.iter() {
        match name {
            "acl" => add("x-amz-acl", value)?,
            "tagging" => {
                let tags = TagSet::parse_document(value.as_bytes(), Tagged::Object)?;
                add("x-amz-tagging", &tags.header())?;
            }
            _ if SIGNING.contains(&name) => {}
            // A policy would take the form for a copy.
            _ if name.starts_with("x-amz-copy-source") => {
                let message = "A form cannot copy an object.";
                return Err(S3Error::invalid_argument(message, name, value));
            }
            _ if HEADERS.contains(&name) || name.starts_with("x-amz-") => add(name, value)?,
            _ => {}
        }
    }
    text.push_str("\r\n");
    RequestHead::parse(text.as_bytes()).map_err(|_| {
        S3Error::new(Code::InvalidArgument, "A field of the form is not a header that S3 knows.")
    })
}

/// The answer that the form asked for.
fn done<P: Platform>(fields: &Fields, target: &Target<'_>, mut answer: Answer<P>) -> Answer<P> {
    let etag = answer.get_header("etag").map(|etag| String::from_utf8_lossy(etag).into_owned());
    let etag = etag.unwrap_or_default();
    let redirect = fields.get("success_action_redirect").or(fields.get("redirect"));
    if let Some(location) = redirect.and_then(|url| redirection(url, target, &etag)) {
        answer.set_status(303);
        answer.header("Location", location);
        return answer;
    }
    answer.header("Location", &target.location);
    match fields.get("success_action_status") {
        Some("200") => {
            answer.set_status(200);
            answer
        }
        Some("201") => {
            answer.set_status(201);
            answer.header("Content-Type", "application/xml");
            answer.with_bytes(Writer::plain_document("PostResponse", |writer| {
                writer.text("Location", &target.location);
                writer.text("Bucket", target.bucket);
                writer.text("Key", target.key);
                writer.text("ETag", &etag);
            }))
        }
        _ => {
            answer.set_status(204);
            answer
        }
    }
}

/// The URL to which a browser is sent on, with what was stored in its query; none if it is no URL.
fn redirection(url: &str, target: &Target<'_>, etag: &str) -> Option<String> {
    let rest = ["http://", "https://"].into_iter().find_map(|scheme| url.strip_prefix(scheme))?;
    let is_url = !rest.is_empty() && !rest.starts_with('/');
    if !is_url || !url.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let (url, fragment) = match url.split_once('#') {
        Some((url, fragment)) => (url, format!("#{fragment}")),
        None => (url, String::new()),
    };
    let joint = if url.contains('?') { '&' } else { '?' };
    let [bucket, key, etag] =
        [target.bucket, target.key, etag].map(|text| percent::encode(text).replace('/', "%2F"));
    Some(format!("{url}{joint}bucket={bucket}&key={key}&etag={etag}{fragment}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, expected: Option<&str>) {
        let target = Target { bucket: "b", key: "a/b c", location: String::new() };
        assert_eq!(redirection(url, &target, "\"e\"").as_deref(), expected, "{url}");
    }

    #[test]
    fn a_browser_is_sent_on_with_what_was_stored() {
        let query = "bucket=b&key=a%2Fb%20c&etag=%22e%22";
        check("http://a.test/done", Some(&format!("http://a.test/done?{query}")));
        check("https://a.test/?x=1#top", Some(&format!("https://a.test/?x=1&{query}#top")));
        for url in
            ["", "done", "/done", "http://", "http:///x", "javascript:alert(1)", "http://a b"]
        {
            check(url, None);
        }
    }
}
