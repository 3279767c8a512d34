"""Who may do what: users made on the management port, policies, ACLs, ownership, public access.

A user is a boto3 client of its own; nobody is a client that does not sign.
"""

import json
import os
import urllib.error
import urllib.request
import uuid

import boto3
import botocore
import botocore.config

import common
from common import ENDPOINT, body_of, equal, make_bucket, refused

ADMIN = os.environ["RINGFORT_ADMIN"] + "/api/v1/"
DENIED = ("AccessDenied", 403)
ALL_USERS = "http://acs.amazonaws.com/groups/global/AllUsers"


def manage(method, path, body=None, status=None):
    """A call of the management API; its answer as JSON."""
    data = None if body is None else (body if isinstance(body, bytes) else json.dumps(body).encode())
    request = urllib.request.Request(ADMIN + path, data=data, method=method)
    request.add_header("Authorization", "Bearer test-key")
    try:
        with urllib.request.urlopen(request) as answer:
            found, text = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        found, text = error.code, error.read()
        equal(error.headers["Content-Type"], "application/problem+json")
    if status is None:
        assert found < 300, (found, text)
    else:
        equal((found, text)[0], status)
    return json.loads(text)


class User:
    def __init__(self, name=None, **fields):
        self.name = name or "user-" + uuid.uuid4().hex[:8]
        made = manage("POST", "credentials", {"user_name": self.name, **fields}, 201)
        self.number, self.key, self.id = made["id"], made["access_key"], made["canonical_id"]
        self.secret, self.arn = made["secret_key"], made["arn"]
        self.s3 = boto3.client(
            "s3",
            endpoint_url=ENDPOINT,
            aws_access_key_id=self.key,
            aws_secret_access_key=self.secret,
            config=botocore.config.Config(
                signature_version="s3v4", retries={"total_max_attempts": 1}
            ),
        )

    def policy(self, name, *statements):
        document = {"Version": "2012-10-17", "Statement": list(statements)}
        manage("PUT", f"credentials/{self.number}/policies/{name}", document)


def nobody():
    return common.client(signature_version=botocore.UNSIGNED)


def put_policy(s3, bucket, *statements, **arguments):
    document = {"Version": "2012-10-17", "Statement": list(statements)}
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(document), **arguments)


def allow(bucket, actions, principal="*", objects=True, effect="Allow", **more):
    resource = f"arn:aws:s3:::{bucket}/*" if objects else f"arn:aws:s3:::{bucket}"
    return {"Effect": effect, "Principal": principal, "Action": actions, "Resource": resource, **more}


def own(resource, actions, effect="Allow", **more):
    return {"Effect": effect, "Action": actions, "Resource": resource, **more}


def check_a_user_owns_what_it_creates(s3, bucket):
    alice, bob = User(), User()
    name = make_bucket(alice.s3)
    alice.s3.put_object(Bucket=name, Key="k", Body=b"alice")
    equal(body_of(alice.s3, name, "k"), b"alice")
    listed = alice.s3.list_buckets()
    equal([found["Name"] for found in listed["Buckets"]], [name])
    equal((listed["Owner"]["ID"], listed["Owner"]["DisplayName"]), (alice.id, alice.name))
    equal(bob.s3.list_buckets()["Buckets"], [])
    assert name in [found["Name"] for found in s3.list_buckets()["Buckets"]]
    owner = alice.s3.list_objects(Bucket=name)["Contents"][0]["Owner"]
    equal((owner["ID"], owner["DisplayName"]), (alice.id, alice.name))
    for call in [
        lambda: bob.s3.get_object(Bucket=name, Key="k"),
        lambda: bob.s3.get_object(Bucket=name, Key="absent"),
        lambda: bob.s3.put_object(Bucket=name, Key="k", Body=b""),
        lambda: bob.s3.delete_object(Bucket=name, Key="k"),
        lambda: bob.s3.list_objects_v2(Bucket=name),
        lambda: bob.s3.get_bucket_policy(Bucket=name),
        lambda: bob.s3.put_bucket_acl(Bucket=name, ACL="public-read"),
        lambda: bob.s3.delete_bucket(Bucket=name),
        lambda: bob.s3.create_multipart_upload(Bucket=name, Key="k"),
        lambda: bob.s3.copy_object(Bucket=name, Key="x", CopySource=f"{bucket}/k"),
        lambda: bob.s3.put_public_access_block(
            Bucket=name, PublicAccessBlockConfiguration={"BlockPublicAcls": False}
        ),
        lambda: alice.s3.get_object(Bucket=bucket, Key="k"),
        lambda: nobody().get_object(Bucket=name, Key="k"),
        lambda: nobody().list_buckets(),
        lambda: nobody().create_bucket(Bucket="nobodys-" + uuid.uuid4().hex[:8]),
    ]:
        with refused(*DENIED):
            call()
    with refused("NoSuchKey", 404):
        alice.s3.get_object(Bucket=name, Key="absent")
    with refused("NoSuchBucket", 404):
        bob.s3.get_object(Bucket="no-such-" + uuid.uuid4().hex[:8], Key="k")
    with refused("BucketAlreadyExists", 409):
        bob.s3.create_bucket(Bucket=name)
    with refused("BucketAlreadyExists", 409):
        s3.create_bucket(Bucket=name)
    alice.s3.create_bucket(Bucket=name)
    # Root may do everything.
    equal(body_of(s3, name, "k"), b"alice")
    s3.put_object(Bucket=name, Key="by-root", Body=b"root")
    equal(body_of(alice.s3, name, "by-root"), b"root")


