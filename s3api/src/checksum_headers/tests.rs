//! What requests say of checksums, right and wrong; checksums of parts joined.

#![allow(clippy::unwrap_used)]

use super::*;
use engine::checksum::Md5;

fn plan(
    headers: &[(&str, &'static str)],
    declared: Option<Algorithm>,
) -> Result<ChecksumPlan, S3Error> {
    ChecksumPlan::parse(getter(headers), declared)
}

fn getter<'a>(headers: &'a [(&str, &'static str)]) -> impl Fn(&str) -> Option<&'a [u8]> {
    |name| headers.iter().find(|(found, _)| *found == name).map(|(_, value)| value.as_bytes())
}

fn digest(algorithm: Algorithm, bytes: &[u8]) -> Vec<u8> {
    let mut hasher = Hasher::new(algorithm);
    hasher.update(bytes);
    hasher.finish().as_ref().to_vec()
}

fn verify(headers: &[(&str, &'static str)], body: &[u8]) -> Result<Checksum, S3Error> {
    let plan = plan(headers, None)?;
    let mut md5 = Md5::new();
    md5.update(body);
    plan.verify(&digest(plan.algorithm(), body), &md5.finish(), &Trailers::default())
}

const BODY: &[u8] = b"123456789";

#[test]
fn crc64nvme_is_kept_if_the_client_names_nothing() {
    let kept = verify(&[], BODY).unwrap();
    assert_eq!(
        kept.headers(),
        [
            ("x-amz-checksum-crc64nvme", "rosUhgp5mIg=".to_owned()),
            ("x-amz-checksum-type", "FULL_OBJECT".to_owned()),
        ]
    );
    assert_eq!(plan(&[], Some(Algorithm::Sha1)).unwrap().algorithm(), Algorithm::Sha1);
}

#[test]
fn what_the_client_sends_is_compared() {
    let good = [("x-amz-checksum-crc32", "y/Q5Jg=="), ("x-amz-sdk-checksum-algorithm", "CRC32")];
    assert_eq!(verify(&good, BODY).unwrap().text(), "y/Q5Jg==");
    let error = verify(&good, b"12345678").unwrap_err();
    assert_eq!(error.code, Code::BadDigest);
    assert_eq!(error.message, "The CRC32 you specified did not match the calculated checksum.");

    let good = [("content-md5", "JfnnlDI7RTiF9RgfG2JNCw==")];
    assert_eq!(verify(&good, BODY).unwrap().algorithm, Algorithm::Crc64Nvme);
    let error = verify(&good, b"").unwrap_err();
    assert_eq!(error.code, Code::BadDigest);
    assert_eq!(error.fields[0], ("ExpectedDigest", "JfnnlDI7RTiF9RgfG2JNCw==".to_owned()));
}

#[test]
fn a_trailer_is_compared_when_it_has_come() {
    let plan = plan(&[("x-amz-trailer", "X-Amz-Checksum-Crc32")], None).unwrap();
    let verify = |trailers: &[(&str, &str)]| {
        let trailers = trailers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let digest = digest(Algorithm::Crc32, BODY);
        plan.verify(&digest, &[0; 16], &trailers).map_err(|error| error.code)
    };
    assert_eq!(verify(&[("x-amz-checksum-crc32", "y/Q5Jg==")]).unwrap().text(), "y/Q5Jg==");
    assert_eq!(verify(&[("x-amz-checksum-crc32", "AAAAAA==")]), Err(Code::BadDigest));
    assert_eq!(verify(&[("x-amz-checksum-crc32", "AAAA")]), Err(Code::InvalidRequest));
    assert_eq!(verify(&[]), Err(Code::MalformedTrailerError));
}

fn check_refused(headers: &[(&str, &'static str)], code: Code) {
    assert_eq!(plan(headers, None).unwrap_err().code, code, "{headers:?}");
}

#[test]
fn headers_that_make_no_sense_are_refused() {
    let crc32 = ("x-amz-checksum-crc32", "y/Q5Jg==");
    check_refused(&[("x-amz-checksum-crc32", "y/Q5")], Code::InvalidRequest);
    check_refused(&[("x-amz-checksum-crc32", "?")], Code::InvalidRequest);
    check_refused(&[("x-amz-checksum-sha1", "y/Q5Jg==")], Code::InvalidRequest);
    check_refused(&[crc32, ("x-amz-checksum-crc32c", "4waSgw==")], Code::InvalidRequest);
    check_refused(&[crc32, ("x-amz-trailer", "x-amz-checksum-crc32c")], Code::InvalidRequest);
    check_refused(&[("x-amz-trailer", "x-amz-meta-a")], Code::InvalidRequest);
    check_refused(&[("x-amz-sdk-checksum-algorithm", "CRC32")], Code::InvalidRequest);
    check_refused(&[crc32, ("x-amz-sdk-checksum-algorithm", "SHA1")], Code::InvalidRequest);
    check_refused(&[crc32, ("x-amz-sdk-checksum-algorithm", "MD4")], Code::InvalidRequest);
    check_refused(&[("content-md5", "x")], Code::InvalidDigest);
    check_refused(&[("content-md5", "y/Q5Jg==")], Code::InvalidDigest);
    let error = plan(&[crc32], Some(Algorithm::Sha1)).unwrap_err();
    assert!(error.message.ends_with("expected checksum Type: sha1, actual checksum Type: crc32"));
}

type Declared = Option<(Algorithm, ChecksumType)>;

fn check_upload(algorithm: &'static str, kind: &'static str, expected: Result<Declared, Code>) {
    let headers = [("x-amz-checksum-algorithm", algorithm), ("x-amz-checksum-type", kind)];
    let sent: Vec<_> = headers.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    let found = parse_upload_checksum(getter(&sent)).map_err(|error| error.code);
    assert_eq!(found, expected, "{algorithm} {kind}");
}

#[test]
fn an_upload_declares_algorithm_and_type() {
    use Algorithm::{Crc32, Crc32c, Crc64Nvme, Sha256};
    use ChecksumType::{Composite, FullObject};
    let refused = Err(Code::InvalidRequest);
    check_upload("", "", Ok(None));
    check_upload("CRC32", "", Ok(Some((Crc32, Composite))));
    check_upload("crc32c", "FULL_OBJECT", Ok(Some((Crc32c, FullObject))));
    check_upload("CRC64NVME", "", Ok(Some((Crc64Nvme, FullObject))));
    check_upload("SHA256", "", Ok(Some((Sha256, Composite))));
    check_upload("CRC64NVME", "COMPOSITE", refused);
    check_upload("SHA256", "FULL_OBJECT", refused);
    check_upload("", "COMPOSITE", refused);
    check_upload("CRC32", "PARTIAL", refused);
    check_upload("CRC16", "", refused);
}

fn parts(algorithm: Algorithm) -> Vec<(Checksum, u64)> {
    [b"1234".as_slice(), b"5", b"6789"]
        .into_iter()
        .map(|part| {
            let digest = digest(algorithm, part);
            (Checksum::full_object(algorithm, &digest).unwrap(), part.len() as u64)
        })
        .collect()
}

#[test]
fn checksums_of_parts_join() {
    for algorithm in ALGORITHMS {
        let parts = parts(algorithm);
        let full = Checksum::of_parts(algorithm, ChecksumType::FullObject, &parts);
        match algorithm {
            Algorithm::Sha1 | Algorithm::Sha256 => assert_eq!(full, None),
            _ => assert_eq!(full.unwrap().digest(), digest(algorithm, BODY)),
        }
        let composite = Checksum::of_parts(algorithm, ChecksumType::Composite, &parts).unwrap();
        let joined: Vec<u8> = parts.iter().flat_map(|(part, _)| part.digest().to_vec()).collect();
        assert_eq!(composite.digest(), digest(algorithm, &joined));
        assert!(composite.text().ends_with("=-3"));
    }
    let mixed = [parts(Algorithm::Crc32)[0], parts(Algorithm::Sha1)[1]];
    assert_eq!(Checksum::of_parts(Algorithm::Crc32, ChecksumType::Composite, &mixed), None);
    assert_eq!(Checksum::of_parts(Algorithm::Crc32, ChecksumType::FullObject, &[]), None);
}

#[test]
fn a_completed_object_is_compared_too() {
    let parts = parts(Algorithm::Crc32);
    let whole = Checksum::of_parts(Algorithm::Crc32, ChecksumType::FullObject, &parts).unwrap();
    let composite = Checksum::of_parts(Algorithm::Crc32, ChecksumType::Composite, &parts).unwrap();
    let check = |headers: &[(&str, &'static str)], computed: Option<&Checksum>| {
        verify_completed(getter(headers), computed).map_err(|error| error.code)
    };
    let good = [("x-amz-checksum-crc32", "y/Q5Jg=="), ("x-amz-checksum-type", "FULL_OBJECT")];
    assert_eq!(check(&good, Some(&whole)), Ok(()));
    assert_eq!(check(&good, Some(&composite)), Err(Code::InvalidRequest));
    assert_eq!(check(&good[..1], Some(&composite)), Err(Code::BadDigest));
    assert_eq!(check(&good[..1], None), Err(Code::BadDigest));
    assert_eq!(check(&[], None), Ok(()));
    assert_eq!(check(&[("x-amz-checksum-crc32", "-")], Some(&whole)), Err(Code::InvalidRequest));

    let text: &'static str = composite.text().leak();
    assert_eq!(check(&[("x-amz-checksum-crc32", text)], Some(&composite)), Ok(()));
    let bare = text.strip_suffix("-3").unwrap();
    assert_eq!(check(&[("x-amz-checksum-crc32", bare)], Some(&composite)), Ok(()));
    let wrong: &'static str = format!("{bare}-4").leak();
    let found = check(&[("x-amz-checksum-crc32", wrong)], Some(&composite));
    assert_eq!(found, Err(Code::BadDigest));

    assert!(is_part_checksum(&parts[0].0, Algorithm::Crc32, &parts[0].0.text()));
    assert!(!is_part_checksum(&parts[0].0, Algorithm::Crc32, &parts[1].0.text()));
    assert!(!is_part_checksum(&parts[0].0, Algorithm::Crc32c, &parts[0].0.text()));
}
