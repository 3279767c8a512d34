//! A form that a browser sends with one file in it (`multipart/form-data`), read as a stream.
//!
//! ```text
//! --BOUNDARY CRLF headers CRLF CRLF value   for each field
//! CRLF --BOUNDARY CRLF headers CRLF CRLF the file's bytes
//! CRLF --BOUNDARY (what comes behind the file means nothing) CRLF --BOUNDARY--
//! ```
//!
//! Invariants: what comes before the file is bounded as a whole, and the file is never held; the file
//! ends at a delimiter or the form is refused; when its last byte was given out, the payload that holds
//! the form was read to its end and verified.
//!
//! Not here: what the fields mean (`ops::post_object`), what a policy says of them
//! (`auth::post_policy`).
//!
//! Source: RFC 7578, RFC 2046 section 5.1.1; AWS, "POST Object".

use crate::auth::PayloadReader;
use crate::auth::payload::RawBody;
use crate::error::{Code, Result, S3Error};
use crate::limits::{FORM_BOUNDARY_BYTES_MAX, FORM_BUFFER_BYTES, FORM_FIELDS_BYTES_MAX};

const FILE: &str = "file";
const FILE_NAME: &str = "${filename}";

/// The fields before the file, by their names in lower case, and what the client called the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields {
    fields: Vec<(String, String)>,
    file_name: String,
}

impl Fields {
    /// The value of a field. The name is in lower case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(found, _)| *found == name).map(|(_, value)| value)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Adds a field, which must not be there yet.
    pub fn add(&mut self, name: &str, value: String) -> Result<()> {
        let name = name.to_ascii_lowercase();
        if self.get(&name).is_some() {
            let message = format!("POST requires exactly one value of the field '{name}'.");
            return Err(S3Error::invalid_argument(message, &name, value));
        }
        self.fields.push((name, value));
        Ok(())
    }

    /// Puts the file's name in place of `${filename}`, but in what is signed. What comes of it is bounded as
    /// what came is: the name may be long, and stand in a thousand places.
    fn insert_file_name(&mut self) -> Result<()> {
        let added = self.file_name.len().saturating_sub(FILE_NAME.len());
        let mut bytes_max = FORM_FIELDS_BYTES_MAX;
        let fields = self.fields.iter_mut();
        for (_, value) in
            fields.filter(|(name, _)| !matches!(name.as_str(), "policy" | "x-amz-signature"))
        {
            let places = value.matches(FILE_NAME).count();
            if places > 0 {
                let bytes = value.len().saturating_add(places.saturating_mul(added));
                bytes_max = bytes_max.checked_sub(bytes).ok_or_else(too_long)?;
                *value = value.replace(FILE_NAME, &self.file_name);
            }
        }
        Ok(())
    }
}

/// Reads a form; as a [`RawBody`], the bytes of its file.
#[derive(Debug)]
pub struct FormReader<'a, B> {
    /// None when it was read to its end.
    source: Option<PayloadReader<'a, B>>,
    delimiter: Vec<u8>,
    buffer: Vec<u8>,
    /// The part of the buffer that was read and not used.
    from: usize,
    to: usize,
    /// Up to here the buffer holds the file's bytes.
    data_to: usize,
    failure: Option<S3Error>,
}

impl<'a, B: RawBody> FormReader<'a, B> {
    /// `PreconditionFailed` unless the content type is that of a form, `MalformedPOSTRequest` if it
    /// names no boundary.
    pub fn new(content_type: &str, source: PayloadReader<'a, B>) -> Result<Self> {
        let boundary = boundary(content_type)?;
        let mut buffer = vec![0; FORM_BUFFER_BYTES];
        // The first delimiter needs no line before it.
        buffer[..2].copy_from_slice(b"\r\n");
        let delimiter = [b"\r\n--", boundary.as_bytes()].concat();
        Ok(Self {
            source: Some(source),
            delimiter,
            buffer,
            from: 0,
            to: 2,
            data_to: 0,
            failure: None,
        })
    }

