//! Versioning, object lock, MFA delete and tags of objects.

use super::*;
use crate::mfa::Mfa;

impl Server {
    /// Stores a version and gives its id.
    async fn put_version(&self, key: &str, headers: Headers<'_>, body: &[u8]) -> String {
        let reply = self.done(&format!("PUT /bucket/{key}"), headers, body).await;
        reply.header("x-amz-version-id").unwrap().to_owned()
    }

    /// The rows of ListObjectVersions: element, key, id, whether it is the latest.
    async fn versions(&self, query: &str) -> Vec<(String, String, String, bool)> {
        let reply = self.done(&format!("GET /bucket?versions{query}"), &[], b"").await;
        let document = reply.document("ListVersionsResult");
        let rows = document
            .children()
            .iter()
            .filter(|child| matches!(child.name(), "Version" | "DeleteMarker"));
        let text = |row: &Element, name| row.child_text(name).unwrap().to_owned();
        rows.map(|row| {
            let is_latest = text(row, "IsLatest") == "true";
            (row.name().to_owned(), text(row, "Key"), text(row, "VersionId"), is_latest)
        })
        .collect()
    }
}

#[test]
fn versions_are_kept_marked_removed_and_listed() {
    test(async |server| {
        server.put("k", &[], b"before").await;
        let reply = server.done("GET /bucket?versioning", &[], b"").await;
        assert!(reply.document("VersioningConfiguration").children().is_empty());
        assert_eq!(server.get("k", &[]).await.header("x-amz-version-id"), None);

        server.done("PUT /bucket?versioning", &[], ENABLED).await;
        let first = server.put_version("k", &[], b"first").await;
        let second = server.put_version("k", &[], b"second").await;
        let reply = server.get("k", &[]).await;
        assert_eq!(reply.body, b"second");
        assert_eq!(reply.header("x-amz-version-id"), Some(second.as_str()));
        for (id, body) in [("null", "before"), (&first, "first"), (&second, "second")] {
            let reply = server.get(&format!("k?versionId={id}"), &[]).await;
            assert_eq!(reply.body, body.as_bytes());
            assert_eq!(reply.header("x-amz-version-id"), Some(id));
        }

        let reply = server.done("DELETE /bucket/k", &[], b"").await;
        assert_eq!(reply.header("x-amz-delete-marker"), Some("true"));
        let marker = reply.header("x-amz-version-id").unwrap().to_owned();
        let reply = server.get("k", &[]).await;
        assert_eq!(reply.error, Some(Code::NoSuchKey));
        let reply = server.get(&format!("k?versionId={marker}"), &[]).await;
        assert_eq!(reply.error, Some(Code::MethodNotAllowed));
        let list = server.done("GET /bucket?list-type=2", &[], b"").await;
        assert!(list.document("ListBucketResult").child("Contents").is_none());
        let row = |element: &str, id: &str, is_latest| {
            (element.to_owned(), "k".to_owned(), id.to_owned(), is_latest)
        };
        let expected = [
            row("DeleteMarker", &marker, true),
            row("Version", &second, false),
            row("Version", &first, false),
            row("Version", "null", false),
        ];
        assert_eq!(server.versions("").await, expected);
        let behind = server.versions(&format!("&key-marker=k&version-id-marker={second}")).await;
        assert_eq!(behind, expected[2..]);

        // Removing the marker brings the object back; removing the latest brings back the one before.
        let line = format!("DELETE /bucket/k?versionId={marker}");
        let reply = server.done(&line, &[], b"").await;
        assert_eq!(reply.header("x-amz-delete-marker"), Some("true"));
        assert_eq!(reply.header("x-amz-version-id"), Some(marker.as_str()));
        assert_eq!(server.get("k", &[]).await.body, b"second");
        server.done(&format!("DELETE /bucket/k?versionId={second}"), &[], b"").await;
        assert_eq!(server.get("k", &[]).await.body, b"first");
        let gone = format!("GET /bucket/k?versionId={second}");
        server.check_error(&gone, &[], b"", Code::NoSuchVersion).await;
        server.check_error("DELETE /bucket", &[], b"", Code::BucketNotEmpty).await;
    });
}

