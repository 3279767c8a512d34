//! SIGKILL at random moments under load: no acknowledged write is lost, none is half visible.
//!
//! `RINGFORT_KILLS` says how often, `RINGFORT_SEED` which moments. Every writer is the only one of its
//! keys, so that what it may find after a restart is known exactly: what was last acknowledged, or
//! what was under way when the server died.

mod oracle;
mod writer;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use ringfort_tests::harness::chance::Chance;
use ringfort_tests::harness::{Server, Site, setting};

use writer::Writer;

const BUCKET: &str = "/kill-loop";
const WRITERS: u64 = 6;

#[test]
fn a_kill_at_any_moment_loses_nothing_that_was_acknowledged() {
    let (kills, seed) = (setting("RINGFORT_KILLS", 10), setting("RINGFORT_SEED", 1));
    let site = Site::new().flags(&["--capacity", "24GiB"]);
    let mut chance = Chance::new(seed);
    let mut writers: Vec<Writer> =
        (0..WRITERS).map(|number| Writer::new(number, Chance::new(seed << 8 | number))).collect();
    let mut server = site.start();
    server.client().put(BUCKET, "").expect(200);
    let mut acknowledged = 0;
    for round in 0..kills {
        let load = Duration::from_millis(chance.below(600));
        acknowledged += under_load(&mut writers, load, server, |server| end(server, round));
        // Now and then it dies again before it has understood what it found.
        if round % 3 == 2 {
            site.start_and_kill(Duration::from_micros(chance.below(120_000)));
        }
        server = site.start();
        thread::scope(|scope| {
            for writer in &mut writers {
                let client = server.client();
                scope.spawn(move || writer.verify(client));
            }
        });
        verify_listing(&server, &writers);
    }
    assert!(acknowledged > kills, "only {acknowledged} writes were acknowledged");
    server.stop();
}

/// Mostly a kill; now and then the orderly stop, which may cut requests off but no acknowledged one.
fn end(server: Server<'_>, round: u64) {
    if round % 5 == 4 { server.stop() } else { server.kill() }
}

/// Runs all writers until the server is gone; says how many writes it acknowledged.
fn under_load<'a>(
    writers: &mut [Writer],
    load: Duration,
    server: Server<'a>,
    end: impl FnOnce(Server<'a>),
) -> u64 {
    let is_ending = AtomicBool::new(false);
    thread::scope(|scope| {
        let running: Vec<_> = writers
            .iter_mut()
            .map(|writer| {
                let (client, is_ending) = (server.client(), &is_ending);
                scope.spawn(move || writer.write_until_the_end(client, is_ending))
            })
            .collect();
        // The moment is the point of this sleep, not a condition.
        thread::sleep(load);
        is_ending.store(true, Ordering::SeqCst);
        end(server);
        running.into_iter().map(|writer| writer.join().unwrap()).sum()
    })
}

/// The listing holds exactly the keys that GET has found.
fn verify_listing(server: &Server<'_>, writers: &[Writer]) {
    let mut expected: Vec<String> = writers.iter().flat_map(Writer::present_keys).collect();
    expected.sort();
    let page = server.client().get(&format!("{BUCKET}?list-type=2")).expect(200).text();
    assert!(page.contains("<IsTruncated>false</IsTruncated>"), "the test has too many keys");
    let keys = page.split("<Key>").skip(1).map(|rest| rest.split('<').next().unwrap().to_owned());
    assert_eq!(keys.collect::<Vec<_>>(), expected);
    let uploads = server.client().get(&format!("{BUCKET}?uploads=")).expect(200).text();
    let known: usize = writers.iter().map(Writer::open_uploads).sum();
    assert_eq!(uploads.matches("<UploadId>").count(), known, "{uploads}");
}
