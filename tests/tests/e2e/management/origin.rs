//! Origins of caches: set on the management port, told to caches on the S3 port, and who is let in by the secret.

use super::{Api, Site, json};
use ringfort_tests::harness::ACCESS_KEY;
use ringfort_tests::harness::client::{Answer, Client, Request, Signing};
use serde_json::Value;

const SECRET: &str = "first-secret-of-the-edge";
/// A customer's key of 32 times `k`, and its MD5.
const KEY: &str = "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=";
const KEY_MD5: &str = "mT2HRsMGJ5IX5C+0rreZ8Q==";

/// Without an access key, with this in the header of the secret.
fn edge(client: &mut Client, method: &str, target: &str, secret: &str) -> Answer {
    client.call(&Request::new(method, target).signed_by(None).header("x-edge", secret))
}

fn of_origin(answer: &Answer) -> [Option<&str>; 3] {
    ["cache-control", "surrogate-key", "cache-tag"].map(|name| answer.header(name))
}

#[test]
fn caches_are_told_what_the_bucket_says_unless_the_object_does() {
    let site = Site::new().flags(&["--sse-c-over-http"]);
    let server = site.start();
    let mut api = Api::new(&server);
    let mut s3 = server.client();
    s3.put("/site", "").expect(200);
    let put = |key: &str, headers: &[(&str, &str)]| {
        let request = Request::new("PUT", &format!("/site/{key}")).body("body");
        headers.iter().fold(request, |request, (name, value)| request.header(name, value))
    };
    s3.call(&put("plain", &[("x-amz-meta-keys", "news, sale/1 news")])).expect(200);
    s3.call(&put("own", &[("cache-control", "no-cache")])).expect(200);
    s3.call(&put("dated", &[("expires", "Thu, 01 Dec 2044 16:00:00 GMT")])).expect(200);
    let none = json!({
        "cache_control": null, "key_headers": [], "key_metadata": "surrogate-key",
        "secret_header": null, "secret_count": 0,
    });
    assert_eq!(api.get("buckets/site/origin"), none);
    assert_eq!(of_origin(&s3.get("/site/plain")), [None; 3]);

    let order = json!({
        "cache_control": "public, max-age=60",
        "key_headers": ["Surrogate-Key", "cache-tag"],
        "key_metadata": "Keys",
    });
    let set = api.expect(200, "PUT", "buckets/site/origin", &order.to_string());
    assert_eq!(set, api.get("buckets/site/origin"));
    assert_eq!(
        (&set["key_headers"], &set["key_metadata"]),
        (&json!(["Surrogate-Key", "Cache-Tag"]), &json!("keys"))
    );
    let (by_spaces, by_commas) = ("site site/plain news sale/1", "site,site/plain,news,sale/1");
    let told = [Some("public, max-age=60"), Some(by_spaces), Some(by_commas)];
    let answer = s3.get("/site/plain").expect(200);
    assert_eq!(of_origin(&answer), told);
    let head = s3.call(&Request::new("HEAD", "/site/plain")).expect(200);
    assert_eq!(of_origin(&head), told);
    let range =
        s3.call(&Request::new("GET", "/site/plain").header("range", "bytes=0-1")).expect(206);
    assert_eq!(of_origin(&range), told);
    let etag = answer.header("etag").unwrap();
    let same = Request::new("GET", "/site/plain").header("if-none-match", etag);
    assert_eq!(of_origin(&s3.call(&same).expect(304)), told);
    // It is not meant for what only the bearer of a link, a version's id or a key can get.
    let mut told_but_freshness = told;
    told_but_freshness[0] = None;
    let version = s3.get("/site/plain?versionId=null").expect(200);
    assert_eq!(of_origin(&version), told_but_freshness);
    let order = json!({
        "bucket_name": "site", "object_key": "plain", "method": "GET", "expires_in": 60,
        "access_key": ACCESS_KEY,
    });
    let link = api.post(201, "presigned-urls", &order);
    let link = Request::new("GET", link["url"].as_str().unwrap()).signed_by(None);
    assert_eq!(of_origin(&s3.call(&link).expect(200)), told_but_freshness);
    let with_key = |request: Request| {
        let key = [("algorithm", "AES256"), ("key", KEY), ("key-md5", KEY_MD5)];
        key.into_iter().fold(request, |request, (name, value)| {
            request.header(&format!("x-amz-server-side-encryption-customer-{name}"), value)
        })
    };
    s3.call(&with_key(put("sealed", &[]))).expect(200);
    let sealed = s3.call(&with_key(Request::new("GET", "/site/sealed"))).expect(200);
    assert_eq!(sealed.header("cache-control"), None);
    // The object's own word goes first, and the request's before that.
    assert_eq!(s3.get("/site/own").header("cache-control"), Some("no-cache"));
    assert_eq!(s3.get("/site/dated").header("cache-control"), None);
    let asked = s3.get("/site/plain?response-cache-control=no-store").expect(200);
    assert_eq!(asked.header("cache-control"), Some("no-store"));
    // Errors and listings are not told of.
    assert_eq!(of_origin(&s3.get("/site/none").expect(404)), [None; 3]);
    assert_eq!(of_origin(&s3.get("/site?list-type=2").expect(200)), [None; 3]);
    let stale = Request::new("GET", "/site/plain").header("if-match", "\"x\"");
    assert_eq!(of_origin(&s3.call(&stale).expect(412)), [None; 3]);

    api.expect(200, "DELETE", "buckets/site/origin", "");
    assert_eq!(api.get("buckets/site/origin"), none);
    assert_eq!(of_origin(&s3.get("/site/plain")), [None; 3]);
    server.stop();
}

