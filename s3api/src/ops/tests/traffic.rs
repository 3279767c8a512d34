//! Limits of users and buckets, in the order in which a request meets them.

use super::*;
use crate::access::Subject;
use crate::settings;
use crate::throttle::TrafficLimits;
use crate::users::User;
use std::collections::BTreeMap;
use std::time::Duration;

pub(super) fn user(name: &str, number: u64, limits: Option<TrafficLimits>) -> Caller {
    let owner = Rc::new(Owner::of_access_key(name));
    let user = User {
        number,
        owner: owner.clone(),
        secret_key: "secret".to_owned(),
        is_active: true,
        created: 0,
        policies: BTreeMap::new(),
        limits,
    };
    Caller::new(Subject::User(owner), Some(Rc::new(user)))
}

fn rate(per_second: u32, burst: u32) -> TrafficLimits {
    TrafficLimits {
        requests_per_second: Some(per_second),
        burst_requests: Some(burst),
        ..TrafficLimits::default()
    }
}

impl Server {
    async fn limit(&self, bucket: &str, limits: TrafficLimits) {
        let bucket = self.engine.catalog().bucket(bucket).unwrap().clone();
        settings::put(&self.engine, &bucket, &limits).await.unwrap();
    }

    async fn pause(&self, seconds: u64) {
        self.engine.platform().sleep(Duration::from_secs(seconds)).await;
    }

    async fn error(&self, caller: &Caller, line: &str, body: &[u8]) -> Option<Code> {
        let reply = self.send_by(caller.clone(), line, &[], body).await;
        if reply.error.is_some() {
            assert_eq!(reply.body_reads, 0, "{line}");
        }
        reply.error
    }
}

/// Whoever signs may read and write all objects of `bucket`; nobody but root may list it.
async fn open(server: &Server) {
    let policy =
        br#"{"Statement":{"Effect":"Allow","Principal":"*","Resource":"arn:aws:s3:::bucket/*",
        "Action":["s3:GetObject","s3:PutObject"]}}"#;
    server.done("PUT /bucket?policy", &[], policy).await;
    server.put("k", &[], b"bytes").await;
}

#[test]
fn the_limits_of_a_bucket_count_for_all_but_root_and_before_the_body() {
    test(async |server| {
        open(&server).await;
        server.limit("bucket", rate(1, 3)).await;
        let (one, other) = (user("one", 1, None), user("other", 2, None));
        let nobody = Caller::new(Subject::Anonymous, None);
        assert_eq!(server.error(&one, "GET /bucket/k", b"").await, None);
        assert_eq!(server.error(&other, "PUT /bucket/new", b"other").await, None);
        assert_eq!(server.error(&nobody, "HEAD /bucket/k", b"").await, None);
        assert_eq!(server.error(&one, "PUT /bucket/new", b"one").await, Some(Code::SlowDown));
        assert_eq!(server.error(&nobody, "GET /bucket/k", b"").await, Some(Code::SlowDown));
        for _ in 0..5 {
            server.put("k", &[], b"root").await;
        }
        server.pause(1).await;
        assert_eq!(server.error(&one, "PUT /bucket/new", b"one").await, None);
        assert_eq!(server.error(&other, "GET /bucket/k", b"").await, Some(Code::SlowDown));
        // Another bucket is another limit, and a change counts at once.
        server.done("PUT /another", &[], b"").await;
        assert_eq!(server.error(&one, "GET /another/k", b"").await, Some(Code::AccessDenied));
        server.limit("bucket", rate(1000, 3)).await;
        assert_eq!(server.error(&one, "GET /bucket/k", b"").await, Some(Code::SlowDown));
        server.pause(1).await;
        for _ in 0..3 {
            assert_eq!(server.error(&one, "GET /bucket/k", b"").await, None);
        }
    });
}

#[test]
fn who_may_do_nothing_in_a_bucket_uses_nothing_up_of_it_and_hears_nothing_of_its_limits() {
    test(async |server| {
        open(&server).await;
        server.limit("bucket", rate(1, 1)).await;
        let nobody = Caller::new(Subject::Anonymous, None);
        for _ in 0..5 {
            let denied = server.error(&nobody, "GET /bucket?list-type=2", b"").await;
            assert_eq!(denied, Some(Code::AccessDenied));
        }
        let one = user("one", 1, None);
        assert_eq!(server.error(&one, "GET /bucket/k", b"").await, None);
        for _ in 0..5 {
            let denied = server.error(&one, "GET /bucket?list-type=2", b"").await;
            assert_eq!(denied, Some(Code::AccessDenied));
        }
        assert_eq!(server.error(&one, "GET /bucket/k", b"").await, Some(Code::SlowDown));
    });
}

#[test]
fn what_a_bucket_refuses_does_not_count_for_its_user() {
    test(async |server| {
        open(&server).await;
        server.limit("bucket", rate(1, 1)).await;
        let one = user("one", 1, Some(rate(1, 2)));
        assert_eq!(server.error(&one, "GET /bucket/k", b"").await, None);
        for _ in 0..5 {
            assert_eq!(server.error(&one, "GET /bucket/k", b"").await, Some(Code::SlowDown));
        }
        // The other of the two, for what is denied to them.
        let denied = server.error(&one, "GET /bucket?list-type=2", b"").await;
        assert_eq!(denied, Some(Code::AccessDenied));
        let refused = server.error(&one, "GET /bucket?list-type=2", b"").await;
        assert_eq!(refused, Some(Code::SlowDown));
        assert_eq!(server.error(&one, "GET /", b"").await, Some(Code::SlowDown));
        assert_eq!(server.error(&user("other", 2, None), "GET /", b"").await, None);
        // What a user was refused did not count for the bucket.
        server.pause(1).await;
        assert_eq!(server.error(&one, "PUT /bucket/new", b"bytes").await, None);
    });
}
