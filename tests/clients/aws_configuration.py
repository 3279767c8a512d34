"""The AWS command line's s3api commands, each configuration put, read back as it was, and taken away.

The command line runs in this process: its start takes longer than what it does. Each check_* function gets
aws(...), which runs one command and returns its answer, and the name of a fresh bucket.
"""

import contextlib
import io
import json

import awscli.clidriver

from checks import ENDPOINT, announce, equal, main, new_name


class Aws:
    def attempt(self, command, *flags, **arguments):
        line = ["--endpoint-url", ENDPOINT, "--output", "json", "s3api", command, *flags]
        for name, value in arguments.items():
            text = value if isinstance(value, str) else json.dumps(value)
            line += ["--" + name.replace("_", "-"), text]
        said, complaints = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complaints):
            # A driver for each: one remembers --no-sign-request.
            code = awscli.clidriver.create_clidriver().main(line)
        return code, said.getvalue(), complaints.getvalue()

    def __call__(self, command, *flags, **arguments):
        code, said, complaints = self.attempt(command, *flags, **arguments)
        assert code == 0, f"{command} {arguments}: {complaints.strip()}"
        return json.loads(said) if said.strip() else {}

    def refused(self, expected, command, *flags, **arguments):
        code, said, complaints = self.attempt(command, *flags, **arguments)
        assert code != 0, f"{command} was accepted, where {expected} was expected: {said}"
        assert f"({expected})" in complaints, f"expected {expected}, found {complaints.strip()}"


def make():
    aws, bucket = Aws(), new_name()
    aws("create-bucket", bucket=bucket)
    return aws, bucket


def check_versioning(aws, bucket):
    equal(aws("get-bucket-versioning", bucket=bucket), {})
    status = {"Status": "Enabled"}
    aws("put-bucket-versioning", bucket=bucket, versioning_configuration=status)
    equal(aws("get-bucket-versioning", bucket=bucket)["Status"], "Enabled")
    first = aws("put-object", bucket=bucket, key="k")["VersionId"]
    second = aws("put-object", bucket=bucket, key="k")["VersionId"]
    marker = aws("delete-object", bucket=bucket, key="k")
    equal(marker["DeleteMarker"], True)
    found = aws("list-object-versions", bucket=bucket)
    equal([entry["VersionId"] for entry in found["Versions"]], [second, first])
    equal([entry["VersionId"] for entry in found["DeleteMarkers"]], [marker["VersionId"]])
    aws.refused("404", "head-object", bucket=bucket, key="k")
    aws("delete-object", bucket=bucket, key="k", version_id=marker["VersionId"])
    equal(aws("head-object", bucket=bucket, key="k")["VersionId"], second)
    aws("put-bucket-versioning", bucket=bucket, versioning_configuration={"Status": "Suspended"})
    equal(aws("put-object", bucket=bucket, key="k").get("VersionId"), "null")
    aws.refused("BucketNotEmpty", "delete-bucket", bucket=bucket)


def check_tagging(aws, bucket):
    tags = {"TagSet": [{"Key": "project", "Value": "ring fort"}, {"Key": "ä", "Value": ""}]}
    aws.refused("NoSuchTagSet", "get-bucket-tagging", bucket=bucket)
    aws("put-bucket-tagging", bucket=bucket, tagging=tags)
    found = aws("get-bucket-tagging", bucket=bucket)["TagSet"]
    equal(sorted(found, key=str), sorted(tags["TagSet"], key=str))
    aws("delete-bucket-tagging", bucket=bucket)
    aws.refused("NoSuchTagSet", "get-bucket-tagging", bucket=bucket)
    aws("put-object", bucket=bucket, key="k", tagging="a=1&b%20c=2")
    found = aws("get-object-tagging", bucket=bucket, key="k")["TagSet"]
    equal(sorted((tag["Key"], tag["Value"]) for tag in found), [("a", "1"), ("b c", "2")])
    equal(aws("head-object", bucket=bucket, key="k").get("TagCount"), 2)
    aws("put-object-tagging", bucket=bucket, key="k", tagging=tags)
    equal(len(aws("get-object-tagging", bucket=bucket, key="k")["TagSet"]), 2)
    aws("delete-object-tagging", bucket=bucket, key="k")
    equal(aws("get-object-tagging", bucket=bucket, key="k")["TagSet"], [])


