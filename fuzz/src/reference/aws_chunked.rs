//! The `aws-chunked` framing without signatures, by AWS's description and by what `s3api/src/auth/chunked.rs` says of
//! clients that differ from it: the whole body at hand, one step after the other.

/// Data, and trailers by name.
pub type Decoded = (Vec<u8>, Vec<(String, String)>);

/// The data and the trailers, names in lower case; none if the body is refused.
pub fn decode(
    mut body: &[u8],
    decoded_bytes: u64,
    announced: Option<&[&str]>,
    line_bytes_max: usize,
    trailer_bytes_max: usize,
) -> Option<Decoded> {
    let mut data = Vec::new();
    loop {
        let end = body.iter().position(|byte| *byte == b'\n')?;
        let line = &body[..=end];
        body = &body[end + 1..];
        let text = line.strip_suffix(b"\r\n").filter(|_| line.len() <= line_bytes_max)?;
        let digits = text.split(|byte| *byte == b';').next()?;
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let size = u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        if size == 0 {
            break;
        }
        let (chunk, rest) = body.split_at_checked(usize::try_from(size).ok()?)?;
        data.extend_from_slice(chunk);
        if data.len() as u64 > decoded_bytes {
            return None;
        }
        body = rest.strip_prefix(b"\r\n")?;
    }
    if data.len() as u64 != decoded_bytes || body.len() > trailer_bytes_max {
        return None;
    }
    let text = std::str::from_utf8(body).ok()?;
    let mut trailers = Vec::new();
    for line in text.split('\n').map(str::trim).filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':')?;
        trailers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
    }
    let announced = announced.unwrap_or_default();
    let mut names: Vec<&str> = trailers.iter().map(|(name, _)| name.as_str()).collect();
    let mut wanted = announced.to_vec();
    names.sort_unstable();
    wanted.sort_unstable();
    (names == wanted).then_some((data, trailers))
}