#[test]
fn a_website_tells_no_cache_to_keep_its_errors() {
    let site = Site::new().flags(&["--website-domain", "web.test"]);
    let server = site.start();
    let mut s3 = server.client();
    s3.put("/site", "").expect(200);
    let website = "<WebsiteConfiguration><IndexDocument><Suffix>index.html</Suffix></IndexDocument>\
                   <ErrorDocument><Key>error.html</Key></ErrorDocument></WebsiteConfiguration>";
    s3.put("/site?website=", website).expect(200);
    let public = |key: &str| {
        Request::new("PUT", &format!("/site/{key}")).header("x-amz-acl", "public-read").body(key)
    };
    s3.call(&public("index.html")).expect(200);
    s3.call(&public("error.html")).expect(200);
    let order = json!({"cache_control": "max-age=60"}).to_string();
    Api::new(&server).expect(200, "PUT", "buckets/site/origin", &order);
    let mut visit = |path: &str| {
        let mut request = Request::new("GET", path).signed_by(None);
        request.host = Some("site.web.test".to_owned());
        s3.call(&request)
    };
    assert_eq!(visit("/").expect(200).header("cache-control"), Some("max-age=60"));
    let missing = visit("/nothing").expect(403);
    assert_eq!((missing.text().as_str(), missing.header("cache-control")), ("error.html", None));
    server.stop();
}

/// A private bucket may be a website for who shows the secret.
#[test]
fn a_website_opens_to_the_secret_with_its_folders_and_error_documents() {
    let site = Site::new().flags(&["--website-domain", "web.test"]);
    let server = site.start();
    let mut s3 = server.client();
    s3.put("/site", "").expect(200);
    let website = "<WebsiteConfiguration><IndexDocument><Suffix>index.html</Suffix></IndexDocument>\
                   <ErrorDocument><Key>error.html</Key></ErrorDocument></WebsiteConfiguration>";
    s3.put("/site?website=", website).expect(200);
    s3.put("/site/docs/index.html", "docs").expect(200);
    s3.put("/site/error.html", "error").expect(200);
    let order = json!({
        "cache_control": "max-age=60", "secret_header": "x-edge", "secrets": [SECRET],
    });
    Api::new(&server).expect(200, "PUT", "buckets/site/origin", &order.to_string());
    let mut visit = |path: &str, secret: &str| {
        let mut request = Request::new("GET", path).signed_by(None).header("x-edge", secret);
        request.host = Some("site.web.test".to_owned());
        s3.call(&request)
    };
    assert_eq!(visit("/docs/", SECRET).expect(200).text(), "docs");
    assert_eq!(visit("/docs", SECRET).expect(302).header("location"), Some("/docs/"));
    let missing = visit("/nothing", SECRET).expect(404);
    assert_eq!((missing.text().as_str(), missing.header("cache-control")), ("error", None));
    for path in ["/docs/", "/docs", "/nothing"] {
        let denied = visit(path, "wrong").expect(403);
        assert!(!denied.text().contains("docs") && denied.text() != "error", "{}", denied.text());
    }
    server.stop();
}

