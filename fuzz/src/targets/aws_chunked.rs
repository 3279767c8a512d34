//! The `aws-chunked` framing: as strangers may send it, and as a client signs it.
//!
//! `unsigned`: the first line of an input is the announced length and, behind a blank, the announced trailer; the rest
//! is the body. Oracles: the decoder takes what the reference takes and gives out the same bytes, however the body is
//! cut.
//!
//! `signed`: an input says how a body is made and signed, by the load generator's signer, which shares no code with
//! the server; and which of its bytes is changed. Oracles: what was signed is taken; what was changed is refused, or
//! means the same.

use crate::chance::Chance;
use crate::reader::Reader;
use crate::reference;
use loadgen::sign::Signer;
use s3api::auth::Credentials;
use s3api::auth::chunked::{ChunkDecoder, ChunkSigner, ChunkedForm, Trailers};
use s3api::auth::timestamp::Timestamp;
use s3api::limits::{CHUNK_LINE_BYTES_MAX, TRAILER_BYTES_MAX};
use sha2::{Digest, Sha256};

const TRAILER: &str = "x-amz-checksum-crc32";
const ACCESS_KEY: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET_KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const REGION: &str = "us-east-1";
const STAMP: &str = "20130524T000000Z";
const SEED: [u8; 32] = [7; 32];

pub fn unsigned(input: &[u8]) {
    let Some(end) = input.iter().position(|byte| *byte == b'\n') else { return };
    let (line, body) = (&input[..end], &input[end + 1..]);
    let Ok(line) = std::str::from_utf8(line) else { return };
    let (length, announced) = match line.split_once(' ') {
        Some((length, name)) => (length, Some([name])),
        None => (line, None),
    };
    let Ok(decoded_bytes) = length.parse() else { return };
    // A name is announced in lower case or not found, which routing sees to.
    if announced.is_some_and(|[name]| name.is_empty() || name != name.trim().to_lowercase()) {
        return;
    }
    let form = || ChunkedForm {
        decoded_bytes,
        signer: None,
        trailers: announced.map(|[name]| vec![name.to_owned()]),
    };
    let announced = announced.as_ref().map(<[&str; 1]>::as_slice);
    let expected = reference::aws_chunked::decode(
        body,
        decoded_bytes,
        announced,
        CHUNK_LINE_BYTES_MAX,
        TRAILER_BYTES_MAX,
    )
    .map(|(data, trailers)| (data, trailers.into_iter().collect()));
    let mut chance = Chance::of(input);
    for pieces in [vec![body], chance.cut(body), body.chunks(1).collect()] {
        assert_eq!(decode(form(), pieces), expected, "the decoder and the reference differ");
    }
}

/// Data and trailers; none if the body is refused.
fn decode(form: ChunkedForm, pieces: Vec<&[u8]>) -> Option<(Vec<u8>, Trailers)> {
    let mut decoder = ChunkDecoder::new(form);
    let mut data = Vec::new();
    for piece in pieces {
        let mut piece = piece.to_vec();
        let count = decoder.decode(&mut piece).ok()?;
        data.extend_from_slice(&piece[..count]);
    }
    decoder.finish().ok().map(|trailers| (data, trailers))
}

pub fn signed(input: &[u8]) {
    let mut reader = Reader::new(input);
    let has_trailer = reader.u8() & 1 == 1;
    let at = usize::from(reader.u16());
    let change = reader.u8();
    let trailer_value: String =
        reader.short().iter().map(|byte| char::from(b'!' + byte % 90)).collect();
    let mut chunks: Vec<&[u8]> = Vec::new();
    while !reader.is_empty() && chunks.len() < 8 {
        chunks.push(reader.short());
    }
    chunks.retain(|chunk| !chunk.is_empty());
    let data = chunks.concat();
    let trailer = has_trailer.then_some(trailer_value.as_str());
    let body = sign_body(&chunks, trailer);
    let decoded_bytes = data.len() as u64;
    let form = || signed_form(decoded_bytes, has_trailer);
    let trailers: Trailers =
        trailer.map(|value| (TRAILER.to_owned(), value.to_owned())).into_iter().collect();
    let expected = Some((data, trailers));
    let mut chance = Chance::of(input);
    for pieces in [vec![body.as_slice()], chance.cut(&body)] {
        assert_eq!(decode(form(), pieces), expected, "what was signed is not taken");
    }
    // One byte is changed, taken out or put in, or the body ends early.
    let at = at % body.len();
    let mut changed = body.clone();
    match change % 4 {
        0 => changed[at] ^= 1 << (change >> 5),
        1 => drop(changed.remove(at)),
        2 => changed.insert(at, change),
        _ => changed.truncate(at),
    }
    if let Some(taken) = decode(form(), chance.cut(&changed)) {
        assert_eq!(Some(taken), expected, "what was changed at {at} passes for what was signed");
    }
}

fn sign_body(chunks: &[&[u8]], trailer: Option<&str>) -> Vec<u8> {
    let mut signer = Signer::new(ACCESS_KEY, SECRET_KEY, REGION);
    // Sets the signer's day.
    signer.sign(&STAMP[..8], b"");
    let mut signer = signer.chunks(STAMP, SEED);
    let mut body = Vec::new();
    for chunk in chunks.iter().copied().chain([&b""[..]]) {
        let signature = hex::encode(signer.chunk(&Sha256::digest(chunk)));
        let line = format!("{:x};chunk-signature={signature}\r\n", chunk.len());
        body.extend_from_slice(line.as_bytes());
        body.extend_from_slice(chunk);
        if !chunk.is_empty() {
            body.extend_from_slice(b"\r\n");
        }
    }
    if let Some(value) = trailer {
        let signature = hex::encode(signer.trailers(&format!("{TRAILER}:{value}\n")));
        let lines = format!("{TRAILER}:{value}\r\nx-amz-trailer-signature:{signature}\r\n");
        body.extend_from_slice(lines.as_bytes());
    }
    body.extend_from_slice(b"\r\n");
    body
}

fn signed_form(decoded_bytes: u64, has_trailer: bool) -> ChunkedForm {
    let credentials = Credentials::new(REGION);
    credentials.insert(ACCESS_KEY, SECRET_KEY);
    let day = STAMP.as_bytes().first_chunk().expect("a stamp begins with its day");
    let (_, key) = credentials.signing_key(ACCESS_KEY, day).expect("the key is known");
    let time = Timestamp::from_basic(STAMP.as_bytes()).expect("the stamp is well-formed");
    let scope = format!("{}/{REGION}/s3/aws4_request", &STAMP[..8]);
    ChunkedForm {
        decoded_bytes,
        signer: Some(Box::new(ChunkSigner::new(key, time, scope, &hex::encode(SEED)))),
        trailers: has_trailer.then(|| vec![TRAILER.to_owned()]),
    }
}
