//! Conditional writes under contention: of clients that ask for the same at the same moment, one wins.
//!
//! Each round has a key of its own. `RINGFORT_RACES` says how many rounds there are; the clients are always
//! as many as [`CLIENTS`].

use std::sync::Barrier;
use std::thread;

use ringfort_tests::harness::client::{Answer, Client, Request};
use ringfort_tests::harness::{Server, Site, setting};

const CLIENTS: usize = 64;
const ROUNDS: u64 = 12;

/// Clients with connections of their own, which stay open from round to round.
struct Field {
    clients: Vec<Client>,
    host: String,
}

impl Field {
    fn new(server: &Server<'_>, clients: usize) -> Self {
        let clients = (0..clients).map(|_| server.client()).collect();
        Self { clients, host: server.listen.to_string() }
    }

    /// Sends one request per client at the same moment.
    fn race(&mut self, request: impl Fn(usize) -> Request) -> Vec<Answer> {
        let barrier = Barrier::new(self.clients.len());
        // Signed beforehand, so that they really start together.
        let bytes = |number| {
            let request: Request = request(number);
            [request.head(&self.host), request.body].concat()
        };
        let requests: Vec<Vec<u8>> = (0..self.clients.len()).map(bytes).collect();
        thread::scope(|scope| {
            let running: Vec<_> = self
                .clients
                .iter_mut()
                .zip(&requests)
                .map(|(client, request)| {
                    let barrier = &barrier;
                    scope.spawn(move || {
                        barrier.wait();
                        client.exchange(request, false).unwrap()
                    })
                })
                .collect();
            running.into_iter().map(|client| client.join().unwrap()).collect()
        })
    }
}

fn rounds() -> u64 {
    setting("RINGFORT_RACES", ROUNDS)
}

/// The one client whose answer is a success; all others must have been told that a condition failed.
#[track_caller]
fn winner(answers: &[Answer], what: &str) -> usize {
    let won = |(_, answer): &(usize, &Answer)| answer.status / 100 == 2;
    let winners: Vec<usize> =
        answers.iter().enumerate().filter(won).map(|(number, _)| number).collect();
    assert_eq!(winners.len(), 1, "{what}: {winners:?} won");
    for answer in answers.iter().filter(|answer| answer.status / 100 != 2) {
        let found = (answer.status, answer.code());
        // AWS says 409 where the other request is still under way.
        let is_right = found == (412, "PreconditionFailed".to_owned())
            || found == (409, "ConditionalRequestConflict".to_owned());
        assert!(is_right, "{what}: {found:?}");
    }
    winners[0]
}

fn with_bucket(site: &Site) -> Server<'_> {
    let server = site.start();
    server.client().put("/bucket", "").expect(200);
    server
}

#[test]
fn of_many_puts_that_want_no_object_there_one_wins() {
    let site = Site::new();
    let server = with_bucket(&site);
    let mut field = Field::new(&server, CLIENTS);
    for round in 0..rounds() {
        let path = format!("/bucket/put-{round}");
        let answers = field.race(|number| {
            Request::new("PUT", &path).header("if-none-match", "*").body(format!("body {number}"))
        });
        let winner = winner(&answers, &path);
        let stored = server.client().get(&path).expect(200);
        assert_eq!(stored.text(), format!("body {winner}"));
        assert_eq!(stored.header("etag"), answers[winner].header("etag"));
    }
    server.stop();
}

#[test]
fn of_many_large_puts_that_want_no_object_there_one_wins() {
    let site = Site::new();
    let server = with_bucket(&site);
    let mut field = Field::new(&server, 8);
    for round in 0..rounds().div_ceil(4) {
        let path = format!("/bucket/large-{round}");
        let answers = field.race(|number| {
            let body = vec![number as u8; 1 << 20];
            Request::new("PUT", &path).header("if-none-match", "*").body(body)
        });
        let winner = winner(&answers, &path);
        let stored = server.client().get(&path).expect(200);
        assert!(stored.body == vec![winner as u8; 1 << 20], "another body than the winner's");
    }
    server.stop();
}

#[test]
fn of_many_copies_that_want_no_object_there_one_wins() {
    let site = Site::new();
    let server = with_bucket(&site);
    let mut client = server.client();
    for number in 0..CLIENTS {
        client.put(&format!("/bucket/from-{number}"), format!("body {number}")).expect(200);
    }
    let mut field = Field::new(&server, CLIENTS);
    for round in 0..rounds() {
        let path = format!("/bucket/copy-{round}");
        let answers = field.race(|number| {
            Request::new("PUT", &path)
                .header("if-none-match", "*")
                .header("x-amz-copy-source", &format!("bucket/from-{number}"))
                .body("")
        });
        let winner = winner(&answers, &path);
        assert_eq!(client.get(&path).expect(200).text(), format!("body {winner}"));
    }
    server.stop();
}

/// A copy takes memory for what it writes, and then for what it reads: with more of them than there is memory for,
/// each would wait for the second until it gave up.
#[test]
fn more_copies_at_once_than_memory_is_for_are_all_made() {
    let site = Site::new();
    let server = with_bucket(&site);
    let body: Vec<u8> =
        (0..4u32 << 20).map(|byte| (byte.wrapping_mul(0x9e37_79b1) >> 24) as u8).collect();
    let mut client = server.client();
    client.put("/bucket/from", body.clone()).expect(200);
    let answers = Field::new(&server, CLIENTS).race(|number| {
        Request::new("PUT", &format!("/bucket/to-{number}"))
            .header("x-amz-copy-source", "bucket/from")
            .body("")
    });
    for answer in answers {
        answer.expect(200);
    }
    for number in [0, CLIENTS - 1] {
        assert!(client.get(&format!("/bucket/to-{number}")).expect(200).body == body);
    }
    server.stop();
}