def check_acls_and_ownership(aws, bucket):
    # Since 2023 buckets are made with ACLs off, which the owner changes first.
    ownership = {"Rules": [{"ObjectOwnership": "ObjectWriter"}]}
    aws("put-bucket-ownership-controls", bucket=bucket, ownership_controls=ownership)
    equal(aws("get-bucket-ownership-controls", bucket=bucket)["OwnershipControls"], ownership)
    aws("put-object", bucket=bucket, key="k")
    for get, put, where in [
        ("get-bucket-acl", "put-bucket-acl", {"bucket": bucket}),
        ("get-object-acl", "put-object-acl", {"bucket": bucket, "key": "k"}),
    ]:
        acl = aws(get, **where)
        equal([grant["Permission"] for grant in acl["Grants"]], ["FULL_CONTROL"])
        aws(put, **where, acl="public-read")
        grants = {
            (grant["Grantee"].get("URI", "owner"), grant["Permission"])
            for grant in aws(get, **where)["Grants"]
        }
        everyone = "http://acs.amazonaws.com/groups/global/AllUsers"
        equal(grants, {("owner", "FULL_CONTROL"), (everyone, "READ")})
        aws(put, **where, access_control_policy={"Owner": acl["Owner"], "Grants": acl["Grants"]})
        equal(aws(get, **where)["Grants"], acl["Grants"])
    aws("delete-bucket-ownership-controls", bucket=bucket)
    aws.refused("OwnershipControlsNotFoundError", "get-bucket-ownership-controls", bucket=bucket)


def check_policies_and_public_access(aws, bucket):
    aws.refused("NoSuchBucketPolicy", "get-bucket-policy", bucket=bucket)
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "EveryoneReads",
                "Effect": "Allow",
                "Principal": "*",
                "Action": "s3:GetObject",
                "Resource": f"arn:aws:s3:::{bucket}/public/*",
            }
        ],
    }
    aws("delete-public-access-block", bucket=bucket)
    aws("put-bucket-policy", bucket=bucket, policy=policy)
    equal(json.loads(aws("get-bucket-policy", bucket=bucket)["Policy"]), policy)
    status = aws("get-bucket-policy-status", bucket=bucket)
    equal(status["PolicyStatus"]["IsPublic"], True)
    aws("put-object", bucket=bucket, key="public/k")
    aws("get-object", "/dev/null", "--no-sign-request", bucket=bucket, key="public/k")
    block = {
        "BlockPublicAcls": True,
        "IgnorePublicAcls": True,
        "BlockPublicPolicy": True,
        "RestrictPublicBuckets": True,
    }
    aws("put-public-access-block", bucket=bucket, public_access_block_configuration=block)
    found = aws("get-public-access-block", bucket=bucket)
    equal(found["PublicAccessBlockConfiguration"], block)
    aws.refused("AccessDenied", "put-bucket-policy", bucket=bucket, policy=policy)
    aws.refused(
        "AccessDenied", "get-object", "/dev/null", "--no-sign-request",
        bucket=bucket, key="public/k",
    )  # fmt: skip
    aws("delete-public-access-block", bucket=bucket)
    aws("delete-bucket-policy", bucket=bucket)
    aws.refused("NoSuchBucketPolicy", "get-bucket-policy", bucket=bucket)


def check_cors(aws, bucket):
    aws.refused("NoSuchCORSConfiguration", "get-bucket-cors", bucket=bucket)
    cors = {
        "CORSRules": [
            {
                "ID": "one",
                "AllowedHeaders": ["*"],
                "AllowedMethods": ["PUT", "GET"],
                "AllowedOrigins": ["https://*.example.com"],
                "ExposeHeaders": ["ETag"],
                "MaxAgeSeconds": 3000,
            }
        ]
    }
    aws("put-bucket-cors", bucket=bucket, cors_configuration=cors)
    equal(aws("get-bucket-cors", bucket=bucket), cors)
    aws("delete-bucket-cors", bucket=bucket)
    aws.refused("NoSuchCORSConfiguration", "get-bucket-cors", bucket=bucket)


def check_encryption(aws, bucket):
    rule = {
        "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"},
        "BucketKeyEnabled": False,
    }
    aws(
        "put-bucket-encryption",
        bucket=bucket,
        server_side_encryption_configuration={"Rules": [rule]},
    )
    found = aws("get-bucket-encryption", bucket=bucket)["ServerSideEncryptionConfiguration"]
    equal(found["Rules"][0]["ApplyServerSideEncryptionByDefault"], {"SSEAlgorithm": "AES256"})
    equal(aws("put-object", bucket=bucket, key="k")["ServerSideEncryption"], "AES256")
    equal(aws("head-object", bucket=bucket, key="k")["ServerSideEncryption"], "AES256")
    aws("delete-bucket-encryption", bucket=bucket)


