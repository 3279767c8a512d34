//! Forms of browsers and the policies in them.
//!
//! `form`: an input is a body with the boundary `XyZ`. Oracles: the fields and the file are those that the reference
//! finds in the whole body, however it is cut and through a buffer of any size.
//!
//! `policy`: an input is a policy, and behind a line `--` the fields of a form as lines `name=value`. Oracles: what the
//! reference evaluator says of it; a signature by the load generator is found good, and one of another text is not.

use crate::chance::Chance;
use crate::reference;
use crate::reference::form::Form;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_lite::future::block_on;
use loadgen::sign::Signer;
use s3api::auth::payload::RawBody;
use s3api::auth::post_policy::{PostPolicy, authenticate};
use s3api::auth::{Credentials, Payload, PayloadReader};
use s3api::form::{Fields, FormReader};
use s3api::limits::FORM_FIELDS_BYTES_MAX;

use super::signatures::{ACCESS_KEY, NOW, REGION, SECRET_KEY, STAMP};

const TYPE: &str = "multipart/form-data; boundary=XyZ";

pub fn form(input: &[u8]) {
    let mut chance = Chance::of(input);
    let expected = reference::form::read(input, "XyZ", FORM_FIELDS_BYTES_MAX);
    let whole = read(vec![input], 4096);
    assert_eq!(whole, expected, "the form and the reference differ");
    let into = 1 + chance.below(100);
    assert_eq!(read(chance.cut(input), into), whole, "how the form was cut made a difference");
    assert_eq!(read(input.chunks(1).collect(), 1), whole, "single bytes made a difference");
}

fn read(mut pieces: Vec<&[u8]>, into: usize) -> Option<Form> {
    pieces.retain(|piece| !piece.is_empty());
    pieces.reverse();
    let mut body = Pieces(pieces);
    let source = PayloadReader::new(Payload::Unsigned, &mut body);
    let mut form = FormReader::new(TYPE, source).expect("the type is that of a form");
    block_on(async {
        let fields = form.fields().await.ok()?;
        let fields =
            fields.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let (mut file, mut buffer) = (Vec::new(), vec![0; into]);
        loop {
            match form.read(&mut buffer).await.ok()? {
                0 => return Some((fields, file)),
                count => file.extend_from_slice(&buffer[..count]),
            }
        }
    })
}

/// The last piece comes first.
struct Pieces<'a>(Vec<&'a [u8]>);

impl RawBody for Pieces<'_> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, http::Error> {
        let Some(piece) = self.0.pop() else { return Ok(0) };
        let (given, rest) = piece.split_at(piece.len().min(buffer.len()));
        buffer[..given.len()].copy_from_slice(given);
        if !rest.is_empty() {
            self.0.push(rest);
        }
        Ok(given.len())
    }
}

pub fn policy(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (policy, lines) = text.split_once("\n--\n").unwrap_or((text, ""));
    let encoded = BASE64_STANDARD.encode(policy);
    let mut fields = Fields::default();
    for (name, value) in lines.lines().filter_map(|line| line.split_once('=')) {
        drop(fields.add(name, value.to_owned()));
    }
    let given: Vec<(String, String)> =
        fields.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let expected = reference::post_policy::check(policy, &given, "bucket", NOW);
    let found = PostPolicy::parse(&encoded).and_then(|policy| policy.check(&fields, "bucket", NOW));
    let found = found.ok().map(|range| (*range.start(), *range.end()));
    assert_eq!(found, expected, "the policy and the reference differ");

    // Whoever signs it is found out, and nobody else.
    let credentials = Credentials::new(REGION);
    credentials.insert(ACCESS_KEY, SECRET_KEY);
    let signature =
        Signer::new(ACCESS_KEY, SECRET_KEY, REGION).sign(&STAMP[..8], encoded.as_bytes());
    let signed = |policy: &str| {
        let mut fields = Fields::default();
        let credential = format!("{ACCESS_KEY}/{}/{REGION}/s3/aws4_request", &STAMP[..8]);
        for (name, value) in [
            ("policy", policy),
            ("x-amz-algorithm", "AWS4-HMAC-SHA256"),
            ("x-amz-credential", &credential),
            ("x-amz-date", STAMP),
            ("x-amz-signature", &hex::encode(signature)),
        ] {
            fields.add(name, value.to_owned()).expect("each comes once");
        }
        authenticate(&fields, &credentials, &())
    };
    if let Ok(found) = signed(&encoded) {
        assert_eq!(found.map(|signed| signed.access_key.to_string()).as_deref(), Some(ACCESS_KEY));
    }
    let mut other = encoded.into_bytes();
    if !other.is_empty() {
        let at = Chance::of(input).below(other.len());
        other[at] = if other[at] == b'A' { b'B' } else { b'A' };
        let other = String::from_utf8(other).expect("base64 is text");
        assert!(signed(&other).is_err(), "another policy passes under the same signature");
    }
}
