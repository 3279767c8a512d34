"""Single objects through boto3 with its default settings (checksum trailers on)."""

import base64
import datetime
import hashlib
import io
import os
import urllib.error
import urllib.request
import zlib

import boto3

from common import body_of, client, equal, main, make_bucket, pattern, refused, ENDPOINT

KEYS = [
    "plain",
    "with space",
    " leading and trailing ",
    "plus+plus",
    "per%cent %20 %2F",
    "a//b",
    "/leading",
    "trailing/",
    "dots/../up/./here",
    "unicode/äöü/日本語/🦀",
    "e\u0301 decomposed and \u00e9 composed",
    "quotes'\"`and<xml>&amp;",
    "query?a=b&c=d#fragment",
    "semi;colon:at@equals=dollar$comma,",
    "back\\slash|pipe^caret{brace}[bracket]~tilde*star!",
    "tab\tand\x01control",
    "k" * 1024,
]


def check_every_size_comes_back(s3, bucket):
    for size in [0, 1, 4095, 4096, 4097, 65536, 131072, 131073, 1 << 20, (5 << 20) + 7]:
        data = pattern(size)
        put = s3.put_object(Bucket=bucket, Key=f"size/{size}", Body=data)
        equal(put["ETag"], f'"{hashlib.md5(data).hexdigest()}"')
        got = s3.get_object(Bucket=bucket, Key=f"size/{size}")
        equal(got["ContentLength"], size)
        equal(got["ETag"], put["ETag"])
        equal(got["AcceptRanges"], "bytes")
        assert got["Body"].read() == data
        head = s3.head_object(Bucket=bucket, Key=f"size/{size}")
        equal((head["ContentLength"], head["ETag"]), (size, put["ETag"]))
        age = datetime.datetime.now(datetime.timezone.utc) - head["LastModified"]
        assert abs(age) < datetime.timedelta(minutes=5), age


def check_an_overwrite_replaces_all(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=pattern(200000), Metadata={"a": "1"})
    s3.put_object(Bucket=bucket, Key="k", Body=b"short")
    got = s3.get_object(Bucket=bucket, Key="k")
    equal((got["Body"].read(), got["Metadata"]), (b"short", {}))


def check_a_stream_of_unknown_length_is_taken(s3, bucket):
    class Stream(io.RawIOBase):
        """Neither seekable nor of a known size: boto3 sends it as aws-chunked or multipart."""

        def __init__(self):
            self.source = io.BytesIO(pattern(3 << 20))

        def readable(self):
            return True

        def read(self, size=-1):
            return self.source.read(size)

    s3.upload_fileobj(Stream(), bucket, "stream")
    assert body_of(s3, bucket, "stream") == pattern(3 << 20)


def check_odd_keys_are_kept_as_they_are(s3, bucket):
    for number, key in enumerate(KEYS):
        s3.put_object(Bucket=bucket, Key=key, Body=str(number).encode())
    for number, key in enumerate(KEYS):
        equal(body_of(s3, bucket, key), str(number).encode())
        s3.head_object(Bucket=bucket, Key=key)
    listed = [row["Key"] for row in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    equal(listed, sorted(KEYS, key=lambda key: key.encode()))
    signer = client(signature_version="s3v4")
    for key in KEYS:
        url = signer.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key})
        equal(urllib.request.urlopen(url).read(), str(KEYS.index(key)).encode())
    for key in KEYS:
        s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": key})
        equal(body_of(s3, bucket, "copy"), str(KEYS.index(key)).encode())
        s3.delete_object(Bucket=bucket, Key=key)
    equal([row["Key"] for row in s3.list_objects_v2(Bucket=bucket)["Contents"]], ["copy"])


def check_a_key_beyond_the_limit_is_refused(s3, bucket):
    with refused("KeyTooLongError", 400):
        s3.put_object(Bucket=bucket, Key="k" * 1025, Body=b"")