def check_lifecycle(aws, bucket):
    aws.refused(
        "NoSuchLifecycleConfiguration", "get-bucket-lifecycle-configuration", bucket=bucket
    )
    rules = {
        "Rules": [
            {
                "ID": "logs",
                "Filter": {"And": {"Prefix": "logs/", "Tags": [{"Key": "a", "Value": "1"}]}},
                "Status": "Enabled",
                "Expiration": {"Days": 30},
                "NoncurrentVersionExpiration": {"NoncurrentDays": 7, "NewerNoncurrentVersions": 3},
            },
            {
                "ID": "uploads",
                "Filter": {"Prefix": ""},
                "Status": "Disabled",
                "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 2},
            },
        ]
    }
    aws("put-bucket-lifecycle-configuration", bucket=bucket, lifecycle_configuration=rules)
    found = aws("get-bucket-lifecycle-configuration", bucket=bucket)
    equal(found["Rules"], rules["Rules"])
    aws("delete-bucket-lifecycle", bucket=bucket)
    aws.refused(
        "NoSuchLifecycleConfiguration", "get-bucket-lifecycle-configuration", bucket=bucket
    )


def check_website(aws, bucket):
    aws.refused("NoSuchWebsiteConfiguration", "get-bucket-website", bucket=bucket)
    website = {
        "IndexDocument": {"Suffix": "index.html"},
        "ErrorDocument": {"Key": "error.html"},
        "RoutingRules": [
            {
                "Condition": {"KeyPrefixEquals": "old/"},
                "Redirect": {"ReplaceKeyPrefixWith": "new/"},
            }
        ],
    }
    aws("put-bucket-website", bucket=bucket, website_configuration=website)
    equal(aws("get-bucket-website", bucket=bucket), website)
    aws("delete-bucket-website", bucket=bucket)
    aws.refused("NoSuchWebsiteConfiguration", "get-bucket-website", bucket=bucket)


def check_request_payment(aws, bucket):
    equal(aws("get-bucket-request-payment", bucket=bucket), {"Payer": "BucketOwner"})
    payer = {"Payer": "Requester"}
    aws("put-bucket-request-payment", bucket=bucket, request_payment_configuration=payer)
    equal(aws("get-bucket-request-payment", bucket=bucket), payer)


def check_object_attributes(aws, bucket):
    aws("put-object", bucket=bucket, key="k", checksum_algorithm="SHA256")
    wanted = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"]
    found = aws("get-object-attributes", bucket=bucket, key="k", object_attributes=wanted)
    equal((found["ObjectSize"], found["StorageClass"]), (0, "STANDARD"))
    assert found["Checksum"]["ChecksumSHA256"] and found["ETag"], found


def check_logging(aws, bucket):
    equal(aws("get-bucket-logging", bucket=bucket), {})
    target = new_name()
    aws("create-bucket", bucket=target)
    status = {"LoggingEnabled": {"TargetBucket": target, "TargetPrefix": "logs/"}}
    aws("put-bucket-logging", bucket=bucket, bucket_logging_status=status)
    equal(aws("get-bucket-logging", bucket=bucket), status)
    aws("put-bucket-logging", bucket=bucket, bucket_logging_status={})
    equal(aws("get-bucket-logging", bucket=bucket), {})


def check_object_lock(aws, bucket):
    aws.refused(
        "ObjectLockConfigurationNotFoundError", "get-object-lock-configuration", bucket=bucket
    )
    locked = new_name()
    aws("create-bucket", "--object-lock-enabled-for-bucket", bucket=locked)
    equal(aws("get-bucket-versioning", bucket=locked)["Status"], "Enabled")
    configuration = {
        "ObjectLockEnabled": "Enabled",
        "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}},
    }
    aws(
        "put-object-lock-configuration",
        bucket=locked,
        object_lock_configuration=configuration,
    )
    found = aws("get-object-lock-configuration", bucket=locked)
    equal(found["ObjectLockConfiguration"], configuration)
    version = aws("put-object", bucket=locked, key="k")["VersionId"]
    where = {"bucket": locked, "key": "k", "version_id": version}
    equal(aws("get-object-retention", **where)["Retention"]["Mode"], "GOVERNANCE")
    aws("put-object-legal-hold", **where, legal_hold={"Status": "ON"})
    equal(aws("get-object-legal-hold", **where)["LegalHold"], {"Status": "ON"})
    aws.refused("AccessDenied", "delete-object", **where)
    aws.refused("AccessDenied", "delete-object", "--bypass-governance-retention", **where)
    aws("put-object-legal-hold", **where, legal_hold={"Status": "OFF"})
    aws.refused("AccessDenied", "delete-object", **where)
    until = "2099-01-01T00:00:00Z"
    aws(
        "put-object-retention", **where,
        retention={"Mode": "GOVERNANCE", "RetainUntilDate": until},
    )  # fmt: skip
    equal(aws("head-object", **where)["ObjectLockRetainUntilDate"], until)
    aws("delete-object", "--bypass-governance-retention", **where)
    aws("delete-bucket", bucket=locked)


announce("awscli")
main(make)
