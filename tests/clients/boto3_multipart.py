"""Multipart uploads through boto3: by its transfer manager and call by call."""

import base64
import hashlib
import io

from common import body_of, client, equal, main, pattern, refused

MIB = 1 << 20
PART = 5 * MIB


def upload(s3, bucket, key, parts, **arguments):
    """Uploads parts under the numbers given and completes in that order."""
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key=key, **arguments)["UploadId"]
    done = []
    for number, data in parts.items():
        answer = s3.upload_part(
            Bucket=bucket, Key=key, UploadId=upload_id, PartNumber=number, Body=data
        )
        done.append({"PartNumber": number, "ETag": answer["ETag"]})
    return upload_id, done


def complete(s3, bucket, key, upload_id, parts, **arguments):
    return s3.complete_multipart_upload(
        Bucket=bucket, Key=key, UploadId=upload_id, MultipartUpload={"Parts": parts}, **arguments
    )


def etag_of(parts):
    digests = b"".join(hashlib.md5(part).digest() for part in parts)
    return f'"{hashlib.md5(digests).hexdigest()}-{len(parts)}"'


def check_the_transfer_manager(s3, bucket):
    data = pattern(20 * MIB + 3)
    extra = {"Metadata": {"a": "1"}, "ContentType": "a/b"}
    s3.upload_fileobj(io.BytesIO(data), bucket, "k", ExtraArgs=extra)
    head = s3.head_object(Bucket=bucket, Key="k")
    equal(head["ContentLength"], len(data))
    equal((head["Metadata"], head["ContentType"]), ({"a": "1"}, "a/b"))
    assert head["ETag"].endswith('-3"'), head["ETag"]
    back = io.BytesIO()
    s3.download_fileobj(bucket, "k", back)
    assert back.getvalue() == data
    s3.copy({"Bucket": bucket, "Key": "k"}, bucket, "copied by parts")
    assert body_of(s3, bucket, "copied by parts") == data


def check_parts_become_one_object(s3, bucket):
    parts = {1: pattern(PART, 1), 7: pattern(PART + 1, 2), 10000: pattern(10, 3)}
    upload_id, done = upload(s3, bucket, "k", parts, Metadata={"a": "1"})
    with refused("404", 404):
        s3.head_object(Bucket=bucket, Key="k")
    answer = complete(s3, bucket, "k", upload_id, done)
    equal(answer["ETag"], etag_of(list(parts.values())))
    whole = b"".join(parts.values())
    got = s3.get_object(Bucket=bucket, Key="k")
    equal((got["ETag"], got["Metadata"]), (answer["ETag"], {"a": "1"}))
    assert got["Body"].read() == whole
    for begin in [0, PART - 3, PART, 2 * PART - 1, len(whole) - 12]:
        got = body_of(s3, bucket, "k", Range=f"bytes={begin}-{begin + 9}")
        assert got == whole[begin : begin + 10], begin
    for number in parts:
        got = s3.get_object(Bucket=bucket, Key="k", PartNumber=number)
        equal((got["PartsCount"], got["ContentLength"]), (3, len(parts[number])))
        equal(got["ResponseMetadata"]["HTTPStatusCode"], 206)
        assert got["Body"].read() == parts[number]
    with refused("InvalidPartNumber", 416):
        s3.get_object(Bucket=bucket, Key="k", PartNumber=4)
    assert not s3.list_multipart_uploads(Bucket=bucket).get("Uploads")
    s3.delete_object(Bucket=bucket, Key="k")
    s3.delete_bucket(Bucket=bucket)


def check_a_part_can_be_replaced_and_left_out(s3, bucket):
    first = {1: pattern(PART, 1), 2: pattern(PART, 2), 3: pattern(9, 3)}
    upload_id, done = upload(s3, bucket, "k", first)
    again = s3.upload_part(
        Bucket=bucket, Key="k", UploadId=upload_id, PartNumber=1, Body=pattern(PART, 4)
    )
    with refused("InvalidPart", 400):
        complete(s3, bucket, "k", upload_id, [done[0], done[2]])
    chosen = [{"PartNumber": 1, "ETag": again["ETag"]}, done[2]]
    complete(s3, bucket, "k", upload_id, chosen)
    assert body_of(s3, bucket, "k") == pattern(PART, 4) + first[3]