/// What exists is told to nobody who could not read it, if it does.
#[test]
fn the_secret_does_not_tell_what_exists_of_what_it_does_not_open() {
    let site = Site::new();
    let server = site.start();
    let mut s3 = server.client();
    s3.put("/site", "").expect(200);
    let versioning = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    s3.put("/site?versioning=", versioning).expect(200);
    let version = |answer: &Answer| answer.header("x-amz-version-id").unwrap().to_owned();
    let old = version(&s3.put("/site/a", "old").expect(200));
    s3.put("/site/a", "new").expect(200);
    let of_other = version(&s3.put("/site/other", "x").expect(200));
    s3.put("/site/denied/a", "x").expect(200);
    let order = json!({"secret_header": "x-edge", "secrets": [SECRET]}).to_string();
    Api::new(&server).expect(200, "PUT", "buckets/site/origin", &order);
    let mut nobody = server.client();
    for id in [&old, &of_other] {
        let target = format!("/site/a?versionId={id}");
        edge(&mut nobody, "GET", &target, SECRET).expect_error(403, "AccessDenied");
    }
    // A condition on tags has the decision wait for the object.
    let statement = |effect: &str, key: &str| {
        json!({
            "Effect": effect, "Principal": "*", "Action": "s3:GetObject",
            "Resource": format!("arn:aws:s3:::site/{key}"),
        })
    };
    let mut by_tag = statement("Allow", "*");
    by_tag["Condition"] = json!({"StringEquals": {"s3:ExistingObjectTag/public": "yes"}});
    let policy = json!({"Statement": [statement("Deny", "denied/*"), by_tag]});
    s3.put("/site?policy=", policy.to_string()).expect(204);
    for key in ["denied/a", "denied/none"] {
        let target = format!("/site/{key}");
        edge(&mut nobody, "GET", &target, SECRET).expect_error(403, "AccessDenied");
    }
    edge(&mut nobody, "GET", "/site/a", SECRET).expect(200);
    edge(&mut nobody, "GET", "/site/none", SECRET).expect_error(404, "NoSuchKey");
    server.stop();
}

