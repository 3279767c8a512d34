//! Forms whole and broken, in pieces of every size.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::auth::Payload;
use futures_lite::future::block_on;

/// Gives out a body in pieces of at most so many bytes.
struct Pieces<'a>(&'a [u8], usize);

impl RawBody for Pieces<'_> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, http::Error> {
        let count = self.1.min(buffer.len()).min(self.0.len());
        buffer[..count].copy_from_slice(&self.0[..count]);
        self.0 = &self.0[count..];
        Ok(count)
    }
}

const TYPE: &str = "multipart/form-data; boundary=XyZ";

/// The fields and the file, read through a buffer of `into` bytes.
fn read(body: &[u8], piece: usize, into: usize) -> Result<(Fields, Vec<u8>)> {
    let mut pieces = Pieces(body, piece);
    let mut form = FormReader::new(TYPE, PayloadReader::new(Payload::Unsigned, &mut pieces))?;
    block_on(async {
        let fields = form.fields().await?;
        let mut file = Vec::new();
        let mut buffer = vec![0; into];
        loop {
            match form.read(&mut buffer).await {
                Ok(0) => return Ok((fields, file)),
                Ok(count) => file.extend_from_slice(&buffer[..count]),
                Err(_) => return Err(form.failure().unwrap()),
            }
        }
    })
}

