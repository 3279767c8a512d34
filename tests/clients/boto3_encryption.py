"""Server-side encryption by boto3: SSE-S3, SSE-KMS, SSE-C, defaults of buckets, in every combination.

The server has a master key, and takes customers' keys without TLS. RINGFORT_ADMIN is its management
port, RINGFORT_ADMIN_API_KEY that port's key.
"""

import base64
import hashlib
import json
import os
import random
import urllib.error
import urllib.request
import uuid

import botocore.exceptions

from common import body_of, client, equal, main, pattern, refused

MIB = 1 << 20
BLOCK = 64 << 10
# Around the ends of blocks, of what is stored inline, and of a chunk of the store.
SIZES = [0, 1, 15, 16, BLOCK - 1, BLOCK, BLOCK + 1, 128 << 10, 3 * BLOCK + 7, MIB - 4096, 3 * MIB + 5]


def admin(method, path, body=None):
    """The status and the document of the management API."""
    request = urllib.request.Request(
        os.environ["RINGFORT_ADMIN"] + "/api/v1/" + path,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": "Bearer " + os.environ["RINGFORT_ADMIN_API_KEY"]},
        method=method,
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def new_kms_key(prefix="key"):
    name = f"{prefix}-{uuid.uuid4().hex[:12]}"
    status, key = admin("POST", "kms/keys", {"id": name})
    equal((status, key["id"], key["enabled"], key["versions"]), (201, name, True, 1))
    return name


def customer(seed=1):
    key = hashlib.sha256(b"customer" + bytes([seed])).digest()
    return {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": key}


def source_of(arguments):
    return {"CopySource" + name: value for name, value in arguments.items()}


def raw_md5(arguments):
    return base64.b64encode(hashlib.md5(arguments["SSECustomerKey"]).digest()).decode()


def modes():
    """Each way to encrypt: what a write says, what a read must say, what answers show."""
    kms = new_kms_key("mode")
    key = customer(7)
    return {
        "plain": ({}, {}, {}),
        "s3": ({"ServerSideEncryption": "AES256"}, {}, {"ServerSideEncryption": "AES256"}),
        "kms": (
            {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms, "BucketKeyEnabled": True},
            {},
            {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms, "BucketKeyEnabled": True},
        ),
        "customer": (key, key, {"SSECustomerAlgorithm": "AES256", "SSECustomerKeyMD5": raw_md5(key)}),
    }


FIELDS = [
    "ServerSideEncryption",
    "SSEKMSKeyId",
    "BucketKeyEnabled",
    "SSECustomerAlgorithm",
    "SSECustomerKeyMD5",
]


def shown(answer):
    return {name: answer[name] for name in FIELDS if name in answer}


def has_md5_etag(mode):
    return mode in ("plain", "s3")


def check_objects_of_all_sizes(s3, bucket):
    for mode, (write, read, answers) in modes().items():
        for size in SIZES:
            key, body = f"{mode}-{size}", pattern(size, seed=size)
            put = s3.put_object(Bucket=bucket, Key=key, Body=body, **write)
            equal(shown(put), answers)
            got = s3.get_object(Bucket=bucket, Key=key, **read)
            equal(shown(got), answers)
            equal((got["ContentLength"], got["ETag"]), (size, put["ETag"]))
            equal(got["Body"].read() == body, True)
            head = s3.head_object(Bucket=bucket, Key=key, **read)
            equal(shown(head), answers)
            equal((head["ContentLength"], head["ETag"]), (size, put["ETag"]))
            is_md5 = put["ETag"].strip('"') == hashlib.md5(body).hexdigest()
            equal(is_md5, has_md5_etag(mode))
    listed = s3.list_objects_v2(Bucket=bucket)["Contents"]
    equal(
        {row["Key"]: row["Size"] for row in listed},
        {f"{mode}-{size}": size for mode in modes() for size in SIZES},
    )


def check_ranges(s3, bucket):
    choose = random.Random(5)
    for mode, (write, read, answers) in modes().items():
        body = pattern(3 * MIB + 1234)
        s3.put_object(Bucket=bucket, Key=mode, Body=body, **write)
        ends = [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, MIB - 4097, MIB, len(body) - 1]
        ranges = [(first, last) for first in ends for last in ends if first <= last]
        ranges += [tuple(sorted(choose.choices(range(len(body)), k=2))) for _ in range(20)]
        for first, last in ranges:
            got = s3.get_object(Bucket=bucket, Key=mode, Range=f"bytes={first}-{last}", **read)
            equal(got["ContentRange"], f"bytes {first}-{last}/{len(body)}")
            equal(shown(got), answers)
            equal(got["Body"].read() == body[first : last + 1], True)
        got = body_of(s3, bucket, mode, Range="bytes=-5", **read)
        equal(got, body[-5:])
        with refused("InvalidRange", 416):
            s3.get_object(Bucket=bucket, Key=mode, Range=f"bytes={len(body)}-", **read)


def upload(s3, bucket, key, write, parts):
    """A multipart upload. Only a customer's key is said again with every part."""
    again = write if "SSECustomerKey" in write else {}
    created = s3.create_multipart_upload(Bucket=bucket, Key=key, **write)
    place = {"Bucket": bucket, "Key": key, "UploadId": created["UploadId"]}
    done, answers = [], [created]
    for number, body in parts.items():
        part = s3.upload_part(PartNumber=number, Body=body, **place, **again)
        done.append({"PartNumber": number, "ETag": part["ETag"]})
        answers.append(part)
    listed = s3.list_parts(**place)["Parts"]
    equal([(p["PartNumber"], p["Size"]) for p in listed], [(n, len(b)) for n, b in parts.items()])
    completed = s3.complete_multipart_upload(MultipartUpload={"Parts": done}, **place)
    return answers, completed


def spelled(arguments):
    """A customer's key as the header has it: botocore does not encode it for this operation."""
    if "SSECustomerKey" not in arguments:
        return arguments
    key = arguments["SSECustomerKey"]
    return {
        "SSECustomerAlgorithm": "AES256",
        "SSECustomerKey": base64.b64encode(key).decode(),
        "SSECustomerKeyMD5": base64.b64encode(hashlib.md5(key).digest()).decode(),
    }


def check_multipart(s3, bucket):
    parts = {1: pattern(5 * MIB + 77, 1), 3: pattern(6 * MIB, 2), 9: pattern(1000, 3)}
    whole = b"".join(parts.values())
    for mode, (write, read, answers) in modes().items():
        steps, completed = upload(s3, bucket, mode, write, parts)
        for step in steps:
            equal(shown(step), answers)
        equal(shown(completed), {} if mode == "customer" else answers)
        head = s3.head_object(Bucket=bucket, Key=mode, **read)
        equal((shown(head), head["ContentLength"]), (answers, len(whole)))
        equal(body_of(s3, bucket, mode, **read) == whole, True)
        told = s3.get_object_attributes(
            Bucket=bucket, Key=mode, ObjectAttributes=["ObjectParts", "ObjectSize"], **spelled(read)
        )
        equal(told["ObjectSize"], len(whole))
        sizes = [part["Size"] for part in told["ObjectParts"]["Parts"]]
        equal(sizes, [len(body) for body in parts.values()])
        for number, body in parts.items():
            got = s3.get_object(Bucket=bucket, Key=mode, PartNumber=number, **read)
            equal((got["ContentLength"], got["PartsCount"]), (len(body), 3))
            equal(got["Body"].read() == body, True)
            head = s3.head_object(Bucket=bucket, Key=mode, PartNumber=number, **read)
            equal(head["ContentLength"], len(body))
        seam, end = 5 * MIB + 77, 11 * MIB + 77
        for first, last in [(seam - 10, seam + 10), (seam, seam), (100, end + 5), (end, end + 999)]:
            got = body_of(s3, bucket, mode, Range=f"bytes={first}-{last}", **read)
            equal(got == whole[first : last + 1], True)
    sizes = {row["Key"]: row["Size"] for row in s3.list_objects_v2(Bucket=bucket)["Contents"]}
    equal(set(sizes.values()), {len(whole)})


def check_copies_between_all_modes(s3, bucket):
    body = pattern(2 * MIB + 99)
    everything = modes()
    for source, (write, read, _) in everything.items():
        s3.put_object(Bucket=bucket, Key=source, Body=body, Metadata={"of": source}, **write)
        for target, (wanted, to_read, answers) in everything.items():
            key = f"{source}-to-{target}"
            copied = s3.copy_object(
                Bucket=bucket,
                Key=key,
                CopySource={"Bucket": bucket, "Key": source},
                **wanted,
                **source_of(read),
            )
            equal(shown(copied), answers)
            got = s3.get_object(Bucket=bucket, Key=key, **to_read)
            equal((shown(got), got["Metadata"]), (answers, {"of": source}))
            equal(got["Body"].read() == body, True)
            is_md5 = copied["CopyObjectResult"]["ETag"].strip('"') == hashlib.md5(body).hexdigest()
            equal(is_md5, has_md5_etag(target))


def check_renames(s3, bucket):
    """Data keys are bound to the key of their object: they are bound anew, the bytes stay as they are."""
    parts = {1: pattern(5 * MIB + 77, 1), 2: pattern(1000, 3)}
    whole, small = b"".join(parts.values()), pattern(100)
    renaming = client()
    extra = {}

    def say_more(request, **_):
        for name, value in extra.items():
            request.headers[name] = value

    renaming.meta.events.register("before-sign.s3.RenameObject", say_more)
    secret = customer(7)
    with_key = {
        "x-amz-server-side-encryption-customer-algorithm": "AES256",
        "x-amz-server-side-encryption-customer-key": base64.b64encode(
            secret["SSECustomerKey"]
        ).decode(),
        "x-amz-server-side-encryption-customer-key-MD5": raw_md5(secret),
    }
    for mode, (write, read, answers) in modes().items():
        upload(s3, bucket, f"{mode}-parts", write, parts)
        s3.put_object(Bucket=bucket, Key=f"{mode}-small", Body=small, **write)
        for kind, body in [("parts", whole), ("small", small)]:
            key = f"{mode}-{kind}"
            before = s3.head_object(Bucket=bucket, Key=key, **read)
            extra.clear()
            if mode == "customer":
                with refused("InvalidRequest", 400):
                    renaming.rename_object(Bucket=bucket, Key="new-" + key, RenameSource=key)
                extra.update(with_key)
            elif mode == "plain":
                extra.update(with_key)
                with refused("InvalidRequest", 400):
                    renaming.rename_object(Bucket=bucket, Key="new-" + key, RenameSource=key)
                extra.clear()
            renaming.rename_object(Bucket=bucket, Key="new-" + key, RenameSource=key)
            got = s3.get_object(Bucket=bucket, Key="new-" + key, **read)
            equal((shown(got), got["ETag"]), (answers, before["ETag"]))
            equal(got["Body"].read() == body, True)
        got = s3.get_object(Bucket=bucket, Key=f"new-{mode}-parts", PartNumber=2, **read)
        equal(got["Body"].read() == parts[2], True)


def check_a_copy_onto_itself_may_change_the_encryption(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"body")
    source = {"Bucket": bucket, "Key": "k"}
    with refused("InvalidRequest", 400):
        s3.copy_object(Bucket=bucket, Key="k", CopySource=source)
    s3.copy_object(Bucket=bucket, Key="k", CopySource=source, ServerSideEncryption="AES256")
    got = s3.get_object(Bucket=bucket, Key="k")
    equal((got["ServerSideEncryption"], got["Body"].read()), ("AES256", b"body"))


def check_parts_copied_between_all_modes(s3, bucket):
    body = pattern(7 * MIB)
    everything = modes()
    for source, (write, read, _) in everything.items():
        s3.put_object(Bucket=bucket, Key=source, Body=body, **write)
    for target, (wanted, to_read, answers) in everything.items():
        again = wanted if target == "customer" else {}
        created = s3.create_multipart_upload(Bucket=bucket, Key="t", **wanted)
        place = {"Bucket": bucket, "Key": "t", "UploadId": created["UploadId"]}
        done, whole = [], b""
        for number, (source, (_, read, _)) in enumerate(everything.items(), start=1):
            first, last = number * 1000 + 1, number * 1000 + 5 * MIB
            part = s3.upload_part_copy(
                CopySource={"Bucket": bucket, "Key": source},
                CopySourceRange=f"bytes={first}-{last}",
                PartNumber=number,
                **place,
                **again,
                **source_of(read),
            )
            equal(shown(part), answers)
            done.append({"PartNumber": number, "ETag": part["CopyPartResult"]["ETag"]})
            whole += body[first : last + 1]
        s3.complete_multipart_upload(MultipartUpload={"Parts": done}, **place)
        equal(body_of(s3, bucket, "t", **to_read) == whole, True)


def post_form(bucket, key, fields, body):
    """A browser's upload, of a length that nobody knows before its end."""
    conditions = [{name: value} for name, value in fields.items()]
    # Forms are signed with version 2 unless told otherwise.
    signer = client(signature_version="s3v4")
    form = signer.generate_presigned_post(bucket, key, Fields=dict(fields), Conditions=conditions)
    edge = uuid.uuid4().hex
    sent = b""
    for name, value in form["fields"].items():
        head = f'--{edge}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'
        sent += head.encode() + value.encode() + b"\r\n"
    head = f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
    sent += head.encode() + body + f"\r\n--{edge}--\r\n".encode()
    request = urllib.request.Request(
        form["url"], data=sent, headers={"Content-Type": f"multipart/form-data; boundary={edge}"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.headers


def check_forms(s3, bucket):
    s3_fields = {"x-amz-server-side-encryption": "AES256"}
    for size in SIZES:
        body = pattern(size)
        headers = post_form(bucket, "k", s3_fields, body)
        equal(headers["x-amz-server-side-encryption"], "AES256")
        got = s3.get_object(Bucket=bucket, Key="k")
        equal((got["ServerSideEncryption"], got["ContentLength"]), ("AES256", size))
        equal(got["ETag"].strip('"'), hashlib.md5(body).hexdigest())
        equal(got["Body"].read() == body, True)
    key = customer()
    fields = {
        "x-amz-server-side-encryption-customer-algorithm": "AES256",
        "x-amz-server-side-encryption-customer-key": base64.b64encode(
            key["SSECustomerKey"]
        ).decode(),
        "x-amz-server-side-encryption-customer-key-MD5": raw_md5(key),
    }
    post_form(bucket, "c", fields, b"body")
    equal(body_of(s3, bucket, "c", **key), b"body")


def check_a_customers_key_is_needed_and_the_right_one(s3, bucket):
    key, other = customer(1), customer(2)
    s3.put_object(Bucket=bucket, Key="k", Body=b"secret", **key)
    with refused("InvalidRequest", 400):
        s3.get_object(Bucket=bucket, Key="k")
    with refused("AccessDenied", 403):
        s3.get_object(Bucket=bucket, Key="k", **other)
    with refused("400", 400):
        s3.head_object(Bucket=bucket, Key="k")
    with refused("403", 403):
        s3.head_object(Bucket=bucket, Key="k", **other)
    s3.put_object(Bucket=bucket, Key="plain", Body=b"plain")
    s3.put_object(Bucket=bucket, Key="s3", Body=b"s3", ServerSideEncryption="AES256")
    for name in ("plain", "s3"):
        with refused("InvalidRequest", 400):
            s3.get_object(Bucket=bucket, Key=name, **key)
    source = {"Bucket": bucket, "Key": "k"}
    with refused("InvalidRequest", 400):
        s3.copy_object(Bucket=bucket, Key="c", CopySource=source)
    with refused("AccessDenied", 403):
        s3.copy_object(Bucket=bucket, Key="c", CopySource=source, **source_of(other))
    with refused("InvalidRequest", 400):
        plain = {"Bucket": bucket, "Key": "plain"}
        s3.copy_object(Bucket=bucket, Key="c", CopySource=plain, **source_of(key))
    # It can be deleted and listed without.
    equal(len(s3.list_objects_v2(Bucket=bucket)["Contents"]), 3)
    s3.delete_object(Bucket=bucket, Key="k")


def check_parts_need_the_key_of_their_upload(s3, bucket):
    key, other = customer(1), customer(2)
    place = {"Bucket": bucket, "Key": "k"}
    created = s3.create_multipart_upload(**place, **key)
    place["UploadId"] = created["UploadId"]
    for wrong in ({}, other):
        with refused("InvalidRequest", 400):
            s3.upload_part(PartNumber=1, Body=b"x", **place, **wrong)
    part = s3.upload_part(PartNumber=1, Body=b"x", **place, **key)
    # What the key would have to fit is refused when it does not, and may be left out.
    done = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    with refused("InvalidRequest", 400):
        s3.complete_multipart_upload(MultipartUpload=done, **place, **other)
    s3.complete_multipart_upload(MultipartUpload=done, **place, **key)
    equal(body_of(s3, bucket, "k", **key), b"x")
    plain = s3.create_multipart_upload(Bucket=bucket, Key="p")
    with refused("InvalidRequest", 400):
        s3.upload_part(
            Bucket=bucket, Key="p", UploadId=plain["UploadId"], PartNumber=1, Body=b"x", **key
        )


def check_checksums_are_of_the_plain_bytes(s3, bucket):
    body = pattern(200_000)
    sha256 = base64.b64encode(hashlib.sha256(body).digest()).decode()
    md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
    for mode, (write, read, _) in modes().items():
        put = s3.put_object(
            Bucket=bucket, Key=mode, Body=body, ChecksumSHA256=sha256, ContentMD5=md5, **write
        )
        equal(put["ChecksumSHA256"], sha256)
        head = s3.head_object(Bucket=bucket, Key=mode, ChecksumMode="ENABLED", **read)
        equal(head["ChecksumSHA256"], sha256)
        with refused("BadDigest", 400):
            wrong = base64.b64encode(bytes(16)).decode()
            s3.put_object(Bucket=bucket, Key="bad", Body=body, ContentMD5=wrong, **write)
    equal(len(s3.list_objects_v2(Bucket=bucket)["Contents"]), 4)


def check_conditions(s3, bucket):
    for mode, (write, read, _) in modes().items():
        put = s3.put_object(Bucket=bucket, Key=mode, Body=b"body", IfNoneMatch="*", **write)
        with refused("PreconditionFailed", 412):
            s3.put_object(Bucket=bucket, Key=mode, Body=b"again", IfNoneMatch="*", **write)
        with refused("304", 304):
            s3.get_object(Bucket=bucket, Key=mode, IfNoneMatch=put["ETag"], **read)
        s3.get_object(Bucket=bucket, Key=mode, IfMatch=put["ETag"], **read)


def check_a_buckets_default(s3, bucket):
    with refused("ServerSideEncryptionConfigurationNotFoundError", 404):
        s3.get_bucket_encryption(Bucket=bucket)
    kms = new_kms_key()

    def put(rule):
        configuration = {"Rules": [rule]}
        s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=configuration)
        return s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]

    by_default = "ApplyServerSideEncryptionByDefault"
    rules = put({by_default: {"SSEAlgorithm": "AES256"}})
    equal(rules, [{by_default: {"SSEAlgorithm": "AES256"}, "BucketKeyEnabled": False}])
    s3.put_object(Bucket=bucket, Key="k", Body=b"body")
    equal(s3.get_object(Bucket=bucket, Key="k")["ServerSideEncryption"], "AES256")

    rule = {
        by_default: {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": kms},
        "BucketKeyEnabled": True,
    }
    equal(put(rule), [rule])
    expected = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms, "BucketKeyEnabled": True}
    equal(shown(s3.put_object(Bucket=bucket, Key="k", Body=b"body")), expected)
    equal(shown(s3.head_object(Bucket=bucket, Key="k")), expected)
    copied = s3.copy_object(Bucket=bucket, Key="c", CopySource={"Bucket": bucket, "Key": "k"})
    equal(shown(copied), expected)
    steps, completed = upload(s3, bucket, "m", {}, {1: b"part"})
    for step in [*steps, completed]:
        equal(shown(step), expected)
    # A request says better.
    answer = s3.put_object(Bucket=bucket, Key="k", Body=b"body", ServerSideEncryption="AES256")
    equal(shown(answer), {"ServerSideEncryption": "AES256"})
    key = customer()
    s3.put_object(Bucket=bucket, Key="k", Body=b"body", **key)
    equal(body_of(s3, bucket, "k", **key), b"body")

    rule = {by_default: {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "no-such-key"}}
    put(rule)
    with refused("KMS.NotFoundException", 400):
        s3.put_object(Bucket=bucket, Key="n", Body=b"body")
    s3.delete_bucket_encryption(Bucket=bucket)
    s3.delete_bucket_encryption(Bucket=bucket)
    equal(shown(s3.put_object(Bucket=bucket, Key="k", Body=b"body")), {})
    with refused("ServerSideEncryptionConfigurationNotFoundError", 404):
        s3.get_bucket_encryption(Bucket=bucket)


def check_refused_defaults(s3, bucket):
    by_default = "ApplyServerSideEncryptionByDefault"

    def put(*rules):
        configuration = {"Rules": list(rules)}
        s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=configuration)

    good = {by_default: {"SSEAlgorithm": "AES256"}}
    with refused("MalformedXML", 400):
        put(good, good)
    with refused("MalformedXML", 400):
        put()
    with refused("MalformedXML", 400):
        put({by_default: {"SSEAlgorithm": "aes"}})
    with refused("InvalidArgument", 400):
        put({by_default: {"SSEAlgorithm": "AES256", "KMSMasterKeyID": "k"}})
    with refused("NotImplemented", 501):
        put({by_default: {"SSEAlgorithm": "aws:kms:dsse"}})
    with refused("ServerSideEncryptionConfigurationNotFoundError", 404):
        s3.get_bucket_encryption(Bucket=bucket)
    with refused("NoSuchBucket", 404):
        s3.get_bucket_encryption(Bucket="no-such-bucket-at-all")


def check_customers_keys_can_be_blocked(s3, bucket):
    by_default = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    types = {"BlockedEncryptionTypes": {"EncryptionType": ["SSE-C"]}}
    try:
        s3.put_bucket_encryption(
            Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [by_default | types]}
        )
    except botocore.exceptions.ParamValidationError:
        return  # An older boto3 does not know it; `encryption::bucket` tests the document.
    with refused("AccessDenied", 403):
        s3.put_object(Bucket=bucket, Key="k", Body=b"body", **customer())
    with refused("AccessDenied", 403):
        s3.create_multipart_upload(Bucket=bucket, Key="k", **customer())
    s3.put_object(Bucket=bucket, Key="k", Body=b"body")