#[test]
fn a_suspended_bucket_replaces_its_null_version_only() {
    test(async |server| {
        server.done("PUT /bucket?versioning", &[], ENABLED).await;
        let kept = server.put_version("k", &[], b"kept").await;
        server.done("PUT /bucket?versioning", &[], SUSPENDED).await;
        assert_eq!(server.put_version("k", &[], b"one").await, "null");
        assert_eq!(server.put_version("k", &[], b"two").await, "null");
        assert_eq!(server.get("k", &[]).await.body, b"two");
        let ids: Vec<_> = server.versions("").await.into_iter().map(|row| row.2).collect();
        assert_eq!(ids, ["null".to_owned(), kept.clone()]);
        let reply = server.done("DELETE /bucket/k", &[], b"").await;
        assert_eq!(reply.header("x-amz-version-id"), Some("null"));
        let rows = server.versions("").await;
        assert_eq!((rows.len(), rows[0].0.as_str()), (2, "DeleteMarker"));
        server.done("DELETE /bucket/k?versionId=null", &[], b"").await;
        assert_eq!(server.get("k", &[]).await.body, b"kept");
    });
}

#[test]
fn many_objects_are_deleted_with_their_versions_named() {
    test(async |server| {
        server.done("PUT /bucket?versioning", &[], ENABLED).await;
        let id = server.put_version("a", &[], b"a").await;
        let object = format!("<Object><Key>a</Key><VersionId>{id}</VersionId></Object>");
        let body = format!("<Delete><Object><Key>b</Key></Object>{object}</Delete>");
        let reply = server.done("POST /bucket?delete", &[], body.as_bytes()).await;
        let document = reply.document("DeleteResult");
        let rows: Vec<_> = document.all("Deleted").collect();
        assert_eq!(rows[0].child_text("DeleteMarker"), Some("true"));
        assert!(rows[0].child("VersionId").is_none());
        assert!(rows[0].child("DeleteMarkerVersionId").is_some());
        assert_eq!(rows[1].child_text("VersionId"), Some(id.as_str()));
        assert!(rows[1].child("DeleteMarker").is_none());
        let bad = b"<Delete><Object><Key>b</Key><VersionId>x</VersionId></Object></Delete>";
        let reply = server.done("POST /bucket?delete", &[], bad).await;
        let errors = texts(&reply.document("DeleteResult"), "Error", "Code");
        assert_eq!(errors, ["InvalidArgument"]);
    });
}

#[test]
fn copies_of_versions() {
    test(async |server| {
        server.done("PUT /bucket?versioning", &[], ENABLED).await;
        let tags = [("x-amz-tagging", "a=1"), ("x-amz-meta-m", "1")];
        let first = server.put_version("k", &tags, b"first").await;
        server.put_version("k", &[], b"second").await;
        // An earlier version is brought back by copying it onto its own key.
        let source = format!("bucket/k?versionId={first}");
        let reply = server.done("PUT /bucket/k", &[("x-amz-copy-source", &source)], b"").await;
        assert_eq!(reply.header("x-amz-copy-source-version-id"), Some(first.as_str()));
        assert!(reply.header("x-amz-version-id").is_some_and(|id| id != first));
        let reply = server.get("k", &[]).await;
        assert_eq!(
            (reply.body.as_slice(), reply.header("x-amz-meta-m")),
            (b"first".as_slice(), Some("1"))
        );
        assert_eq!(reply.header("x-amz-tagging-count"), Some("1"));
        let replace = [
            ("x-amz-copy-source", source.as_str()),
            ("x-amz-tagging-directive", "REPLACE"),
            ("x-amz-tagging", "b=2&c=3"),
        ];
        server.done("PUT /bucket/copy", &replace, b"").await;
        assert_eq!(server.get("copy", &[]).await.header("x-amz-tagging-count"), Some("2"));
        let bad = [("x-amz-copy-source", source.as_str()), ("x-amz-tagging-directive", "x")];
        server.check_error("PUT /bucket/copy", &bad, b"", Code::InvalidArgument).await;

        let reply = server.done("DELETE /bucket/k", &[], b"").await;
        let marker = format!("bucket/k?versionId={}", reply.header("x-amz-version-id").unwrap());
        let of_marker = [("x-amz-copy-source", marker.as_str())];
        server.check_error("PUT /bucket/x", &of_marker, b"", Code::InvalidRequest).await;
        let of_key = [("x-amz-copy-source", "bucket/k")];
        server.check_error("PUT /bucket/x", &of_key, b"", Code::NoSuchKey).await;
        let absent = [("x-amz-copy-source", "bucket/k?versionId=00000000000000aa")];
        server.check_error("PUT /bucket/x", &absent, b"", Code::NoSuchVersion).await;
    });
}

