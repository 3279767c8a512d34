//! Objects and uploads: listed in pages, shown, deleted as S3 would delete them.

use super::{Api, Site, assert_like, encode, example_object, json};
use ringfort_tests::harness::client::Request;
use serde_json::Value;

#[test]
fn objects_are_listed_shown_and_deleted() {
    let site = Site::new();
    let server = site.start();
    let mut api = Api::new(&server);
    let mut s3 = server.client();
    s3.put("/my-bucket", "").expect(200);
    let put = Request::new("PUT", "/my-bucket/photos/vacation.jpg")
        .header("content-type", "image/jpeg")
        .header("x-amz-meta-user-id", "12345")
        .header("x-amz-meta-category", "photos")
        .header("x-amz-tagging", "colour=red");
    s3.call(&put.body(vec![7; 1_024_000])).expect(200);
    for name in ["file1.txt", "file2.txt", "folder/file3.txt", "photos/2023/a"] {
        s3.put(&format!("/my-bucket/{name}"), name).expect(200);
    }
    let rows = |answer: &Value| -> Vec<String> {
        let rows = answer["objects"].as_array().unwrap().iter();
        rows.map(|row| row["key"].as_str().unwrap().to_owned()).collect()
    };
    let listed = api.get("buckets/my-bucket/objects?prefix=photos/");
    assert_eq!(rows(&listed), ["photos/2023/a", "photos/vacation.jpg"]);
    assert_like(&listed["objects"][1], &example_object());
    let folder = api.get("buckets/my-bucket/objects?prefix=photos/&delimiter=/");
    assert_eq!(rows(&folder), ["photos/vacation.jpg"]);
    assert_eq!(folder["common_prefixes"], json!(["photos/2023/"]));
    let first = api.get("buckets/my-bucket/objects?limit=2");
    assert_eq!(
        (rows(&first), &first["is_truncated"]),
        (vec!["file1.txt".into(), "file2.txt".into()], &json!(true))
    );
    let next = api.get("buckets/my-bucket/objects?marker=file2.txt");
    assert_eq!(rows(&next).first().map(String::as_str), Some("folder/file3.txt"));

    // A key's slashes may be encoded or not.
    for path in ["photos/vacation.jpg", "photos%2Fvacation.jpg"] {
        let shown = api.get(&format!("buckets/my-bucket/objects/{path}"));
        assert_like(&shown, &example_object());
        assert_like(&shown, &json!({"part_count": 0, "storage_path": "", "updated_at": ""}));
        assert_eq!(shown["metadata"], json!({"user-id": "12345", "category": "photos"}));
        assert_eq!(shown["tags"], json!({"colour": "red"}));
        let file = shown["storage_path"].as_str().unwrap();
        assert!(std::path::Path::new(file).is_file(), "{file}");
    }

    let order = json!({"keys": ["file1.txt", "file2.txt", "folder/file3.txt"]});
    let deleted = api.post(200, "buckets/my-bucket/delete-objects", &order);
    assert_eq!((&deleted["deleted"], &deleted["errors"]), (&order["keys"], &json!([])));
    s3.get("/my-bucket/file1.txt").expect_error(404, "NoSuchKey");
    api.expect(200, "DELETE", "buckets/my-bucket/objects/photos/2023/a", "");
    assert_eq!(rows(&api.get("buckets/my-bucket/objects")), ["photos/vacation.jpg"]);
    api.refuse(404, "GET", "buckets/my-bucket/objects/file1.txt", &Value::Null, "key");

    for (body, says) in [
        (json!({"keys": []}), "keys"),
        (json!({"keys": [""]}), "key"),
        (json!({"keys": vec!["k"; 1001]}), "keys"),
        (json!({"keys": ["k".repeat(1025)]}), "key"),
        (json!({}), "keys"),
        (json!({"keys": ["k", 5]}), "keys[1]: invalid type"),
    ] {
        api.refuse(400, "POST", "buckets/my-bucket/delete-objects", &body, says);
    }
    let most = json!({"keys": (0..1000).map(|n| format!("{n:01024}")).collect::<Vec<_>>()});
    api.post(200, "buckets/my-bucket/delete-objects", &most);
    api.refuse(400, "GET", "buckets/my-bucket/objects/", &Value::Null, "key");
    api.expect(404, "GET", "buckets/no-bucket/objects/k", "");
    server.stop();
}

#[test]
fn keys_may_hold_anything() {
    let site = Site::new();
    let server = site.start();
    let mut api = Api::new(&server);
    let mut s3 = server.client();
    s3.put("/names", "").expect(200);
    for key in ["a b+c", "ü/%2F?x=1#y", "<script>alert(1)</script>", "a//b/", "..", "\"'\\\n"] {
        let encoded = encode(key);
        s3.put(&format!("/names/{encoded}"), "x").expect(200);
        let path = format!("buckets/names/objects/{}", encoded.replace('/', "%2F"));
        assert_eq!(api.get(&path)["key"], key);
        api.expect(200, "DELETE", &path, "");
        s3.get(&format!("/names/{encoded}")).expect(404);
    }
    server.stop();
}