    /// Reads all fields up to the file.
    pub async fn fields(&mut self) -> Result<Fields> {
        let mut fields = Fields::default();
        let mut rest = FORM_FIELDS_BYTES_MAX;
        let delimiter = self.delimiter.clone();
        self.take_through(&delimiter, &mut rest).await?;
        loop {
            if !self.has_next_part(&mut rest).await? {
                return Err(S3Error::invalid_argument(
                    "POST requires exactly one file upload per request.",
                    FILE,
                    "0",
                ));
            }
            // The line end of the delimiter may be the first of an empty block of headers.
            let headers = self.take_through(b"\r\n\r\n", &mut rest).await?;
            let part = Part::parse(&headers)?;
            if part.name.eq_ignore_ascii_case(FILE) {
                fields.file_name = part.file_name.unwrap_or_default();
                fields.insert_file_name()?;
                self.data_to = self.from;
                return Ok(fields);
            }
            let value = self.take_through(&delimiter, &mut rest).await?;
            fields.add(&part.name, String::from_utf8(value).map_err(|_| malformed())?)?;
        }
    }

    /// Why reading the file failed, if it was the form's fault and not the connection's.
    pub fn failure(&mut self) -> Option<S3Error> {
        self.failure.take()
    }

    /// Behind a delimiter: another part, or the end.
    async fn has_next_part(&mut self, rest: &mut usize) -> Result<bool> {
        while self.to - self.from < 2 {
            if !self.fill().await? {
                return Err(malformed());
            }
        }
        if self.buffer[self.from..].starts_with(b"--") {
            return Ok(false);
        }
        // Blanks may stand behind a delimiter, and nothing else.
        while matches!(self.buffer.get(self.from), Some(b' ' | b'\t')) && self.from < self.to {
            self.from += 1;
            *rest = rest.checked_sub(1).ok_or_else(too_long)?;
            if self.from == self.to && !self.fill().await? {
                return Err(malformed());
            }
        }
        if self.buffer.get(self.from) == Some(&b'\r') { Ok(true) } else { Err(malformed()) }
    }

    /// What comes before `mark`, which is used up with it.
    async fn take_through(&mut self, mark: &[u8], rest: &mut usize) -> Result<Vec<u8>> {
        loop {
            let unread = &self.buffer[self.from..self.to];
            if let Some(at) = find(unread, mark) {
                let found = unread[..at].to_vec();
                self.from += at + mark.len();
                *rest = rest.checked_sub(at + mark.len()).ok_or_else(too_long)?;
                return Ok(found);
            }
            if unread.len() > *rest {
                return Err(too_long());
            }
            if !self.fill().await? {
                return Err(malformed());
            }
        }
    }

    /// Reads more into the buffer, which is not full; false at the end.
    async fn fill(&mut self) -> Result<bool> {
        self.buffer.copy_within(self.from..self.to, 0);
        self.to -= self.from;
        self.data_to = self.data_to.saturating_sub(self.from);
        self.from = 0;
        let Some(source) = &mut self.source else { return Ok(false) };
        let count = source.read(&mut self.buffer[self.to..]).await?;
        self.to += count;
        Ok(count > 0)
    }

    /// Some of the file's bytes; 0 at its end.
    async fn read_file(&mut self, into: &mut [u8]) -> Result<usize> {
        loop {
            if self.from < self.data_to {
                let count = into.len().min(self.data_to - self.from);
                into[..count].copy_from_slice(&self.buffer[self.from..self.from + count]);
                self.from += count;
                return Ok(count);
            }
            if self.source.is_none() {
                return Ok(0);
            }
            let unread = &self.buffer[self.from..self.to];
            match find(unread, &self.delimiter) {
                Some(0) => {
                    self.from += self.delimiter.len();
                    self.end().await?;
                }
                Some(at) => self.data_to = self.from + at,
                None => {
                    // The last bytes may be the beginning of a delimiter.
                    let certain = unread.len().saturating_sub(self.delimiter.len() - 1);
                    if certain > 0 {
                        self.data_to = self.from + certain;
                    } else if !self.fill().await? {
                        return Err(malformed());
                    }
                }
            }
        }
    }

