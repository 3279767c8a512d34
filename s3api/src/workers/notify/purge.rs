//! Purges of caches: the request by which a cache forgets what it holds of an object that has changed.
//!
//! | service | request | purges |
//! |---|---|---|
//! | `http` (nginx, Varnish) | `PURGE URL`, or another method | that URL |
//! | `fastly` | `POST URL/purge` with the surrogate keys of the objects | what was filed under them |
//! | `cloudflare` | `POST URL/purge_cache` with `files` if there is a public URL, else with `tags` | those |
//!
//! Invariants: a request tells of no more than bucket and key; events that tell of no object, as the test event,
//! ask for nothing. Purging twice does no harm, so that at least once is enough.
//!
//! Not here: the wire (`sender`), what surrogate keys are (`crate::origin`).

use crate::origin;
use crate::percent;
use serde_json::{Value, json};
use std::fmt;

/// Where an object's key belongs in a URL.
const KEY_PLACE: &str = "{key}";

/// What understands the purge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    Http,
    Fastly,
    Cloudflare,
}

impl Service {
    const ALL: [(&'static str, Self); 3] =
        [("http", Self::Http), ("fastly", Self::Fastly), ("cloudflare", Self::Cloudflare)];

    /// # Errors
    /// There is no such service.
    pub fn of_name(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|(known, _)| *known == name);
        found.map(|(_, service)| service).ok_or_else(|| {
            let names = Self::ALL.map(|(name, _)| name).join(", ");
            format!("{name:?} is no service that can be purged: {names}")
        })
    }

    /// Objects that one request can purge.
    pub(super) fn objects_max(self) -> usize {
        match self {
            Self::Http => 1,
            // Fastly takes 256 keys; Cloudflare takes 100 of whatever kind, and took 30 before.
            Self::Fastly | Self::Cloudflare => 30,
        }
    }
}

/// How a cache is purged.
#[derive(Clone, PartialEq, Eq)]
pub struct Purge {
    pub service: Service,
    /// Of `http`: where the objects are, see [`object_url`]. Of the others: the service or zone within
    /// their API.
    pub url: String,
    /// Of `http`: with which method.
    pub method: String,
    /// Of `cloudflare`: where the public finds the objects, see [`object_url`].
    pub public_url: Option<String>,
    /// The credential, in the header of the service.
    pub authorization: Option<String>,
}

impl fmt::Debug for Purge {
    /// A URL may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Purge").field("service", &self.service).finish_non_exhaustive()
    }
}

/// One request to a cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PurgeRequest {
    pub(super) method: String,
    pub(super) url: String,
    pub(super) body: Option<String>,
    /// A cache may have no URL for one of its keys.
    pub(super) is_odd: bool,
}

/// What a cache's answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing old is there any more.
    Confirmed,
    /// It will never take this request.
    Refused,
    /// It may take it later.
    NotNow,
}

/// An object that a message tells of.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Changed {
    bucket: String,
    key: String,
}

impl Purge {
    /// Whether requests can be made of these URLs.
    ///
    /// # Errors
    /// Why not; nothing of a URL is told, as it may hold a password.
    pub fn check(&self) -> Result<(), String> {
        let urls = [Some(&self.url), self.public_url.as_ref()];
        for (at, url) in urls.into_iter().enumerate() {
            let Some(url) = url else { continue };
            let has_places = at == 1 || self.service == Service::Http;
            // What comes behind the URL would become part of its query, and a fragment is never sent.
            let is_whole = has_places && url.contains(KEY_PLACE);
            if url.contains('#') || (url.contains('?') && !is_whole) {
                let known = "a fragment cannot stand in it, and a query only behind {key}";
                return Err(known.to_owned());
            }
            let url = if has_places { object_url(url, "bucket", "key") } else { url.clone() };
            if url.contains(['{', '}']) {
                let known = "only {key}, and {bucket} with it, can stand in the URL of objects";
                return Err(known.to_owned());
            }
            url.parse::<ureq::http::Uri>().map_err(|error| format!("it is no URL: {error}"))?;
        }
        Ok(())
    }

    /// The header of the credential, and what stands before it there.
    pub(super) fn credential(&self) -> Option<(&'static str, String)> {
        let value = self.authorization.as_ref()?;
        Some(match self.service {
            Service::Http => ("Authorization", value.clone()),
            Service::Fastly => ("Fastly-Key", value.clone()),
            Service::Cloudflare => ("Authorization", format!("Bearer {value}")),
        })
    }