def check_refused_headers(s3, bucket):
    def put(**arguments):
        s3.put_object(Bucket=bucket, Key="k", Body=b"body", **arguments)

    with refused("InvalidArgument", 400):
        put(ServerSideEncryption="AES128")
    with refused("NotImplemented", 501):
        put(ServerSideEncryption="aws:kms:dsse")
    with refused("InvalidArgument", 400):
        put(SSEKMSKeyId="k")
    with refused("InvalidArgument", 400):
        put(ServerSideEncryption="AES256", SSEKMSKeyId="k")
    with refused("InvalidArgument", 400):
        put(ServerSideEncryption="aws:kms", SSEKMSEncryptionContext="not base64!")
    with refused("KMS.NotFoundException", 400):
        put(ServerSideEncryption="aws:kms", SSEKMSKeyId="no-such-key")
    with refused("KMS.NotFoundException", 400):
        put(ServerSideEncryption="aws:kms", SSEKMSKeyId="alias/mine")
    with refused("InvalidArgument", 400):
        put(ServerSideEncryption="AES256", **customer())
    key = customer()
    with refused("InvalidEncryptionAlgorithmError", 400):
        put(**(key | {"SSECustomerAlgorithm": "AES128"}))
    with refused("InvalidArgument", 400):
        put(SSECustomerAlgorithm="AES256")
    with refused("InvalidArgument", 400):
        put(SSECustomerKey=key["SSECustomerKey"])
    with refused("InvalidArgument", 400):
        put(**(key | {"SSECustomerKey": b"short"}))
    with refused("InvalidArgument", 400):
        # With an MD5 of its own, boto3 sends the key as it is.
        text = base64.b64encode(key["SSECustomerKey"]).decode()
        wrong = base64.b64encode(bytes(16)).decode()
        put(SSECustomerAlgorithm="AES256", SSECustomerKey=text, SSECustomerKeyMD5=wrong)
    equal("Contents" in s3.list_objects_v2(Bucket=bucket), False)


