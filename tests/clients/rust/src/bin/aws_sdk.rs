//! The AWS SDK for Rust with its default checksums: streams, uploads by parts, paginators, waiters, links.

use std::process::ExitCode;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::operation::get_object::GetObjectError;
use aws_sdk_s3::operation::head_object::HeadObjectError;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::{ByteStream, Length};
use aws_sdk_s3::types::{
    ChecksumAlgorithm, ChecksumMode, ChecksumType, CompletedMultipartUpload, CompletedPart, Delete,
    ObjectIdentifier,
};
use ringfort_rust_clients::{Checks, MIB, failure, new_name, pattern, variable};

fn client() -> Client {
    let credentials = Credentials::new(
        variable("AWS_ACCESS_KEY_ID"),
        variable("AWS_SECRET_ACCESS_KEY"),
        None,
        None,
        "environment",
    );
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(variable("RINGFORT_ENDPOINT"))
        .region(Region::new(variable("AWS_DEFAULT_REGION")))
        .credentials_provider(credentials)
        .force_path_style(true)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    Client::from_conf(config)
}

fn main() -> ExitCode {
    let mut checks = Checks::new("aws-sdk-s3");
    checks.run("objects_with_checksums", objects_with_checksums());
    checks.run("a_file_as_a_stream", a_file_as_a_stream());
    checks.run("an_upload_by_parts", an_upload_by_parts());
    checks.run("paginators_and_deletions", paginators_and_deletions());
    checks.run("waiters", waiters());
    checks.run("conditions", conditions());
    checks.run("links", links());
    checks.run("errors_have_their_types", errors_have_their_types());
    checks.end()
}

async fn with_bucket() -> (Client, String) {
    let (client, bucket) = (client(), new_name());
    client.create_bucket().bucket(&bucket).send().await.expect("a bucket");
    (client, bucket)
}

async fn objects_with_checksums() {
    let (client, bucket) = with_bucket().await;
    let key = "dir/ä b+%";
    for data in [vec![], b"text".to_vec(), pattern(3 * MIB + 1, 1)] {
        let put = client.put_object().bucket(&bucket).key(key).metadata("a", "1");
        let put = put.body(data.clone().into()).send().await.expect("put");
        assert!(put.checksum_crc32().is_some());
        let got = client.get_object().bucket(&bucket).key(key).send().await.expect("get");
        assert_eq!(got.checksum_crc32(), put.checksum_crc32());
        assert_eq!(got.metadata().expect("metadata")["a"], "1");
        assert!(got.body.collect().await.expect("it verifies").into_bytes() == data);
    }
    for algorithm in [
        ChecksumAlgorithm::Crc32C,
        ChecksumAlgorithm::Crc64Nvme,
        ChecksumAlgorithm::Sha1,
        ChecksumAlgorithm::Sha256,
    ] {
        let put =
            client.put_object().bucket(&bucket).key("k").checksum_algorithm(algorithm.clone());
        put.body(ByteStream::from_static(b"text")).send().await.expect("put");
        let got = client.get_object().bucket(&bucket).key("k").checksum_mode(ChecksumMode::Enabled);
        let got = got.send().await.expect("get");
        let found = [
            got.checksum_crc32_c(),
            got.checksum_crc64_nvme(),
            got.checksum_sha1(),
            got.checksum_sha256(),
        ];
        assert_eq!(found.iter().flatten().count(), 1, "{algorithm}");
        assert_eq!(got.body.collect().await.expect("it verifies").into_bytes(), "text");
    }
    let wrong = client.put_object().bucket(&bucket).key("k").checksum_sha256("A".repeat(43) + "=");
    let error = failure(wrong.body(ByteStream::from_static(b"text")).send().await);
    assert_eq!(error.code(), Some("BadDigest"));
}

