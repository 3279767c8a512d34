//! What changes while a request's body is on its way.

use super::*;
use crate::versioning::VersioningSetting;

/// A request is refused for what another one has made of its bucket while its body came.
fn check_refused(
    (line, headers, body): (&str, Headers<'_>, &str),
    (other, document): (&str, &str),
    code: Code,
) {
    test(async |server| {
        server.put("k", &[], b"x").await;
        let change = async {
            let headers: Headers<'_> =
                if document.is_empty() { &[("x-amz-acl", "public-read")] } else { &[] };
            server.done(other, headers, document.as_bytes()).await;
        };
        let reply = server.send_after(line, headers, body.as_bytes(), change).await;
        assert_eq!(reply.error, Some(code), "{line} {reply:?}");
    });
}

#[test]
fn a_configuration_is_judged_by_what_its_bucket_is_when_it_has_come() {
    let public: Headers<'_> = &[("x-amz-acl", "public-read")];
    let block = "<PublicAccessBlockConfiguration><BlockPublicAcls>true</BlockPublicAcls>\
                 <BlockPublicPolicy>true</BlockPublicPolicy></PublicAccessBlockConfiguration>";
    let block = ("PUT /bucket?publicAccessBlock", block);
    let enforced = "<OwnershipControls><Rule><ObjectOwnership>BucketOwnerEnforced\
                    </ObjectOwnership></Rule></OwnershipControls>";
    let ownership = "PUT /bucket?ownershipControls";
    let policy = r#"{"Statement":{"Effect":"Allow","Principal":"*","Action":"s3:GetObject",
                   "Resource":"arn:aws:s3:::bucket/*"}}"#;
    check_refused(("PUT /bucket?policy", &[], policy), block, Code::AccessDenied);
    for line in ["PUT /bucket?acl", "PUT /bucket/k?acl"] {
        check_refused((line, public, ""), block, Code::AccessDenied);
        let code = Code::AccessControlListNotSupported;
        check_refused((line, public, ""), (ownership, enforced), code);
    }
    let code = Code::InvalidBucketAclWithObjectOwnership;
    check_refused((ownership, &[], enforced), ("PUT /bucket?acl", ""), code);
}

#[test]
fn a_lifecycle_that_comes_after_mfa_delete_is_refused() {
    test(async |server| {
        let lifecycle = b"<LifecycleConfiguration><Rule><Filter/><Status>Enabled</Status>\
            <Expiration><Days>1</Days></Expiration></Rule></LifecycleConfiguration>";
        let ask_for_codes = async {
            let bucket = server.engine.catalog().bucket("bucket").unwrap().clone();
            let setting = VersioningSetting { enabled: true, mfa_delete: Some(true) };
            settings::put(&server.engine, &bucket, &setting).await.unwrap();
        };
        let line = "PUT /bucket?lifecycle";
        let reply = server.send_after(line, &[], lifecycle, ask_for_codes).await;
        assert_eq!(reply.error, Some(Code::InvalidBucketState), "{reply:?}");
    });
}

/// Of two changes that come at once one is made, and the other is told to come again.
fn check_race(changes: [(&str, &[u8]); 2]) {
    test(async |server| {
        server.done("PUT /bucket?versioning", &[], ENABLED).await;
        let replies =
            join::all(changes.map(|(line, document)| server.send(line, &[], document))).await;
        let errors: Vec<Code> = replies.iter().filter_map(|reply| reply.error).collect();
        assert_eq!(errors, [Code::OperationAborted], "{changes:?}");
    });
}

#[test]
fn versioning_and_lock_change_one_at_a_time() {
    let suspend = ("PUT /bucket?versioning", SUSPENDED);
    let lock = "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled>\
                </ObjectLockConfiguration>";
    let lock = ("PUT /bucket?object-lock", lock.as_bytes());
    check_race([suspend, lock]);
    check_race([lock, suspend]);
    check_race([suspend, suspend]);
}

#[test]
fn each_key_of_a_long_list_is_deleted_as_its_bucket_is_then() {
    test(async |server| {
        let keys: Vec<String> = (0..300).map(|number| format!("{number:03}")).collect();
        for key in &keys {
            server.put(key, &[], b"x").await;
        }
        let list: String =
            keys.iter().map(|key| format!("<Object><Key>{key}</Key></Object>")).collect();
        let list = format!("<Delete>{list}</Delete>");
        let (reply, _) = futures_lite::future::zip(
            server.done("POST /bucket?delete", &[], list.as_bytes()),
            server.done("PUT /bucket?versioning", &[], ENABLED),
        )
        .await;
        let document = reply.document("DeleteResult");
        let is_marked = |row: &&Element| row.child("DeleteMarker").is_some();
        let marked = document.all("Deleted").filter(is_marked).count();
        assert!(marked > 0 && marked < keys.len(), "{marked}");
    });
}

#[test]
fn a_write_is_answered_with_the_version_that_it_became() {
    test(async |server| {
        let enable = async {
            server.done("PUT /bucket?versioning", &[], ENABLED).await;
        };
        let reply = server.send_after("PUT /bucket/k", &[], b"new", enable).await;
        let id = reply.header("x-amz-version-id").unwrap().to_owned();
        let reply = server.done(&format!("GET /bucket/k?versionId={id}"), &[], b"").await;
        assert_eq!(reply.body, b"new");
    });
}
