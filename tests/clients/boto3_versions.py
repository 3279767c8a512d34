"""Versions, delete markers, object lock and tags of objects through boto3."""

import datetime
import threading

from common import body_of, client, equal, main, pattern, refused


def enable(s3, bucket, status="Enabled"):
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": status})


def versions(s3, bucket, **arguments):
    """All rows of the listing, page by page: (kind, key, id, is latest)."""
    rows = []
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket, **arguments):
        for kind in ("Versions", "DeleteMarkers"):
            for row in page.get(kind, []):
                rows.append((kind, row["Key"], row["VersionId"], row["IsLatest"]))
    return rows


def empty(s3, bucket):
    for _, key, version, _ in versions(s3, bucket):
        s3.delete_object(
            Bucket=bucket, Key=key, VersionId=version, BypassGovernanceRetention=True
        )


def check_a_history_of_one_key(s3, bucket):
    equal("Status" in s3.get_bucket_versioning(Bucket=bucket), False)
    s3.put_object(Bucket=bucket, Key="k", Body=b"null")
    enable(s3, bucket)
    equal(s3.get_bucket_versioning(Bucket=bucket)["Status"], "Enabled")
    # Below and above the size that lies in the log.
    bodies = {"null": b"null"}
    for size in (10, 200_000, 0, 3 << 20):
        data = pattern(size, seed=size)
        bodies[s3.put_object(Bucket=bucket, Key="k", Body=data)["VersionId"]] = data
    for version, data in bodies.items():
        equal(body_of(s3, bucket, "k", VersionId=version), data)
        equal(s3.head_object(Bucket=bucket, Key="k", VersionId=version)["ContentLength"], len(data))
    marker = s3.delete_object(Bucket=bucket, Key="k")
    equal(marker["DeleteMarker"], True)
    with refused("NoSuchKey", 404) as missing:
        s3.get_object(Bucket=bucket, Key="k")
    headers = missing.response["ResponseMetadata"]["HTTPHeaders"]
    equal(headers["x-amz-delete-marker"], "true")
    equal(headers["x-amz-version-id"], marker["VersionId"])
    with refused("MethodNotAllowed", 405):
        s3.get_object(Bucket=bucket, Key="k", VersionId=marker["VersionId"])
    with refused("405", 405):
        s3.head_object(Bucket=bucket, Key="k", VersionId=marker["VersionId"])
    equal(len(versions(s3, bucket)), 6)
    equal(s3.list_objects_v2(Bucket=bucket)["KeyCount"], 0)
    removed = s3.delete_object(Bucket=bucket, Key="k", VersionId=marker["VersionId"])
    equal((removed["DeleteMarker"], removed["VersionId"]), (True, marker["VersionId"]))
    equal(body_of(s3, bucket, "k"), bodies[list(bodies)[-1]])
    with refused("BucketNotEmpty", 409):
        s3.delete_bucket(Bucket=bucket)
    empty(s3, bucket)
    equal(versions(s3, bucket), [])
    s3.delete_bucket(Bucket=bucket)


def check_listing_pages_and_prefixes(s3, bucket):
    enable(s3, bucket)
    expected = []
    for key in ("a", "dir/x", "dir/y", "z"):
        ids = [s3.put_object(Bucket=bucket, Key=key, Body=b"%d" % n)["VersionId"] for n in range(7)]
        marker = s3.delete_object(Bucket=bucket, Key=key)["VersionId"]
        expected.append((key, [marker, *reversed(ids)]))
    for size in (1, 2, 3, 1000):
        found = {}
        for _, key, version, _ in versions(s3, bucket, PaginationConfig={"PageSize": size}):
            found.setdefault(key, set()).add(version)
        equal({key: set(ids) for key, ids in expected}, found)
    page = s3.list_object_versions(Bucket=bucket, Delimiter="/")
    equal([row["Prefix"] for row in page["CommonPrefixes"]], ["dir/"])
    equal({row["Key"] for row in page["Versions"]}, {"a", "z"})
    page = s3.list_object_versions(Bucket=bucket, Prefix="dir/", MaxKeys=3)
    equal((page["IsTruncated"], page["NextKeyMarker"]), (True, "dir/x"))
    with refused("InvalidArgument", 400):
        s3.list_object_versions(Bucket=bucket, VersionIdMarker="null")


def check_two_writers_make_two_versions(s3, bucket):
    enable(s3, bucket)
    ids, lock = [], threading.Lock()

    def write(number):
        own = client()
        for turn in range(20):
            answer = own.put_object(Bucket=bucket, Key="k", Body=b"%d %d" % (number, turn))
            with lock:
                ids.append(answer["VersionId"])

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    equal(len(set(ids)), 160)
    rows = versions(s3, bucket)
    equal({row[2] for row in rows}, set(ids))
    equal(sum(row[3] for row in rows), 1)


def check_suspended(s3, bucket):
    enable(s3, bucket)
    kept = s3.put_object(Bucket=bucket, Key="k", Body=b"kept")["VersionId"]
    enable(s3, bucket, "Suspended")
    for body in (b"one", b"two"):
        equal(s3.put_object(Bucket=bucket, Key="k", Body=body)["VersionId"], "null")
    equal(sorted(row[2] for row in versions(s3, bucket)), sorted([kept, "null"]))
    equal(s3.delete_object(Bucket=bucket, Key="k")["VersionId"], "null")
    equal(body_of(s3, bucket, "k", VersionId=kept), b"kept")


