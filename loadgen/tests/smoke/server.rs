//! A small S3 server that misbehaves when told to. It believes every signature: what is signed right is
//! tested with AWS's examples, and against the real server.

use loadgen::checksum::Checksum;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const CHECKSUMS: [Checksum; 5] =
    [Checksum::Crc32, Checksum::Crc32c, Checksum::Crc64nvme, Checksum::Sha1, Checksum::Sha256];

/// How the server misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// One bit of the last byte of every GET is wrong.
    FlipsBit,
    /// A key keeps its first content for ever.
    KeepsOld,
    /// Every tenth PUT is acknowledged and forgotten.
    Forgets,
    /// Every tenth PUT is carried out, and the connection closed without an answer.
    LosesAnswers,
    /// Every tenth PUT gets 503.
    Refuses,
    /// Listings leave out one key.
    HidesKey,
    /// GETs are never answered.
    Hangs,
    /// Every GET takes 20 ms.
    Slow,
    /// Slices begin one byte late.
    ShiftsSlices,
    /// If-None-Match is not looked at.
    IgnoresConditions,
    /// Every If-None-Match gets 304.
    SaysNotModified,
    /// Answers come in pieces of a few bytes: no fault, but a test of every buffer's edge.
    Trickles,
}

pub(crate) struct Server {
    fault: Fault,
    objects: Mutex<BTreeMap<String, Vec<u8>>>,
    uploads: Mutex<BTreeMap<String, Upload>>,
    puts: AtomicU64,
}

#[derive(Default)]
struct Upload {
    checksum: Option<Checksum>,
    parts: BTreeMap<usize, Vec<u8>>,
}