def check_the_encryption_context(s3, bucket):
    context = base64.b64encode(json.dumps({"who": "me", "a": "b"}).encode()).decode()
    answer = s3.put_object(
        Bucket=bucket,
        Key="k",
        Body=b"body",
        ServerSideEncryption="aws:kms",
        SSEKMSEncryptionContext=context,
    )
    found = json.loads(base64.b64decode(answer["SSEKMSEncryptionContext"]))
    equal(found, {"who": "me", "a": "b"})
    equal(answer["SSEKMSKeyId"], "aws-s3")
    equal(body_of(s3, bucket, "k"), b"body")


def check_keys_by_arn_and_alias(s3, bucket):
    kms = new_kms_key()
    arn = f"arn:aws:kms:us-east-1:111122223333:key/{kms}"
    for name, expected in [(arn, kms), ("alias/aws/s3", "aws-s3"), (kms, kms)]:
        answer = s3.put_object(
            Bucket=bucket, Key="k", Body=b"x", ServerSideEncryption="aws:kms", SSEKMSKeyId=name
        )
        equal(answer["SSEKMSKeyId"], expected)
        equal(s3.get_object(Bucket=bucket, Key="k")["SSEKMSKeyId"], expected)


def check_rotated_and_disabled_keys(s3, bucket):
    kms = new_kms_key()
    write = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms}
    for version in range(1, 4):
        s3.put_object(Bucket=bucket, Key=str(version), Body=b"body", **write)
        status, key = admin("POST", f"kms/keys/{kms}/rotate")
        equal((status, key["versions"]), (200, version + 1))
    for version in range(1, 4):
        equal(body_of(s3, bucket, str(version)), b"body")
    created = s3.create_multipart_upload(Bucket=bucket, Key="m", **write)
    equal(admin("PUT", f"kms/keys/{kms}", {"enabled": False})[1]["enabled"], False)
    with refused("KMS.DisabledException", 400):
        s3.get_object(Bucket=bucket, Key="1")
    with refused("KMS.DisabledException", 400):
        s3.put_object(Bucket=bucket, Key="4", Body=b"body", **write)
    with refused("KMS.DisabledException", 400):
        s3.copy_object(Bucket=bucket, Key="c", CopySource={"Bucket": bucket, "Key": "1"})
    with refused("KMS.DisabledException", 400):
        s3.upload_part(
            Bucket=bucket, Key="m", UploadId=created["UploadId"], PartNumber=1, Body=b"x"
        )
    equal(s3.head_object(Bucket=bucket, Key="1")["SSEKMSKeyId"], kms)
    admin("PUT", f"kms/keys/{kms}", {"enabled": True})
    equal(body_of(s3, bucket, "1"), b"body")


