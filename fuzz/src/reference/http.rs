//! HTTP/1.1 requests out of the bytes of a connection, by RFC 9112 and the stricter rules that `http/src/parse.rs`
//! promises: a stream is cut into lines, lines into fields, and what is in doubt ends it.

/// What a server must make of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub host: Option<String>,
    pub headers: Vec<(String, Vec<u8>)>,
    /// None if it is malformed or ends early.
    pub body: Option<Vec<u8>>,
}

/// Bounds that the server was given, and those that it has of its own.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub head_bytes_max: usize,
    pub headers_max: usize,
    pub chunk_extension_bytes_max: usize,
    pub trailer_bytes_max: usize,
    pub empty_lines_max: usize,
}

/// All requests of a connection that a server may act on. The last one may have a broken body.
pub fn requests(mut input: &[u8], bounds: Bounds) -> Vec<Request> {
    let mut found = Vec::new();
    while let Some((request, goes_on, rest)) = request(input, bounds) {
        let is_last = !goes_on || request.body.is_none();
        found.push(request);
        if is_last {
            break;
        }
        input = rest;
    }
    found
}

/// The first request, whether another one may follow, and what does.
fn request(mut input: &[u8], bounds: Bounds) -> Option<(Request, bool, &[u8])> {
    for _ in 0..bounds.empty_lines_max {
        input = input.strip_prefix(b"\r\n").unwrap_or(input);
    }
    let end = find(input, b"\r\n\r\n")?;
    if end + 4 > bounds.head_bytes_max {
        return None;
    }
    let mut lines = split(&input[..end], b"\r\n").into_iter();
    let line = std::str::from_utf8(lines.next()?).ok()?;
    let mut words = line.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    let is_new = match version {
        "HTTP/1.1" => true,
        "HTTP/1.0" => false,
        _ => return None,
    };
    let is_target = !target.is_empty() && target.bytes().all(|byte| byte > b' ' && byte != 0x7f);
    if words.next().is_some() || !is_token(method.as_bytes()) || !is_target {
        return None;
    }
    let headers: Vec<(String, Vec<u8>)> = lines.map(header).collect::<Option<_>>()?;
    if headers.len() > bounds.headers_max {
        return None;
    }
    let all = |name: &str| -> Vec<&[u8]> {
        let named = headers.iter().filter(|(found, _)| found.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_slice()).collect()
    };
    let hosts = all("host");
    if hosts.len() > 1 || (is_new && hosts.is_empty()) || !hosts.iter().all(|host| is_host(host)) {
        return None;
    }
    let (target, authority) = split_target(method, target)?;
    let host = authority.or_else(|| String::from_utf8(hosts.first()?.to_vec()).ok());
    if all("expect").iter().any(|value| !value.eq_ignore_ascii_case(b"100-continue")) {
        return None;
    }
    let options: Vec<Vec<u8>> = all("connection")
        .iter()
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(|option| trim(option).to_ascii_lowercase())
        .collect();
    let has = |name: &[u8]| options.iter().any(|option| option == name);
    let goes_on = !has(b"close") && (is_new || has(b"keep-alive"));

    let lengths: Vec<u64> =
        all("content-length").into_iter().map(decimal).collect::<Option<_>>()?;
    let behind = &input[end + 4..];
    let (body, rest) = match (all("transfer-encoding").as_slice(), lengths.as_slice()) {
        ([], []) => (Some(Vec::new()), behind),
        ([], [length, others @ ..]) if others.iter().all(|other| other == length) => {
            match usize::try_from(*length).ok().and_then(|length| behind.split_at_checked(length)) {
                Some((body, rest)) => (Some(body.to_vec()), rest),
                None => (None, &b""[..]),
            }
        }
        ([coding], []) if is_new && coding.eq_ignore_ascii_case(b"chunked") => {
            match chunked(behind, bounds) {
                Some((body, rest)) => (Some(body), rest),
                None => (None, &b""[..]),
            }
        }
        _ => return None,
    };
    let (method, target) = (method.to_owned(), target);
    Some((Request { method, target, host, headers, body }, goes_on, rest))
}

fn header(line: &[u8]) -> Option<(String, Vec<u8>)> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = (&line[..colon], trim(&line[colon + 1..]));
    let is_value = value.iter().all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f));
    (is_token(name) && is_value)
        .then(|| (String::from_utf8_lossy(name).into_owned(), value.to_vec()))
}

/// Path and query, and the authority if the target names one.
fn split_target(method: &str, target: &str) -> Option<(String, Option<String>)> {
    if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        return Some((target.to_owned(), None));
    }
    let (scheme, rest) = target.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if authority.is_empty() || !is_host(authority.as_bytes()) {
        return None;
    }
    match path.as_bytes().first() {
        None => Some(("/".to_owned(), Some(authority.to_owned()))),
        Some(b'/') => Some((path.to_owned(), Some(authority.to_owned()))),
        Some(_) => None,
    }
}

/// A chunked body and what stands behind it.
fn chunked(mut input: &[u8], bounds: Bounds) -> Option<(Vec<u8>, &[u8])> {
    let mut data = Vec::new();
    loop {
        let end = find(input, b"\r\n")?;
        let line = &input[..end];
        input = &input[end + 2..];
        let (digits, extension) = match line.iter().position(|byte| *byte == b';') {
            Some(at) => (&line[..at], &line[at + 1..]),
            None => (line, &b""[..]),
        };
        let is_size = (1..=16).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
        if !is_size || !is_text(extension) || extension.len() > bounds.chunk_extension_bytes_max {
            return None;
        }
        let size = u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        if size == 0 {
            break;
        }
        let (chunk, rest) = input.split_at_checked(usize::try_from(size).ok()?)?;
        data.extend_from_slice(chunk);
        input = rest.strip_prefix(b"\r\n")?;
    }
    let mut trailer_bytes = 0;
    loop {
        let end = find(input, b"\r\n")?;
        let line = &input[..end];
        input = &input[end + 2..];
        trailer_bytes += line.len() + 2;
        if !is_text(line) || trailer_bytes > bounds.trailer_bytes_max {
            return None;
        }
        if line.is_empty() {
            return Some((data, input));
        }
    }
}

fn is_token(bytes: &[u8]) -> bool {
    let is_mark = |byte: &u8| b"!#$%&'*+-.^_`|~".contains(byte);
    !bytes.is_empty() && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || is_mark(byte))
}

fn is_text(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f))
}

fn is_host(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| byte.is_ascii_graphic() && !b"/?#@,\\".contains(byte))
}

fn decimal(bytes: &[u8]) -> Option<u64> {
    let is_number = !bytes.is_empty() && bytes.iter().all(u8::is_ascii_digit);
    is_number.then(|| std::str::from_utf8(bytes).ok()?.parse().ok()).flatten()
}

fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

fn find(bytes: &[u8], mark: &[u8]) -> Option<usize> {
    bytes.windows(mark.len()).position(|window| window == mark)
}

fn split<'a>(mut bytes: &'a [u8], mark: &[u8]) -> Vec<&'a [u8]> {
    let mut parts = Vec::new();
    while let Some(at) = find(bytes, mark) {
        parts.push(&bytes[..at]);
        bytes = &bytes[at + mark.len()..];
    }
    parts.push(bytes);
    parts
}
