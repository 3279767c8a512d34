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
