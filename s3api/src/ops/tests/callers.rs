//! What depends on who asks, and over what.

use super::*;
use crate::access::Subject;

/// A user without policies of their own.
fn user() -> Caller {
    Caller::new(Subject::User(Rc::new(Owner::of_access_key("user"))), None)
}

/// Lets everybody do what the actions are to the objects of `bucket`.
async fn allow(server: &Server, actions: &str) {
    let policy = format!(
        r#"{{"Statement":{{"Effect":"Allow","Principal":"*","Action":[{actions}],
            "Resource":"arn:aws:s3:::bucket/*"}}}}"#
    );
    server.done("PUT /bucket?policy", &[], policy.as_bytes()).await;
}

#[test]
fn tags_and_locks_are_shown_to_who_may_read_them() {
    test(async |server| {
        server.done("PUT /bucket?versioning", &[], ENABLED).await;
        let lock = b"<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled>\
            </ObjectLockConfiguration>";
        server.done("PUT /bucket?object-lock", &[], lock).await;
        let headers = [
            ("x-amz-tagging", "a=1"),
            ("x-amz-object-lock-mode", "GOVERNANCE"),
            ("x-amz-object-lock-retain-until-date", "2100-01-01T00:00:00Z"),
            ("x-amz-object-lock-legal-hold", "ON"),
        ];
        let reply = server.done("PUT /bucket/k", &headers, b"bytes").await;
        let id = reply.header("x-amz-version-id").unwrap();
        let [latest, version] = ["k".to_owned(), format!("k?versionId={id}")];
        let (tags, mode) = ("x-amz-tagging-count", "x-amz-object-lock-mode");
        let (until, hold) = ("x-amz-object-lock-retain-until-date", "x-amz-object-lock-legal-hold");
        let all = [tags, mode, until, hold];
        let shown = async |caller: Caller, key: &str| {
            let get = server.send_by(caller.clone(), &format!("GET /bucket/{key}"), &[], b"").await;
            let head = server.send_by(caller, &format!("HEAD /bucket/{key}"), &[], b"").await;
            assert_eq!((get.status, head.status), (200, 200), "{get:?} {head:?}");
            let shown = all.map(|name| get.header(name).is_some());
            assert_eq!(shown, all.map(|name| head.header(name).is_some()));
            let names = all.into_iter().zip(shown).filter(|(_, is_shown)| *is_shown);
            names.map(|(name, _)| name).collect::<Vec<_>>()
        };
        for (actions, of_latest, of_version) in [
            ("", &[][..], &[][..]),
            (r#","s3:GetObjectTagging""#, &[tags], &[]),
            (r#","s3:GetObjectVersionTagging""#, &[], &[tags]),
            (r#","s3:GetObjectRetention""#, &[mode, until], &[mode, until]),
            (r#","s3:GetObjectLegalHold""#, &[hold], &[hold]),
        ] {
            allow(&server, &format!(r#""s3:GetObject","s3:GetObjectVersion"{actions}"#)).await;
            assert_eq!(shown(user(), &latest).await, of_latest, "{actions}");
            assert_eq!(shown(user(), &version).await, of_version, "{actions}");
            assert_eq!(shown(Caller::root(server.owner.clone()), &version).await, all);
        }
        server.done("DELETE /bucket?policy", &[], b"").await;
        assert_eq!(shown(Caller::root(server.owner.clone()), &latest).await, all);
    });
}

#[test]
fn a_customers_key_comes_over_a_secure_connection_only() {
    test(async |server| {
        let headers = [
            ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
            (
                "x-amz-server-side-encryption-customer-key",
                "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=",
            ),
            ("x-amz-server-side-encryption-customer-key-md5", "dnF5x6K/8ZZRzpfSlMMM+w=="),
        ];
        server.check_error("PUT /bucket/k", &headers, b"bytes", Code::InvalidRequest).await;
        let mut secure = Caller::root(server.owner.clone());
        secure.peer.is_secure = true;
        let reply = server.send_by(secure.clone(), "PUT /bucket/k", &headers, b"bytes").await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let reply = server.send_by(secure, "GET /bucket/k", &headers, b"").await;
        assert_eq!(reply.body, b"bytes", "{reply:?}");
        server.check_error("GET /bucket/k", &headers, b"", Code::InvalidRequest).await;
    });
}

#[test]
fn who_copies_from_a_bucket_whose_requesters_pay_agrees_to_pay() {
    test(async |server| {
        server.put("from", &[], b"bytes").await;
        allow(&server, "\"s3:GetObject\"").await;
        let payer = b"<RequestPaymentConfiguration><Payer>Requester</Payer>\
            </RequestPaymentConfiguration>";
        server.done("PUT /bucket?requestPayment", &[], payer).await;
        assert_eq!(server.send_by(user(), "PUT /users", &[], b"").await.status, 200);
        let reply = server.send_by(user(), "POST /users/parts?uploads", &[], b"").await;
        let document = reply.document("InitiateMultipartUploadResult");
        let upload = document.required("UploadId").unwrap();
        let part = format!("PUT /users/parts?partNumber=1&uploadId={upload}");
        let (source, payer) =
            (("x-amz-copy-source", "bucket/from"), ("x-amz-request-payer", "requester"));
        for line in ["PUT /users/to", &part] {
            let reply = server.send_by(user(), line, &[source], b"").await;
            assert_eq!(reply.error, Some(Code::AccessDenied), "{line}");
            let reply = server.send_by(user(), line, &[source, payer], b"").await;
            assert_eq!(reply.status, 200, "{line}: {reply:?}");
            assert_eq!(reply.header("x-amz-request-charged"), Some("requester"));
            // The owner does not pay to themselves.
            let reply = server.send(line, &[source], b"").await;
            assert_eq!((reply.status, reply.header("x-amz-request-charged")), (200, None));
        }
    });
}

#[test]
fn who_may_not_ask_of_a_lock_does_not_learn_whether_the_bucket_has_one() {
    test(async |server| {
        server.put("k", &[], b"bytes").await;
        for method in ["GET", "PUT"] {
            for resource in ["retention", "legal-hold"] {
                for key in ["k", "missing"] {
                    let line = format!("{method} /bucket/{key}?{resource}");
                    for caller in [user(), Caller::new(Subject::Anonymous, None)] {
                        let reply = server.send_by(caller, &line, &[], b"").await;
                        assert_eq!(reply.error, Some(Code::AccessDenied), "{line}");
                    }
                    server.check_error(&line, &[], b"", Code::InvalidRequest).await;
                }
            }
        }
    });
}