    /// What is behind the file is read, so that the payload as a whole can be verified.
    async fn end(&mut self) -> Result<()> {
        let mut rest = FORM_FIELDS_BYTES_MAX;
        self.has_next_part(&mut rest).await?;
        loop {
            rest = rest.checked_sub(self.to - self.from).ok_or_else(too_long)?;
            self.from = self.to;
            if !self.fill().await? {
                break;
            }
        }
        self.data_to = self.from;
        if let Some(source) = self.source.take() {
            source.finish().await?;
        }
        Ok(())
    }
}

impl<B: RawBody> RawBody for FormReader<'_, B> {
    /// An error in S3's words is kept for [`Self::failure`].
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, http::Error> {
        self.read_file(buffer).await.map_err(|error| {
            self.failure = Some(error);
            http::Error::UnexpectedEnd
        })
    }
}

fn malformed() -> S3Error {
    Code::MalformedPOSTRequest.into()
}

fn too_long() -> S3Error {
    Code::MaxPostPreDataLengthExceededError.into()
}

/// The boundary that a content type names.
fn boundary(content_type: &str) -> Result<&str> {
    let (kind, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return Err(S3Error::from(Code::PreconditionFailed)
            .field("Condition", "Bucket POST must be of the enclosure-type multipart/form-data"));
    }
    let boundary = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"'))
    });
    let is_boundary = |text: &&str| (1..=FORM_BOUNDARY_BYTES_MAX).contains(&text.len());
    boundary.filter(is_boundary).ok_or_else(malformed)
}

/// What the headers of a part say of it.
#[derive(Debug, PartialEq, Eq)]
struct Part {
    name: String,
    file_name: Option<String>,
}

impl Part {
    fn parse(headers: &[u8]) -> Result<Self> {
        let headers = std::str::from_utf8(headers).map_err(|_| malformed())?;
        let disposition = headers.split("\r\n").find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.trim().eq_ignore_ascii_case("content-disposition").then(|| value.trim())
        });
        let rest = disposition.and_then(|value| {
            let start = value.get(..9).filter(|start| start.eq_ignore_ascii_case("form-data"))?;
            value.get(start.len()..)
        });
        let parameters = parameters(rest.ok_or_else(malformed)?).ok_or_else(malformed)?;
        let find = |name: &str| {
            let found = parameters.iter().find(|(found, _)| found.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.as_str())
        };
        let name = find("name").filter(|name| !name.is_empty()).ok_or_else(malformed)?;
        // Some browsers send the whole path.
        let file_name = find("filename").and_then(|path| path.rsplit(['/', '\\']).next());
        Ok(Self { name: name.to_owned(), file_name: file_name.map(str::to_owned) })
    }
}

/// `; name=value; name="value"`
fn parameters(mut text: &str) -> Option<Vec<(&str, String)>> {
    let mut found = Vec::new();
    loop {
        text = text.trim_start();
        if text.is_empty() {
            return Some(found);
        }
        let (name, rest) = text.strip_prefix(';')?.split_once('=')?;
        let (value, rest) = match rest.strip_prefix('"') {
            Some(quoted) => split_quoted(quoted)?,
            None => {
                let end = rest.find(';').unwrap_or(rest.len());
                (rest[..end].trim().to_owned(), &rest[end..])
            }
        };
        found.push((name.trim(), value));
        text = rest;
    }
}

/// Reads up to the closing quote. A backslash quotes nothing but a quote, since paths hold some; what
/// browsers write as a code for a quote or a line end is that again.
fn split_quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        match (character, characters.peek()) {
            ('\\', Some((_, '"'))) => {
                value.push('"');
                characters.next();
            }
            ('"', _) => {
                let value = value.replace("%22", "\"").replace("%0D", "\r").replace("%0A", "\n");
                return Some((value, &text[at + 1..]));
            }
            _ => value.push(character),
        }
    }
    None
}

fn find(bytes: &[u8], mark: &[u8]) -> Option<usize> {
    let first = mark.first()?;
    let mut from = 0;
    loop {
        from += bytes.get(from..)?.iter().position(|byte| byte == first)?;
        if bytes[from..].starts_with(mark) {
            return Some(from);
        }
        from += 1;
    }
}

#[cfg(test)]
mod tests;