def check_metadata_is_kept(s3, bucket):
    expires = datetime.datetime(2030, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
    system = {
        "ContentType": "text/x-test; charset=utf-8",
        "CacheControl": "max-age=60, public",
        "ContentDisposition": 'attachment; filename="a b.txt"',
        "ContentEncoding": "gzip",
        "ContentLanguage": "de-CH",
    }
    user = {"one": "1", "with-dash": "a  b", "upper": "MiXeD"}
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", Metadata=user, Expires=expires, **system)
    for answer in [s3.head_object(Bucket=bucket, Key="k"), s3.get_object(Bucket=bucket, Key="k")]:
        for name, value in system.items():
            equal(answer[name], value)
        equal(answer["Metadata"], user)
        equal(answer["ExpiresString"], "Wed, 02 Jan 2030 03:04:05 GMT")
    with refused("MetadataTooLarge", 400):
        s3.put_object(Bucket=bucket, Key="big", Body=b"x", Metadata={"m": "v" * 2100})
    with refused("404", 404):
        s3.head_object(Bucket=bucket, Key="big")


def check_the_default_content_type(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    equal(s3.head_object(Bucket=bucket, Key="k")["ContentType"], "binary/octet-stream")


def check_response_headers_can_be_overridden(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", ContentType="a/b")
    got = s3.get_object(
        Bucket=bucket,
        Key="k",
        ResponseContentType="c/d",
        ResponseCacheControl="no-store",
        ResponseContentDisposition="inline",
    )
    equal((got["ContentType"], got["CacheControl"]), ("c/d", "no-store"))
    equal(got["ContentDisposition"], "inline")


def check_ranges(s3, bucket):
    for size in [1000, 300_000]:
        data = pattern(size)
        s3.put_object(Bucket=bucket, Key="k", Body=data)
        cases = [
            ("bytes=0-0", data[:1]),
            ("bytes=10-99", data[10:100]),
            (f"bytes={size - 5}-", data[-5:]),
            ("bytes=-7", data[-7:]),
            (f"bytes=5-{size * 2}", data[5:]),
            (f"bytes=-{size * 2}", data),
        ]
        for text, expected in cases:
            got = s3.get_object(Bucket=bucket, Key="k", Range=text)
            equal(got["ResponseMetadata"]["HTTPStatusCode"], 206)
            equal(got["ContentLength"], len(expected))
            begin = data.index(expected) if len(expected) > 8 else None
            if begin is not None:
                end = begin + len(expected) - 1
                equal(got["ContentRange"], f"bytes {begin}-{end}/{size}")
            assert got["Body"].read() == expected, text
            head = s3.head_object(Bucket=bucket, Key="k", Range=text)
            equal(head["ContentLength"], len(expected))
        # Several ranges, and what is no range at all, mean the whole object.
        for text in ["bytes=0-1,5-6", "lines=1-2", "bytes=9-1"]:
            got = s3.get_object(Bucket=bucket, Key="k", Range=text)
            equal((got["ResponseMetadata"]["HTTPStatusCode"], got["ContentLength"]), (200, size))
            got["Body"].read()
        with refused("InvalidRange", 416):
            s3.get_object(Bucket=bucket, Key="k", Range=f"bytes={size}-")


def check_an_empty_object_has_no_range(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"")
    with refused("InvalidRange", 416):
        s3.get_object(Bucket=bucket, Key="k", Range="bytes=0-0")


def check_conditional_reads(s3, bucket):
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"x")["ETag"]
    modified = s3.head_object(Bucket=bucket, Key="k")["LastModified"]
    before, after = modified - datetime.timedelta(hours=1), modified + datetime.timedelta(hours=1)
    for read in [s3.get_object, s3.head_object]:
        read(Bucket=bucket, Key="k", IfMatch=etag)
        read(Bucket=bucket, Key="k", IfMatch="*")
        read(Bucket=bucket, Key="k", IfNoneMatch='"other"')
        read(Bucket=bucket, Key="k", IfModifiedSince=before)
        read(Bucket=bucket, Key="k", IfUnmodifiedSince=after)
        # An entity tag that matches outweighs a date that does not.
        read(Bucket=bucket, Key="k", IfMatch=etag, IfUnmodifiedSince=before)
        not_modified = "304"
        with refused(not_modified, 304) as answer:
            read(Bucket=bucket, Key="k", IfNoneMatch=etag)
        headers = answer.response["ResponseMetadata"]["HTTPHeaders"]
        equal(headers["etag"], etag)
        with refused(not_modified, 304):
            read(Bucket=bucket, Key="k", IfModifiedSince=modified)
        with refused(not_modified, 304):
            read(Bucket=bucket, Key="k", IfNoneMatch=etag, IfModifiedSince=before)
        failed = "PreconditionFailed" if read == s3.get_object else "412"
        with refused(failed, 412):
            read(Bucket=bucket, Key="k", IfMatch='"other"')
        with refused(failed, 412):
            read(Bucket=bucket, Key="k", IfUnmodifiedSince=before)


def check_conditional_writes(s3, bucket):
    put = lambda key, **c: s3.put_object(Bucket=bucket, Key=key, Body=b"new", **c)
    etag = put("k", IfNoneMatch="*")["ETag"]
    with refused("PreconditionFailed", 412):
        put("k", IfNoneMatch="*")
    put("k", IfMatch=etag)
    with refused("PreconditionFailed", 412):
        put("k", IfMatch='"00000000000000000000000000000000"')
    with refused("NoSuchKey", 404):
        put("missing", IfMatch=etag)
    with refused("404", 404):
        s3.head_object(Bucket=bucket, Key="missing")
    with refused("PreconditionFailed", 412):
        s3.delete_object(Bucket=bucket, Key="k", IfMatch='"other"')
    s3.delete_object(Bucket=bucket, Key="k", IfMatch=etag)
    put("k", IfNoneMatch="*")


def check_deletes_are_idempotent(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    for _ in range(2):
        answer = s3.delete_object(Bucket=bucket, Key="k")
        equal(answer["ResponseMetadata"]["HTTPStatusCode"], 204)
    with refused("NoSuchKey", 404) as answer:
        s3.get_object(Bucket=bucket, Key="k")
    equal(answer.response["Error"]["Key"], "k")


def check_delete_objects(s3, bucket):
    keys = [f"k{number:04}" for number in range(998)] + ["with space & <xml>", "ä/🦀"]
    for key in keys[::50] + keys[-2:]:
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    request = {"Objects": [{"Key": key} for key in keys]}
    answer = s3.delete_objects(Bucket=bucket, Delete=request)
    equal(sorted(row["Key"] for row in answer["Deleted"]), sorted(keys))
    assert "Errors" not in answer, answer["Errors"]
    equal(s3.list_objects_v2(Bucket=bucket)["KeyCount"], 0)
    s3.put_object(Bucket=bucket, Key="q", Body=b"x")
    quiet = {"Objects": [{"Key": "q"}], "Quiet": True}
    assert "Deleted" not in s3.delete_objects(Bucket=bucket, Delete=quiet)
    with refused("MalformedXML", 400):
        too_many = {"Objects": [{"Key": str(number)} for number in range(1001)]}
        s3.delete_objects(Bucket=bucket, Delete=too_many)


def check_copies(s3, bucket):
    data = pattern(300_000)
    source = {"Bucket": bucket, "Key": "source"}
    first = s3.put_object(
        Bucket=bucket, Key="source", Body=data, Metadata={"a": "1"}, ContentType="a/b"
    )
    other = make_bucket(s3)
    copied = s3.copy_object(Bucket=other, Key="copy", CopySource=source)
    equal(copied["CopyObjectResult"]["ETag"], first["ETag"])
    head = s3.head_object(Bucket=other, Key="copy")
    equal((head["Metadata"], head["ContentType"]), ({"a": "1"}, "a/b"))
    assert body_of(s3, other, "copy") == data
    s3.copy_object(
        Bucket=other,
        Key="copy",
        CopySource=source,
        MetadataDirective="REPLACE",
        Metadata={"b": "2"},
    )
    equal(s3.head_object(Bucket=other, Key="copy")["Metadata"], {"b": "2"})
    with refused("InvalidRequest", 400):
        s3.copy_object(Bucket=bucket, Key="source", CopySource=source)
    s3.copy_object(
        Bucket=bucket, Key="source", CopySource=source, MetadataDirective="REPLACE", Metadata={}
    )
    assert body_of(s3, bucket, "source") == data
    with refused("NoSuchKey", 404):
        s3.copy_object(Bucket=other, Key="x", CopySource={"Bucket": bucket, "Key": "no"})
    with refused("PreconditionFailed", 412):
        s3.copy_object(Bucket=other, Key="x", CopySource=source, CopySourceIfMatch='"no"')
    s3.delete_object(Bucket=bucket, Key="source")
    assert body_of(s3, other, "copy") == data


def check_presigned_urls(s3, bucket):
    for style in ["path", "auto"]:
        signer = client(signature_version="s3v4", s3={"addressing_style": style})
        params = {"Bucket": bucket, "Key": "dir/a b+c", "ContentType": "a/b"}
        url = signer.generate_presigned_url("put_object", Params=params, ExpiresIn=60)
        put = urllib.request.Request(url, data=b"signed", method="PUT")
        put.add_header("Content-Type", "a/b")
        equal(urllib.request.urlopen(put).status, 200)
        url = signer.generate_presigned_url(
            "get_object",
            Params={"Bucket": bucket, "Key": "dir/a b+c", "ResponseContentType": "c/d"},
        )
        got = urllib.request.urlopen(url)
        equal((got.read(), got.headers["Content-Type"]), (b"signed", "c/d"))
    tampered = url.replace("c%2Fd", "e%2Ff")
    assert tampered != url
    try:
        urllib.request.urlopen(tampered)
        raise AssertionError("a tampered URL was accepted")
    except urllib.error.HTTPError as error:
        equal(error.code, 403)
        assert b"<Code>SignatureDoesNotMatch</Code>" in error.read()


def check_every_checksum_algorithm(s3, bucket):
    data = pattern(200_000)
    for algorithm, value in checksums(data).items():
        field = f"Checksum{algorithm}"
        put = s3.put_object(Bucket=bucket, Key="k", Body=data, **{field: value})
        equal(put[field], value)
        head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
        equal((head[field], head["ChecksumType"]), (value, "FULL_OBJECT"))
        assert field not in s3.head_object(Bucket=bucket, Key="k")
        got = s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
        equal(got[field], value)
        assert got["Body"].read() == data
        with refused("BadDigest", 400):
            s3.put_object(Bucket=bucket, Key="wrong", Body=data + b"x", **{field: value})
        with refused("InvalidRequest", 400):
            s3.put_object(Bucket=bucket, Key="wrong", Body=data, **{field: "nonsense"})
    for algorithm in ["CRC32", "SHA1", "SHA256"]:  # in trailers, computed by boto3
        put = s3.put_object(Bucket=bucket, Key="k", Body=data, ChecksumAlgorithm=algorithm)
        equal(put[f"Checksum{algorithm}"], checksums(data)[algorithm])
    with refused("404", 404):
        s3.head_object(Bucket=bucket, Key="wrong")


def checksums(data):
    values = {
        "CRC32": zlib.crc32(data).to_bytes(4, "big"),
        "CRC32C": crc(data, 0x82F63B78, 4),
        "CRC64NVME": crc(data, 0x9A6C9329AC4BC9B5, 8),
        "SHA1": hashlib.sha1(data).digest(),
        "SHA256": hashlib.sha256(data).digest(),
    }
    return {name: base64.b64encode(value).decode() for name, value in values.items()}


def crc(data, polynomial, size):
    """A reflected CRC with all bits set at both ends."""
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (polynomial if byte & 1 else 0)
        table.append(byte)
    ones = 256**size - 1
    value = ones
    for byte in data:
        value = table[(value ^ byte) & 255] ^ value >> 8
    return (value ^ ones).to_bytes(size, "big")


def check_content_md5(s3, bucket):
    right = base64.b64encode(hashlib.md5(b"data").digest()).decode()
    s3.put_object(Bucket=bucket, Key="k", Body=b"data", ContentMD5=right)
    with refused("BadDigest", 400):
        s3.put_object(Bucket=bucket, Key="wrong", Body=b"other", ContentMD5=right)
    with refused("InvalidDigest", 400):
        s3.put_object(Bucket=bucket, Key="wrong", Body=b"other", ContentMD5="nonsense")
    equal(s3.list_objects_v2(Bucket=bucket)["KeyCount"], 1)


def check_without_checksums(s3, bucket):
    """As older SDKs and those told so send it: a signed body, no trailer."""
    plain = client(request_checksum_calculation="when_required")
    plain.put_object(Bucket=bucket, Key="k", Body=b"data")
    head = plain.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert head["ChecksumCRC64NVME"], "CRC64NVME is computed when the client sends none"
    plain.upload_fileobj(io.BytesIO(pattern(9 << 20)), bucket, "large")
    assert body_of(plain, bucket, "large") == pattern(9 << 20)


def check_rename(s3, bucket):
    """Small, empty, large and of parts: under its new key it is what it was, and the former one is gone."""
    upload = s3.create_multipart_upload(Bucket=bucket, Key="parts", ChecksumAlgorithm="CRC32")
    parts = []
    for number, size in [(2, 5 << 20), (7, 6 << 20), (9, 10)]:
        sent = s3.upload_part(
            Bucket=bucket,
            Key="parts",
            UploadId=upload["UploadId"],
            PartNumber=number,
            Body=pattern(size),
            ChecksumAlgorithm="CRC32",
        )
        part = {"PartNumber": number, "ETag": sent["ETag"], "ChecksumCRC32": sent["ChecksumCRC32"]}
        parts.append(part)
    s3.complete_multipart_upload(
        Bucket=bucket,
        Key="parts",
        UploadId=upload["UploadId"],
        MultipartUpload={"Parts": parts},
    )
    for key, size in [("small", 1000), ("empty", 0), ("large", 3 << 20)]:
        s3.put_object(Bucket=bucket, Key=key, Body=pattern(size), Metadata={"k": key})
    for key in ["small", "empty", "large", "parts"]:
        ask = {"Bucket": bucket, "ChecksumMode": "ENABLED"}
        before, content = s3.head_object(Key=key, **ask), body_of(s3, bucket, key)
        s3.rename_object(Bucket=bucket, Key=f"new/{key} ä", RenameSource=key)
        after = s3.head_object(Key=f"new/{key} ä", **ask)
        for varying in ["LastModified", "ResponseMetadata"]:
            before.pop(varying), after.pop(varying)
        equal(after, before)
        assert body_of(s3, bucket, f"new/{key} ä") == content
        with refused("404", 404):
            s3.head_object(Bucket=bucket, Key=key)
    part = s3.get_object(Bucket=bucket, Key="new/parts ä", PartNumber=2)
    equal((part["PartsCount"], part["ContentLength"]), (3, 5 << 20))
    s3.put_object(Bucket=bucket, Key="other", Body=b"other")
    with refused("PreconditionFailed", 412):
        s3.rename_object(
            Bucket=bucket, Key="other", RenameSource="new/small%20%C3%A4", DestinationIfNoneMatch="*"
        )
    s3.rename_object(Bucket=bucket, Key="other", RenameSource="new/small%20%C3%A4")
    equal(body_of(s3, bucket, "other"), pattern(1000))


def check_virtual_host_style(s3, bucket):
    virtual = client(
        ENDPOINT.replace("127.0.0.1", "localhost"),
        signature_version="s3v4",
        s3={"addressing_style": "virtual"},
    )
    virtual.put_object(Bucket=bucket, Key="dir/a b", Body=b"virtual")
    equal(body_of(s3, bucket, "dir/a b"), b"virtual")
    equal(virtual.list_objects_v2(Bucket=bucket)["Contents"][0]["Key"], "dir/a b")
    url = virtual.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "dir/a b"})
    assert f"//{bucket}.localhost" in url, url
    equal(urllib.request.urlopen(url).read(), b"virtual")


def check_errors(s3, bucket):
    with refused("NoSuchBucket", 404) as answer:
        s3.get_object(Bucket="no-such-bucket", Key="k")
    equal(answer.response["Error"]["BucketName"], "no-such-bucket")
    with refused("NoSuchBucket", 404):
        s3.put_object(Bucket="no-such-bucket", Key="k", Body=b"x")
    with refused("NoSuchBucket", 404):
        s3.list_objects_v2(Bucket="no-such-bucket")
    with refused("404", 404):
        s3.head_bucket(Bucket="no-such-bucket")
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    with refused("BucketNotEmpty", 409):
        s3.delete_bucket(Bucket=bucket)
    with refused("NotImplemented", 501):
        s3.get_bucket_analytics_configuration(Bucket=bucket, Id="x")
    for key, secret, code in [
        (os.environ["AWS_ACCESS_KEY_ID"], "wrong secret", "SignatureDoesNotMatch"),
        ("NOBODY", "wrong secret", "InvalidAccessKeyId"),
    ]:
        session = boto3.Session(aws_access_key_id=key, aws_secret_access_key=secret)
        with refused(code, 403):
            session.client("s3", endpoint_url=ENDPOINT).list_buckets()


def check_buckets(s3, bucket):
    assert bucket in [row["Name"] for row in s3.list_buckets()["Buckets"]]
    s3.head_bucket(Bucket=bucket)
    equal(s3.get_bucket_location(Bucket=bucket)["LocationConstraint"], None)
    for name in ["Upper", "under_score", "ab", "-a-", "192.168.0.1", "a..b"]:
        with refused("InvalidBucketName", 400):
            s3.create_bucket(Bucket=name)
    s3.delete_bucket(Bucket=bucket)
    with refused("404", 404):
        s3.head_bucket(Bucket=bucket)
    s3.create_bucket(Bucket=bucket)
    equal(s3.list_objects_v2(Bucket=bucket)["KeyCount"], 0)


main()
