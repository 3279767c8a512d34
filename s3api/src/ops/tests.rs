//! Operations against an engine on the simulator, without HTTP and signatures in between.
#![allow(clippy::unwrap_used)]

mod callers;
mod forms;
mod holdings;
mod meanwhile;
mod traffic;
mod versions;

use super::*;
use crate::auth::{Credentials, Payload as Form};
use crate::route::{Target, route};
use crate::xml::Element;
use engine::platform::sim::{Sim, SimOptions, SimPlatform};
use engine::store::{EngineOptions, FormatOptions, open_or_format};
use http::{Payload, ResponseBody};
use std::path::PathBuf;
use std::pin::Pin;

const REGION: &str = "us-east-1";
const ENABLED: &[u8] =
    b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
const SUSPENDED: &[u8] =
    b"<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>";

type Headers<'a> = &'a [(&'a str, &'a str)];

/// A server of one core with the bucket `bucket`.
struct Server {
    engine: Engine<SimPlatform>,
    owner: Rc<Owner>,
    services: Services,
    authenticator: Authenticator,
}

/// What came back: an answer with its body, or an error's code.
#[derive(Debug)]
struct Reply {
    status: u16,
    error: Option<Code>,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// What a client would take the body's length to be.
    length: u64,
    /// So often was the request's body read.
    body_reads: usize,
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        let is_it = |(found, _): &&(String, String)| found.eq_ignore_ascii_case(name);
        self.headers.iter().find(is_it).map(|(_, value)| value.as_str())
    }

    fn document(&self, root: &str) -> Element {
        Element::parse(&self.body, root).unwrap()
    }
}

/// The texts of a child of all children of a name.
fn texts(document: &Element, name: &str, child: &str) -> Vec<String> {
    document.all(name).map(|element| element.child_text(child).unwrap().to_owned()).collect()
}

struct CountedBody<'a> {
    rest: &'a [u8],
    reads: usize,
    /// What happens before its first byte comes.
    meanwhile: Option<Pin<Box<dyn Future<Output = ()> + 'a>>>,
}

impl RawBody for CountedBody<'_> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, http::Error> {
        self.reads += 1;
        if let Some(meanwhile) = self.meanwhile.take() {
            meanwhile.await;
        }
        let count = buffer.len().min(self.rest.len());
        let (now, later) = self.rest.split_at(count);
        buffer[..count].copy_from_slice(now);
        self.rest = later;
        Ok(count)
    }
}

impl Server {
    async fn start(platform: SimPlatform) -> Self {
        let dirs = [PathBuf::from("/data")];
        let format =
            FormatOptions { shard_count: 4, segment_bytes: 2 << 20, capacity_bytes: 256 << 20 };
        let store = open_or_format(&platform, &dirs, || format).await.unwrap();
        let options = EngineOptions { fill_ahead_bytes: 64 << 10, ..EngineOptions::default() };
        let shared = engine::Shared::new(1);
        let engine = Engine::start(platform, store.layout.clone(), options, shared, 0);
        let server = Self {
            engine: engine.await.unwrap(),
            owner: Rc::new(Owner::of_access_key("root")),
            services: Services::default(),
            authenticator: Authenticator::new(Credentials::new(REGION)),
        };
        // The lock must outlive the engine.
        std::mem::forget(store);
        assert_eq!(server.send("PUT /bucket", &[], b"").await.status, 200);
        server
    }

    /// Sends `METHOD target` with headers and a body of known length.
    async fn send(&self, line: &str, headers: Headers<'_>, body: &[u8]) -> Reply {
        self.send_by(Caller::root(self.owner.clone()), line, headers, body).await
    }

    /// The same of somebody else.
    async fn send_by(
        &self,
        caller: Caller,
        line: &str,
        headers: Headers<'_>,
        body: &[u8],
    ) -> Reply {
        let body = CountedBody { rest: body, reads: 0, meanwhile: None };
        self.send_body(&caller, line, headers, body).await
    }

