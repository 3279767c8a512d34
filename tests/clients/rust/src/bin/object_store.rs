//! `object_store`, which Arrow, Delta and DataFusion keep their tables with: puts that create and puts
//! that replace what was read, raced; uploads by parts, listings, ranges, copies, renames.

use std::process::ExitCode;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3, AmazonS3Builder, S3ConditionalPut};
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, CopyMode, CopyOptions, Error, GetOptions, GetRange, ObjectStore,
    ObjectStoreExt, PutMode, PutMultipartOptions, PutPayload, RenameOptions, RenameTargetMode,
    UpdateVersion, WriteMultipart,
};
use ringfort_rust_clients::{Checks, MIB, failure, pattern, variable};

fn store() -> Arc<AmazonS3> {
    let store = AmazonS3Builder::new()
        .with_endpoint(variable("RINGFORT_ENDPOINT"))
        .with_allow_http(true)
        .with_region(variable("AWS_DEFAULT_REGION"))
        .with_access_key_id(variable("AWS_ACCESS_KEY_ID"))
        .with_secret_access_key(variable("AWS_SECRET_ACCESS_KEY"))
        .with_bucket_name(variable("RINGFORT_BUCKET"))
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .build()
        .expect("the settings are complete");
    Arc::new(store)
}

fn main() -> ExitCode {
    let mut checks = Checks::new("object_store");
    checks.run("creation_has_one_winner", creation_has_one_winner(store()));
    checks.run("no_increment_is_lost", no_increment_is_lost(store()));
    checks.run("uploads_by_parts", uploads_by_parts(store()));
    checks.run("listings", listings(store()));
    checks.run("ranges_and_conditions", ranges_and_conditions(store()));
    checks.run("copies_and_renames", copies_and_renames(store()));
    checks.run("many_are_deleted", many_are_deleted(store()));
    checks.end()
}

async fn body(store: &AmazonS3, path: &Path) -> Bytes {
    store.get(path).await.expect("it is there").bytes().await.expect("it is whole")
}

async fn creation_has_one_winner(store: Arc<AmazonS3>) {
    for round in 0..20 {
        let path = Path::from(format!("create/{round}"));
        let put = |writer: u32| {
            let (store, path) = (store.clone(), path.clone());
            tokio::spawn(async move {
                let payload = PutPayload::from(writer.to_string());
                store.put_opts(&path, payload, PutMode::Create.into()).await
            })
        };
        let races: Vec<_> = (0..16).map(put).collect();
        let mut winners = Vec::new();
        for (writer, race) in races.into_iter().enumerate() {
            match race.await.expect("no panic") {
                Ok(_) => winners.push(writer),
                Err(error) => assert!(matches!(error, Error::AlreadyExists { .. }), "{error}"),
            }
        }
        assert_eq!(winners.len(), 1);
        assert_eq!(body(&store, &path).await, winners[0].to_string());
    }
}