impl Server {
    pub(crate) fn start(fault: Fault) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = Arc::new(Self {
            fault,
            objects: Mutex::default(),
            uploads: Mutex::default(),
            puts: AtomicU64::new(0),
        });
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = Arc::clone(&server);
                std::thread::spawn(move || server.serve(stream));
            }
        });
        address
    }

    /// Stores what no load generator wrote.
    pub(crate) fn put_foreign(address: SocketAddr, key: &str) {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "PUT /loadgen/{key} HTTP/1.1\r\ncontent-length: 30\r\n\r\n").unwrap();
        stream.write_all(&[b'x'; 30]).unwrap();
        receive(&mut stream, &mut Vec::new()).unwrap();
    }

    /// Answers requests until the connection ends.
    fn serve(&self, mut stream: TcpStream) -> Option<()> {
        stream.set_nodelay(true).ok()?;
        let mut buffer = Vec::new();
        loop {
            let end = loop {
                if let Some(end) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                    break end + 4;
                }
                receive(&mut stream, &mut buffer)?;
            };
            let head = String::from_utf8(buffer[..end].to_vec()).ok()?;
            let length = header(&head, "content-length: ").map_or(0, |text| text.parse().unwrap());
            while buffer.len() < end + length {
                receive(&mut stream, &mut buffer)?;
            }
            let body = buffer[end..end + length].to_vec();
            buffer.drain(..end + length);
            let answer = self.answer(&head, body)?;
            let piece = if self.fault == Fault::Trickles { 7 } else { answer.len() };
            for bytes in answer.chunks(piece) {
                stream.write_all(bytes).ok()?;
            }
        }
    }

    /// `None`: the connection ends without an answer.
    fn answer(&self, head: &str, body: Vec<u8>) -> Option<Vec<u8>> {
        let (method, rest) = head.split_once(' ').unwrap();
        let (path, query) = rest
            .split(' ')
            .next()
            .unwrap()
            .split_once('?')
            .unwrap_or_else(|| (rest.split(' ').next().unwrap(), ""));
        let body = if head.contains("content-encoding: aws-chunked\r\n") {
            let length = header(head, "x-amz-decoded-content-length: ").unwrap();
            let body = without_framing(&body);
            assert_eq!(body.len(), length.parse::<usize>().unwrap());
            body
        } else {
            body
        };
        let query = query.split("&X-Amz-Signature").next().unwrap();
        if path != "/loadgen" && (query.contains("upload")) {
            return self.upload(head, path, query, body);
        }
        if path == "/loadgen" {
            return Some(if method == "GET" { self.list(query) } else { reply(200, b"", true) });
        }
        let mut objects = self.objects.lock().unwrap();
        match method {
            "PUT" => self.put(&mut objects, path, body),
            "DELETE" => {
                objects.remove(path);
                Some(reply(204, b"", true))
            }
            _ => {
                let object = objects.get(path).cloned();
                drop(objects);
                self.read(method, head, object)
            }
        }
    }

    fn put(
        &self,
        objects: &mut BTreeMap<String, Vec<u8>>,
        path: &str,
        body: Vec<u8>,
    ) -> Option<Vec<u8>> {
        let tenth = self.puts.fetch_add(1, Ordering::Relaxed) % 10 == 9;
        match self.fault {
            Fault::Refuses if tenth => {
                return Some(reply(503, b"<Error><Code>SlowDown</Code></Error>", true));
            }
            Fault::Forgets if tenth => return Some(reply(200, b"", true)),
            Fault::KeepsOld => _ = objects.entry(path.to_owned()).or_insert(body),
            _ => _ = objects.insert(path.to_owned(), body),
        }
        let etag = etag_of(&objects[path]);
        (self.fault != Fault::LosesAnswers || !tenth).then(|| reply_with(200, b"", true, &etag))
    }

    /// Everything that belongs to uploads in parts.
    fn upload(&self, head: &str, path: &str, query: &str, body: Vec<u8>) -> Option<Vec<u8>> {
        let value = |name: &str| query.split('&').find_map(|part| part.strip_prefix(name));
        let mut uploads = self.uploads.lock().unwrap();
        let Some(id) = value("uploadId=") else {
            let id = format!("id {}/", self.puts.fetch_add(1, Ordering::Relaxed));
            let name = header(head, "x-amz-checksum-algorithm: ");
            let checksum = CHECKSUMS.into_iter().find(|checksum| Some(checksum.name()) == name);
            let upload = Upload { checksum, ..Upload::default() };
            uploads.insert(id.replace(' ', "%20").replace('/', "%2F"), upload);
            let document = format!("<UploadId>{id}</UploadId>");
            return Some(reply(200, document.as_bytes(), true));
        };
        match (head.split(' ').next().unwrap(), value("partNumber=")) {
            ("PUT", Some(number)) => {
                if self.fault == Fault::Refuses
                    && self.puts.fetch_add(1, Ordering::Relaxed) % 20 == 9
                {
                    return Some(reply(503, b"<Error><Code>SlowDown</Code></Error>", true));
                }
                let answer = reply_with(200, b"", true, &etag_of(&body));
                let upload = uploads.get_mut(id).unwrap();
                if let Some(checksum) = upload.checksum {
                    let text = header(head, &format!("{}: ", checksum.header()));
                    let trailer = header(head, "x-amz-trailer: ");
                    let right = text == Some(text_of(checksum, &body).as_str());
                    assert!(right || trailer == Some(checksum.header()), "{head}");
                }
                upload.parts.insert(number.parse().unwrap(), body);
                Some(answer)
            }
            ("DELETE", None) => uploads.remove(id).map(|_| reply(204, b"", true)),
            ("POST", None) => {
                let Upload { checksum, parts } = uploads.remove(id).unwrap();
                let document = String::from_utf8(body).unwrap();
                for (number, part) in &parts {
                    let etag = etag_of(part).replace('"', "&quot;");
                    let row = format!("<PartNumber>{number}</PartNumber><ETag>{etag}</ETag>");
                    let checked = checksum.map_or(String::new(), |checksum| {
                        let (name, text) = (checksum.name(), text_of(checksum, part));
                        format!("<Checksum{name}>{text}</Checksum{name}>")
                    });
                    assert!(document.contains(&format!("{row}{checked}</Part>")), "{document}");
                }
                let whole = parts.into_values().flatten().collect();
                self.objects.lock().unwrap().insert(path.to_owned(), whole);
                Some(reply(200, b"<CompleteMultipartUploadResult/>", true))
            }
            _ => panic!("{head}"),
        }
    }

    fn read(&self, method: &str, head: &str, object: Option<Vec<u8>>) -> Option<Vec<u8>> {
        let Some(mut body) = object else {
            let document = b"<Error><Code>NoSuchKey</Code></Error>";
            return Some(reply(404, document, method == "GET"));
        };
        let etag = etag_of(&body);
        if let Some(seen) = header(head, "if-none-match: ") {
            let unchanged = seen == etag && self.fault != Fault::IgnoresConditions;
            if unchanged || self.fault == Fault::SaysNotModified {
                return Some(reply_with(304, b"", false, &etag));
            }
        }
        match self.fault {
            Fault::FlipsBit => _ = body.last_mut().map(|byte| *byte ^= 1),
            Fault::Hangs => std::thread::sleep(Duration::from_secs(3)),
            Fault::Slow => std::thread::sleep(Duration::from_millis(20)),
            _ => {}
        }
        let Some(range) = header(head, "range: bytes=") else {
            return Some(reply_with(200, &body, method == "GET", &etag));
        };
        let (first, last) = range.split_once('-').unwrap();
        let first: usize = first.parse().unwrap();
        let last = last.parse::<usize>().unwrap().min(body.len().wrapping_sub(1));
        if first >= body.len() {
            return Some(reply(416, b"<Error><Code>InvalidRange</Code></Error>", true));
        }
        let shift = usize::from(self.fault == Fault::ShiftsSlices);
        body.rotate_left(shift);
        let size = body.len();
        let mut answer = reply_with(206, &body[first..=last], true, &etag);
        let range = format!("\r\nContent-Range: bytes {first}-{last}/{size}");
        let place = answer.windows(2).position(|two| two == b"\r\n").unwrap();
        answer.splice(place..place, range.into_bytes());
        Some(answer)
    }

    /// One page, in chunks of a few bytes, as some servers send it.
    fn list(&self, query: &str) -> Vec<u8> {
        let value = |name: &str| {
            let found = query.split('&').find_map(|part| part.strip_prefix(name));
            found.unwrap_or("").replace("%2F", "/").replace("%3A", ":")
        };
        let (after, prefix) = (value("start-after="), value("prefix="));
        let max: usize = value("max-keys=").parse().unwrap();
        let mut page = String::from("<ListBucketResult>");
        let objects = self.objects.lock().unwrap();
        let keys = objects.keys().filter_map(|path| path.strip_prefix("/loadgen/"));
        let mut keys = keys.filter(|key| key.starts_with(&prefix) && **key > *after);
        for key in keys.by_ref().take(max) {
            if self.fault != Fault::HidesKey || !key.ends_with("25") {
                write!(page, "<Contents><Key>{key}</Key></Contents>").unwrap();
            }
        }
        let truncated = keys.next().is_some();
        write!(page, "<IsTruncated>{truncated}</IsTruncated></ListBucketResult>").unwrap();
        let mut answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for chunk in page.as_bytes().chunks(37) {
            write!(answer, "{:x}\r\n", chunk.len()).unwrap();
            answer.extend_from_slice(chunk);
            answer.extend_from_slice(b"\r\n");
        }
        answer.extend_from_slice(b"0\r\n\r\n");
        answer
    }
}