    /// The same with a body that comes only after something else was done.
    async fn send_after<'a>(
        &self,
        line: &str,
        headers: Headers<'_>,
        body: &'a [u8],
        meanwhile: impl Future<Output = ()> + 'a,
    ) -> Reply {
        let meanwhile = Some(Box::pin(meanwhile) as Pin<Box<dyn Future<Output = ()> + 'a>>);
        let body = CountedBody { rest: body, reads: 0, meanwhile };
        self.send_body(&Caller::root(self.owner.clone()), line, headers, body).await
    }

    async fn send_body(
        &self,
        caller: &Caller,
        line: &str,
        headers: Headers<'_>,
        mut body: CountedBody<'_>,
    ) -> Reply {
        let result = self.run(caller, line, headers, &mut body).await;
        let body_reads = body.reads;
        match result {
            Ok(answer) => reply(answer, body_reads).await,
            Err(error) => Reply {
                status: error.code.status(),
                error: Some(error.code),
                headers: Vec::new(),
                body: Vec::new(),
                length: 0,
                body_reads,
            },
        }
    }

    async fn run(
        &self,
        caller: &Caller,
        line: &str,
        headers: Headers<'_>,
        body: &mut CountedBody<'_>,
    ) -> Result<Answer<SimPlatform>> {
        let lines: String =
            headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head = format!("{line} HTTP/1.1\r\nHost: s3\r\n{lines}\r\n");
        let head = RequestHead::parse(head.as_bytes()).unwrap();
        let target = Target {
            method: head.method_name(),
            host: head.host(),
            target: head.target(),
            copy: head.header("x-amz-copy-source").is_some(),
        };
        let route = route(target, &[])?;
        let ids = Ids { request: "REQUEST".to_owned(), host: "HOST" };
        let admission = Admission::default();
        let context = Context {
            engine: &self.engine,
            region: REGION,
            owner: &self.owner,
            caller,
            admission: &admission,
            services: &self.services,
            authenticator: &self.authenticator,
            ids: &ids,
            head: &head,
            route: &route,
        };
        let size_bytes = Some(body.rest.len() as u64);
        run(&context, Body { reader: PayloadReader::new(Form::Unsigned, body), size_bytes }).await
    }

    async fn done(&self, line: &str, headers: Headers<'_>, body: &[u8]) -> Reply {
        let reply = self.send(line, headers, body).await;
        assert!(reply.error.is_none(), "{line} {headers:?}: {reply:?}");
        reply
    }

    /// Stores an object and gives its entity tag.
    async fn put(&self, key: &str, headers: Headers<'_>, body: &[u8]) -> String {
        let reply = self.send(&format!("PUT /bucket/{key}"), headers, body).await;
        assert_eq!(reply.status, 200, "{key}: {reply:?}");
        reply.header("etag").unwrap().to_owned()
    }

    async fn get(&self, key: &str, headers: Headers<'_>) -> Reply {
        self.send(&format!("GET /bucket/{key}"), headers, b"").await
    }

    async fn check_error(&self, line: &str, headers: Headers<'_>, body: &[u8], code: Code) {
        let reply = self.send(line, headers, body).await;
        assert_eq!(reply.error, Some(code), "{line} {headers:?}: {reply:?}");
    }
}

async fn reply(answer: Answer<SimPlatform>, body_reads: usize) -> Reply {
    let headers = answer.headers();
    let headers = headers
        .map(|(name, value)| (name.to_owned(), String::from_utf8_lossy(value).into_owned()))
        .collect();
    let (status, length) = (answer.status(), answer.payload.length());
    let body = match answer.payload {
        Payload::Empty | Payload::LengthOnly(_) => Vec::new(),
        Payload::Bytes(bytes) => bytes,
        Payload::Static(bytes) => bytes.to_vec(),
        Payload::Stream { mut source, .. } => {
            let mut body = Vec::new();
            while let Some(chunk) = source.next().await.unwrap() {
                body.extend_from_slice(chunk.as_ref());
            }
            body
        }
    };
    Reply { status, error: None, headers, body, length, body_reads }
}

fn test(test: impl AsyncFnOnce(Server)) {
    let sim = Sim::new(1, SimOptions::default());
    let platform = sim.platform();
    sim.run_until(async { test(Server::start(platform).await).await }).unwrap();
}