    /// What a status says of the objects. `http` caches have one purge for one URL: that they have nothing of it
    /// they say by 404 or 410, nginx's module since 2.5 by 412; and a URL that is none to them (one that climbs above
    /// the root, or is too long) they cannot have kept anything under, nor will they take it another time. 400 says
    /// that only of a key that could be the cause: it is what a cache says to connections that it does not like, too.
    pub(super) fn verdict(&self, status: u16, is_odd: bool) -> Verdict {
        match (self.service, status) {
            (_, 200..300) | (Service::Http, 404 | 410 | 412) => Verdict::Confirmed,
            (Service::Http, 414) => Verdict::Refused,
            (Service::Http, 400) if is_odd => Verdict::Refused,
            _ => Verdict::NotNow,
        }
    }

    /// The request that purges what these messages tell of; none if they tell of no object. They are no more
    /// than [`Service::objects_max`].
    pub(super) fn request(&self, messages: &[Vec<u8>]) -> Option<PurgeRequest> {
        let mut objects: Vec<Changed> = Vec::new();
        for object in messages.iter().flat_map(|message| changed(message)) {
            if !objects.contains(&object) {
                objects.push(object);
            }
        }
        let first = objects.first()?;
        let keys = || -> Vec<String> {
            objects.iter().map(|object| origin::object_key(&object.bucket, &object.key)).collect()
        };
        let (method, url, body) = match self.service {
            Service::Http => {
                (self.method.clone(), object_url(&self.url, &first.bucket, &first.key), None)
            }
            Service::Fastly => {
                let body = json!({ "surrogate_keys": keys() });
                ("POST".to_owned(), below(&self.url, "purge"), Some(body))
            }
            Service::Cloudflare => {
                let body = match &self.public_url {
                    Some(public) => {
                        let url =
                            |object: &Changed| object_url(public, &object.bucket, &object.key);
                        json!({ "files": objects.iter().map(url).collect::<Vec<_>>() })
                    }
                    None => json!({ "tags": keys() }),
                };
                ("POST".to_owned(), below(&self.url, "purge_cache"), Some(body))
            }
        };
        let is_odd = objects.iter().any(|object| is_odd(&object.key));
        Some(PurgeRequest { method, url, body: body.map(|body| body.to_string()), is_odd })
    }
}

/// Whether a cache may have no URL for a key.
fn is_odd(key: &str) -> bool {
    key.split('/').any(|part| matches!(part, "." | "..")) || key.contains(char::is_control)
}

fn below(url: &str, name: &str) -> String {
    format!("{}/{name}", url.trim_end_matches('/'))
}

/// Where an object is: the URL with `{bucket}` and `{key}` replaced, percent-encoded, or if it has no `{key}`,
/// with `/BUCKET/KEY` behind it.
fn object_url(url: &str, bucket: &str, key: &str) -> String {
    let key = percent::encode(key);
    if url.contains(KEY_PLACE) {
        return url.replace("{bucket}", bucket).replace(KEY_PLACE, &key);
    }
    format!("{}/{bucket}/{key}", url.trim_end_matches('/'))
}