def check_wrong_completions_are_refused(s3, bucket):
    upload_id, done = upload(s3, bucket, "k", {1: b"small", 2: b"last"})
    with refused("EntityTooSmall", 400):
        complete(s3, bucket, "k", upload_id, done)
    with refused("InvalidPartOrder", 400):
        complete(s3, bucket, "k", upload_id, done[::-1])
    with refused("InvalidPart", 400):
        complete(s3, bucket, "k", upload_id, [{"PartNumber": 3, "ETag": done[0]["ETag"]}])
    with refused("InvalidPart", 400):
        complete(s3, bucket, "k", upload_id, [{"PartNumber": 1, "ETag": '"0123"'}])
    with refused("MalformedXML", 400):
        complete(s3, bucket, "k", upload_id, [])
    with refused("NoSuchUpload", 404):
        complete(s3, bucket, "k", "nonsense", done)
    with refused("NoSuchUpload", 404):
        complete(s3, bucket, "other key", upload_id, done)
    complete(s3, bucket, "k", upload_id, done[:1])
    equal(body_of(s3, bucket, "k"), b"small")


def check_an_aborted_upload_is_gone(s3, bucket):
    upload_id, _ = upload(s3, bucket, "k", {1: pattern(PART)})
    s3.abort_multipart_upload(Bucket=bucket, Key="k", UploadId=upload_id)
    with refused("NoSuchUpload", 404):
        s3.abort_multipart_upload(Bucket=bucket, Key="k", UploadId=upload_id)
    with refused("NoSuchUpload", 404):
        s3.upload_part(Bucket=bucket, Key="k", UploadId=upload_id, PartNumber=1, Body=b"x")
    with refused("NoSuchUpload", 404):
        s3.list_parts(Bucket=bucket, Key="k", UploadId=upload_id)
    with refused("404", 404):
        s3.head_object(Bucket=bucket, Key="k")


def check_part_numbers_have_bounds(s3, bucket):
    upload_id, _ = upload(s3, bucket, "k", {})
    for number in [0, 10001]:
        with refused("InvalidArgument", 400):
            s3.upload_part(
                Bucket=bucket, Key="k", UploadId=upload_id, PartNumber=number, Body=b"x"
            )


def check_list_parts(s3, bucket):
    parts = {number: b"%d" % number * number for number in [1, 2, 3, 5, 8, 13]}
    upload_id, done = upload(s3, bucket, "k", parts)
    pages = s3.get_paginator("list_parts").paginate(
        Bucket=bucket, Key="k", UploadId=upload_id, PaginationConfig={"PageSize": 2}
    )
    rows = [row for page in pages for row in page["Parts"]]
    equal([row["PartNumber"] for row in rows], list(parts))
    equal([row["Size"] for row in rows], [len(part) for part in parts.values()])
    equal([row["ETag"] for row in rows], [part["ETag"] for part in done])


def check_list_multipart_uploads(s3, bucket):
    keys = ["a", "b/1", "b/2", "b/2", "c d", "ä"]
    started = {}
    for key in keys:
        upload_id = s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
        started.setdefault(key, set()).add(upload_id)
    pages = s3.get_paginator("list_multipart_uploads").paginate(
        Bucket=bucket, PaginationConfig={"PageSize": 2}
    )
    rows = [row for page in pages for row in page.get("Uploads", [])]
    equal([row["Key"] for row in rows], keys)
    found = {}
    for row in rows:
        found.setdefault(row["Key"], set()).add(row["UploadId"])
    equal(found, started)
    answer = s3.list_multipart_uploads(Bucket=bucket, Delimiter="/")
    equal([row["Prefix"] for row in answer["CommonPrefixes"]], ["b/"])
    equal([row["Key"] for row in answer["Uploads"]], ["a", "c d", "ä"])
    answer = s3.list_multipart_uploads(Bucket=bucket, Prefix="b/2")
    equal(len(answer["Uploads"]), 2)
    with refused("BucketNotEmpty", 409):
        s3.delete_bucket(Bucket=bucket)


