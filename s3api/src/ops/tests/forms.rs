//! Forms of browsers.

use super::*;

/// Sends a form with one more field before its file.
async fn send_form(server: &Server, name: &str, value: &str) -> Reply {
    let field = |disposition: &str, value: &str| {
        format!("--b\r\nContent-Disposition: form-data; {disposition}\r\n\r\n{value}\r\n")
    };
    let key = field("name=\"key\"", "k");
    let field_of_test = field(&format!("name=\"{name}\""), value);
    let file = field("name=\"file\"; filename=\"f\"", "bytes");
    let form = format!("{key}{field_of_test}{file}--b--\r\n");
    let content_type = ("content-type", "multipart/form-data; boundary=b");
    let length = form.len().to_string();
    let headers = [content_type, ("content-length", length.as_str())];
    server.send("POST /bucket", &headers, form.as_bytes()).await
}

#[test]
fn a_field_makes_one_header_or_none() {
    test(async |server| {
        let reply = send_form(&server, "x-amz-meta-a", "1").await;
        assert_eq!(reply.status, 204, "{reply:?}");
        assert_eq!(server.get("k", &[]).await.header("x-amz-meta-a"), Some("1"));
        for (name, value) in [
            ("x-amz-meta-a: 1%0D%0Ax-amz-acl", "public-read"),
            ("x-amz-meta-a%0D%0Ax-amz-meta-b", "1"),
            ("x-amz-meta-a:", "1"),
            ("x-amz-meta-a\u{7f}", "1"),
            ("x-amz-meta-a", "1\tb"),
        ] {
            let reply = send_form(&server, name, value).await;
            assert_eq!(reply.error, Some(Code::InvalidArgument), "{name:?} {reply:?}");
        }
    });
}