/// An upload of one part, and the document that completes it.
fn upload(client: &mut Client, path: &str, body: &str) -> (String, String) {
    let upload = client.post(&format!("{path}?uploads="), "").expect(200);
    let id = upload.element("UploadId").unwrap();
    let part = client.put(&format!("{path}?partNumber=1&uploadId={id}"), body).expect(200);
    let etag = part.header("etag").unwrap();
    let document = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>\
         </CompleteMultipartUpload>"
    );
    (id, document)
}

#[test]
fn of_many_completions_that_want_no_object_there_one_wins() {
    let site = Site::new();
    let server = with_bucket(&site);
    let mut client = server.client();
    let mut field = Field::new(&server, CLIENTS);
    for round in 0..rounds().div_ceil(4) {
        let path = format!("/bucket/upload-{round}");
        let uploads: Vec<(String, String)> =
            (0..CLIENTS).map(|n| upload(&mut client, &path, &format!("body {n}"))).collect();
        let answers = field.race(|number| {
            let (id, document) = &uploads[number];
            Request::new("POST", &format!("{path}?uploadId={id}"))
                .header("if-none-match", "*")
                .body(document.as_str())
        });
        let winner = winner(&answers, &path);
        assert_eq!(client.get(&path).expect(200).text(), format!("body {winner}"));
        // The others' uploads are still there, to be completed otherwise or given up.
        for (number, (id, _)) in uploads.iter().enumerate() {
            let left = client.delete(&format!("{path}?uploadId={id}"));
            assert_eq!(left.status, if number == winner { 404 } else { 204 }, "{left:?}");
        }
    }
    server.stop();
}

/// Two at a time, and of every kind: whoever saw the object as it was before may replace it, but not both.
#[test]
fn two_writers_with_the_same_entity_tag_never_both_win() {
    // Parts take units of their own, and a thousand rounds leave many.
    let site = Site::new().flags(&["--capacity", "8GiB"]);
    let server = with_bucket(&site);
    let mut client = server.client();
    client.put("/bucket/source", "copied").expect(200);
    let mut field = Field::new(&server, 2);
    let kinds = ["put", "copy", "complete", "delete"];
    for round in 0..rounds() {
        for (first, second) in kinds.iter().flat_map(|a| kinds.iter().map(move |b| (*a, *b))) {
            let path = format!("/bucket/{first}-{second}-{round}");
            let put = client.put(&path, "as it was").expect(200);
            let etag = put.header("etag").unwrap().to_owned();
            let uploads =
                [upload(&mut client, &path, "joined 0"), upload(&mut client, &path, "joined 1")];
            let answers = field.race(|number| {
                let kind = [first, second][number];
                let (id, document) = &uploads[number];
                let request = match kind {
                    "put" => Request::new("PUT", &path).body(format!("written {number}")),
                    "copy" => Request::new("PUT", &path)
                        .header("x-amz-copy-source", "bucket/source")
                        .body(""),
                    "complete" => Request::new("POST", &format!("{path}?uploadId={id}"))
                        .body(document.as_str()),
                    _ => Request::new("DELETE", &path),
                };
                request.header("if-match", &etag)
            });
            let won = answers.iter().filter(|answer| answer.status / 100 == 2).count();
            assert_eq!(won, 1, "{path}: {answers:?}");
            let lost = answers.iter().find(|answer| answer.status / 100 != 2).unwrap();
            // The loser finds another object there, or none.
            let found = (lost.status, lost.code());
            let is_right = matches!(
                (found.0, found.1.as_str()),
                (412, "PreconditionFailed")
                    | (409, "ConditionalRequestConflict")
                    | (404, "NoSuchKey")
            );
            assert!(is_right, "{path}: {found:?}");
        }
    }
    server.stop();
}

#[test]
fn of_many_deletes_with_the_entity_tag_one_wins() {
    let site = Site::new();
    let server = with_bucket(&site);
    let mut client = server.client();
    let mut field = Field::new(&server, CLIENTS);
    for round in 0..rounds() {
        let path = format!("/bucket/delete-{round}");
        let put = client.put(&path, "body").expect(200);
        let etag = put.header("etag").unwrap().to_owned();
        let answers = field.race(|_| Request::new("DELETE", &path).header("if-match", &etag));
        let won = answers.iter().filter(|answer| answer.status == 204).count();
        assert_eq!(won, 1, "{path}");
        let others = answers.iter().filter(|answer| answer.status != 204);
        for answer in others {
            assert!(matches!(answer.status, 404 | 409 | 412), "{answer:?}");
        }
        client.get(&path).expect(404);
    }
    server.stop();
}

/// The counter that table formats commit with: read, add, write back if nobody was faster.
#[test]
fn no_update_that_was_confirmed_is_lost() {
    let site = Site::new();
    let server = with_bucket(&site);
    server.client().put("/bucket/counter", "0").expect(200);
    let (clients, updates) = (8, rounds());
    thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                let mut client = server.client();
                let mut confirmed = 0;
                while confirmed < updates {
                    let seen = client.get("/bucket/counter").expect(200);
                    let value: u64 = seen.text().parse().unwrap();
                    let put = Request::new("PUT", "/bucket/counter")
                        .header("if-match", seen.header("etag").unwrap())
                        .body((value + 1).to_string());
                    let answer = client.call(&put);
                    assert!(matches!(answer.status, 200 | 409 | 412), "{answer:?}");
                    confirmed += u64::from(answer.status == 200);
                }
            });
        }
    });
    let value = server.client().get("/bucket/counter").expect(200).text();
    assert_eq!(value, (clients * updates).to_string());
    server.stop();
}
