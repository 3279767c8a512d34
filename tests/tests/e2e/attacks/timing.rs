//! Whether the time of an answer tells how much of a signature or a key was right. That all comparisons of
//! secrets take constant time is held by `tests/tidy.rs`; here it is measured, which a busy machine spoils, so
//! that the usual run is short and its bound wide. `RINGFORT_TIMINGS=20000` measures in earnest, alone on a host:
//!
//! ```text
//! RINGFORT_TIMINGS=20000 cargo test --release -p ringfort-tests --test e2e timing -- --nocapture
//! ```

use std::time::Instant;

use ringfort_tests::harness::client::{Client, Request, Signing};
use ringfort_tests::harness::{ACCESS_KEY, Site, setting};

/// Mean, variance of the mean, and the time that a tenth took less than, in microseconds, without the slowest
/// tenth: those waited for something.
fn summary(mut times: Vec<f64>) -> (f64, f64, f64) {
    times.sort_by(f64::total_cmp);
    let quick = times[times.len() / 10];
    times.truncate(times.len() * 9 / 10);
    let count = times.len() as f64;
    let mean = times.iter().sum::<f64>() / count;
    let variance = times.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / (count - 1.0);
    (mean, variance / count, quick)
}

/// Times both kinds of request in turn, in a random order, and says Welch's t of their difference.
fn compare(
    client: &mut Client,
    rounds: u64,
    kinds: [&dyn Fn() -> Vec<u8>; 2],
    status: u16,
    what: &str,
) {
    let mut times = [Vec::new(), Vec::new()];
    let mut chance = 0x9e37_79b9_7f4a_7c15u64;
    for _ in 0..rounds {
        chance ^= chance << 13;
        chance ^= chance >> 7;
        chance ^= chance << 17;
        let first = usize::from(chance & 1 == 1);
        for kind in [first, 1 - first] {
            let bytes = kinds[kind]();
            let asked = Instant::now();
            let answer = client.exchange(&bytes, false).unwrap();
            times[kind].push(asked.elapsed().as_secs_f64() * 1e6);
            assert_eq!(answer.status, status, "{what}: {}", answer.text());
        }
    }
    let [(one, one_error, one_quick), (two, two_error, two_quick)] = times.map(summary);
    let t = (one - two) / (one_error + two_error).sqrt();
    #[expect(clippy::print_stderr, reason = "the figures are what the run is for")]
    {
        eprintln!(
            "{what}: {one:.2} us and {two:.2} us, differing by {:+.3} us, t = {t:+.2}, {rounds} each",
            one - two
        );
    }
    // What nothing disturbed took as long; the mean of a busy machine says little.
    let apart = (one_quick - two_quick).abs();
    assert!(apart < 0.2 * one_quick, "{what}: {one_quick} us and {two_quick} us");
}

#[test]
fn the_time_of_an_answer_does_not_tell_how_much_of_a_secret_was_right() {
    let rounds = setting("RINGFORT_TIMINGS", 300);
    let site = Site::new().flags(&["--cores", "1", "--shards", "1"]);
    let server = site.start();
    let mut client = server.client();
    client.put("/bucket", "").expect(200);
    let host = server.listen.to_string();
    // A signature that is wrong from its digit `digit` on.
    let wrong_from = |digit: usize| {
        let head = String::from_utf8(Request::new("GET", "/bucket").head(&host)).unwrap();
        let at = head.find("Signature=").unwrap() + "Signature=".len();
        let wrong: String = head[at + digit..at + 64]
            .chars()
            .map(|character| if character == '0' { '1' } else { '0' })
            .collect();
        [&head[..at + digit], &wrong, &head[at + 64..]].concat().into_bytes()
    };
    let (none, most) = (|| wrong_from(0), || wrong_from(63));
    compare(&mut client, rounds, [&none, &most], 403, "signature: no digit right, and 63 of 64");
    let again = || wrong_from(0);
    compare(&mut client, rounds, [&none, &again], 403, "signature: no digit right, twice the same");
    // Whether there is such an access key is told by the code of the answer, as AWS tells it.
    let by = |key: &str| {
        let signing = Signing::new(key, "wrong-secret-of-some-length");
        Request::new("GET", "/bucket").signed_by(Some(signing)).head(&host)
    };
    let unknown = format!("{}X", &ACCESS_KEY[..ACCESS_KEY.len() - 1]);
    let (known, unknown) = (|| by(ACCESS_KEY), || by(&unknown));
    compare_codes(&mut client, rounds, &known, &unknown);
    drop(client);

    // The key of the management port is compared by its digest. One wrong key each, which may be shown again.
    let mut admin = Client::new(server.admin_listen);
    let show = |key: &'static str| {
        move || {
            format!("GET /api/v1/whoami HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n\r\n")
                .into_bytes()
        }
    };
    let (none, most) = (show("xxxxxxxx"), show("test-kex"));
    compare(
        &mut admin,
        rounds,
        [&none, &most],
        401,
        "API key: no letter right, and all but the last",
    );
    drop(admin);
    server.stop();
}

/// The two answers differ in their length as well: what is measured is shown, and held to nothing.
fn compare_codes(
    client: &mut Client,
    rounds: u64,
    known: &dyn Fn() -> Vec<u8>,
    unknown: &dyn Fn() -> Vec<u8>,
) {
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for (kind, make) in [known, unknown].into_iter().enumerate() {
            let bytes = make();
            let asked = Instant::now();
            let answer = client.exchange(&bytes, false).unwrap();
            times[kind].push(asked.elapsed().as_secs_f64() * 1e6);
            assert_eq!(answer.code(), ["SignatureDoesNotMatch", "InvalidAccessKeyId"][kind]);
        }
    }
    let [(one, ..), (two, ..)] = times.map(summary);
    #[expect(clippy::print_stderr, reason = "the figures are what the run is for")]
    {
        eprintln!("access key: known {one:.2} us, unknown {two:.2} us, {rounds} each");
    }
}
