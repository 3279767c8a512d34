"""minio-py: versions, tags, locks, life cycles, policies, forms and what else a bucket can be set to."""

import datetime
import io
import json
import urllib.request
import uuid

import minio
from minio.commonconfig import ENABLED, GOVERNANCE, Filter, Tags
from minio.datatypes import PostPolicy
from minio.deleteobjects import DeleteObject
from minio.error import S3Error
from minio.lifecycleconfig import Expiration, LifecycleConfig, NoncurrentVersionExpiration, Rule
from minio.objectlockconfig import DAYS, ObjectLockConfig
from minio.retention import Retention
from minio.sse import SseS3
from minio.sseconfig import Rule as EncryptionRule
from minio.sseconfig import SSEConfig
from minio.versioningconfig import SUSPENDED, VersioningConfig

from checks import ACCESS_KEY, HOST, MIB, REGION, SECRET_KEY
from checks import announce, equal, main, new_name, pattern


def make():
    client = minio.Minio(
        HOST, access_key=ACCESS_KEY, secret_key=SECRET_KEY, region=REGION, secure=False
    )
    bucket = new_name()
    client.make_bucket(bucket)
    return client, bucket


def put(client, bucket, key, data, **arguments):
    return client.put_object(bucket, key, io.BytesIO(data), len(data), **arguments)


def body_of(client, bucket, key, **arguments):
    answer = client.get_object(bucket, key, **arguments)
    try:
        return answer.read()
    finally:
        answer.close()
        answer.release_conn()


def refused(code, call):
    try:
        call()
    except S3Error as error:
        equal(error.code, code)
    else:
        raise AssertionError(f"accepted, where {code} was expected")


def check_versions(client, bucket):
    client.set_bucket_versioning(bucket, VersioningConfig(ENABLED))
    equal(client.get_bucket_versioning(bucket).status, ENABLED)
    ids = [put(client, bucket, "k", b"%d" % number).version_id for number in range(3)]
    equal(len(set(ids)), 3)
    client.remove_object(bucket, "k")
    refused("NoSuchKey", lambda: client.stat_object(bucket, "k"))
    equal([body_of(client, bucket, "k", version_id=id) for id in ids], [b"0", b"1", b"2"])
    # It tells markers after versions, whatever their order in the page.
    found = list(client.list_objects(bucket, include_version=True))
    equal([entry.is_delete_marker for entry in found], [False, False, False, True])
    equal([entry.version_id for entry in found][:3], ids[::-1])
    equal([entry.is_latest for entry in found], ["false", "false", "false", "true"])
    client.remove_object(bucket, "k", version_id=found[3].version_id)
    equal(body_of(client, bucket, "k"), b"2")
    client.set_bucket_versioning(bucket, VersioningConfig(SUSPENDED))
    put(client, bucket, "k", b"null")
    everything = [
        DeleteObject(entry.object_name, entry.version_id)
        for entry in client.list_objects(bucket, include_version=True)
    ]
    equal(list(client.remove_objects(bucket, everything)), [])
    client.remove_bucket(bucket)


def check_tags(client, bucket):
    tags = Tags.new_bucket_tags()
    tags["project"] = "ring fort"
    equal(client.get_bucket_tags(bucket), None)
    client.set_bucket_tags(bucket, tags)
    equal(client.get_bucket_tags(bucket), tags)
    client.delete_bucket_tags(bucket)
    equal(client.get_bucket_tags(bucket), None)
    tags = Tags.new_object_tags()
    tags["a b"] = "1+2"
    put(client, bucket, "k", b"", tags=tags)
    equal(client.get_object_tags(bucket, "k"), tags)
    client.delete_object_tags(bucket, "k")
    equal(client.get_object_tags(bucket, "k"), None)
    client.set_object_tags(bucket, "k", tags)
    equal(client.get_object_tags(bucket, "k"), tags)


def check_locks(client, _):
    bucket = new_name()
    client.make_bucket(bucket, object_lock=True)
    client.set_object_lock_config(bucket, ObjectLockConfig(GOVERNANCE, 1, DAYS))
    found = client.get_object_lock_config(bucket)
    equal((found.mode, found.duration, found.duration_unit), (GOVERNANCE, 1, "Days"))
    version = put(client, bucket, "k", b"locked").version_id
    equal(client.get_object_retention(bucket, "k").mode, GOVERNANCE)
    refused("AccessDenied", lambda: client.remove_object(bucket, "k", version_id=version))
    until = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    until += datetime.timedelta(days=2)
    client.set_object_retention(bucket, "k", Retention(GOVERNANCE, until))
    equal(client.get_object_retention(bucket, "k").retain_until_date, until)
    client.enable_object_legal_hold(bucket, "k")
    equal(client.is_object_legal_hold_enabled(bucket, "k"), True)
    client.disable_object_legal_hold(bucket, "k")
    equal(client.is_object_legal_hold_enabled(bucket, "k"), False)
    errors = client.remove_objects(bucket, [DeleteObject("k", version)])
    equal([error.code for error in errors], ["AccessDenied"])
    doomed = [DeleteObject("k", version)]
    equal(list(client.remove_objects(bucket, doomed, bypass_governance_mode=True)), [])
    client.delete_object_lock_config(bucket)
    equal(client.get_object_lock_config(bucket).mode, None)
    put(
        client, bucket, "k", b"held",
        legal_hold=True, retention=Retention(GOVERNANCE, until),
    )  # fmt: skip
    equal(client.is_object_legal_hold_enabled(bucket, "k"), True)


