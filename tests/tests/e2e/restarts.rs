//! What clients hold across a restart of the server: tokens, markers, uploads, validators.

use ringfort_tests::harness::Site;
use ringfort_tests::harness::client::Request;

#[test]
fn what_a_client_holds_is_good_after_a_restart() {
    let site = Site::new();
    let server = site.start();
    let mut client = server.client();
    client.put("/bucket", "").expect(200);
    for key in ["a", "b/1", "b/2", "c", "d"] {
        client.put(&format!("/bucket/{key}"), key).expect(200);
    }
    let page = client.get("/bucket?list-type=2&max-keys=2").expect(200);
    let token = page.element("NextContinuationToken").unwrap();
    let grouped = client.get("/bucket?delimiter=%2F&list-type=2&max-keys=2").expect(200);
    let behind_group = grouped.element("NextContinuationToken").unwrap();
    let upload = client.post("/bucket/upload?uploads=", "").expect(200);
    let upload = upload.element("UploadId").unwrap();
    let part = client.put(&format!("/bucket/upload?partNumber=1&uploadId={upload}"), "part");
    let part = part.expect(200).header("etag").unwrap().to_owned();
    let seen = client.get("/bucket/a").expect(200);
    server.stop();

    let server = site.start();
    let mut client = server.client();
    let target = format!("/bucket?continuation-token={token}&list-type=2");
    let page = client.get(&target).expect(200);
    assert_eq!(page.text().matches("<Contents>").count(), 3, "{}", page.text());
    assert_eq!(page.element("Key").unwrap(), "b/2");
    let target = format!("/bucket?continuation-token={behind_group}&delimiter=%2F&list-type=2");
    let page = client.get(&target).expect(200);
    assert_eq!(page.element("Key").unwrap(), "c", "{}", page.text());
    assert!(!page.text().contains("<CommonPrefixes>"), "{}", page.text());
    for (header, value) in [("if-none-match", "etag"), ("if-modified-since", "last-modified")] {
        let request = Request::new("GET", "/bucket/a").header(header, seen.header(value).unwrap());
        client.call(&request).expect(304);
    }
    let document = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{part}</ETag></Part>\
         </CompleteMultipartUpload>"
    );
    client.post(&format!("/bucket/upload?uploadId={upload}"), document).expect(200);
    assert_eq!(client.get("/bucket/upload").expect(200).text(), "part");
    server.stop();
}