fn receive(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    let mut bytes = [0; 65_536];
    let count = stream.read(&mut bytes).ok().filter(|count| *count > 0)?;
    buffer.extend_from_slice(&bytes[..count]);
    Some(())
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name))
}

fn text_of(checksum: Checksum, body: &[u8]) -> String {
    let mut running = checksum.start();
    running.update(body);
    running.text()
}

fn etag_of(body: &[u8]) -> String {
    format!("\"{:016x}\"", loadgen::content::hash_key(body))
}

fn without_framing(mut text: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = text.windows(2).position(|two| two == b"\r\n").unwrap();
        let line = std::str::from_utf8(&text[..end]).unwrap();
        let length = usize::from_str_radix(line.split(';').next().unwrap(), 16).unwrap();
        if length == 0 {
            return body;
        }
        body.extend_from_slice(&text[end + 2..end + 2 + length]);
        text = &text[end + 2 + length + 2..];
    }
}

fn reply(status: u16, body: &[u8], send_body: bool) -> Vec<u8> {
    reply_with(status, body, send_body, "\"e\"")
}

fn reply_with(status: u16, body: &[u8], send_body: bool, etag: &str) -> Vec<u8> {
    let length = if status == 204 || status == 304 {
        String::new()
    } else {
        format!("Content-Length: {}\r\n", body.len())
    };
    let head = format!("HTTP/1.1 {status} Some Reason\r\nETag: {etag}\r\n{length}\r\n");
    let mut answer = head.into_bytes();
    answer.extend_from_slice(if send_body { body } else { b"" });
    answer
}