def check_lifecycle(client, bucket):
    equal(client.get_bucket_lifecycle(bucket), None)
    rules = [
        Rule(ENABLED, rule_filter=Filter(prefix="logs/"), rule_id="a", expiration=Expiration(days=3)),
        Rule(
            ENABLED,
            rule_filter=Filter(prefix=""),
            rule_id="b",
            noncurrent_version_expiration=NoncurrentVersionExpiration(noncurrent_days=5),
        ),
    ]
    client.set_bucket_lifecycle(bucket, LifecycleConfig(rules))
    found = client.get_bucket_lifecycle(bucket).rules
    equal([rule.rule_id for rule in found], ["a", "b"])
    equal(found[0].expiration.days, 3)
    equal(found[1].noncurrent_version_expiration.noncurrent_days, 5)
    client.delete_bucket_lifecycle(bucket)
    equal(client.get_bucket_lifecycle(bucket), None)


def check_encryption(client, bucket):
    client.set_bucket_encryption(bucket, SSEConfig(EncryptionRule.new_sse_s3_rule()))
    equal(client.get_bucket_encryption(bucket).rule.sse_algorithm, "AES256")
    client.delete_bucket_encryption(bucket)
    data = pattern(11 * MIB + 1)
    put(client, bucket, "k", data, sse=SseS3(), part_size=5 * MIB)
    equal(client.stat_object(bucket, "k").metadata["x-amz-server-side-encryption"], "AES256")
    assert body_of(client, bucket, "k") == data
    begin = 5 * MIB - 3
    equal(body_of(client, bucket, "k", offset=begin, length=9), data[begin:][:9])


def check_policies(client, bucket):
    refused("NoSuchBucketPolicy", lambda: client.get_bucket_policy(bucket))
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"AWS": ["*"]},
                "Action": ["s3:GetObject"],
                "Resource": [f"arn:aws:s3:::{bucket}/public/*"],
            }
        ],
    }
    client.set_bucket_policy(bucket, json.dumps(policy))
    equal(json.loads(client.get_bucket_policy(bucket)), policy)
    put(client, bucket, "public/k", b"for all")
    put(client, bucket, "k", b"for some")
    stranger = minio.Minio(HOST, region=REGION, secure=False)
    equal(body_of(stranger, bucket, "public/k"), b"for all")
    refused("AccessDenied", lambda: stranger.get_object(bucket, "k"))
    client.delete_bucket_policy(bucket)
    refused("AccessDenied", lambda: stranger.get_object(bucket, "public/k"))


def check_forms(client, bucket):
    until = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
    policy = PostPolicy(bucket, until)
    policy.add_starts_with_condition("key", "upload/")
    policy.add_content_length_range_condition(1, 1000)
    fields = client.presigned_post_policy(policy)
    equal(post(bucket, {**fields, "key": "upload/ä b"}, b"by form"), 204)
    equal(body_of(client, bucket, "upload/ä b"), b"by form")
    equal(post(bucket, {**fields, "key": "elsewhere"}, b"by form"), 403)
    equal(post(bucket, {**fields, "key": "upload/large"}, b"x" * 1001), 400)


def post(bucket, fields, data):
    """A browser's form, whose last field is the file."""
    mark = uuid.uuid4().hex
    parts = [
        f'--{mark}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    parts.append(
        f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n'
        "Content-Type: text/plain\r\n\r\n"
    )
    body = "".join(parts).encode() + data + f"\r\n--{mark}--\r\n".encode()
    request = urllib.request.Request(
        f"http://{HOST}/{bucket}",
        data=body,
        headers={"Content-Type": f"multipart/form-data; boundary={mark}"},
    )
    try:
        return urllib.request.urlopen(request).status
    except urllib.error.HTTPError as error:
        return error.code


def check_appends(client, bucket):
    put(client, bucket, "log", b"one ")
    for text in [b"two ", b"three"]:
        client.append_object(bucket, "log", io.BytesIO(text), len(text))
    equal(body_of(client, bucket, "log"), b"one two three")


announce("minio")
main(make)