fn field(name: &str, value: &str) -> String {
    format!("--XyZ\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
}

fn file(bytes: &[u8]) -> Vec<u8> {
    let head = "--XyZ\r\ncontent-disposition: form-data; name=\"file\"; filename=\"C:\\dir\\a b.txt\"\r\n\
        Content-Type: text/plain\r\n\r\n";
    [head.as_bytes(), bytes, b"\r\n--XyZ"].concat()
}

fn form(fields: &[(&str, &str)], bytes: &[u8], end: &str) -> Vec<u8> {
    let fields: String = fields.iter().map(|(name, value)| field(name, value)).collect();
    [fields.as_bytes(), &file(bytes), end.as_bytes()].concat()
}

/// 20 KB of a form became 9 MB, which were kept for as long as its file took to come: a thousand times
/// `${filename}`, and a long name.
#[test]
fn the_name_of_the_file_makes_fields_no_longer_than_a_form_may_have() {
    let places = FILE_NAME.repeat(900);
    let long = "n".repeat(9000);
    let body = |name: &str| {
        let head =
            format!("--XyZ\r\nContent-Disposition: form-data; name=file; filename={name}\r\n");
        [field("x-ignore-a", &places), head, "\r\nx\r\n--XyZ--\r\n".to_owned()].concat()
    };
    check_refused(body(&long).as_bytes(), Code::MaxPostPreDataLengthExceededError);
    let (fields, _) = read(body("a-name").as_bytes(), 4096, 4096).unwrap();
    assert_eq!(fields.get("x-ignore-a"), Some("a-name".repeat(900).as_str()));
}

#[test]
fn fields_and_file_come_out_whole_through_buffers_of_every_size() {
    let mut data: Vec<u8> = (0..200_000u32).map(|value| (value % 251) as u8).collect();
    // What looks like a delimiter at first.
    data.extend_from_slice(b"\r\n--Xy\r\r\n--X\r\n\r\n--xyz");
    let body = form(&[("Key", "up/${filename}"), ("empty", ""), ("x", "a\r\nb")], &data, "--\r\n");
    for into in [1, 7, 4096, 300_000] {
        for piece in [1, 1000, 1 << 20] {
            let (fields, found) = read(&body, piece, into).unwrap();
            assert!(found == data, "{into} {piece}");
            assert_eq!(fields.get("key"), Some("up/a b.txt"));
            assert_eq!(fields.get("empty"), Some(""));
            assert_eq!(fields.get("x"), Some("a\r\nb"));
        }
    }
}

#[test]
fn a_form_may_begin_and_end_as_rfc_2046_allows() {
    for end in ["--", "--\r\n", "--\r\nepilogue", " \t\r\n\r\nmore\r\n--XyZ--"] {
        let found = read(&form(&[("key", "k")], b"data", end), 10, 10).unwrap();
        assert_eq!(found.1, b"data", "{end:?}");
    }
    let late = format!("\r\n{}--XyZ--\r\n", field("submit", "Send"));
    assert_eq!(read(&form(&[], b"", &late), 10, 10).unwrap().1, b"");
    let preamble = [b"preamble\r\n".to_vec(), form(&[], b"data", "--")].concat();
    assert_eq!(read(&preamble, 1, 10).unwrap().1, b"data");
}

fn check_refused(body: &[u8], code: Code) {
    for piece in [1, 1 << 20] {
        let error = read(body, piece, 100).unwrap_err();
        assert_eq!(error.code, code, "{}", String::from_utf8_lossy(body));
    }
}

#[test]
fn forms_that_are_refused() {
    check_refused(b"", Code::MalformedPOSTRequest);
    check_refused(b"--XyZ", Code::MalformedPOSTRequest);
    check_refused(b"--XyZ--\r\n", Code::InvalidArgument);
    check_refused(format!("{}--XyZ--", field("key", "k")).as_bytes(), Code::InvalidArgument);
    check_refused(b"--XyZjunk\r\n\r\n", Code::MalformedPOSTRequest);
    check_refused(b"--XyZ\r\n\r\nvalue\r\n--XyZ--", Code::MalformedPOSTRequest);
    let whole = form(&[("key", "k")], b"data", "--");
    for end in [1, 2, 8, 60, 100] {
        check_refused(&whole[..whole.len() - end], Code::MalformedPOSTRequest);
    }
    check_refused(&form(&[], b"data", "junk"), Code::MalformedPOSTRequest);
    check_refused(&form(&[("a", "1"), ("A", "2")], b"", "--"), Code::InvalidArgument);
    let not_text =
        [b"--XyZ\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n\xff\r\n", &*whole];
    check_refused(&not_text.concat(), Code::MalformedPOSTRequest);
    for disposition in
        ["form-data", "form-data; name=\"\"", "attachment; name=a", "form-data; name=\"a"]
    {
        let body = format!("--XyZ\r\nContent-Disposition: {disposition}\r\n\r\nv\r\n--XyZ--");
        check_refused(body.as_bytes(), Code::MalformedPOSTRequest);
    }
}

#[test]
fn what_is_before_and_behind_the_file_is_bounded() {
    let long = "v".repeat(FORM_FIELDS_BYTES_MAX);
    let too_long = Code::MaxPostPreDataLengthExceededError;
    check_refused(&form(&[("a", &long)], b"", "--"), too_long);
    check_refused(&form(&[], b"", &format!("--\r\n{long}x")), too_long);
    check_refused(" ".repeat(FORM_FIELDS_BYTES_MAX * 2).as_bytes(), too_long);
    let blanks = format!("--XyZ{}", " ".repeat(FORM_FIELDS_BYTES_MAX * 2));
    check_refused(blanks.as_bytes(), too_long);
}

#[test]
fn content_types() {
    let check = |text: &str, expected: Result<&str, Code>| {
        assert_eq!(boundary(text).map_err(|error| error.code), expected, "{text}");
    };
    check("multipart/form-data; boundary=abc", Ok("abc"));
    check("Multipart/Form-Data;charset=utf-8; Boundary=\"a b\"", Ok("a b"));
    check("multipart/form-data", Err(Code::MalformedPOSTRequest));
    check("multipart/form-data; boundary=", Err(Code::MalformedPOSTRequest));
    let long = format!("multipart/form-data; boundary={}", "b".repeat(300));
    check(&long, Err(Code::MalformedPOSTRequest));
    check("application/x-www-form-urlencoded", Err(Code::PreconditionFailed));
    check("", Err(Code::PreconditionFailed));
}

#[test]
fn names_of_files() {
    let name = |header: &str| {
        let part = Part::parse(format!("Content-Disposition: form-data; {header}").as_bytes());
        part.unwrap().file_name.unwrap()
    };
    assert_eq!(name("name=\"f\"; filename=\"/home/me/a.txt\""), "a.txt");
    assert_eq!(name("name=f; filename=a.txt"), "a.txt");
    assert_eq!(name("filename=\"a%22b\\\"c;d=e.txt\"; name=\"f\""), "a\"b\"c;d=e.txt");
    assert_eq!(name("name=\"f\"; filename=\"süß 日本.txt\""), "süß 日本.txt");
    assert_eq!(name("name=\"f\"; filename=\"\""), "");
}