async fn a_file_as_a_stream() {
    let (client, bucket) = with_bucket().await;
    let data = pattern(12 * MIB + 3, 2);
    let path = std::env::current_dir().expect("a directory").join(new_name());
    tokio::fs::write(&path, &data).await.expect("a file");
    let body = ByteStream::from_path(&path).await.expect("a stream");
    client.put_object().bucket(&bucket).key("file").body(body).send().await.expect("put");
    let mut got = client.get_object().bucket(&bucket).key("file").send().await.expect("get");
    let mut back = Vec::new();
    while let Some(chunk) = got.body.try_next().await.expect("it verifies") {
        back.extend_from_slice(&chunk);
    }
    assert!(back == data);
    let range = client.get_object().bucket(&bucket).key("file").range("bytes=1000000-1000009");
    let range = range.send().await.expect("a range");
    assert_eq!(range.body.collect().await.expect("bytes").into_bytes(), data[1_000_000..1_000_010]);
}

async fn an_upload_by_parts() {
    let (client, bucket) = with_bucket().await;
    let size = 23 * MIB + 1;
    let data = pattern(size, 3);
    let path = std::env::current_dir().expect("a directory").join(new_name());
    tokio::fs::write(&path, &data).await.expect("a file");
    for kind in [ChecksumType::FullObject, ChecksumType::Composite] {
        let begun = client
            .create_multipart_upload()
            .bucket(&bucket)
            .key("large")
            .checksum_algorithm(ChecksumAlgorithm::Crc32C)
            .checksum_type(kind.clone())
            .send()
            .await
            .expect("it begins");
        assert_eq!(begun.checksum_type(), Some(&kind));
        let upload_id = begun.upload_id().expect("an id");
        let part = |number: usize| {
            let (client, bucket, path, upload_id) = (&client, &bucket, &path, upload_id);
            async move {
                let begin = (number - 1) * 5 * MIB;
                let length = (5 * MIB).min(size - begin) as u64;
                let body = ByteStream::read_from().path(path).offset(begin as u64);
                let body = body.length(Length::Exact(length)).build().await.expect("a stream");
                let done = client
                    .upload_part()
                    .bucket(bucket)
                    .key("large")
                    .upload_id(upload_id)
                    .part_number(number as i32)
                    .checksum_algorithm(ChecksumAlgorithm::Crc32C)
                    .body(body)
                    .send()
                    .await
                    .expect("a part");
                CompletedPart::builder()
                    .part_number(number as i32)
                    .set_e_tag(done.e_tag)
                    .set_checksum_crc32_c(done.checksum_crc32_c)
                    .build()
            }
        };
        let parts = futures::future::join_all((1..=5).map(part)).await;
        let listed = client.list_parts().bucket(&bucket).key("large").upload_id(upload_id);
        let listed = listed.max_parts(2).into_paginator().items().send();
        let listed = listed.collect::<Result<Vec<_>, _>>().await.expect("parts");
        assert_eq!(listed.iter().filter_map(|part| part.size()).sum::<i64>(), size as i64);
        let done = client
            .complete_multipart_upload()
            .bucket(&bucket)
            .key("large")
            .upload_id(upload_id)
            .checksum_type(kind.clone())
            .mpu_object_size(size as i64)
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(parts)).build())
            .send()
            .await
            .expect("it completes");
        assert_eq!(done.checksum_type(), Some(&kind));
        let is_composite = done.checksum_crc32_c().expect("a checksum").ends_with("-5");
        assert_eq!(is_composite, kind == ChecksumType::Composite);
        let got = client.get_object().bucket(&bucket).key("large").send().await.expect("get");
        assert!(got.body.collect().await.expect("it verifies").into_bytes() == data);
        let part = client.get_object().bucket(&bucket).key("large").part_number(5).send().await;
        let part = part.expect("a part").body.collect().await.expect("it verifies");
        assert!(part.into_bytes() == data[20 * MIB..]);
    }
}

