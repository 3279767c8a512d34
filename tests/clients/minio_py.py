"""minio-py: a large object by parallel parts, streams of unknown length, copies, compositions, links."""

import datetime
import hashlib
import io
import os
import tempfile
import urllib.request

import minio
from minio.commonconfig import REPLACE, ComposeSource, CopySource
from minio.deleteobjects import DeleteObject
from minio.error import S3Error

from checks import ACCESS_KEY, HOST, MIB, REGION, SECRET_KEY
from checks import announce, equal, main, new_name, pattern


def make():
    client = minio.Minio(
        HOST, access_key=ACCESS_KEY, secret_key=SECRET_KEY, region=REGION, secure=False
    )
    bucket = new_name()
    client.make_bucket(bucket)
    return client, bucket


def body_of(client, bucket, key, **arguments):
    answer = client.get_object(bucket, key, **arguments)
    try:
        return answer.read()
    finally:
        answer.close()
        answer.release_conn()


def put(client, bucket, key, data, **arguments):
    return client.put_object(bucket, key, io.BytesIO(data), len(data), **arguments)


def check_buckets(client, bucket):
    assert client.bucket_exists(bucket)
    assert not client.bucket_exists(new_name())
    assert bucket in [found.name for found in client.list_buckets()]
    client.remove_bucket(bucket)
    assert not client.bucket_exists(bucket)


def check_a_large_object_by_parallel_parts(client, bucket):
    data = pattern(48 * MIB + 77)
    metadata = {"project": "ringfort", "x-amz-meta-second": "two"}
    result = put(
        client, bucket, "large", data,
        part_size=5 * MIB, num_parallel_uploads=4, content_type="a/b", metadata=metadata,
    )  # fmt: skip
    assert result.etag.endswith("-10"), result.etag
    stat = client.stat_object(bucket, "large")
    equal((stat.size, stat.etag, stat.content_type), (len(data), result.etag, "a/b"))
    equal(stat.metadata["x-amz-meta-project"], "ringfort")
    equal(stat.metadata["x-amz-meta-second"], "two")
    assert body_of(client, bucket, "large") == data
    equal(body_of(client, bucket, "large", offset=5 * MIB - 3, length=11), data[5 * MIB - 3 :][:11])


def check_a_stream_of_unknown_length(client, bucket):
    data = pattern(12 * MIB + 5)
    client.put_object(bucket, "stream", io.BytesIO(data), -1, part_size=5 * MIB)
    assert body_of(client, bucket, "stream") == data
    client.put_object(bucket, "empty", io.BytesIO(b""), -1, part_size=5 * MIB)
    equal(body_of(client, bucket, "empty"), b"")


def check_files(client, bucket):
    with tempfile.TemporaryDirectory() as directory:
        source, back = os.path.join(directory, "source"), os.path.join(directory, "back")
        with open(source, "wb") as file:
            file.write(pattern(11 * MIB))
        client.fput_object(bucket, "a dir/ä file+%20", source, part_size=5 * MIB)
        client.fget_object(bucket, "a dir/ä file+%20", back)
        digests = [hashlib.sha256(open(path, "rb").read()).digest() for path in (source, back)]
        equal(digests[0], digests[1])


def check_listings(client, bucket):
    keys = sorted(f"{a}/{b}/file {c} & ü+%" for a in "abc" for b in "xy" for c in range(10))
    for key in keys:
        put(client, bucket, key, key.encode())
    equal([found.object_name for found in client.list_objects(bucket, recursive=True)], keys)
    equal([found.object_name for found in client.list_objects(bucket)], ["a/", "b/", "c/"])
    found = client.list_objects(bucket, prefix="b/", recursive=True, start_after="b/x/file 9")
    expected = [key for key in keys if key > "b/x/file 9" and key.startswith("b/")]
    equal([entry.object_name for entry in found], expected)
    found = client.list_objects(bucket, prefix="b/x/", use_api_v1=True)
    equal([entry.object_name for entry in found], [key for key in keys if key.startswith("b/x/")])
    errors = client.remove_objects(bucket, [DeleteObject(key) for key in keys])
    equal(list(errors), [])
    equal(list(client.list_objects(bucket, recursive=True)), [])


def check_copies_and_compositions(client, bucket):
    first, second, third = pattern(6 * MIB, 1), pattern(5 * MIB, 2), pattern(100, 3)
    put(client, bucket, "first", first, metadata={"kept": "yes"})
    put(client, bucket, "second", second)
    put(client, bucket, "third", third)
    client.copy_object(bucket, "copy", CopySource(bucket, "first"))
    equal(client.stat_object(bucket, "copy").metadata["x-amz-meta-kept"], "yes")
    client.copy_object(
        bucket, "replaced", CopySource(bucket, "first"),
        metadata={"other": "1"}, metadata_directive=REPLACE,
    )  # fmt: skip
    assert "x-amz-meta-kept" not in client.stat_object(bucket, "replaced").metadata
    etag = client.stat_object(bucket, "first").etag
    client.copy_object(bucket, "matched", CopySource(bucket, "first", match_etag=etag))
    try:
        client.copy_object(bucket, "no", CopySource(bucket, "first", not_match_etag=etag))
        raise AssertionError("a copy whose condition fails was made")
    except S3Error as error:
        equal(error.code, "PreconditionFailed")
    sources = [
        ComposeSource(bucket, "first"),
        ComposeSource(bucket, "second"),
        ComposeSource(bucket, "third", offset=10, length=50),
    ]
    client.compose_object(bucket, "composed", sources)
    assert body_of(client, bucket, "composed") == first + second + third[10:60]


def check_presigned_links(client, bucket):
    day = datetime.timedelta(days=1)
    link = client.presigned_put_object(bucket, "dir/a b+ä", expires=day)
    request = urllib.request.Request(link, data=b"by link", method="PUT")
    equal(urllib.request.urlopen(request).status, 200)
    link = client.presigned_get_object(
        bucket, "dir/a b+ä", expires=day, response_headers={"response-content-type": "x/y"}
    )
    with urllib.request.urlopen(link) as answer:
        equal((answer.read(), answer.headers["content-type"]), (b"by link", "x/y"))
    link = client.get_presigned_url("DELETE", bucket, "dir/a b+ä", expires=day)
    equal(urllib.request.urlopen(urllib.request.Request(link, method="DELETE")).status, 204)
    equal(list(client.list_objects(bucket, recursive=True)), [])


def check_errors_are_understood(client, bucket):
    for call, code in [
        (lambda: client.stat_object(bucket, "absent"), "NoSuchKey"),
        (lambda: client.get_object(bucket, "absent"), "NoSuchKey"),
        (lambda: client.remove_bucket(new_name()), "NoSuchBucket"),
        (lambda: list(client.list_objects(new_name())), "NoSuchBucket"),
    ]:
        try:
            call()
        except S3Error as error:
            equal(error.code, code)
        else:
            raise AssertionError(f"accepted, where {code} was expected")


announce("minio")
main(make)
