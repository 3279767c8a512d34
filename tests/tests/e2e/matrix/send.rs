//! A row's request, by somebody, in one of the forms in which requests come.

use super::cast::Cast;
use super::model::{Style, Who};
use super::row::Row;
use super::stage::Scene;
use base64::Engine as _;
use ringfort_tests::harness::client::{Request, Signing};
use serde_json::json;

/// The domain of which buckets are subdomains.
pub(super) const DOMAIN: &str = "s3.test";
/// How long a presigned URL is good that is good.
const LIFETIME_SECONDS: i64 = 60;

/// The request as it goes over the wire. `address`: the server's.
pub(super) fn request(
    row: &Row,
    scene: &Scene,
    cast: &Cast,
    (who, style): (Who, Style),
    address: &str,
) -> Request {
    let target = scene.fill(&row.target);
    let (host, target) = match style.is_host() {
        true => of_host(&target, &scene.bucket),
        false => (address.to_owned(), target),
    };
    let signing = cast.signing(who, style);
    if style.is_form() {
        return form(row, scene, signing, who, &host, &target);
    }
    if style == Style::Console {
        return in_session(row, scene, cast, who);
    }
    let has_body = matches!(row.method, "PUT" | "POST") || !row.body.is_empty();
    let finish = |mut request: Request| {
        request.host = Some(host.clone());
        for (name, value) in &row.headers {
            request = request.header(name, &scene.fill(value));
        }
        if has_body { request.body(scene.fill(&row.body)) } else { request }
    };
    let request = finish(Request::new(row.method, &target).signed_by(signing));
    if !style.is_presigned() {
        return request;
    }
    let target = request.presigned(&host, LIFETIME_SECONDS);
    finish(Request::new(row.method, &target).signed_by(None))
}

/// As a page of the console sends it.
fn in_session(row: &Row, scene: &Scene, cast: &Cast, who: Who) -> Request {
    let session = cast.session(who);
    let target = format!("/console/s3{}", scene.fill(&row.target));
    let mut request = Request::new(row.method, &target)
        .signed_by(None)
        .header("cookie", &session.cookie)
        .header("x-ringfort-csrf", &session.token);
    for (name, value) in &row.headers {
        request = request.header(name, &scene.fill(value));
    }
    request.body(scene.fill(&row.body))
}

/// Host and target with the bucket in the host's name.
fn of_host(target: &str, bucket: &str) -> (String, String) {
    match target.strip_prefix(&format!("/{bucket}")) {
        Some(rest) if rest.starts_with('/') => (format!("{bucket}.{DOMAIN}"), rest.to_owned()),
        Some(rest) => (format!("{bucket}.{DOMAIN}"), format!("/{rest}")),
        None => (DOMAIN.to_owned(), target.to_owned()),
    }
}

/// A browser's form. Its policy allows all that the form holds, and is over for who comes late.
fn form(
    row: &Row,
    scene: &Scene,
    signing: Option<Signing>,
    who: Who,
    host: &str,
    target: &str,
) -> Request {
    let own = row.headers.iter().map(|(name, value)| (*name, scene.fill(value)));
    let mut fields: Vec<(&str, String)> = vec![("key", "new".to_owned())];
    fields.extend(own);
    if let Some(signing) = signing {
        let (stamp, credential) = (signing.stamp(), signing.credential());
        let mut conditions = vec![
            json!({"bucket": scene.bucket}),
            json!({"x-amz-algorithm": "AWS4-HMAC-SHA256"}),
            json!({"x-amz-credential": credential}),
            json!({"x-amz-date": stamp}),
        ];
        for (name, _) in &fields {
            conditions.push(json!(["starts-with", format!("${name}"), ""]));
        }
        let expiration = match who {
            Who::Stale | Who::Early => "2020-01-01T00:00:00Z",
            _ => "2099-01-01T00:00:00Z",
        };
        let policy = json!({"expiration": expiration, "conditions": conditions}).to_string();
        let policy = base64::engine::general_purpose::STANDARD.encode(policy);
        fields.extend([
            ("x-amz-algorithm", "AWS4-HMAC-SHA256".to_owned()),
            ("x-amz-credential", credential),
            ("x-amz-date", stamp),
            ("x-amz-signature", signing.sign_policy(&policy)),
            ("policy", policy),
        ]);
    }
    let mut body = String::new();
    for (name, value) in fields {
        body +=
            &format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    }
    body += "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\nbytes\r\n--B--\r\n";
    let mut request = Request::new("POST", target).signed_by(None).body(body);
    request.host = Some(host.to_owned());
    request.header("content-type", "multipart/form-data; boundary=B")
}
