//! Walks the examples of a script against a server.
//!
//! Invariants: each example has buckets of its own; every answer carries both request ids and a date,
//! whatever the script says of it.
//!
//! Not here: the form of scripts (`script`), the comparison of bodies (`shape`).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use engine::checksum::Md5;
use jiff::{SignedDuration, Timestamp};
use ringfort_tests::harness::client::{Answer, Client, Request, Signing};
use ringfort_tests::harness::{ACCESS_KEY, SECRET_KEY, Server};

use super::script::{Example, Step, parts};
use super::shape::{self, Captures};

/// How long the server may take for what happens behind an answer.
const EVENTUALLY: Duration = Duration::from_secs(30);
const DAY: SignedDuration = SignedDuration::from_hours(24);
const BOUNDARY: &str = "----seed7d9f3c21";

/// One example under way.
struct Walk<'a> {
    server: &'a Server<'a>,
    region: String,
    client: Client,
    variables: BTreeMap<String, String>,
    signing: Option<Signing>,
}

/// Walks one example to its end or its first fault.
pub(super) fn walk(server: &Server<'_>, region: &str, example: &Example) -> Result<(), String> {
    let mut walk = Walk {
        server,
        region: region.to_owned(),
        client: server.client(),
        variables: variables(region),
        signing: Some(Signing::default().region(region)),
    };
    walk.find_owner()?;
    example.steps.iter().try_for_each(|step| {
        walk.step(step).map_err(|error| format!("line {}: {error}", step.line))
    })
}

/// What every example may name.
fn variables(region: &str) -> BTreeMap<String, String> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let now = Timestamp::now();
    let iso = |time: Timestamp| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let midnight = |time: Timestamp| time.strftime("%Y-%m-%dT00:00:00Z").to_string();
    let http = |time: Timestamp| time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let named = [
        ("bucket", format!("seed-{number}")),
        ("bucket2", format!("seed-{number}-second")),
        ("region", region.to_owned()),
        ("access_key", ACCESS_KEY.to_owned()),
        ("tomorrow", iso(now + DAY)),
        ("yesterday", iso(now - DAY)),
        ("next_week", iso(now + 7 * DAY)),
        ("tomorrow_midnight", midnight(now + DAY)),
        ("tomorrow_http", http(now + DAY)),
        ("yesterday_http", http(now - DAY)),
    ];
    named.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