#[test]
fn the_secret_lets_in_to_read_objects_and_to_nothing_else() {
    let site = Site::new();
    let server = site.start();
    let mut api = Api::new(&server);
    let mut s3 = server.client();
    s3.put("/site", "").expect(200);
    s3.put("/site/a", "body").expect(200);
    s3.put("/site/denied/a", "body").expect(200);
    let mut nobody = server.client();
    edge(&mut nobody, "GET", "/site/a", SECRET).expect_error(403, "AccessDenied");
    let order = |secrets: &[&str]| {
        let mut order = json!({"secret_header": "X-Edge"});
        if !secrets.is_empty() {
            order["secrets"] = json!(secrets);
        }
        order.to_string()
    };
    let set = api.expect(200, "PUT", "buckets/site/origin", &order(&[SECRET]));
    assert_eq!((&set["secret_header"], &set["secret_count"]), (&json!("x-edge"), &json!(1)));

    assert_eq!(edge(&mut nobody, "GET", "/site/a", SECRET).expect(200).text(), "body");
    edge(&mut nobody, "HEAD", "/site/a", SECRET).expect(200);
    // Who reads every object may know which there are.
    edge(&mut nobody, "GET", "/site/none", SECRET).expect_error(404, "NoSuchKey");
    for wrong in ["", "first-secret-of-the-edg", "first-secret-of-the-edge2"] {
        edge(&mut nobody, "GET", "/site/a", wrong).expect_error(403, "AccessDenied");
        edge(&mut nobody, "GET", "/site/none", wrong).expect_error(403, "AccessDenied");
    }
    for (method, target) in [
        ("GET", "/site?list-type=2"),
        ("GET", "/site/a?acl="),
        ("GET", "/site/a?tagging="),
        ("GET", "/site/a?versionId=null"),
        ("GET", "/site?policy="),
        ("PUT", "/site/b"),
        ("DELETE", "/site/a"),
    ] {
        edge(&mut nobody, method, target, SECRET).expect_error(403, "AccessDenied");
    }
    edge(&mut nobody, "GET", "/site/a?response-cache-control=x", SECRET)
        .expect_error(400, "InvalidRequest");
    // A signature that is no good stays so.
    let other = Request::new("GET", "/site/a").header("x-edge", SECRET);
    let forged = other.clone().signed_by(None).header("authorization", "AWS4-HMAC-SHA256 x");
    assert!(nobody.call(&forged).status >= 400);
    s3.call(&other).expect(200);

    // An explicit denial holds; that public access is blocked is not about it.
    let policy = json!({"Statement": [{
        "Effect": "Deny", "Principal": "*", "Action": "s3:GetObject",
        "Resource": "arn:aws:s3:::site/denied/*",
    }]});
    s3.put("/site?policy=", policy.to_string()).expect(204);
    edge(&mut nobody, "GET", "/site/denied/a", SECRET).expect_error(403, "AccessDenied");
    let block = "<PublicAccessBlockConfiguration><BlockPublicAcls>true</BlockPublicAcls>\
                 <IgnorePublicAcls>true</IgnorePublicAcls><BlockPublicPolicy>true</BlockPublicPolicy>\
                 <RestrictPublicBuckets>true</RestrictPublicBuckets></PublicAccessBlockConfiguration>";
    s3.put("/site?publicAccessBlock=", block).expect(200);
    edge(&mut nobody, "GET", "/site/a", SECRET).expect(200);

    // A second secret beside the first, then alone.
    let second = "second-secret-of-the-edge";
    api.expect(200, "PUT", "buckets/site/origin", &order(&[SECRET, second]));
    edge(&mut nobody, "GET", "/site/a", SECRET).expect(200);
    edge(&mut nobody, "GET", "/site/a", second).expect(200);
    api.expect(200, "PUT", "buckets/site/origin", &order(&[second]));
    edge(&mut nobody, "GET", "/site/a", SECRET).expect_error(403, "AccessDenied");
    // A change of something else keeps it, and nothing shows it.
    let change = json!({"secret_header": "x-edge", "cache_control": "max-age=1"}).to_string();
    let set = api.expect(200, "PUT", "buckets/site/origin", &change);
    assert!(!set.to_string().contains(second), "{set}");
    edge(&mut nobody, "GET", "/site/a", second).expect(200);
    api.expect(
        200,
        "PUT",
        "buckets/site/origin",
        &json!({"cache_control": "max-age=1"}).to_string(),
    );
    edge(&mut nobody, "GET", "/site/a", second).expect_error(403, "AccessDenied");
    assert!(!server.log().contains("secret-of-the-edge"), "a secret is in the log");
    server.stop();
}