def check_copies_need_both_ends(s3, bucket):
    alice = User()
    name = make_bucket(alice.s3)
    s3.put_object(Bucket=bucket, Key="source", Body=b"x" * 100)
    with refused(*DENIED):
        alice.s3.copy_object(Bucket=name, Key="copy", CopySource=f"{bucket}/source")
    with refused(*DENIED):
        alice.s3.copy_object(Bucket=name, Key="copy", CopySource=f"{bucket}/absent")
    put_policy(s3, bucket, allow(bucket, "s3:GetObject", {"AWS": alice.key}))
    alice.s3.copy_object(Bucket=name, Key="copy", CopySource=f"{bucket}/source")
    equal(body_of(alice.s3, name, "copy"), b"x" * 100)
    with refused(*DENIED):
        alice.s3.copy_object(Bucket=bucket, Key="back", CopySource=f"{name}/copy")
    upload = alice.s3.create_multipart_upload(Bucket=name, Key="parts")["UploadId"]
    alice.s3.upload_part_copy(
        Bucket=name, Key="parts", UploadId=upload, PartNumber=1, CopySource=f"{bucket}/source"
    )
    s3.delete_bucket_policy(Bucket=bucket)
    with refused(*DENIED):
        alice.s3.upload_part_copy(
            Bucket=name, Key="parts", UploadId=upload, PartNumber=2, CopySource=f"{bucket}/source"
        )


def check_renames_need_what_they_do(s3, bucket):
    """Who may put and read, and even owns the object, may not take it away by giving it another key."""
    alice = User()
    who = {"AWS": alice.key}
    put_policy(s3, bucket, allow(bucket, "s3:PutObject", who), allow(bucket, "s3:GetObject", who))
    alice.s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    rename = {"Bucket": bucket, "Key": "k2", "RenameSource": "k"}
    with refused(*DENIED):
        alice.s3.delete_object(Bucket=bucket, Key="k")
    with refused(*DENIED):
        alice.s3.rename_object(**rename)
    put_policy(s3, bucket, allow(bucket, "s3:PutObject", who), allow(bucket, "s3:DeleteObject", who))
    s3.put_object(Bucket=bucket, Key="roots", Body=b"x")
    with refused(*DENIED):
        alice.s3.rename_object(Bucket=bucket, Key="k2", RenameSource="roots")
    with refused(*DENIED):
        alice.s3.rename_object(Bucket=bucket, Key="k2", RenameSource="absent")
    put_policy(
        s3, bucket, allow(bucket, "s3:DeleteObject", who), allow(bucket, "s3:GetObject", who)
    )
    with refused(*DENIED):
        alice.s3.rename_object(**rename)
    put_policy(
        s3,
        bucket,
        *[allow(bucket, f"s3:{action}Object", who) for action in ["Put", "Delete", "Get"]],
    )
    alice.s3.rename_object(**rename)
    equal(body_of(s3, bucket, "k2"), b"x")