/// The objects of a message's records.
fn changed(message: &[u8]) -> Vec<Changed> {
    let of_record = |record: &Value| {
        let bucket = record["s3"]["bucket"]["name"].as_str()?.to_owned();
        // Messages encode keys as forms do.
        let key = percent::decode_query(record["s3"]["object"]["key"].as_str()?)?;
        Some(Changed { bucket, key })
    };
    let message: Value = serde_json::from_slice(message).unwrap_or_default();
    message["Records"].as_array().into_iter().flatten().filter_map(of_record).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::message::{Place, of_event, of_test};
    use super::super::{Cause, Event, EventName};
    use super::*;
    use engine::Version;

    const CAUSE: Cause<'_> =
        Cause { principal: "me", source_ip: "192.0.2.3", request_id: "REQ", host_id: "HOST" };
    const PLACE: Place<'_> = Place { region: "eu-1", bucket: "photos", owner: "owner" };

    fn message(key: &str) -> Vec<u8> {
        of_event(&Event::new(EventName::CreatedPut, key), "c", &CAUSE, &PLACE, Version(1))
    }

    fn purge(service: Service, url: &str, public_url: Option<&str>) -> Purge {
        Purge {
            service,
            url: url.to_owned(),
            method: "PURGE".to_owned(),
            public_url: public_url.map(str::to_owned),
            authorization: Some("token".to_owned()),
        }
    }

    fn check(purge: &Purge, keys: &[&str], method: &str, url: &str, body: Option<Value>) {
        let messages: Vec<_> = keys.iter().map(|key| message(key)).collect();
        let request = purge.request(&messages).unwrap();
        assert_eq!((request.method.as_str(), request.url.as_str()), (method, url));
        let found = request.body.map(|body| serde_json::from_str::<Value>(&body).unwrap());
        assert_eq!(found, body);
    }

    #[test]
    fn a_cache_is_asked_in_its_own_words() {
        let edge = purge(Service::Http, "http://edge.test:81/", None);
        check(
            &edge,
            &["a b/\u{fc}+c"],
            "PURGE",
            "http://edge.test:81/photos/a%20b/%C3%BC%2Bc",
            None,
        );
        let site = purge(Service::Http, "http://edge.test/{bucket}-x/{key}?y", None);
        check(&site, &["k"], "PURGE", "http://edge.test/photos-x/k?y", None);
        let api = "https://api.fastly.test/service/ID";
        let body = json!({"surrogate_keys": ["photos/a%20b", "photos/c"]});
        let fastly = purge(Service::Fastly, api, None);
        check(&fastly, &["a b", "c", "a b"], "POST", &format!("{api}/purge"), Some(body.clone()));
        let api = "https://api.cloudflare.test/client/v4/zones/ID/";
        let url = "https://api.cloudflare.test/client/v4/zones/ID/purge_cache";
        let tags = json!({"tags": body["surrogate_keys"]});
        check(&purge(Service::Cloudflare, api, None), &["a b", "c"], "POST", url, Some(tags));
        let files = json!({"files": ["https://cdn.test/a%20b"]});
        let by_url = purge(Service::Cloudflare, api, Some("https://cdn.test/{key}"));
        check(&by_url, &["a b"], "POST", url, Some(files));
    }

    #[test]
    fn what_tells_of_no_object_asks_for_nothing() {
        let edge = purge(Service::Http, "http://edge.test", None);
        for message in [of_test(&CAUSE, &PLACE, Version(1)), b"{".to_vec(), b"{}".to_vec()] {
            assert_eq!(edge.request(&[message]), None);
        }
    }

    #[test]
    fn each_service_has_its_credential_and_its_confirmation() {
        let credential = |service| purge(service, "http://x", None).credential().unwrap();
        assert_eq!(credential(Service::Http), ("Authorization", "token".to_owned()));
        assert_eq!(credential(Service::Fastly), ("Fastly-Key", "token".to_owned()));
        assert_eq!(credential(Service::Cloudflare), ("Authorization", "Bearer token".to_owned()));
        let check = |service, statuses: &[u16], expected| {
            for status in statuses {
                let verdict = purge(service, "http://x", None).verdict(*status, true);
                assert_eq!(verdict, expected, "{service:?} {status}");
            }
        };
        check(Service::Http, &[200, 204, 404, 410, 412], Verdict::Confirmed);
        check(Service::Http, &[400, 414], Verdict::Refused);
        let plain = purge(Service::Http, "http://x", None).verdict(400, false);
        assert_eq!(plain, Verdict::NotNow);
        for (key, expected) in
            [("../../x", true), ("a/./b", true), ("a\nb", true), ("a/..b", false)]
        {
            assert_eq!(is_odd(key), expected, "{key}");
        }
        check(Service::Http, &[301, 401, 403, 405, 429, 500, 503], Verdict::NotNow);
        for service in [Service::Fastly, Service::Cloudflare] {
            check(service, &[200], Verdict::Confirmed);
            // Their requests speak of many objects, or of a wrong token.
            check(service, &[400, 404, 410, 412, 414, 429], Verdict::NotNow);
        }
    }

    #[test]
    fn urls_that_no_request_could_be_made_of_are_refused() {
        let check = |service, url: &str, public: Option<&str>| purge(service, url, public).check();
        assert_eq!(check(Service::Http, "http://a.test:81/{bucket}/x/{key}?y", None), Ok(()));
        assert_eq!(check(Service::Http, "http://a.test", None), Ok(()));
        assert_eq!(
            check(Service::Cloudflare, "https://a/zones/1", Some("https://b/{key}")),
            Ok(())
        );
        for (service, url, public) in [
            (Service::Http, "http://a/{bucket}", None),
            (Service::Http, "http://a/{name}/{key}", None),
            (Service::Http, "http://a b/", None),
            (Service::Http, "http://a/?x", None),
            (Service::Http, "http://a/{key}#x", None),
            (Service::Http, "http://a#x", None),
            (Service::Fastly, "http://a/service?x", None),
            (Service::Cloudflare, "https://a", Some("https://b/?x=y")),
            (Service::Fastly, "http://a/{key}", None),
            (Service::Cloudflare, "https://a", Some("https://b/{bucket}")),
        ] {
            assert!(check(service, url, public).is_err(), "{url}");
        }
    }

    #[test]
    fn services_have_names() {
        assert_eq!(Service::of_name("fastly"), Ok(Service::Fastly));
        assert!(Service::of_name("akamai").unwrap_err().contains("http, fastly, cloudflare"));
    }
}