#[test]
fn what_is_put_comes_back_with_its_headers() {
    test(async |server| {
        let headers = [
            ("content-type", "text/plain"),
            ("cache-control", "max-age=5"),
            ("x-amz-meta-color", "red"),
        ];
        let etag = server.put("k", &headers, b"hello").await;
        assert_eq!(etag, "\"5d41402abc4b2a76b9719d911017c592\"");
        for line in ["GET /bucket/k", "HEAD /bucket/k"] {
            let reply = server.send(line, &[("x-amz-checksum-mode", "enabled")], b"").await;
            assert_eq!((reply.status, reply.length), (200, 5));
            assert_eq!(reply.header("etag"), Some(etag.as_str()));
            assert_eq!(reply.header("accept-ranges"), Some("bytes"));
            assert_eq!(reply.header("x-rgw-object-type"), Some("Normal"));
            assert!(reply.header("last-modified").unwrap().ends_with(" GMT"));
            assert!(reply.header("x-amz-checksum-crc64nvme").is_some());
            for (name, value) in headers {
                assert_eq!(reply.header(name), Some(value), "{line}");
            }
        }
        assert_eq!(server.get("k", &[]).await.body, b"hello");
        let reply = server.get("k?response-content-type=a/b&response-expires=0", &[]).await;
        assert_eq!(reply.header("content-type"), Some("a/b"));
        assert_eq!(reply.header("expires"), Some("0"));
        server.put("plain", &[], b"").await;
        let reply = server.get("plain", &[]).await;
        assert_eq!(reply.header("content-type"), Some("binary/octet-stream"));
        assert_eq!((reply.status, reply.length), (200, 0));
    });
}

#[test]
fn ranges_and_conditions_of_reads() {
    test(async |server| {
        let etag = server.put("k", &[("cache-control", "max-age=5")], b"0123456789").await;
        let reply = server.get("k", &[("range", "bytes=2-4")]).await;
        assert_eq!((reply.status, reply.body.as_slice()), (206, b"234".as_slice()));
        assert_eq!(reply.header("content-range"), Some("bytes 2-4/10"));
        let reply = server.send("HEAD /bucket/k", &[("range", "bytes=-3")], b"").await;
        assert_eq!((reply.status, reply.length), (206, 3));
        let reply = server.get("k", &[("range", "bytes=2-4"), ("if-range", "\"other\"")]).await;
        assert_eq!((reply.status, reply.length), (200, 10));
        let reply = server.get("k", &[("if-none-match", "\"other\"")]).await;
        assert_eq!((reply.status, reply.body.as_slice()), (200, b"0123456789".as_slice()));
        let reply = server.get("k", &[("if-none-match", &etag)]).await;
        assert_eq!((reply.status, reply.length), (304, 0));
        assert_eq!(reply.header("cache-control"), Some("max-age=5"));
        assert_eq!(reply.header("etag"), Some(etag.as_str()));
        assert!(reply.header("last-modified").is_some());
        for (headers, code) in [
            (&[("range", "bytes=10-")], Code::InvalidRange),
            (&[("if-match", "\"other\"")], Code::PreconditionFailed),
        ] {
            server.check_error("GET /bucket/k", headers, b"", code).await;
        }
        server.check_error("GET /bucket/none", &[], b"", Code::NoSuchKey).await;
        server.check_error("GET /elsewhere/k", &[], b"", Code::NoSuchBucket).await;
        server.check_error("GET /bucket/k?versionId=1", &[], b"", Code::InvalidArgument).await;
        server.check_error("GET /bucket/k?partNumber=2", &[], b"", Code::InvalidPartNumber).await;
        assert_eq!(server.get("k?partNumber=1", &[]).await.status, 206);
        assert_eq!(server.get("k?versionId=null", &[]).await.status, 200);
    });
}