def check_identity_policies(s3, bucket):
    alice = User()
    s3.put_object(Bucket=bucket, Key="home/alice/x", Body=b"1")
    with refused(*DENIED):
        alice.s3.get_object(Bucket=bucket, Key="home/alice/x")
    arn = f"arn:aws:s3:::{bucket}"
    alice.policy(
        "home",
        own(arn + "/home/${aws:username}/*", ["s3:GetObject", "s3:PutObject"]),
        own(arn, "s3:ListBucket", Condition={"StringLike": {"s3:prefix": "home/${aws:username}/*"}}),
    )
    s3.put_object(Bucket=bucket, Key=f"home/{alice.name}/x", Body=b"2")
    equal(body_of(alice.s3, bucket, f"home/{alice.name}/x"), b"2")
    alice.s3.put_object(Bucket=bucket, Key=f"home/{alice.name}/y", Body=b"3")
    with refused(*DENIED):
        alice.s3.get_object(Bucket=bucket, Key="home/alice/x")
    alice.s3.list_objects_v2(Bucket=bucket, Prefix=f"home/{alice.name}/")
    with refused(*DENIED):
        alice.s3.list_objects_v2(Bucket=bucket)
    # A denial goes before what the user owns.
    name = make_bucket(alice.s3)
    alice.s3.put_object(Bucket=name, Key="k", Body=b"")
    alice.policy("no-deletes", own("*", "s3:Delete*", "Deny"))
    with refused(*DENIED):
        alice.s3.delete_object(Bucket=name, Key="k")
    alice.policy("no-buckets", own("*", ["s3:CreateBucket", "s3:ListAllMyBuckets"], "Deny"))
    with refused(*DENIED):
        make_bucket(alice.s3)
    with refused(*DENIED):
        alice.s3.list_buckets()
    path = f"credentials/{alice.number}/policies"
    equal(manage("GET", path)["policies"], ["home", "no-buckets", "no-deletes"])
    equal(manage("GET", path + "/no-deletes")["Statement"][0]["Effect"], "Deny")
    manage("DELETE", path + "/no-deletes")
    manage("GET", path + "/no-deletes", status=404)
    manage("DELETE", path + "/no-deletes", status=404)
    alice.s3.delete_object(Bucket=name, Key="k")
    for body in [b"{", b"[]", b'{"Statement":[]}', json.dumps({"Statement": allow(bucket, "s3:*")}).encode()]:
        assert "policy" in manage("PUT", path + "/bad", body, 400)["detail"] or body == b"{"


def check_bucket_policies(s3, bucket):
    alice, bob = User(), User()
    s3.put_object(Bucket=bucket, Key="k", Body=b"1")
    with refused("NoSuchBucketPolicy", 404):
        s3.get_bucket_policy(Bucket=bucket)
    for principal in [
        alice.arn,
        f"arn:aws:iam:::user/{alice.name}",
        f"arn:aws:iam::123456789012:user/{alice.name}",
        alice.id,
        alice.key,
    ]:
        put_policy(s3, bucket, allow(bucket, ["s3:GetObject", "s3:PutObject"], {"AWS": principal}))
        equal(body_of(alice.s3, bucket, "k"), b"1")
        with refused(*DENIED):
            bob.s3.get_object(Bucket=bucket, Key="k")
        s3.delete_bucket_policy(Bucket=bucket)
        with refused(*DENIED):
            alice.s3.get_object(Bucket=bucket, Key="k")
    put_policy(s3, bucket, allow(bucket, "s3:GetObject", {"CanonicalUser": bob.id}))
    equal(body_of(bob.s3, bucket, "k"), b"1")
    text = s3.get_bucket_policy(Bucket=bucket)["Policy"]
    equal(json.loads(text)["Statement"][0]["Principal"], {"CanonicalUser": bob.id})
    equal(s3.get_bucket_policy_status(Bucket=bucket)["PolicyStatus"]["IsPublic"], False)
    put_policy(s3, bucket, allow(bucket, "s3:GetObject"))
    equal(s3.get_bucket_policy_status(Bucket=bucket)["PolicyStatus"]["IsPublic"], True)
    equal(body_of(nobody(), bucket, "k"), b"1")
    with refused(*DENIED):
        nobody().get_object(Bucket=bucket, Key="absent")
    put_policy(
        s3, bucket, allow(bucket, "s3:GetObject"), allow(bucket, "s3:ListBucket", objects=False)
    )
    with refused("NoSuchKey", 404):
        nobody().get_object(Bucket=bucket, Key="absent")
    nobody().list_objects_v2(Bucket=bucket)
    with refused("InvalidRequest", 400):
        nobody().get_object(Bucket=bucket, Key="k", ResponseContentType="text/html")
    # Everything is denied, and the policy can still be taken away.
    put_policy(s3, bucket, allow(bucket, "s3:*", effect="Deny", objects=False))
    with refused(*DENIED):
        s3.list_objects_v2(Bucket=bucket)
    s3.get_bucket_policy(Bucket=bucket)
    s3.delete_bucket_policy(Bucket=bucket)
    s3.list_objects_v2(Bucket=bucket)


