"""s3fs: versions of files, tags, encryption; a versioned bucket taken away with all that it holds."""

import s3fs

from checks import ACCESS_KEY, ENDPOINT, SECRET_KEY, announce, equal, main, new_name


def make():
    store = s3fs.S3FileSystem(
        key=ACCESS_KEY,
        secret=SECRET_KEY,
        endpoint_url=ENDPOINT,
        version_aware=True,
        skip_instance_cache=True,
    )
    bucket = new_name()
    store.mkdir(bucket)
    return store, bucket


def check_versions(store, bucket):
    assert not store.is_bucket_versioned(bucket)
    store.make_bucket_versioned(bucket)
    assert store.is_bucket_versioned(bucket)
    for text in [b"one", b"two", b"three"]:
        store.pipe(f"{bucket}/k", text)
    # The newest is told first.
    versions = [entry["VersionId"] for entry in store.object_version_info(f"{bucket}/k")]
    equal(len(versions), 3)
    for version, text in zip(versions, [b"three", b"two", b"one"]):
        with store.open(f"{bucket}/k", "rb", version_id=version) as file:
            equal(file.read(), text)
        equal(store.cat_file(f"{bucket}/k", version_id=version), text)
    store.rm(f"{bucket}/k")
    assert not store.exists(f"{bucket}/k")
    with store.open(f"{bucket}/k", "rb", version_id=versions[1]) as file:
        equal(file.read(), b"two")
    store.rm(bucket, recursive=True)
    assert not store.exists(bucket)


def check_tags(store, bucket):
    store.pipe(f"{bucket}/k", b"")
    store.put_tags(f"{bucket}/k", {"a": "1", "b c": "ä"})
    equal(store.get_tags(f"{bucket}/k"), {"a": "1", "b c": "ä"})
    store.put_tags(f"{bucket}/k", {"a": "2"}, mode="m")
    equal(store.get_tags(f"{bucket}/k"), {"a": "2", "b c": "ä"})


def check_encryption(store, bucket):
    store.pipe(f"{bucket}/k", b"text", ServerSideEncryption="AES256")
    equal(store.metadata(f"{bucket}/k"), {})
    equal(store.cat(f"{bucket}/k"), b"text")


announce("s3fs")
main(make)