#[test]
fn conditions_take_a_delete_marker_for_no_object() {
    test(async |server| {
        server.done("PUT /bucket?versioning", &[], ENABLED).await;
        server.put_version("k", &[], b"1").await;
        let new = [("if-none-match", "*")];
        server.check_error("PUT /bucket/k", &new, b"2", Code::PreconditionFailed).await;
        server.done("DELETE /bucket/k", &[], b"").await;
        server.done("PUT /bucket/k", &new, b"3").await;
        assert_eq!(server.get("k", &[]).await.body, b"3");
    });
}

#[test]
fn tags_change_without_a_new_version() {
    test(async |server| {
        let etag = server.put("k", &[("x-amz-tagging", "colour=red")], b"bytes").await;
        let before = server.get("k", &[]).await;
        assert_eq!(before.header("x-amz-tagging-count"), Some("1"));
        let tagging = |pairs: &[(&str, &str)]| {
            let tag = |(key, value): &(&str, &str)| {
                format!("<Tag><Key>{key}</Key><Value>{value}</Value></Tag>")
            };
            let tags: String = pairs.iter().map(tag).collect();
            format!("<Tagging><TagSet>{tags}</TagSet></Tagging>").into_bytes()
        };
        server.done("PUT /bucket/k?tagging", &[], &tagging(&[("a", "1"), ("b", "")])).await;
        let reply = server.done("GET /bucket/k?tagging", &[], b"").await;
        let document = reply.document("Tagging");
        assert_eq!(texts(document.child("TagSet").unwrap(), "Tag", "Key"), ["a", "b"]);
        let after = server.get("k", &[]).await;
        assert_eq!(after.body, b"bytes");
        assert_eq!(after.header("etag"), Some(etag.as_str()));
        assert_eq!(after.header("last-modified"), before.header("last-modified"));
        assert_eq!(after.header("x-amz-tagging-count"), Some("2"));
        assert_eq!(server.done("DELETE /bucket/k?tagging", &[], b"").await.status, 204);
        assert_eq!(server.get("k", &[]).await.header("x-amz-tagging-count"), None);

        let twice = tagging(&[("a", "1"), ("a", "2")]);
        server.check_error("PUT /bucket/k?tagging", &[], &twice, Code::InvalidTag).await;
        server.check_error("PUT /bucket/k?tagging", &[], b"<Tagging/>", Code::MalformedXML).await;
        let one = tagging(&[("a", "1")]);
        server.check_error("PUT /bucket/none?tagging", &[], &one, Code::NoSuchKey).await;
        server.check_error("GET /bucket/none?tagging", &[], b"", Code::NoSuchKey).await;
        let absent = "GET /bucket/k?tagging&versionId=00000000000000aa";
        server.check_error(absent, &[], b"", Code::NoSuchVersion).await;
        let bad = [("x-amz-tagging", "a=1&a=2")];
        server.check_error("PUT /bucket/k", &bad, b"", Code::InvalidArgument).await;

        server.done("PUT /bucket?versioning", &[], ENABLED).await;
        let reply = server.done("DELETE /bucket/k", &[], b"").await;
        let marker = reply.header("x-amz-version-id").unwrap().to_owned();
        let of_marker = format!("PUT /bucket/k?tagging&versionId={marker}");
        server.check_error(&of_marker, &[], &one, Code::MethodNotAllowed).await;
        server.done("PUT /bucket/k?tagging&versionId=null", &[], &one).await;
    });
}

const LOCK: &[u8] =
    b"<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule>\
    <DefaultRetention><Mode>GOVERNANCE</Mode><Days>1</Days></DefaultRetention></Rule>\
    </ObjectLockConfiguration>";