def check_bad_policies(s3, bucket):
    good = allow(bucket, "s3:GetObject")
    for change in [
        {"Effect": "Maybe"},
        {"Principal": {"AWS": "arn:aws:iam::123456789012:user/no-such-user"}},
        {"Principal": {"AWS": "a" * 64}},
        {"Principal": "bob"},
        {"Action": "s3:Nonsense"},
        {"Action": "s3:ListBucket"},
        {"Resource": "arn:aws:s3:::somebody-elses/*"},
        {"Condition": {"StringEquals": {"s3:nonsense": "x"}}},
        {"Condition": {"Equals": {"s3:prefix": "x"}}},
        {"Surprise": 1},
    ]:
        with refused("MalformedPolicy", 400):
            put_policy(s3, bucket, {**good, **change})
    for text in ["", "[]", "{", '{"Version":"2020-01-01","Statement":[]}', " " * 20481 + "{}"]:
        with refused("MalformedPolicy", 400):
            s3.put_bucket_policy(Bucket=bucket, Policy=text)
    with refused("NoSuchBucketPolicy", 404):
        s3.get_bucket_policy(Bucket=bucket)


def check_conditions(s3, bucket):
    alice = User()
    s3.put_object(Bucket=bucket, Key="k", Body=b"1")

    def reads(condition, expected, effect="Allow", client=None):
        put_policy(s3, bucket, allow(bucket, "s3:GetObject", effect=effect, Condition=condition))
        if expected:
            equal(body_of(client or alice.s3, bucket, "k"), b"1")
        else:
            with refused(*DENIED):
                (client or alice.s3).get_object(Bucket=bucket, Key="k")

    reads({"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}, True)
    reads({"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}, False)
    reads({"NotIpAddress": {"aws:SourceIp": "127.0.0.1"}}, False)
    reads({"Bool": {"aws:SecureTransport": "false"}}, True)
    reads({"Bool": {"aws:SecureTransport": "true"}}, False)
    reads({"StringLike": {"aws:UserAgent": "*Boto3*"}}, True)
    reads({"StringEquals": {"aws:username": alice.name}}, True)
    reads({"StringEquals": {"aws:username": "somebody"}}, False)
    reads({"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:user/" + alice.name}}, True)
    reads({"DateGreaterThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}}, True)
    reads({"DateLessThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}}, False)
    reads({"NumericGreaterThan": {"aws:EpochTime": "1600000000"}}, True)
    reads({"StringEquals": {"s3:authType": "REST-HEADER"}}, True)
    reads({"StringEquals": {"s3:signatureversion": "AWS4-HMAC-SHA256"}}, True)
    reads({"Null": {"aws:Referer": "true"}}, True)
    reads({"IpAddress": {"aws:SourceIp": "127.0.0.1"}}, True, client=nobody())
    reads({"NotIpAddress": {"aws:SourceIp": "192.0.2.0/24"}}, False, effect="Deny", client=s3)
    s3.delete_bucket_policy(Bucket=bucket)

    # Only with the header that the policy asks for.
    put_policy(
        s3,
        bucket,
        allow(bucket, "s3:PutObject"),
        allow(
            bucket,
            "s3:PutObject",
            effect="Deny",
            Condition={"StringNotEquals": {"s3:x-amz-acl": "bucket-owner-full-control"}},
        ),
    )
    with refused(*DENIED):
        s3.put_object(Bucket=bucket, Key="new", Body=b"")
    put_policy(s3, bucket, allow(bucket, "s3:ListBucket", {"AWS": alice.key}, objects=False,
                                 Condition={"NumericLessThanEquals": {"s3:max-keys": "10"}}))
    alice.s3.list_objects_v2(Bucket=bucket, MaxKeys=10)
    with refused(*DENIED):
        alice.s3.list_objects_v2(Bucket=bucket, MaxKeys=11)
    # A policy denies uploads that do not ask for encryption.
    put_policy(s3, bucket, allow(bucket, "s3:PutObject", effect="Deny",
                                 Condition={"Null": {"s3:x-amz-server-side-encryption": "true"}}))
    with refused(*DENIED):
        s3.put_object(Bucket=bucket, Key="plain", Body=b"")


def check_each_key_of_delete_objects_is_judged(s3, bucket):
    alice = User()
    for key in ["open/1", "open/2", "kept/1"]:
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    statement = allow(bucket, "s3:DeleteObject", {"AWS": alice.key})
    put_policy(s3, bucket, {**statement, "Resource": f"arn:aws:s3:::{bucket}/open/*"})
    keys = [{"Key": key} for key in ["open/1", "kept/1", "open/2"]]
    answer = alice.s3.delete_objects(Bucket=bucket, Delete={"Objects": keys})
    equal(sorted(row["Key"] for row in answer["Deleted"]), ["open/1", "open/2"])
    equal([(row["Key"], row["Code"]) for row in answer["Errors"]], [("kept/1", "AccessDenied")])
    equal([row["Key"] for row in s3.list_objects_v2(Bucket=bucket)["Contents"]], ["kept/1"])


def check_presigned_urls_end_with_their_user(s3, bucket):
    alice = User()
    name = make_bucket(alice.s3)
    alice.s3.put_object(Bucket=name, Key="k", Body=b"1")
    url = alice.s3.generate_presigned_url("get_object", {"Bucket": name, "Key": "k"})

    def status():
        try:
            with urllib.request.urlopen(url) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, None

    equal(status(), (200, b"1"))
    path = f"credentials/{alice.number}"
    manage("PUT", path, {"is_active": False})
    equal(manage("GET", path)["is_active"], False)
    # On every core: connections are spread over all of them.
    for _ in range(16):
        equal(status(), (403, None))
        with refused("InvalidAccessKeyId", 403):
            common.boto3.client(
                "s3",
                endpoint_url=ENDPOINT,
                aws_access_key_id=alice.key,
                aws_secret_access_key=alice.secret,
            ).list_buckets()
    manage("PATCH", path, {"is_active": True})
    equal(status(), (200, b"1"))
    manage("DELETE", path)
    for _ in range(16):
        equal(status(), (403, None))
    manage("GET", path, status=404)
    manage("DELETE", path, status=404)
    # Whoever gets the key next does not get what it owned.
    again = User(access_key=alice.key, secret_key=alice.secret)
    equal(status(), (403, None))
    assert again.id != alice.id and again.number > alice.number
    equal(body_of(s3, name, "k"), b"1")


def check_the_routes_of_credentials(s3, bucket):
    made = manage(
        "POST",
        "credentials",
        {"user_name": "john-doe", "access_key": "project:john@company", "secret_key": "s" * 40},
        201,
    )
    equal(made["access_key"], "project:john@company")
    equal((made["user_name"], made["is_active"], made["secret_key"]), ("john-doe", True, "s" * 40))
    assert made["created_at"].endswith("Z") and made["id"] >= 1
    equal(len(made["canonical_id"]), 64)
    john = boto3.client(
        "s3",
        endpoint_url=ENDPOINT,
        aws_access_key_id=made["access_key"],
        aws_secret_access_key=made["secret_key"],
    )
    name = make_bucket(john)
    john.put_object(Bucket=name, Key="k", Body=b"12345")
    path = f"credentials/{made['id']}"
    shown = manage("GET", path)
    assert "secret_key" not in shown
    equal((shown["bucket_count"], shown["policies"]), (1, []))
    found = shown["buckets"][0]
    equal((found["name"], found["region"], found["owner"]), (name, "us-east-1", "john-doe"))
    equal((found["object_count"], found["total_size"], found["total_size_human"]), (1, 5, "5 B"))
    assert "s" * 40 not in json.dumps(manage("GET", "credentials"))
    assert made["id"] in [row["id"] for row in manage("GET", "credentials")["credentials"]]
    equal(manage("PUT", path, {"user_name": "jd"})["message"], "Operation completed successfully")
    equal(manage("GET", path)["user_name"], "jd")
    equal(john.list_buckets()["Owner"]["DisplayName"], "jd")
    for body, field in [
        ({"access_key": "a/b"}, "access_key"),
        ({"access_key": "ab"}, "access_key"),
        ({"access_key": 7}, "access_key"),
        ({"secret_key": "short"}, "secret_key"),
        ({"user_name": ""}, "user_name"),
        ({"user_name": "a*"}, "user_name"),
        ({"nonsense": 1}, "nonsense"),
        ([], "body"),
    ]:
        assert field in manage("POST", "credentials", body, 400)["detail"], field
    assert "user_name" in manage("PUT", path, {"user_name": ""}, 400)["detail"]
    assert "is_active" in manage("PUT", path, {"is_active": "yes"}, 400)["detail"]
    taken = {"access_key": made["access_key"]}
    assert "access_key" in manage("POST", "credentials", taken, 409)["detail"]
    taken = {"access_key": os.environ["AWS_ACCESS_KEY_ID"]}
    assert "access_key" in manage("POST", "credentials", taken, 409)["detail"]
    for wrong in ["credentials/0", "credentials/x", "credentials/999999", path + "/policies/none"]:
        manage("GET", wrong, status=404)
    manage("POST", path, {}, 405)
    equal(len(manage("POST", "credentials", status=201)["secret_key"]), 40)


def check_acls_of_buckets(s3, bucket):
    alice = User()
    found = s3.get_bucket_acl(Bucket=bucket)
    root = found["Owner"]["ID"]
    equal([(g["Grantee"]["ID"], g["Permission"]) for g in found["Grants"]], [(root, "FULL_CONTROL")])
    s3.put_bucket_acl(Bucket=bucket, ACL="public-read")
    nobody().list_objects_v2(Bucket=bucket)
    with refused(*DENIED):
        nobody().put_object(Bucket=bucket, Key="k", Body=b"")
    s3.put_bucket_acl(Bucket=bucket, ACL="authenticated-read")
    alice.s3.list_objects_v2(Bucket=bucket)
    with refused(*DENIED):
        nobody().list_objects_v2(Bucket=bucket)
    s3.put_bucket_acl(Bucket=bucket, GrantWrite=f'id="{alice.id}"', GrantReadACP=f"id={alice.id}")
    alice.s3.put_object(Bucket=bucket, Key="alices", Body=b"a")
    alice.s3.get_bucket_acl(Bucket=bucket)
    with refused(*DENIED):
        alice.s3.list_objects_v2(Bucket=bucket)
    grants = [
        {"Grantee": {"Type": "CanonicalUser", "ID": root}, "Permission": "FULL_CONTROL"},
        {"Grantee": {"Type": "Group", "URI": ALL_USERS}, "Permission": "READ"},
    ]
    policy = {"Owner": {"ID": root}, "Grants": grants}
    s3.put_bucket_acl(Bucket=bucket, AccessControlPolicy=policy)
    nobody().list_objects_v2(Bucket=bucket)
    equal(len(s3.get_bucket_acl(Bucket=bucket)["Grants"]), 2)
    with refused(*DENIED):
        s3.put_bucket_acl(Bucket=bucket, AccessControlPolicy={**policy, "Owner": {"ID": alice.id}})
    unknown = {"Grantee": {"Type": "CanonicalUser", "ID": "f" * 64}, "Permission": "READ"}
    with refused("InvalidArgument", 400):
        s3.put_bucket_acl(Bucket=bucket, AccessControlPolicy={**policy, "Grants": [unknown]})
    with refused("MalformedACLError", 400):
        s3.put_bucket_acl(Bucket=bucket, AccessControlPolicy={**policy, "Grants": grants * 51})
    with refused("UnresolvableGrantByEmailAddress", 400):
        s3.put_bucket_acl(Bucket=bucket, GrantRead='emailAddress="nobody@example.com"')
    mailed = User("mailed-" + uuid.uuid4().hex[:6] + "@example.com")
    s3.put_bucket_acl(Bucket=bucket, GrantRead=f'emailAddress="{mailed.name}"')
    mailed.s3.list_objects_v2(Bucket=bucket)
    s3.put_bucket_acl(Bucket=bucket, ACL="private")
    with refused(*DENIED):
        mailed.s3.list_objects_v2(Bucket=bucket)
    with refused("InvalidRequest", 400):
        s3.put_bucket_acl(Bucket=bucket, ACL="private", GrantRead=f"id={alice.id}")
    with refused("InvalidArgument", 400):
        s3.put_bucket_acl(Bucket=bucket, ACL="open")


def check_buckets_that_are_created_with_acls(s3, bucket):
    alice = User("grantee-" + uuid.uuid4().hex[:6] + "@company")
    name = "acl-" + uuid.uuid4().hex[:12]
    s3.create_bucket(
        Bucket=name,
        GrantRead=f'uri="{ALL_USERS}"',
        GrantWrite=f'id="{alice.id}", emailAddress="{alice.name}"',
    )
    nobody().list_objects_v2(Bucket=name)
    alice.s3.put_object(Bucket=name, Key="k", Body=b"")
    # Made again, it stays as it is.
    s3.create_bucket(Bucket=name, ACL="private")
    nobody().list_objects_v2(Bucket=name)
    name = "acl-" + uuid.uuid4().hex[:12]
    s3.create_bucket(Bucket=name, ACL="public-read")
    nobody().list_objects_v2(Bucket=name)
    name = "acl-" + uuid.uuid4().hex[:12]
    with refused("InvalidBucketAclWithObjectOwnership", 400):
        s3.create_bucket(Bucket=name, ACL="public-read", ObjectOwnership="BucketOwnerEnforced")
    s3.create_bucket(Bucket=name, ACL="private", ObjectOwnership="BucketOwnerEnforced")


def check_acls_of_objects(s3, bucket):
    alice = User()
    s3.put_object(Bucket=bucket, Key="open", Body=b"1", ACL="public-read")
    s3.put_object(Bucket=bucket, Key="shut", Body=b"2")
    equal(body_of(nobody(), bucket, "open"), b"1")
    nobody().head_object(Bucket=bucket, Key="open")
    with refused(*DENIED):
        nobody().get_object(Bucket=bucket, Key="shut")
    with refused("403", 403):
        nobody().head_object(Bucket=bucket, Key="shut")
    with refused(*DENIED):
        nobody().get_object_acl(Bucket=bucket, Key="open")
    equal(len(s3.get_object_acl(Bucket=bucket, Key="open")["Grants"]), 2)
    s3.put_object_acl(Bucket=bucket, Key="shut", ACL="authenticated-read")
    equal(body_of(alice.s3, bucket, "shut"), b"2")
    s3.put_object_acl(Bucket=bucket, Key="shut", GrantReadACP=f"id={alice.id}")
    alice.s3.get_object_acl(Bucket=bucket, Key="shut")
    with refused(*DENIED):
        alice.s3.get_object(Bucket=bucket, Key="shut")
    s3.put_object_acl(Bucket=bucket, Key="open", ACL="private")
    with refused(*DENIED):
        nobody().get_object(Bucket=bucket, Key="open")
    equal(body_of(s3, bucket, "open"), b"1")
    # A copy has the ACL that it is given, not that of its source.
    s3.put_object_acl(Bucket=bucket, Key="open", ACL="public-read")
    s3.copy_object(Bucket=bucket, Key="copy", CopySource=f"{bucket}/open")
    with refused(*DENIED):
        nobody().get_object(Bucket=bucket, Key="copy")
    upload = s3.create_multipart_upload(Bucket=bucket, Key="parts", ACL="public-read")["UploadId"]
    part = s3.upload_part(Bucket=bucket, Key="parts", UploadId=upload, PartNumber=1, Body=b"p")
    parts = [{"PartNumber": 1, "ETag": part["ETag"]}]
    s3.complete_multipart_upload(
        Bucket=bucket, Key="parts", UploadId=upload, MultipartUpload={"Parts": parts}
    )
    equal(body_of(nobody(), bucket, "parts"), b"p")
    with refused("NoSuchKey", 404):
        s3.put_object_acl(Bucket=bucket, Key="absent", ACL="private")


def check_ownership(s3, bucket):
    alice = User()
    with refused("OwnershipControlsNotFoundError", 404):
        s3.get_bucket_ownership_controls(Bucket=bucket)
    put_policy(s3, bucket, allow(bucket, ["s3:PutObject", "s3:PutObjectAcl"], {"AWS": alice.key}))
    owner = User()
    name = make_bucket(owner.s3)
    put_policy(owner.s3, name, allow(name, ["s3:PutObject*", "s3:GetObject"], {"AWS": alice.key}))

    def rule(ownership):
        controls = {"Rules": [{"ObjectOwnership": ownership}]}
        owner.s3.put_bucket_ownership_controls(Bucket=name, OwnershipControls=controls)
        found = owner.s3.get_bucket_ownership_controls(Bucket=name)["OwnershipControls"]
        equal(found["Rules"], controls["Rules"])

    # An object belongs to who wrote it, and the bucket's owner has what its ACL says.
    alice.s3.put_object(Bucket=name, Key="k", Body=b"1")
    equal(alice.s3.get_object_acl(Bucket=name, Key="k")["Owner"]["ID"], alice.id)
    with refused(*DENIED):
        owner.s3.get_object(Bucket=name, Key="k")
    alice.s3.put_object_acl(Bucket=name, Key="k", ACL="bucket-owner-full-control")
    equal(body_of(owner.s3, name, "k"), b"1")
    rule("BucketOwnerPreferred")
    alice.s3.put_object(Bucket=name, Key="given", Body=b"2", ACL="bucket-owner-full-control")
    equal(owner.s3.get_object_acl(Bucket=name, Key="given")["Owner"]["ID"], owner.id)
    rule("BucketOwnerEnforced")
    alice.s3.put_object(Bucket=name, Key="k2", Body=b"3")
    equal(body_of(owner.s3, name, "k2"), b"3")
    equal(owner.s3.get_object_acl(Bucket=name, Key="k")["Owner"]["ID"], owner.id)
    for acl in ["private", "bucket-owner-full-control"]:
        alice.s3.put_object(Bucket=name, Key="k3", Body=b"", ACL=acl)
    with refused("AccessControlListNotSupported", 400):
        owner.s3.put_object(Bucket=name, Key="k3", Body=b"", ACL="public-read")
    with refused("AccessControlListNotSupported", 400):
        owner.s3.put_bucket_acl(Bucket=name, ACL="public-read")
    with refused("AccessControlListNotSupported", 400):
        owner.s3.put_object_acl(Bucket=name, Key="k", ACL="public-read")
    owner.s3.delete_bucket_ownership_controls(Bucket=name)
    owner.s3.put_bucket_acl(Bucket=name, ACL="public-read")
    with refused("InvalidBucketAclWithObjectOwnership", 400):
        rule("BucketOwnerEnforced")
    with refused("MalformedXML", 400):
        rule("Nobody")


def check_public_access_is_blocked(s3, bucket):
    def block(**switches):
        s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=switches)

    with refused("NoSuchPublicAccessBlockConfiguration", 404):
        s3.get_public_access_block(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="k", Body=b"1", ACL="public-read")
    equal(body_of(nobody(), bucket, "k"), b"1")
    block(IgnorePublicAcls=True)
    found = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    equal((found["IgnorePublicAcls"], found["BlockPublicAcls"]), (True, False))
    with refused(*DENIED):
        nobody().get_object(Bucket=bucket, Key="k")
    block(BlockPublicAcls=True)
    equal(body_of(nobody(), bucket, "k"), b"1")
    with refused(*DENIED):
        s3.put_object(Bucket=bucket, Key="k", Body=b"2", ACL="public-read")
    with refused(*DENIED):
        s3.put_bucket_acl(Bucket=bucket, ACL="public-read-write")
    with refused(*DENIED):
        s3.put_object_acl(Bucket=bucket, Key="k", ACL="public-read")
    s3.put_object_acl(Bucket=bucket, Key="k", ACL="private")
    block(BlockPublicPolicy=True)
    with refused(*DENIED):
        put_policy(s3, bucket, allow(bucket, "s3:GetObject"))
    alice = User()
    put_policy(s3, bucket, allow(bucket, "s3:GetObject", {"AWS": alice.key}))
    s3.delete_public_access_block(Bucket=bucket)
    put_policy(s3, bucket, allow(bucket, "s3:GetObject"))
    equal(body_of(nobody(), bucket, "k"), b"1")
    block(RestrictPublicBuckets=True)
    with refused(*DENIED):
        nobody().get_object(Bucket=bucket, Key="k")
    equal(body_of(alice.s3, bucket, "k"), b"1")


def check_the_expected_owner(s3, bucket):
    alice = User()
    name = make_bucket(alice.s3)
    s3.put_object(Bucket=bucket, Key="k", Body=b"1")
    root = s3.list_buckets()["Owner"]["ID"]
    s3.get_object(Bucket=bucket, Key="k", ExpectedBucketOwner=root)
    for call in [
        lambda: s3.get_object(Bucket=bucket, Key="k", ExpectedBucketOwner=alice.id),
        lambda: s3.put_object(Bucket=bucket, Key="x", Body=b"", ExpectedBucketOwner="1" * 12),
        lambda: s3.list_objects_v2(Bucket=name, ExpectedBucketOwner=root),
        lambda: s3.get_bucket_acl(Bucket=name, ExpectedBucketOwner=root),
        lambda: s3.delete_bucket(Bucket=name, ExpectedBucketOwner=root),
        lambda: s3.copy_object(
            Bucket=name, Key="c", CopySource=f"{bucket}/k", ExpectedSourceBucketOwner=alice.id
        ),
        lambda: s3.copy_object(
            Bucket=name, Key="c", CopySource=f"{bucket}/k", ExpectedBucketOwner=root
        ),
    ]:
        with refused(*DENIED):
            call()
    s3.copy_object(
        Bucket=name,
        Key="c",
        CopySource=f"{bucket}/k",
        ExpectedSourceBucketOwner=root,
        ExpectedBucketOwner=alice.id,
    )


if __name__ == "__main__":
    common.main()
