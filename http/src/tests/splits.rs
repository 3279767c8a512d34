//! How the input is cut into reads never matters, and no input panics.

use proptest::prelude::*;

use super::support::*;
use crate::*;

/// A conversation with every kind of framing in it, well-formed to its end.
const CONVERSATION: &str = "\r\nGET /echo HTTP/1.1\r\nHost: a\r\n\r\n\
    PUT /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 25\r\n\r\nGET / HTTP/1.1 is a body.\
    PUT /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
    5;q=1\r\nhello\r\n10\r\n0123456789abcdef\r\n0\r\nx: y\r\n\r\n\
    PUT /ignore HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\nunread bytes\
    HEAD /stream?5,ab,cde HTTP/1.1\r\nHost: a\r\n\r\n\
    GET /stream?5,ab,cde HTTP/1.1\r\nHost: a\r\n\r\n\
    GET /echo HTTP/1.0\r\nConnection: keep-alive\r\n\r\n\
    OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// What the connection said and how it ended, when the input is cut at `cuts`.
fn run(input: &[u8], cuts: &[usize]) -> (String, String) {
    let mut cuts: Vec<usize> = cuts.iter().map(|&cut| cut.min(input.len())).collect();
    cuts.extend([0, input.len()]);
    cuts.sort_unstable();
    cuts.dedup();
    let steps = cuts.windows(2).map(|cut| send(&input[cut[0]..cut[1]]));
    let outcome = Run::default().steps(steps);
    (outcome.output, format!("{:?} {:?}", outcome.result, outcome.errors))
}

#[test]
fn every_split_point_gives_the_same_answers() {
    let input = CONVERSATION.as_bytes();
    let whole = run(input, &[]);
    assert_eq!(whole.0.matches("HTTP/1.1 200 OK").count(), 7, "{}", whole.0);
    assert!(whole.0.contains("404 Not Found"), "{}", whole.0);
    for cut in 1..input.len() {
        assert_eq!(run(input, &[cut]), whole, "cut at {cut}");
    }
    let every: Vec<usize> = (0..input.len()).collect();
    assert_eq!(run(input, &every), whole);
}

/// Inputs near enough to HTTP to get past its first checks.
fn nearly_http() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"GET /echo HTTP/1.1\r\n".to_vec()),
        Just(b"PUT /echo HTTP/1.1\r\n".to_vec()),
        Just(b"GET /ignore HTTP/1.0\r\n".to_vec()),
        Just(b"GET / HTTP/2.0\r\n".to_vec()),
        Just(b"Host: a\r\n".to_vec()),
        Just(b"Content-Length: 4\r\n".to_vec()),
        Just(b"Transfer-Encoding: chunked\r\n".to_vec()),
        Just(b"Connection: keep-alive\r\n".to_vec()),
        Just(b"4\r\nbody\r\n0\r\n\r\n".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"\r".to_vec()),
        Just(b" ".to_vec()),
        Just(b"HTTP/".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..4),
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_splits_give_the_same_answers(
        cuts in proptest::collection::vec(0..CONVERSATION.len(), 0..20),
    ) {
        let input = CONVERSATION.as_bytes();
        prop_assert_eq!(run(input, &cuts), run(input, &[]));
    }

    #[test]
    fn random_bytes_do_no_harm(input in proptest::collection::vec(any::<u8>(), 0..600)) {
        let (output, _) = run(&input, &[]);
        prop_assert!(output.is_empty() || output.starts_with("HTTP/1.1 "));
    }

    #[test]
    fn refusals_do_not_depend_on_splits(
        input in nearly_http(),
        cuts in proptest::collection::vec(0usize..200, 0..10),
    ) {
        prop_assert_eq!(run(&input, &cuts), run(&input, &[]));
    }

    #[test]
    fn a_damaged_conversation_is_judged_alike_however_it_is_split(
        at in 0..CONVERSATION.len(),
        byte in any::<u8>(),
        cuts in proptest::collection::vec(0..CONVERSATION.len(), 0..10),
    ) {
        let mut input = CONVERSATION.as_bytes().to_vec();
        input[at] = byte;
        prop_assert_eq!(run(&input, &cuts), run(&input, &[]));
    }

    #[test]
    fn heads_never_panic(bytes in nearly_http()) {
        let _ = RequestHead::parse(&bytes);
    }
}