#[test]
fn a_locked_version_survives_every_way_of_removing_it() {
    test(async |server| {
        let missing = Code::ObjectLockConfigurationNotFoundError;
        server.check_error("GET /bucket?object-lock", &[], b"", missing).await;
        server.check_error("PUT /bucket?object-lock", &[], LOCK, Code::InvalidBucketState).await;
        let asked = [("x-amz-object-lock-legal-hold", "ON")];
        server.check_error("PUT /bucket/k", &asked, b"", Code::InvalidRequest).await;
        server.check_error("GET /bucket/k?retention", &[], b"", Code::InvalidRequest).await;

        let bucket = "PUT /locked";
        server.done(bucket, &[("x-amz-bucket-object-lock-enabled", "true")], b"").await;
        server
            .check_error("PUT /locked?versioning", &[], SUSPENDED, Code::InvalidBucketState)
            .await;
        let until = "2099-01-01T00:00:00Z";
        let compliance = [
            ("x-amz-object-lock-mode", "COMPLIANCE"),
            ("x-amz-object-lock-retain-until-date", until),
        ];
        let reply = server.done("PUT /locked/k", &compliance, b"worm").await;
        let id = reply.header("x-amz-version-id").unwrap().to_owned();
        let reply = server.done("GET /locked/k", &[], b"").await;
        assert_eq!(reply.header("x-amz-object-lock-mode"), Some("COMPLIANCE"));
        assert_eq!(reply.header("x-amz-object-lock-retain-until-date"), Some(until));

        let bypass = [("x-amz-bypass-governance-retention", "true")];
        let version = format!("DELETE /locked/k?versionId={id}");
        server.check_error(&version, &[], b"", Code::AccessDenied).await;
        server.check_error(&version, &bypass, b"", Code::AccessDenied).await;
        let body =
            format!("<Delete><Object><Key>k</Key><VersionId>{id}</VersionId></Object></Delete>");
        let reply = server.done("POST /locked?delete", &bypass, body.as_bytes()).await;
        assert_eq!(texts(&reply.document("DeleteResult"), "Error", "Code"), ["AccessDenied"]);
        let earlier = b"<Retention><Mode>COMPLIANCE</Mode>\
            <RetainUntilDate>2098-01-01T00:00:00Z</RetainUntilDate></Retention>";
        let retention = format!("PUT /locked/k?retention&versionId={id}");
        server.check_error(&retention, &bypass, earlier, Code::AccessDenied).await;
        server.check_error(&retention, &bypass, b"<Retention/>", Code::AccessDenied).await;
        server.check_error("DELETE /locked", &[], b"", Code::BucketNotEmpty).await;
        server.done("PUT /locked/k", &[], b"newer").await;
        server.done("DELETE /locked/k", &[], b"").await;
        let reply = server.done(&format!("GET /locked/k?versionId={id}"), &[], b"").await;
        assert_eq!(reply.body, b"worm");
    });
}

#[test]
fn governance_yields_to_a_bypass_and_a_legal_hold_to_nobody() {
    test(async |server| {
        server.done("PUT /locked", &[("x-amz-bucket-object-lock-enabled", "true")], b"").await;
        server.done("PUT /locked?object-lock", &[], LOCK).await;
        let reply = server.done("GET /locked?object-lock", &[], b"").await;
        let rule = reply.document("ObjectLockConfiguration");
        let rule = rule.child("Rule").unwrap().child("DefaultRetention").unwrap().clone();
        assert_eq!(
            (rule.child_text("Mode"), rule.child_text("Days")),
            (Some("GOVERNANCE"), Some("1"))
        );

        let reply = server.done("PUT /locked/k", &[], b"1").await;
        let id = reply.header("x-amz-version-id").unwrap().to_owned();
        let reply = server.done("GET /locked/k?retention", &[], b"").await;
        assert_eq!(reply.document("Retention").child_text("Mode"), Some("GOVERNANCE"));
        server
            .check_error("GET /locked/k?legal-hold", &[], b"", Code::NoSuchObjectLockConfiguration)
            .await;
        let hold = |status: &str| format!("<LegalHold><Status>{status}</Status></LegalHold>");
        server.done("PUT /locked/k?legal-hold", &[], hold("ON").as_bytes()).await;
        let on = hold("on");
        server
            .check_error("PUT /locked/k?legal-hold", &[], on.as_bytes(), Code::MalformedXML)
            .await;

        let bypass = [("x-amz-bypass-governance-retention", "true")];
        let version = format!("DELETE /locked/k?versionId={id}");
        server.check_error(&version, &bypass, b"", Code::AccessDenied).await;
        server.done("PUT /locked/k?legal-hold", &[], hold("OFF").as_bytes()).await;
        server.check_error(&version, &[], b"", Code::AccessDenied).await;
        server
            .check_error("PUT /locked/k?retention", &[], b"<Retention/>", Code::AccessDenied)
            .await;
        server.done(&version, &bypass, b"").await;
        server.check_error("GET /locked/k", &[], b"", Code::NoSuchKey).await;
    });
}