/// Deleting is what S3's DELETE by root is.
#[test]
fn versions_and_locks_are_as_s3_has_them() {
    let site = Site::new();
    let server = site.start();
    let mut api = Api::new(&server);
    let mut s3 = server.client();
    let locked = Request::new("PUT", "/locked").header("x-amz-bucket-object-lock-enabled", "true");
    s3.call(&locked).expect(200);
    let put = Request::new("PUT", "/locked/k")
        .header("x-amz-object-lock-mode", "GOVERNANCE")
        .header("x-amz-object-lock-retain-until-date", "2099-01-01T00:00:00Z");
    let put = s3.call(&put.body("one")).expect(200);
    let version = put.header("x-amz-version-id").unwrap().to_owned();

    let marked = api.expect(200, "DELETE", "buckets/locked/objects/k", "");
    assert_eq!(marked["is_delete_marker"], true);
    api.expect(404, "GET", "buckets/locked/objects/k", "");
    let path = format!("buckets/locked/objects/k?version_id={version}");
    assert_eq!(api.get(&path)["version_id"], version);
    assert_eq!(api.get("stats")["delete_markers"], 1);
    api.expect(403, "DELETE", &path, "");
    s3.get(&format!("/locked/k?versionId={version}")).expect(200);
    api.refuse(400, "DELETE", &format!("{path}&bypass_governance=1"), &Value::Null, "bypass");
    api.expect(200, "DELETE", &format!("{path}&bypass_governance=true"), "");
    s3.get(&format!("/locked/k?versionId={version}")).expect_error(404, "NoSuchVersion");
    api.refuse(400, "GET", "buckets/locked/objects/k?version_id=x", &Value::Null, "version_id");
    server.stop();
}

#[test]
fn uploads_are_listed_and_aborted() {
    let site = Site::new();
    let server = site.start();
    let mut api = Api::new(&server);
    let mut s3 = server.client();
    s3.put("/my-bucket", "").expect(200);
    let begin = |key: &str| {
        Request::new("POST", &format!("/my-bucket/{key}?uploads="))
            .header("content-type", "application/zip")
    };
    let id = s3.call(&begin("large-file.zip")).expect(200).element("UploadId").unwrap();
    for (number, bytes) in [(1, 5 << 20), (2, 300_000), (3, 10)] {
        let target = format!("/my-bucket/large-file.zip?partNumber={number}&uploadId={id}");
        s3.put(&target, vec![1; bytes]).expect(200);
    }
    for key in ["other/a", "other/b"] {
        s3.call(&begin(key)).expect(200);
    }
    let listed = api.get("buckets/my-bucket/uploads");
    assert_eq!(listed["uploads"].as_array().unwrap().len(), 3);
    let upload = &listed["uploads"][0];
    let example = json!({
        "upload_id": "upload_12345_abcdef",
        "object_key": "large-file.zip",
        "initiated_by": "john-doe",
        "content_type": "application/zip",
        "initiated_at": "2023-01-15T10:30:00Z",
        "part_count": 5,
        "total_size": 26_214_400,
        "total_size_human": "25.0 MB",
    });
    assert_like(upload, &example);
    assert_eq!((&upload["upload_id"], &upload["part_count"]), (&json!(id), &json!(3)));
    assert_eq!(upload["total_size"], (5 << 20) + 300_000 + 10);
    assert_eq!(upload["content_type"], "application/zip");

    let first = api.get("buckets/my-bucket/uploads?limit=2");
    let (marker, id_marker) = (&first["next_marker"], &first["next_upload_id_marker"]);
    let query = format!(
        "marker={}&upload_id_marker={}",
        marker.as_str().unwrap(),
        id_marker.as_str().unwrap()
    );
    let rest = api.get(&format!("buckets/my-bucket/uploads?{query}"));
    assert_eq!(rest["uploads"].as_array().unwrap().len(), 1);
    assert_eq!(rest["uploads"][0]["object_key"], "other/b");

    let path = format!("buckets/my-bucket/uploads/{id}");
    api.refuse(400, "DELETE", &path, &Value::Null, "key");
    api.expect(404, "DELETE", &format!("{path}?key=other/a"), "");
    api.expect(200, "DELETE", &format!("{path}?key=large-file.zip"), "");
    api.expect(404, "DELETE", &format!("{path}?key=large-file.zip"), "");
    s3.get(&format!("/my-bucket/large-file.zip?uploadId={id}")).expect_error(404, "NoSuchUpload");
    assert_eq!(api.get("stats")["active_multipart_uploads"], 2);
    server.stop();
}