def check_upload_part_copy(s3, bucket):
    source = pattern(12 * MIB)
    s3.upload_fileobj(io.BytesIO(source), bucket, "source")
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    done = []
    for number, text in [(1, f"bytes={MIB}-{7 * MIB - 1}"), (2, None), (3, "bytes=5-9")]:
        arguments = {"CopySourceRange": text} if text else {}
        answer = s3.upload_part_copy(
            Bucket=bucket,
            Key="k",
            UploadId=upload_id,
            PartNumber=number,
            CopySource={"Bucket": bucket, "Key": "source"},
            **arguments,
        )
        done.append({"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]})
    complete(s3, bucket, "k", upload_id, done)
    assert body_of(s3, bucket, "k") == source[MIB : 7 * MIB] + source + source[5:10]


def check_composite_checksums(s3, bucket):
    parts = [pattern(PART, 1), pattern(7, 2)]
    upload_id = s3.create_multipart_upload(
        Bucket=bucket, Key="k", ChecksumAlgorithm="SHA256", ChecksumType="COMPOSITE"
    )["UploadId"]
    done = []
    for number, data in enumerate(parts, start=1):
        answer = s3.upload_part(
            Bucket=bucket,
            Key="k",
            UploadId=upload_id,
            PartNumber=number,
            Body=data,
            ChecksumAlgorithm="SHA256",
        )
        digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
        equal(answer["ChecksumSHA256"], digest)
        done.append({"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": digest})
    wrong = [dict(done[0], ChecksumSHA256=done[1]["ChecksumSHA256"]), done[1]]
    with refused("InvalidPart", 400):
        complete(s3, bucket, "k", upload_id, wrong)
    joined = b"".join(hashlib.sha256(part).digest() for part in parts)
    expected = base64.b64encode(hashlib.sha256(joined).digest()).decode() + "-2"
    equal(complete(s3, bucket, "k", upload_id, done)["ChecksumSHA256"], expected)
    head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    equal((head["ChecksumSHA256"], head["ChecksumType"]), (expected, "COMPOSITE"))


def check_full_object_checksums(s3, bucket):
    import zlib

    parts = [pattern(PART, 1), pattern(PART + 11, 2), pattern(7, 3)]
    upload_id = s3.create_multipart_upload(
        Bucket=bucket, Key="k", ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT"
    )["UploadId"]
    done = []
    for number, data in enumerate(parts, start=1):
        answer = s3.upload_part(
            Bucket=bucket,
            Key="k",
            UploadId=upload_id,
            PartNumber=number,
            Body=data,
            ChecksumAlgorithm="CRC32",
        )
        done.append(
            {"PartNumber": number, "ETag": answer["ETag"], "ChecksumCRC32": answer["ChecksumCRC32"]}
        )
    whole = zlib.crc32(b"".join(parts)).to_bytes(4, "big")
    expected = base64.b64encode(whole).decode()
    with refused("BadDigest", 400):
        complete(
            s3, bucket, "k", upload_id, done, ChecksumCRC32="AAAAAA==", ChecksumType="FULL_OBJECT"
        )
    answer = complete(
        s3, bucket, "k", upload_id, done, ChecksumCRC32=expected, ChecksumType="FULL_OBJECT"
    )
    equal(answer["ChecksumCRC32"], expected)
    head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    equal((head["ChecksumCRC32"], head["ChecksumType"]), (expected, "FULL_OBJECT"))


def check_conditional_completion(s3, bucket):
    upload_id, done = upload(s3, bucket, "k", {1: b"upload"})
    s3.put_object(Bucket=bucket, Key="k", Body=b"meanwhile")
    with refused("PreconditionFailed", 412):
        complete(s3, bucket, "k", upload_id, done, IfNoneMatch="*")
    equal(body_of(s3, bucket, "k"), b"meanwhile")
    complete(s3, bucket, "k", upload_id, done)
    equal(body_of(s3, bucket, "k"), b"upload")


def check_without_checksums(s3, bucket):
    plain = client(request_checksum_calculation="when_required")
    upload_id, done = upload(plain, bucket, "k", {1: pattern(PART), 2: b"x"})
    complete(plain, bucket, "k", upload_id, done)
    assert body_of(plain, bucket, "k") == pattern(PART) + b"x"


main()