/// A counter in an object, by compare and swap: 4 writers, 25 increments each.
async fn no_increment_is_lost(store: Arc<AmazonS3>) {
    let path = Path::from("counter");
    store.put(&path, "0".into()).await.expect("put");
    let increment = |_| {
        let (store, path) = (store.clone(), path.clone());
        tokio::spawn(async move {
            for _ in 0..25 {
                loop {
                    let read = store.get(&path).await.expect("it is there");
                    let version = UpdateVersion {
                        e_tag: read.meta.e_tag.clone(),
                        version: read.meta.version.clone(),
                    };
                    let bytes = read.bytes().await.expect("it is whole");
                    let count: u32 =
                        std::str::from_utf8(&bytes).expect("text").parse().expect("a number");
                    let payload = PutPayload::from((count + 1).to_string());
                    match store.put_opts(&path, payload, PutMode::Update(version).into()).await {
                        Ok(_) => break,
                        Err(Error::Precondition { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        })
    };
    for writer in (0..4).map(increment).collect::<Vec<_>>() {
        writer.await.expect("no panic");
    }
    assert_eq!(body(&store, &path).await, "100");
}

async fn uploads_by_parts(store: Arc<AmazonS3>) {
    let data = pattern(28 * MIB + 5, 1);
    let path = Path::from("dir/large ä+%");
    let attributes = Attributes::from_iter([
        (Attribute::ContentType, "a/b"),
        (Attribute::Metadata("a".into()), "1"),
    ]);
    let options = PutMultipartOptions { attributes: attributes.clone(), ..Default::default() };
    let upload = store.put_multipart_opts(&path, options).await.expect("it begins");
    let mut writer = WriteMultipart::new_with_chunk_size(upload, 5 * MIB);
    for chunk in data.chunks(600_011) {
        writer.wait_for_capacity(4).await.expect("parts are taken");
        writer.write(chunk);
    }
    writer.finish().await.expect("it completes");
    let read = store.get(&path).await.expect("it is there");
    assert_eq!(read.attributes, attributes);
    assert_eq!(read.meta.size, data.len() as u64);
    assert!(read.bytes().await.expect("it is whole") == data);

    let mut upload = store.put_multipart(&Path::from("aborted")).await.expect("it begins");
    upload.put_part(vec![0; 5 * MIB].into()).await.expect("a part");
    upload.abort().await.expect("it is aborted");
    let absent = failure(store.head(&Path::from("aborted")).await);
    assert!(matches!(absent, Error::NotFound { .. }), "{absent}");
}

async fn listings(store: Arc<AmazonS3>) {
    let mut paths: Vec<Path> =
        (0..1200).map(|n| Path::from(format!("list/{}/{n:04} ü&", n % 3))).collect();
    let put = |path: Path| {
        let store = store.clone();
        async move { store.put(&path, "x".into()).await }
    };
    let puts: Vec<_> = futures::stream::iter(paths.clone())
        .map(put)
        .buffer_unordered(16)
        .try_collect()
        .await
        .expect("puts");
    assert_eq!(puts.len(), 1200);
    paths.sort();
    let prefix = Path::from("list");
    let listed: Vec<_> = store.list(Some(&prefix)).try_collect().await.expect("it lists");
    assert_eq!(listed.into_iter().map(|meta| meta.location).collect::<Vec<_>>(), paths);
    let offset = paths[700].clone();
    let listed: Vec<_> =
        store.list_with_offset(Some(&prefix), &offset).try_collect().await.expect("it lists");
    assert_eq!(listed.len(), 499);
    let level = store.list_with_delimiter(Some(&prefix)).await.expect("it lists");
    assert_eq!(level.common_prefixes, ["list/0", "list/1", "list/2"].map(Path::from));
    assert!(level.objects.is_empty());
    let level = store.list_with_delimiter(Some(&Path::from("list/1"))).await.expect("it lists");
    assert_eq!(level.objects.len(), 400);
}

async fn ranges_and_conditions(store: Arc<AmazonS3>) {
    let data = pattern(3 * MIB, 2);
    let path = Path::from("ranges");
    let put = store.put(&path, data.clone().into()).await.expect("put");
    assert_eq!(store.get_range(&path, 100..1000).await.expect("a range"), data[100..1000]);
    let ranges = [0..10, MIB as u64..MIB as u64 + 10, 3_000_000..3_000_001];
    for (bytes, range) in
        store.get_ranges(&path, &ranges).await.expect("ranges").iter().zip(&ranges)
    {
        assert_eq!(*bytes, data[range.start as usize..range.end as usize]);
    }
    let tail = GetOptions { range: Some(GetRange::Suffix(77)), ..Default::default() };
    let tail = store.get_opts(&path, tail).await.expect("a suffix").bytes().await.expect("whole");
    assert_eq!(tail, data[data.len() - 77..]);
    let unchanged = GetOptions { if_none_match: put.e_tag.clone(), ..Default::default() };
    let error = failure(store.get_opts(&path, unchanged).await);
    assert!(matches!(error, Error::NotModified { .. }), "{error}");
    let other = GetOptions { if_match: Some("\"0\"".to_owned()), ..Default::default() };
    let error = failure(store.get_opts(&path, other).await);
    assert!(matches!(error, Error::Precondition { .. }), "{error}");
    let absent = failure(store.get(&Path::from("absent")).await);
    assert!(matches!(absent, Error::NotFound { .. }), "{absent}");
}

async fn copies_and_renames(store: Arc<AmazonS3>) {
    let [from, to, third] = ["copy/from ü+", "copy/to", "copy/third"].map(Path::from);
    store.put(&from, "text".into()).await.expect("put");
    store.copy(&from, &to).await.expect("a copy");
    assert_eq!(body(&store, &to).await, "text");
    store.rename(&from, &third).await.expect("a rename");
    assert_eq!(body(&store, &third).await, "text");
    let absent = failure(store.head(&from).await);
    assert!(matches!(absent, Error::NotFound { .. }), "{absent}");
    // Copies that create want a header of other stores, or DynamoDB: the crate says so itself.
    let create = CopyOptions { mode: CopyMode::Create, ..Default::default() };
    let error = failure(store.copy_opts(&third, &to, create).await);
    assert!(matches!(error, Error::NotSupported { .. } | Error::NotImplemented { .. }), "{error}");
    let create = RenameOptions { target_mode: RenameTargetMode::Create, ..Default::default() };
    let error = failure(store.rename_opts(&third, &to, create).await);
    assert!(matches!(error, Error::NotSupported { .. } | Error::NotImplemented { .. }), "{error}");
}

async fn many_are_deleted(store: Arc<AmazonS3>) {
    let all = store.list(None).map_ok(|meta| meta.location).boxed();
    let deleted: Vec<Path> = store.delete_stream(all).try_collect().await.expect("deleted");
    assert!(deleted.len() > 1200, "{}", deleted.len());
    assert!(store.list(None).next().await.is_none());
}