#[test]
fn no_byte_of_a_refused_upload_is_read_and_nothing_is_stored() {
    test(async |server| {
        server.put("there", &[], b"old").await;
        let long = format!("PUT /bucket/{}", "k".repeat(1025));
        let crc = "x-amz-checksum-crc32";
        let cases: [(&str, Headers<'_>, Code); 12] = [
            ("PUT /bucket/there", &[("if-none-match", "*")], Code::PreconditionFailed),
            ("PUT /bucket/there", &[("if-match", "\"x\"")], Code::PreconditionFailed),
            ("PUT /bucket/none", &[("if-match", "\"x\"")], Code::NoSuchKey),
            ("PUT /elsewhere/k", &[], Code::NoSuchBucket),
            ("PUT /BAD_NAME/k", &[], Code::InvalidBucketName),
            ("PUT /bucket/k", &[("x-amz-acl", "open")], Code::InvalidArgument),
            ("PUT /bucket/k", &[("x-amz-tagging", "a=1&a=2")], Code::InvalidArgument),
            ("PUT /bucket/k", &[("x-amz-storage-class", "GLACIER")], Code::InvalidStorageClass),
            ("PUT /bucket/k", &[("content-md5", "?")], Code::InvalidDigest),
            ("PUT /bucket/k", &[(crc, "?")], Code::InvalidRequest),
            ("PUT /bucket/k?partNumber=1&uploadId=0", &[], Code::NoSuchUpload),
            (&long, &[], Code::KeyTooLongError),
        ];
        for (line, headers, code) in cases {
            let reply = server.send(line, headers, b"new").await;
            assert_eq!((reply.error, reply.body_reads), (Some(code), 0), "{line} {headers:?}");
        }
        assert_eq!(server.get("there", &[]).await.body, b"old");
        server.check_error("GET /bucket/k", &[], b"", Code::NoSuchKey).await;
    });
}

#[test]
fn a_body_that_is_not_as_announced_stores_nothing() {
    test(async |server| {
        let wrong_md5 = "AAAAAAAAAAAAAAAAAAAAAA==";
        for headers in [("content-md5", wrong_md5), ("x-amz-checksum-crc32", "AAAAAA==")] {
            server.check_error("PUT /bucket/k", &[headers], b"new", Code::BadDigest).await;
        }
        server.check_error("GET /bucket/k", &[], b"", Code::NoSuchKey).await;
    });
}

#[test]
fn deletes_say_what_became_of_each_key() {
    test(async |server| {
        for key in ["a", "b", "c"] {
            server.put(key, &[], b"x").await;
        }
        let wrong: &[(&str, &str)] = &[("if-match", "\"x\"")];
        server.check_error("DELETE /bucket/a", wrong, b"", Code::PreconditionFailed).await;
        server.check_error("DELETE /bucket/none", wrong, b"", Code::NoSuchKey).await;
        assert_eq!(server.send("DELETE /bucket/a", &[], b"").await.status, 204);
        assert_eq!(server.send("DELETE /bucket/a", &[], b"").await.status, 204);
        let body = b"<Delete><Object><Key>b</Key></Object><Object><Key>none</Key></Object>\
                     <Object><Key>c</Key><ETag>&quot;x&quot;</ETag></Object></Delete>";
        let reply = server.send("POST /bucket?delete", &[], body).await;
        let document = reply.document("DeleteResult");
        assert_eq!(texts(&document, "Deleted", "Key"), ["b", "none"]);
        assert_eq!(texts(&document, "Error", "Key"), ["c"]);
        assert_eq!(texts(&document, "Error", "Code"), ["PreconditionFailed"]);
        let many: String = (0..1001).map(|i| format!("<Object><Key>{i}</Key></Object>")).collect();
        let many = format!("<Delete>{many}</Delete>");
        for body in [many.as_bytes(), b"<Delete/>", b""] {
            server.check_error("POST /bucket?delete", &[], body, Code::MalformedXML).await;
        }
        let text = "\"".repeat(1025);
        for (entry, code) in [
            (format!("<Key>{text}</Key>"), Code::KeyTooLongError),
            (format!("<Key>c</Key><VersionId>{text}</VersionId>"), Code::MalformedXML),
        ] {
            let body =
                format!("<Delete><Object><Key>c</Key></Object><Object>{entry}</Object></Delete>");
            server.check_error("POST /bucket?delete", &[], body.as_bytes(), code).await;
        }
        server.check_error("DELETE /bucket", &[], b"", Code::BucketNotEmpty).await;
        server.send("DELETE /bucket/c", &[], b"").await;
        assert_eq!(server.send("DELETE /bucket", &[], b"").await.status, 204);
        server.check_error("HEAD /bucket", &[], b"", Code::NoSuchBucket).await;
    });
}

/// All names of a listing, page by page.
async fn walk(server: &Server, query: &str, limit: usize) -> Vec<String> {
    let mut names = Vec::new();
    let mut token = String::new();
    loop {
        let line = format!("GET /bucket?list-type=2&max-keys={limit}{token}&{query}");
        let document = server.send(&line, &[], b"").await.document("ListBucketResult");
        let rows = [("Contents", "Key"), ("CommonPrefixes", "Prefix")];
        let page: Vec<_> =
            rows.iter().flat_map(|(row, child)| texts(&document, row, child)).collect();
        assert!(page.len() <= limit);
        assert_eq!(document.child_text("KeyCount"), Some(page.len().to_string().as_str()));
        names.extend(page);
        match document.child_text("NextContinuationToken") {
            Some(next) => token = format!("&continuation-token={next}"),
            None => return names,
        }
    }
}

#[test]
fn listings_page_by_page() {
    test(async |server| {
        for key in ["a", "a/1", "a/2", "b//x", "b/1", "z%01", "z%C3%BC"] {
            server.put(key, &[], b"x").await;
        }
        let all = ["a", "a/1", "a/2", "b//x", "b/1", "z\u{1}", "zü"];
        let grouped = ["a", "a/", "b/", "z\u{1}", "zü"];
        for limit in [1, 2, 1000] {
            assert_eq!(walk(&server, "", limit).await, all);
        }
        let mut rolled = walk(&server, "delimiter=/", 1).await;
        assert_eq!(rolled, grouped);
        rolled = walk(&server, "delimiter=/", 1000).await;
        rolled.sort();
        assert_eq!(rolled, grouped);
        assert_eq!(walk(&server, "prefix=b&delimiter=//", 9).await, ["b/1", "b//"]);
        assert_eq!(walk(&server, "start-after=b/1", 9).await, ["z\u{1}", "zü"]);
        assert_eq!(walk(&server, "encoding-type=url&prefix=z", 9).await, ["z%01", "z%C3%BC"]);

        let line = "GET /bucket?max-keys=2&delimiter=/";
        let document = server.send(line, &[], b"").await.document("ListBucketResult");
        assert_eq!(document.child_text("NextMarker"), Some("a/"));
        let line = "GET /bucket?delimiter=/&marker=a/1";
        let document = server.send(line, &[], b"").await.document("ListBucketResult");
        assert_eq!(texts(&document, "CommonPrefixes", "Prefix"), ["b/"]);
        let line = "GET /bucket?MaxKeys=1&Marker=a/1";
        let document = server.send(line, &[], b"").await.document("ListBucketResult");
        assert_eq!(document.child_text("MaxKeys"), Some("1"));
        assert_eq!(document.child_text("Marker"), Some("a/1"));
        let document = server.send("GET /bucket?max-keys=0", &[], b"").await;
        let document = document.document("ListBucketResult");
        assert_eq!(document.child_text("IsTruncated"), Some("false"));
        assert!(document.child("Contents").is_none());
        for query in ["max-keys=x", "list-type=2&continuation-token=!", "encoding-type=x"] {
            let line = format!("GET /bucket?{query}");
            server.check_error(&line, &[], b"", Code::InvalidArgument).await;
        }
    });
}

#[test]
fn copies_keep_or_replace_metadata() {
    test(async |server| {
        let etag = server.put("from", &[("x-amz-meta-a", "1")], b"bytes").await;
        let source = ("x-amz-copy-source", "bucket/from");
        let reply = server.send("PUT /bucket/to", &[source], b"").await;
        let document = reply.document("CopyObjectResult");
        assert_eq!(document.child_text("ETag"), Some(etag.as_str()));
        let copy = server.get("to", &[]).await;
        assert_eq!(
            (copy.body.as_slice(), copy.header("x-amz-meta-a")),
            (b"bytes".as_slice(), Some("1"))
        );
        let replace = ("x-amz-metadata-directive", "REPLACE");
        let headers = [source, replace, ("x-amz-meta-b", "2")];
        assert_eq!(server.send("PUT /bucket/from", &headers, b"").await.status, 200);
        let copy = server.get("from", &[]).await;
        assert_eq!((copy.header("x-amz-meta-a"), copy.header("x-amz-meta-b")), (None, Some("2")));
        let cases: [(Headers<'_>, Code); 5] = [
            (&[source], Code::InvalidRequest),
            (&[("x-amz-copy-source", "bucket/none")], Code::NoSuchKey),
            (&[("x-amz-copy-source", "none")], Code::InvalidArgument),
            (
                &[source, replace, ("x-amz-copy-source-if-none-match", &etag)],
                Code::PreconditionFailed,
            ),
            (&[source, replace, ("if-none-match", "*")], Code::PreconditionFailed),
        ];
        for (headers, code) in cases {
            server.check_error("PUT /bucket/from", headers, b"", code).await;
        }
    });
}

/// Begins an upload and gives its id.
async fn begin(server: &Server, key: &str, headers: Headers<'_>) -> String {
    let reply = server.send(&format!("POST /bucket/{key}?uploads"), headers, b"").await;
    reply.document("InitiateMultipartUploadResult").required("UploadId").unwrap().to_owned()
}

fn complete_document(etags: &[String]) -> String {
    let part = |(number, etag)| {
        format!("<Part><PartNumber>{}</PartNumber><ETag>{etag}</ETag></Part>", number + 1)
    };
    let parts: String = etags.iter().enumerate().map(part).collect();
    format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>")
}

#[test]
fn an_object_is_made_of_parts() {
    test(async |server| {
        let headers = [("x-amz-meta-a", "1"), ("x-amz-checksum-algorithm", "SHA256")];
        let id = begin(&server, "big", &headers).await;
        let first = vec![7; 5 << 20];
        let mut etags = Vec::new();
        for (number, body) in [first.as_slice(), b"tail"].into_iter().enumerate() {
            let line = format!("PUT /bucket/big?partNumber={}&uploadId={id}", number + 1);
            let reply = server.send(&line, &[], body).await;
            assert!(reply.header("x-amz-checksum-sha256").is_some(), "{reply:?}");
            etags.push(reply.header("etag").unwrap().to_owned());
        }
        let line = format!("GET /bucket/big?uploadId={id}&max-parts=1");
        let document = server.send(&line, &[], b"").await.document("ListPartsResult");
        assert_eq!(texts(&document, "Part", "PartNumber"), ["1"]);
        assert_eq!(document.child_text("IsTruncated"), Some("true"));
        let document = server.send("GET /bucket?uploads", &[], b"").await;
        let document = document.document("ListMultipartUploadsResult");
        assert_eq!(texts(&document, "Upload", "UploadId"), [id.as_str()]);

        let line = format!("POST /bucket/big?uploadId={id}");
        let body = complete_document(&etags);
        // The second time the upload is gone, as for a client that lost the first answer.
        for _ in 0..2 {
            let reply = server.send(&line, &[], body.as_bytes()).await;
            let document = reply.document("CompleteMultipartUploadResult");
            assert!(document.required("ETag").unwrap().ends_with("-2\""));
            assert!(document.required("ChecksumSHA256").unwrap().ends_with("-2"));
            assert_eq!(document.child_text("ChecksumType"), Some("COMPOSITE"));
        }
        let whole = server.get("big", &[]).await;
        assert_eq!(whole.body, [first.as_slice(), b"tail"].concat());
        assert_eq!(whole.header("x-amz-meta-a"), Some("1"));
        let part = server.get("big?partNumber=2", &[]).await;
        assert_eq!((part.status, part.body.as_slice()), (206, b"tail".as_slice()));
        assert_eq!(part.header("x-amz-mp-parts-count"), Some("2"));
        server.check_error("GET /bucket/big?partNumber=3", &[], b"", Code::InvalidPartNumber).await;
        server.check_error(&line, &[], b"<X/>", Code::NoSuchUpload).await;
    });
}

#[test]
fn an_upload_is_completed_only_with_the_parts_that_are_there() {
    test(async |server| {
        let id = begin(&server, "k", &[]).await;
        let mut etags = Vec::new();
        for number in 1..=2 {
            let line = format!("PUT /bucket/k?partNumber={number}&uploadId={id}");
            etags.push(server.send(&line, &[], b"small").await.header("etag").unwrap().to_owned());
        }
        let line = format!("POST /bucket/k?uploadId={id}");
        let wrong = ["\"00\"".to_owned()];
        for (body, code) in [
            (complete_document(&etags), Code::EntityTooSmall),
            (complete_document(&wrong), Code::InvalidPart),
            (complete_document(&[]), Code::MalformedXML),
        ] {
            server.check_error(&line, &[], body.as_bytes(), code).await;
        }
        let size = [("x-amz-mp-object-size", "4")];
        let body = complete_document(&etags[..1]);
        server.check_error(&line, &size, body.as_bytes(), Code::InvalidRequest).await;
        let abort = format!("DELETE /bucket/k?uploadId={id}");
        assert_eq!(server.send(&abort, &[], b"").await.status, 204);
        server.check_error(&abort, &[], b"", Code::NoSuchUpload).await;
        server.check_error("GET /bucket/k", &[], b"", Code::NoSuchKey).await;
    });
}

#[test]
fn a_part_can_be_copied_from_a_range() {
    test(async |server| {
        server.put("from", &[], b"0123456789").await;
        let id = begin(&server, "to", &[]).await;
        let line = format!("PUT /bucket/to?partNumber=1&uploadId={id}");
        let source = ("x-amz-copy-source", "/bucket/from");
        let beyond = [source, ("x-amz-copy-source-range", "bytes=5-10")];
        server.check_error(&line, &beyond, b"", Code::InvalidRange).await;
        let range = [source, ("x-amz-copy-source-range", "bytes=2-5")];
        let reply = server.send(&line, &range, b"").await;
        let etag = reply.document("CopyPartResult").required("ETag").unwrap().to_owned();
        let line = format!("POST /bucket/to?uploadId={id}");
        let body = complete_document(&[etag]);
        assert_eq!(server.send(&line, &[], body.as_bytes()).await.status, 200);
        assert_eq!(server.get("to", &[]).await.body, b"2345");
    });
}

#[test]
fn buckets_are_listed_in_pages() {
    test(async |server| {
        for name in ["photos-1", "photos-2", "photos-3"] {
            assert_eq!(server.send(&format!("PUT /{name}"), &[], b"").await.status, 200);
        }
        let names =
            |document: &Element| texts(document.child("Buckets").unwrap(), "Bucket", "Name");
        let reply = server.send("GET /?prefix=photos&max-buckets=2", &[], b"").await;
        let document = reply.document("ListAllMyBucketsResult");
        assert_eq!(names(&document), ["photos-1", "photos-2"]);
        let token = document.required("ContinuationToken").unwrap();
        let line = format!("GET /?prefix=photos&continuation-token={token}");
        let document = server.send(&line, &[], b"").await.document("ListAllMyBucketsResult");
        assert_eq!(names(&document), ["photos-3"]);
        assert!(document.child("ContinuationToken").is_none());
        let owner = [("x-amz-expected-bucket-owner", "0")];
        server.check_error("HEAD /photos-1", &owner, b"", Code::AccessDenied).await;
        let elsewhere = b"<CreateBucketConfiguration>\
                          <LocationConstraint>eu-west-9</LocationConstraint>\
                          </CreateBucketConfiguration>";
        let code = Code::InvalidLocationConstraint;
        server.check_error("PUT /photos-4", &[], elsewhere, code).await;
        server.check_error("PUT /p", &[], b"", Code::InvalidBucketName).await;
    });
}