def check_multipart_copies_and_tags(s3, bucket):
    enable(s3, bucket)
    upload = s3.create_multipart_upload(Bucket=bucket, Key="m", Tagging="a=1&b=2")["UploadId"]
    part = s3.upload_part(
        Bucket=bucket, Key="m", UploadId=upload, PartNumber=1, Body=pattern(5 << 20)
    )
    done = s3.complete_multipart_upload(
        Bucket=bucket, Key="m", UploadId=upload,
        MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]},
    )
    first = done["VersionId"]
    equal(s3.get_object(Bucket=bucket, Key="m")["TagCount"], 2)
    s3.put_object(Bucket=bucket, Key="m", Body=b"newer")
    source = {"Bucket": bucket, "Key": "m", "VersionId": first}
    copy = s3.copy_object(Bucket=bucket, Key="copy", CopySource=source)
    equal(copy["CopySourceVersionId"], first)
    equal(body_of(s3, bucket, "copy"), pattern(5 << 20))
    upload = s3.create_multipart_upload(Bucket=bucket, Key="part")["UploadId"]
    part = s3.upload_part_copy(
        Bucket=bucket, Key="part", UploadId=upload, PartNumber=1, CopySource=source
    )
    equal(part["CopySourceVersionId"], first)
    s3.abort_multipart_upload(Bucket=bucket, Key="part", UploadId=upload)
    tags = s3.get_object_tagging(Bucket=bucket, Key="copy")
    equal(tags["TagSet"], [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
    equal(tags["VersionId"], copy["VersionId"])
    new = {"TagSet": [{"Key": "clé", "Value": "valeur 1+2"}]}
    s3.put_object_tagging(Bucket=bucket, Key="m", VersionId=first, Tagging=new)
    equal(s3.get_object_tagging(Bucket=bucket, Key="m", VersionId=first)["TagSet"], new["TagSet"])
    equal(s3.get_object_tagging(Bucket=bucket, Key="m")["TagSet"], [])
    many = {"TagSet": [{"Key": str(n), "Value": ""} for n in range(11)]}
    with refused("BadRequest", 400):
        s3.put_object_tagging(Bucket=bucket, Key="m", Tagging=many)
    with refused("InvalidTag", 400):
        s3.put_object(Bucket=bucket, Key="t", Body=b"", Tagging="aws:x=1")


def check_object_lock(s3, bucket):
    with refused("ObjectLockConfigurationNotFoundError", 404):
        s3.get_object_lock_configuration(Bucket=bucket)
    locked = bucket + "-locked"
    s3.create_bucket(Bucket=locked, ObjectLockEnabledForBucket=True)
    equal(s3.get_bucket_versioning(Bucket=locked)["Status"], "Enabled")
    with refused("InvalidBucketState", 409):
        enable(s3, locked, "Suspended")
    rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}
    configuration = {"ObjectLockEnabled": "Enabled", "Rule": rule}
    s3.put_object_lock_configuration(Bucket=locked, ObjectLockConfiguration=configuration)
    found = s3.get_object_lock_configuration(Bucket=locked)["ObjectLockConfiguration"]
    equal(found, configuration)
    until = datetime.datetime(2099, 1, 1, tzinfo=datetime.timezone.utc)
    worm = s3.put_object(
        Bucket=locked, Key="worm", Body=b"worm", ObjectLockMode="COMPLIANCE",
        ObjectLockRetainUntilDate=until, ObjectLockLegalHoldStatus="OFF",
    )["VersionId"]
    held = s3.put_object(Bucket=locked, Key="held", Body=b"held")["VersionId"]
    head = s3.head_object(Bucket=locked, Key="worm")
    equal((head["ObjectLockMode"], head["ObjectLockRetainUntilDate"]), ("COMPLIANCE", until))
    equal(s3.get_object_retention(Bucket=locked, Key="held")["Retention"]["Mode"], "GOVERNANCE")
    s3.put_object_legal_hold(Bucket=locked, Key="held", LegalHold={"Status": "ON"})
    equal(s3.get_object_legal_hold(Bucket=locked, Key="held")["LegalHold"], {"Status": "ON"})

    for key, version in (("worm", worm), ("held", held)):
        with refused("AccessDenied", 403):
            s3.delete_object(Bucket=locked, Key=key, VersionId=version)
        with refused("AccessDenied", 403):
            s3.delete_object(
                Bucket=locked, Key=key, VersionId=version, BypassGovernanceRetention=True
            )
        several = {"Objects": [{"Key": key, "VersionId": version}]}
        answer = s3.delete_objects(Bucket=locked, Delete=several, BypassGovernanceRetention=True)
        equal([error["Code"] for error in answer["Errors"]], ["AccessDenied"])
        s3.put_object(Bucket=locked, Key=key, Body=b"newer")
        s3.delete_object(Bucket=locked, Key=key)
        equal(body_of(s3, locked, key, VersionId=version), key.encode())
    with refused("BucketNotEmpty", 409):
        s3.delete_bucket(Bucket=locked)
    earlier = {"Mode": "COMPLIANCE", "RetainUntilDate": until - datetime.timedelta(days=1)}
    with refused("AccessDenied", 403):
        s3.put_object_retention(
            Bucket=locked, Key="worm", VersionId=worm, Retention=earlier,
            BypassGovernanceRetention=True,
        )
    later = {"Mode": "COMPLIANCE", "RetainUntilDate": until + datetime.timedelta(days=1)}
    s3.put_object_retention(Bucket=locked, Key="worm", VersionId=worm, Retention=later)
    s3.put_object_legal_hold(
        Bucket=locked, Key="held", VersionId=held, LegalHold={"Status": "OFF"}
    )
    s3.delete_object(
        Bucket=locked, Key="held", VersionId=held, BypassGovernanceRetention=True
    )
    with refused("NoSuchVersion", 404):
        s3.get_object(Bucket=locked, Key="held", VersionId=held)


if __name__ == "__main__":
    main()