/// What somebody else owns than the bucket is a matter of theirs, for the secret as for policies.
#[test]
fn the_secret_does_not_open_what_another_user_owns() {
    let site = Site::new();
    let server = site.start();
    let mut api = Api::new(&server);
    let user =
        json!({"user_name": "bob", "access_key": "BOBSACCESSKEY", "secret_key": "bobs-secret-key"});
    api.post(201, "credentials", &user);
    let mut s3 = server.client();
    s3.put("/site", "").expect(200);
    let policy = json!({"Statement": [{
        "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam:::user/bob"}, "Action": "s3:PutObject",
        "Resource": "arn:aws:s3:::site/*",
    }]});
    s3.put("/site?policy=", policy.to_string()).expect(204);
    let order = json!({"secret_header": "x-edge", "secrets": [SECRET]}).to_string();
    api.expect(200, "PUT", "buckets/site/origin", &order);
    let bob = Signing::new("BOBSACCESSKEY", "bobs-secret-key");
    s3.call(&Request::new("PUT", "/site/bobs").signed_by(Some(bob)).body("x")).expect(200);
    edge(&mut s3, "GET", "/site/bobs", SECRET).expect_error(403, "AccessDenied");
    // Without ACLs everything in the bucket is its owner's.
    let controls = "<OwnershipControls><Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership>\
                    </Rule></OwnershipControls>";
    s3.put("/site?ownershipControls=", controls).expect(200);
    edge(&mut s3, "GET", "/site/bobs", SECRET).expect(200);
    server.stop();
}

/// As AWS does it: a condition on a header that the cache alone sends.
#[test]
fn a_policy_lets_in_by_referer_and_user_agent() {
    let site = Site::new();
    let server = site.start();
    let mut s3 = server.client();
    s3.put("/site", "").expect(200);
    s3.put("/site/a", "body").expect(200);
    let policy = json!({"Statement": [{
        "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject",
        "Resource": "arn:aws:s3:::site/*",
        "Condition": {"StringEquals": {"aws:Referer": SECRET, "aws:UserAgent": "edge"}},
    }]});
    s3.put("/site?policy=", policy.to_string()).expect(204);
    let visit = |referer: &str| {
        let request = Request::new("GET", "/site/a").signed_by(None).header("user-agent", "edge");
        request.header("referer", referer)
    };
    s3.call(&visit(SECRET)).expect(200);
    s3.call(&visit("other")).expect_error(403, "AccessDenied");
    server.stop();
}

#[test]
fn what_cannot_be_set_is_refused_by_its_field() {
    let site = Site::new();
    let server = site.start();
    let mut api = Api::new(&server);
    server.client().put("/site", "").expect(200);
    let long = "0123456789abcdef";
    for (order, says) in [
        (json!({}), "cache_control, key_headers, secret_header"),
        (json!({"cache_control": "max-age=soon"}), "cache_control: the directive max-age"),
        (json!({"cache_control": "a\r\nb: c"}), "cache_control: "),
        (json!({"cache_control": 1}), "cache_control"),
        (json!({"key_headers": ["Surrogate-Key", "X-Key"]}), "key_headers[1]: "),
        (json!({"key_headers": ["Cache-Tag", "cache-tag"]}), "key_headers[1]: it is there twice"),
        (json!({"key_headers": ["Cache-Tag"], "key_metadata": "a b"}), "key_metadata: "),
        (json!({"secret_header": "authorization", "secrets": [long]}), "secret_header: "),
        (json!({"secret_header": "X-Real-IP", "secrets": [long]}), "secret_header: proxies"),
        (json!({"secret_header": "x-edge", "secrets": ["short"]}), "secrets: "),
        (json!({"secret_header": "x-edge", "secrets": []}), "secrets: from 1 to 2"),
        (json!({"secret_header": "x-edge", "secrets": [long, long, long]}), "secrets: "),
        (json!({"secret_header": "x-edge"}), "secrets: there is none yet"),
        (json!({"secrets": [long]}), "secret_header: "),
        (json!({"secret": long}), "secret"),
    ] {
        api.refuse(400, "PUT", "buckets/site/origin", &order, says);
    }
    api.refuse(404, "GET", "buckets/nowhere/origin", &Value::Null, "");
    api.refuse(405, "POST", "buckets/site/origin", &Value::Null, "");
    server.stop();
}
