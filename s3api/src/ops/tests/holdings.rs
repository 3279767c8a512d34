//! What the buckets of one user may take of the catalogue.

use super::traffic::user;
use super::*;
use futures_lite::future;

#[test]
fn a_user_may_have_so_many_buckets() {
    test(async |mut server| {
        server.services.holdings.buckets_max = 2;
        let (one, other) = (user("one", 1, None), user("other", 2, None));
        let create = async |caller: &Caller, name: &str| {
            server.send_by(caller.clone(), &format!("PUT /{name}"), &[], b"").await.error
        };
        assert_eq!(create(&one, "first").await, None);
        assert_eq!(create(&one, "second").await, None);
        assert_eq!(create(&one, "third").await, Some(Code::TooManyBuckets));
        // Neither one that is there, nor somebody else's.
        assert_eq!(create(&one, "first").await, None);
        assert_eq!(create(&other, "third").await, None);
        assert_eq!(create(&one, "third").await, Some(Code::BucketAlreadyExists));
        for name in ["root-1", "root-2", "root-3"] {
            server.done(&format!("PUT /{name}"), &[], b"").await;
        }
        let gone = server.send_by(one.clone(), "DELETE /second", &[], b"").await;
        assert_eq!(gone.error, None);
        assert_eq!(create(&one, "fourth").await, None);
    });
}

#[test]
fn settings_of_a_users_buckets_are_bounded_together() {
    test(async |mut server| {
        server.services.holdings.settings_bytes_max = 3000;
        let one = user("one", 1, None);
        let tags = |size: usize| {
            let value = "v".repeat(200);
            let tags = (0..size / 200)
                .map(|number| format!("<Tag><Key>{number}</Key><Value>{value}</Value></Tag>"))
                .collect::<String>();
            format!("<Tagging><TagSet>{tags}</TagSet></Tagging>")
        };
        let set = async |server: &Server, caller: Option<&Caller>, bucket: &str, size: usize| {
            let (line, document) = (format!("PUT /{bucket}?tagging"), tags(size));
            match caller {
                Some(caller) => {
                    server.send_by(caller.clone(), &line, &[], document.as_bytes()).await.error
                }
                None => server.send(&line, &[], document.as_bytes()).await.error,
            }
        };
        for name in ["first", "second", "third"] {
            let made = server.send_by(one.clone(), &format!("PUT /{name}"), &[], b"").await;
            assert_eq!(made.error, None);
        }
        // Grants count from the beginning.
        let grants = ["uri=\"http://acs.amazonaws.com/groups/global/AllUsers\""; 100];
        let headers: Headers<'_> = &[
            ("x-amz-object-ownership", "BucketOwnerPreferred"),
            ("x-amz-grant-read", &grants.join(",")),
        ];
        let made = server.send_by(one.clone(), "PUT /granted", headers, b"").await;
        assert_eq!(made.error, Some(Code::InvalidRequest));
        server.services.holdings.settings_bytes_max = 4200;
        assert_eq!(set(&server, Some(&one), "first", 2000).await, None);
        assert_eq!(set(&server, Some(&one), "second", 2000).await, Some(Code::InvalidRequest));
        assert_eq!(
            set(&server, None, "second", 2000).await,
            Some(Code::InvalidRequest),
            "whoever asks"
        );
        // Nor by many at once.
        let both = future::zip(
            set(&server, Some(&one), "second", 1000),
            set(&server, Some(&one), "third", 1000),
        );
        let refused = Some(Code::InvalidRequest);
        assert!(matches!(both.await, (None, error) | (error, None) if error == refused));
        let removed = server.send_by(one.clone(), "DELETE /second?tagging", &[], b"").await;
        assert_eq!(removed.error, None);
        // What is short is taken whatever there is, so that whoever has much can still change it.
        server.services.holdings.settings_bytes_max = 100;
        let enable = "PUT /second?versioning";
        assert_eq!(server.send_by(one.clone(), enable, &[], ENABLED).await.error, None);
        assert_eq!(server.send_by(one.clone(), enable, &[], SUSPENDED).await.error, None);
        server.services.holdings.settings_bytes_max = 4200;
        // In place of what was there, and less than it.
        assert_eq!(set(&server, Some(&one), "first", 1800).await, None);
        assert_eq!(set(&server, Some(&one), "second", 200).await, None);
        assert_eq!(set(&server, None, "bucket", 8000).await, None, "root's own has no bound");
    });
}