def check_the_management_of_keys(s3, bucket):
    kms = new_kms_key()
    equal(admin("POST", "kms/keys", {"id": kms})[0], 409)
    equal(admin("POST", "kms/keys", {"id": "a b"})[0], 400)
    equal(admin("POST", "kms/keys", {"name": "a"})[0], 400)
    status, made = admin("POST", "kms/keys")
    equal((status, len(made["id"])), (201, 32))
    listed = [key["id"] for key in admin("GET", "kms/keys")[1]["keys"]]
    equal([kms in listed, made["id"] in listed, listed == sorted(listed)], [True] * 3)
    equal(admin("GET", f"kms/keys/{kms}")[1]["id"], kms)
    equal(admin("GET", "kms/keys/none")[0], 404)
    equal(admin("POST", "kms/keys/none/rotate")[0], 404)
    equal(admin("PUT", "kms/keys/none", {"enabled": True})[0], 404)
    equal(admin("PUT", f"kms/keys/{kms}", {"enabled": "no"})[0], 400)
    equal(admin("DELETE", f"kms/keys/{kms}")[0], 405)
    # The ring is no bucket, and nothing of S3's reaches it.
    names = [row["Name"] for row in s3.list_buckets()["Buckets"]]
    equal([name for name in names if name.startswith(".")], [])


if __name__ == "__main__":
    main()