#[test]
fn a_multipart_upload_has_the_tags_and_the_lock_that_it_began_with() {
    test(async |server| {
        server.done("PUT /locked", &[("x-amz-bucket-object-lock-enabled", "true")], b"").await;
        let headers = [("x-amz-tagging", "a=1"), ("x-amz-object-lock-legal-hold", "ON")];
        let reply = server.done("POST /locked/k?uploads", &headers, b"").await;
        let document = reply.document("InitiateMultipartUploadResult");
        let upload = document.child_text("UploadId").unwrap().to_owned();
        let line = format!("PUT /locked/k?partNumber=1&uploadId={upload}");
        let etag = server.done(&line, &[], b"part").await.header("etag").unwrap().to_owned();
        let body = format!(
            "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>\
             </CompleteMultipartUpload>"
        );
        let line = format!("POST /locked/k?uploadId={upload}");
        let reply = server.done(&line, &[], body.as_bytes()).await;
        let id = reply.header("x-amz-version-id").unwrap().to_owned();
        let reply = server.done("HEAD /locked/k", &[], b"").await;
        assert_eq!(reply.header("x-amz-tagging-count"), Some("1"));
        assert_eq!(reply.header("x-amz-object-lock-legal-hold"), Some("ON"));
        let version = format!("DELETE /locked/k?versionId={id}");
        server.check_error(&version, &[], b"", Code::AccessDenied).await;
    });
}

#[test]
fn mfa_delete_is_told_where_it_was_said() {
    test(async |server| {
        let told = async || {
            let reply = server.done("GET /bucket?versioning", &[], b"").await;
            let document = reply.document("VersioningConfiguration");
            document.child_text("MfaDelete").map(str::to_owned)
        };
        server.done("PUT /bucket?versioning", &[], ENABLED).await;
        assert_eq!(told().await, None);
        let without = b"<VersioningConfiguration><Status>Enabled</Status>\
            <MfaDelete>Disabled</MfaDelete></VersioningConfiguration>";
        server.done("PUT /bucket?versioning", &[], without).await;
        assert_eq!(told().await.as_deref(), Some("Disabled"));
        server.done("PUT /bucket?versioning", &[], SUSPENDED).await;
        assert_eq!(told().await.as_deref(), Some("Disabled"));
    });
}

#[test]
fn mfa_delete_asks_for_a_code() {
    test(async |mut server| {
        let with_mfa = b"<VersioningConfiguration><Status>Enabled</Status>\
            <MfaDelete>Enabled</MfaDelete></VersioningConfiguration>";
        server.check_error("PUT /bucket?versioning", &[], with_mfa, Code::InvalidRequest).await;
        let secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
        server.services.mfa = Some(Arc::new(Mfa::new(secret).unwrap()));
        server.check_error("PUT /bucket?versioning", &[], with_mfa, Code::AccessDenied).await;
        let now = server.engine.platform().wall_clock_ns() / 1_000_000_000;
        let device = totp_rs::Builder::new()
            .with_secret(totp_rs::Secret::try_from_base32(secret).unwrap())
            .build()
            .unwrap();
        // A code of the step before, of this one, of the next: each opens once.
        let codes: Vec<String> =
            (0..3).map(|at| format!("root {}", device.generate(now - 30 + at * 30))).collect();
        server.done("PUT /bucket?versioning", &[("x-amz-mfa", &codes[0])], with_mfa).await;
        let id = server.put_version("k", &[], b"1").await;
        let version = format!("DELETE /bucket/k?versionId={id}");
        server.check_error(&version, &[], b"", Code::AccessDenied).await;
        server.check_error(&version, &[("x-amz-mfa", &codes[0])], b"", Code::AccessDenied).await;
        let body =
            format!("<Delete><Object><Key>k</Key><VersionId>{id}</VersionId></Object></Delete>");
        server.check_error("POST /bucket?delete", &[], body.as_bytes(), Code::AccessDenied).await;
        server.done("DELETE /bucket/k", &[], b"").await;
        server.done(&version, &[("x-amz-mfa", &codes[1])], b"").await;
        server.check_error("PUT /bucket?versioning", &[], SUSPENDED, Code::AccessDenied).await;
        server.done("PUT /bucket?versioning", &[("x-amz-mfa", &codes[2])], SUSPENDED).await;
    });
}