async fn paginators_and_deletions() {
    let (client, bucket) = with_bucket().await;
    let keys: Vec<String> = (0..120).map(|number| format!("k/{number:03} ü+&")).collect();
    let put = |key: &String| client.put_object().bucket(&bucket).key(key).send();
    for done in futures::future::join_all(keys.iter().map(put)).await {
        done.expect("put");
    }
    let pages = client.list_objects_v2().bucket(&bucket).into_paginator().page_size(17);
    let pages = pages.send().collect::<Result<Vec<_>, _>>().await.expect("pages");
    let found = pages.iter().flat_map(|page| page.contents()).filter_map(|entry| entry.key());
    assert_eq!(found.collect::<Vec<_>>(), keys);
    let identifier = |key: &String| ObjectIdentifier::builder().key(key).build().expect("a key");
    let delete = Delete::builder().set_objects(Some(keys.iter().map(identifier).collect()));
    let delete = client.delete_objects().bucket(&bucket).delete(delete.build().expect("keys"));
    assert_eq!(delete.send().await.expect("deletions").deleted().len(), keys.len());
    client.delete_bucket().bucket(&bucket).send().await.expect("it is empty");
    let buckets = client.list_buckets().into_paginator().page_size(2).send();
    let buckets = buckets.collect::<Result<Vec<_>, _>>().await.expect("pages");
    let mut names =
        buckets.iter().flat_map(|page| page.buckets()).filter_map(|bucket| bucket.name());
    assert!(names.all(|name| name != bucket));
}

async fn waiters() {
    use aws_sdk_s3::client::Waiters;
    let (client, bucket) = with_bucket().await;
    let patience = Duration::from_secs(30);
    client.wait_until_bucket_exists().bucket(&bucket).wait(patience).await.expect("it does");
    let other = client.clone();
    let name = bucket.clone();
    let put = tokio::spawn(async move { other.put_object().bucket(name).key("k").send().await });
    client
        .wait_until_object_exists()
        .bucket(&bucket)
        .key("k")
        .wait(patience)
        .await
        .expect("it comes");
    put.await.expect("no panic").expect("put");
    client.delete_object().bucket(&bucket).key("k").send().await.expect("deleted");
    client
        .wait_until_object_not_exists()
        .bucket(&bucket)
        .key("k")
        .wait(patience)
        .await
        .expect("gone");
}

async fn conditions() {
    let (client, bucket) = with_bucket().await;
    let put = |number: usize| {
        let body = ByteStream::from(number.to_string().into_bytes());
        client.put_object().bucket(&bucket).key("k").if_none_match("*").body(body).send()
    };
    let outcomes = futures::future::join_all((0..16).map(put)).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    for error in outcomes.into_iter().filter_map(Result::err) {
        assert_eq!(error.code(), Some("PreconditionFailed"));
    }
    let head = client.head_object().bucket(&bucket).key("k").send().await.expect("head");
    let etag = head.e_tag().expect("an etag");
    client.put_object().bucket(&bucket).key("k").if_match(etag).send().await.expect("it matches");
    let error = failure(client.put_object().bucket(&bucket).key("k").if_match(etag).send().await);
    assert_eq!(error.code(), Some("PreconditionFailed"));
}

async fn links() {
    let (client, bucket) = with_bucket().await;
    let (key, body) = ("dir/a b+ä", "by link");
    let minutes = || PresigningConfig::expires_in(Duration::from_secs(300)).expect("a duration");
    let link =
        client.put_object().bucket(&bucket).key(key).presigned(minutes()).await.expect("a link");
    let http = reqwest::Client::new();
    let answer = http.put(link.uri()).body(body).send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    let link = client.get_object().bucket(&bucket).key(key).response_content_type("x/y");
    let link = link.presigned(minutes()).await.expect("a link");
    let answer = http.get(link.uri()).send().await.expect("an answer");
    assert_eq!(answer.headers()["content-type"], "x/y");
    assert_eq!(answer.text().await.expect("text"), body);
}

async fn errors_have_their_types() {
    let (client, bucket) = with_bucket().await;
    let absent = failure(client.get_object().bucket(&bucket).key("absent").send().await);
    assert!(matches!(absent.into_service_error(), GetObjectError::NoSuchKey(_)));
    let absent = failure(client.head_object().bucket(&bucket).key("absent").send().await);
    assert!(matches!(absent.into_service_error(), HeadObjectError::NotFound(_)));
    let absent = failure(client.list_objects_v2().bucket(new_name()).send().await);
    assert!(absent.into_service_error().is_no_such_bucket());
}