impl Walk<'_> {
    /// Whom the server's own credentials stand for.
    fn find_owner(&mut self) -> Result<(), String> {
        let request = Request::new("GET", "/").signed_by(self.signing.clone());
        let answer = self.client.send(&request).map_err(|error| error.to_string())?;
        let owner = answer.element("ID").ok_or_else(|| format!("no owner: {answer:?}"))?;
        self.variables.insert("owner".to_owned(), owner);
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        for (name, value) in &step.directives {
            let value = self.expand(value);
            match name.as_str() {
                "let" => {
                    let (name, value) = value.split_once(' ').ok_or("@let needs a value")?;
                    self.variables.insert(name.to_owned(), value.to_owned());
                }
                "as" => self.signing = self.signer(&value)?,
                "region" => {
                    self.region = value;
                    self.signing = self.signing.take().map(|known| known.region(&self.region));
                }
                "skew" => {
                    let seconds = value.parse().map_err(|_| "@skew needs a number")?;
                    self.signing = self.signing.take().map(|known| known.skewed(seconds));
                }
                "repeat" => {
                    let (times, text) = value.split_once(' ').ok_or("@repeat needs a text")?;
                    let times: u32 = times.parse().map_err(|_| "@repeat needs a number")?;
                    let copies = (1..=times).map(|number| text.replace('#', &number.to_string()));
                    self.variables.insert("repeat".to_owned(), copies.collect());
                }
                "body" | "length" | "unsigned" | "presigned" | "form" | "until" => {}
                other => return Err(format!("@{other} is unknown")),
            }
        }
        if step.request.is_empty() {
            return Ok(());
        }
        let deadline = Instant::now() + EVENTUALLY;
        loop {
            let result = self.exchange(step);
            if result.is_ok() || step.directive("until").is_none() || Instant::now() > deadline {
                return result;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn signer(&self, who: &str) -> Result<Option<Signing>, String> {
        let (access_key, secret_key) = match who {
            "nobody" => return Ok(None),
            "root" => (ACCESS_KEY, SECRET_KEY),
            other => other.split_once(' ').ok_or("@as needs both keys")?,
        };
        Ok(Some(Signing::new(access_key, secret_key).region(&self.region)))
    }

    fn exchange(&mut self, step: &Step) -> Result<(), String> {
        let answer = self.send(step)?;
        let Some(expected) = &step.answer else {
            if answer.status / 100 == 2 {
                return Ok(());
            }
            return Err(format!("{} {}", answer.status, answer.text()));
        };
        let expected = self.expand(expected);
        let mut kept = Captures::new();
        let result = judge(&expected, &answer, &mut kept);
        self.variables.extend(kept);
        result.map_err(|error| format!("{error}\n{} {:?}", answer.status, answer.headers))
    }

    fn send(&mut self, step: &Step) -> Result<Answer, String> {
        let text = self.expand(&step.request);
        let (line, mut headers, body) = parts(&text);
        let mut body = body.unwrap_or_default().as_bytes().to_vec();
        if let Some(size) = step.directive("body") {
            body = pattern(size.parse().map_err(|_| "@body needs a number")?);
        }
        if step.directive("form").is_some() {
            body = self.form(&String::from_utf8_lossy(&body));
            let kind = format!("multipart/form-data; boundary={BOUNDARY}");
            headers.push(("Content-Type".to_owned(), kind));
        }
        let mut words = line.split_whitespace();
        let first = words.next().unwrap_or_default();
        let is_admin = first == "ADMIN";
        let method = if is_admin { words.next().unwrap_or_default() } else { first };
        let target = words.next().ok_or("a request needs a target")?;

        let mut md5 = Md5::new();
        md5.update(&body);
        let md5 = BASE64_STANDARD.encode(md5.finish());
        let mut request = Request::uncanonical(method, target);
        for (name, value) in headers {
            let value = value.replace("{md5}", &md5);
            match name.to_ascii_lowercase().as_str() {
                "host" => request.host = Some(value),
                name => request = request.header(name, &value),
            }
        }
        // As clients do: a length wherever there may be a body.
        if !body.is_empty() || matches!(method, "PUT" | "POST") {
            request = request.body(body);
        }
        if let Some(length) = step.directive("length") {
            request = request.length(length.parse().map_err(|_| "@length needs a number")?);
        }
        if is_admin {
            let mut request = request.signed_by(None);
            if self.signing.is_some() {
                request = request.header("authorization", "Bearer test-key");
            }
            let answer = Client::new(self.server.admin_listen).send(&request);
            return answer.map_err(|error| error.to_string());
        }
        // A form carries its signature in its fields.
        let is_form = step.directive("form").is_some();
        let mut request = request.signed_by(self.signing.clone().filter(|_| !is_form));
        if step.directive("unsigned").is_none() {
            request = request.with_payload_hash();
        }
        if let Some(seconds) = step.directive("presigned") {
            let seconds = seconds.parse().map_err(|_| "@presigned needs a number")?;
            request.sent = Some(request.presigned(&self.server.listen.to_string(), seconds));
            request.signing = None;
        }
        let answer = self.client.send(&request).map_err(|error| format!("no answer: {error}"))?;
        for name in ["x-amz-request-id", "x-amz-id-2", "date", "server"] {
            if answer.header(name).is_none_or(str::is_empty) {
                return Err(format!("the answer has no {name}: {:?}", answer.headers));
            }
        }
        Ok(answer)
    }

    /// A form as a browser sends it; its policy is signed here as a web page's server would.
    fn form(&self, fields: &str) -> Vec<u8> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for (name, value) in fields.lines().filter_map(|line| line.split_once('=')) {
            match (name, &self.signing) {
                ("policy", Some(signing)) => {
                    let policy = BASE64_STANDARD.encode(value);
                    let signature = signing.sign_policy(&policy);
                    pairs.push(("policy".to_owned(), policy));
                    pairs.push(("x-amz-signature".to_owned(), signature));
                }
                _ => pairs.push((name.to_owned(), value.to_owned())),
            }
        }
        // The file comes last, and what follows it is not read.
        pairs.sort_by_key(|(name, _)| name == "file");
        let mut body = String::new();
        for (name, value) in pairs {
            let file = if name == "file" { "; filename=\"file.txt\"" } else { "" };
            body +=
                &format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"{file}");
            body += &format!("\r\n\r\n{value}\r\n");
        }
        body += &format!("--{BOUNDARY}--\r\n");
        body.into_bytes()
    }

    /// Puts variables in their places.
    fn expand(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (name, value) in &self.variables {
            text = text.replace(&format!("{{{name}}}"), value);
        }
        if let Some(signing) = &self.signing {
            text = text.replace("{credential}", &signing.credential());
            text = text.replace("{stamp}", &signing.stamp());
        }
        text
    }
}

fn judge(expected: &str, answer: &Answer, kept: &mut Captures) -> Result<(), String> {
    let (status, headers, body) = parts(expected);
    let body = body.unwrap_or_default();
    if status != answer.status.to_string() {
        return Err(format!("not {status}: {}", answer.text()));
    }
    for (name, value) in &headers {
        let name = name.to_ascii_lowercase();
        let found = answer.header(&name);
        match (value.as_str(), found) {
            ("!", None) => {}
            ("!", Some(found)) => return Err(format!("{name} is there: {found}")),
            // HTTP/1.1 keeps connections unless an answer says otherwise.
            (value, None) if name == "connection" && value.eq_ignore_ascii_case("keep-alive") => {}
            (_, None) => return Err(format!("{name} is missing: {}", answer.text())),
            (value, Some(found)) => shape::value(&name, value, found, kept)?,
        }
    }
    shape::compare(body, &answer.body, kept)
}

/// Bytes that differ from place to place.
fn pattern(size: usize) -> Vec<u8> {
    (0_u64..).flat_map(|word| (word * 0x9e37_79b9).to_le_bytes()).take(size).collect()
}
