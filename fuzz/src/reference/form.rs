//! A form with a file in it (RFC 7578), out of the whole body, with the leniency that `s3api/src/form.rs` promises.

/// Fields, and the file.
pub type Form = (Vec<(String, String)>, Vec<u8>);

/// Fields before the file, names in lower case, and the file; none if the form is refused.
pub fn read(body: &[u8], boundary: &str, fields_bytes_max: usize) -> Option<Form> {
    let delimiter = [b"\r\n--", boundary.as_bytes()].concat();
    let body = [b"\r\n", body].concat();
    let start = find(&body, &delimiter)? + delimiter.len();
    let mut at = start;
    let mut fields: Vec<(String, String)> = Vec::new();
    loop {
        at = behind_delimiter(&body, at)?;
        let headers_end = at + find(&body[at..], b"\r\n\r\n")?;
        let (name, file_name) = part(&body[at..headers_end])?;
        at = headers_end + 4;
        // What stands before the file is bounded, delimiters and headers included.
        if at > fields_bytes_max {
            return None;
        }
        let end = at + find(&body[at..], &delimiter)?;
        let value = &body[at..end];
        at = end + delimiter.len();
        if name.eq_ignore_ascii_case("file") {
            let rest = body.get(at..)?;
            let is_end = rest.starts_with(b"--") || behind_delimiter(&body, at).is_some();
            let file_name = file_name.unwrap_or_default();
            for (name, value) in &mut fields {
                if name != "policy" && name != "x-amz-signature" {
                    *value = value.replace("${filename}", &file_name);
                }
            }
            let is_bounded = rest.len() <= fields_bytes_max;
            return (is_end && is_bounded).then(|| (fields, value.to_vec()));
        }
        if at > fields_bytes_max {
            return None;
        }
        let name = name.to_ascii_lowercase();
        if fields.iter().any(|(known, _)| *known == name) {
            return None;
        }
        fields.push((name, String::from_utf8(value.to_vec()).ok()?));
    }
}

/// Where the headers begin: blanks may stand between, then a line ends.
fn behind_delimiter(body: &[u8], mut at: usize) -> Option<usize> {
    // Two bytes are looked at to tell the end.
    if body.len() < at + 2 || body[at..].starts_with(b"--") {
        return None;
    }
    while matches!(body.get(at), Some(b' ' | b'\t')) {
        at += 1;
    }
    (body.get(at) == Some(&b'\r')).then_some(at)
}

/// The name of a part and that of its file.
fn part(headers: &[u8]) -> Option<(String, Option<String>)> {
    let text = std::str::from_utf8(headers).ok()?;
    let line = text.split("\r\n").find_map(|line| {
        let at = line.find(':')?;
        (line[..at].trim().eq_ignore_ascii_case("content-disposition"))
            .then(|| line[at + 1..].trim())
    })?;
    let kind = line.get(..9)?;
    if !kind.eq_ignore_ascii_case("form-data") {
        return None;
    }
    let parameters = parameters(&line[9..])?;
    let get = |name: &str| {
        parameters
            .iter()
            .find(|(known, _)| known.to_ascii_lowercase() == name)
            .map(|(_, value)| value.clone())
    };
    let name = get("name").filter(|name| !name.is_empty())?;
    let file_name = get("filename").map(|path| {
        let from = path.rfind(['/', '\\']).map_or(0, |at| at + 1);
        path[from..].to_owned()
    });
    Some((name, file_name))
}

fn parameters(text: &str) -> Option<Vec<(String, String)>> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        rest = rest.strip_prefix(';')?;
        let at = rest.find('=')?;
        let name = rest[..at].trim().to_owned();
        rest = &rest[at + 1..];
        let mut value = String::new();
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut characters = quoted.chars();
            let mut behind = None;
            while let Some(character) = characters.next() {
                if character == '"' {
                    behind = Some(characters.as_str());
                    break;
                }
                if character == '\\' && characters.as_str().starts_with('"') {
                    characters.next();
                    value.push('"');
                } else {
                    value.push(character);
                }
            }
            rest = behind?;
            value = value.replace("%22", "\"").replace("%0D", "\r").replace("%0A", "\n");
        } else {
            let end = rest.find(';').unwrap_or(rest.len());
            rest[..end].trim().clone_into(&mut value);
            rest = &rest[end..];
        }
        found.push((name, value));
        rest = rest.trim_start();
    }
    Some(found)
}

fn find(bytes: &[u8], mark: &[u8]) -> Option<usize> {
    bytes.windows(mark.len()).position(|window| window == mark)
}
