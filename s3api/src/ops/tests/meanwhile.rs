//! What changes while a request's body is on its way.

use super::*;

const ENABLED: &[u8] =
    b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";

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
