"""What browsers and owners of buckets ask for: CORS, form uploads, websites, tags, payment, attributes."""

import base64
import contextlib
import hashlib
import http.client
import json
import os
import threading
import urllib.parse
import urllib.request
import uuid
import zlib

import botocore.exceptions

from common import body_of, client, equal, main, pattern, refused, ENDPOINT

HOST = urllib.parse.urlsplit(ENDPOINT).netloc


def ask(method, path, headers=None, body=None, host=HOST):
    """A request as a browser sends it: status, headers in lower case, body."""
    connection = http.client.HTTPConnection(HOST, timeout=60)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        connection.putheader("Host", host)
        for name, value in (headers or {}).items():
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        names = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, names, answer.read().decode("utf-8", "replace")
    finally:
        connection.close()


def code_of(body):
    return body.split("<Code>")[1].split("</Code>")[0] if "<Code>" in body else None


def message_of(body):
    return body.split("<Message>")[1].split("</Message>")[0]


RULES = {
    "CORSRules": [
        {
            "ID": "app",
            "AllowedOrigins": ["https://*.example.com"],
            "AllowedMethods": ["GET", "PUT"],
            "AllowedHeaders": ["*"],
            "ExposeHeaders": ["ETag", "x-amz-request-id"],
            "MaxAgeSeconds": 3000,
        },
        {"AllowedOrigins": ["*"], "AllowedMethods": ["GET"]},
    ]
}
APP = "https://app.example.com"


def preflight(path, origin, method, headers=None):
    ask_for = {"Origin": origin, "Access-Control-Request-Method": method}
    if headers:
        ask_for["Access-Control-Request-Headers"] = headers
    return ask("OPTIONS", path, ask_for)


def check_cors_is_kept_and_removed(s3, bucket):
    with refused("NoSuchCORSConfiguration", 404):
        s3.get_bucket_cors(Bucket=bucket)
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration=RULES)
    equal(s3.get_bucket_cors(Bucket=bucket)["CORSRules"], RULES["CORSRules"])
    with refused("InvalidRequest", 400):
        rule = {"AllowedOrigins": ["*"], "AllowedMethods": ["PATCH"]}
        s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [rule]})
    with refused("InvalidRequest", 400):
        rule = {"AllowedOrigins": ["*"], "AllowedMethods": ["GET"]}
        s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [rule] * 101})
    equal(s3.get_bucket_cors(Bucket=bucket)["CORSRules"], RULES["CORSRules"])
    s3.delete_bucket_cors(Bucket=bucket)
    with refused("NoSuchCORSConfiguration", 404):
        s3.get_bucket_cors(Bucket=bucket)
    s3.delete_bucket_cors(Bucket=bucket)


def check_preflights_are_answered_without_a_signature(s3, bucket):
    path = f"/{bucket}/some/key"
    status, _, body = preflight(path, APP, "PUT")
    equal((status, code_of(body)), (403, "AccessForbidden"))
    assert "CORS is not enabled" in message_of(body), body
    status, _, body = preflight("/no-such-bucket-here/k", APP, "PUT")
    equal((status, code_of(body)), (403, "AccessForbidden"))
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration=RULES)
    for path in [path, f"/{bucket}", f"/{bucket}/k?partNumber=1&uploadId=x", f"/{bucket}/k?acl"]:
        status, headers, _ = preflight(path, APP, "PUT", "Content-Type,x-amz-date")
        equal(status, 200)
        equal(headers["access-control-allow-origin"], APP)
        equal(headers["access-control-allow-credentials"], "true")
        equal(headers["access-control-allow-methods"], "GET, PUT")
        equal(headers["access-control-allow-headers"], "content-type, x-amz-date")
        equal(headers["access-control-expose-headers"], "ETag, x-amz-request-id")
        equal(headers["access-control-max-age"], "3000")
        assert "Origin" in headers["vary"], headers
    status, headers, _ = preflight(path, "http://else", "GET")
    equal((status, headers["access-control-allow-origin"]), (200, "*"))
    assert "access-control-allow-credentials" not in headers
    for origin, method in [("http://else", "PUT"), (APP, "DELETE")]:
        status, headers, body = preflight(path, origin, method)
        equal((status, code_of(body)), (403, "AccessForbidden"))
        assert "access-control-allow-origin" not in headers, headers
    equal(ask("OPTIONS", path, {"Access-Control-Request-Method": "GET"})[0], 400)
    equal(ask("OPTIONS", path, {"Origin": APP})[0], 400)
    equal(preflight(path, APP, "LINK")[0], 400)


def check_actual_requests_are_granted_even_if_they_fail(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"data")
    url = v4(s3).generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"})
    path = url[url.index("/", 8) :]
    _, headers, _ = ask("GET", path, {"Origin": APP})
    assert "access-control-allow-origin" not in headers, headers
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration=RULES)
    # For caches, which may ask without an origin first.
    for answer in [ask("GET", path), ask("GET", path, {"If-None-Match": "*"})]:
        assert "Origin" in answer[1]["vary"], answer
    status, headers, body = ask("GET", path, {"Origin": APP})
    equal((status, body, headers["access-control-allow-origin"]), (200, "data", APP))
    equal(headers["access-control-expose-headers"], "ETag, x-amz-request-id")
    status, headers, _ = ask("GET", path, {"Origin": "http://else"})
    equal((status, headers["access-control-allow-origin"]), (200, "*"))
    status, headers, body = ask("GET", f"/{bucket}/k?X-Amz-Signature=bad", {"Origin": APP})
    assert status >= 400, status
    equal(headers["access-control-allow-origin"], APP)
    status, headers, _ = ask("DELETE", f"/{bucket}/k", {"Origin": APP})
    equal(status, 403)
    assert "access-control-allow-origin" not in headers and "Origin" in headers["vary"], headers


def form(fields, data, file_name="photo.jpg", late=(), boundary="----formBoundary7MA4YWxk"):
    """A form as a browser sends it; `late` fields come behind the file."""

    def field(name, value):
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'
        return head.encode() + value.encode() + b"\r\n"

    file = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{file_name}"\r\n'
        "Content-Type: application/x-of-the-part\r\n\r\n"
    ).encode()
    parts = [field(name, value) for name, value in fields]
    behind = [field(name, value) for name, value in late]
    body = b"".join(parts) + file + data + b"\r\n" + b"".join(behind)
    return body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def send_form(bucket, fields, data, path=None, **arguments):
    body, content_type = form(fields, data, **arguments)
    headers = {"Content-Type": content_type, "Origin": APP}
    return ask("POST", path or f"/{bucket}", headers, body)


@contextlib.contextmanager
def user(s3):
    """A client of somebody who has a key and no permission."""
    request = urllib.request.Request(os.environ["RINGFORT_ADMIN"] + "/api/v1/credentials", method="POST")
    request.add_header("Authorization", "Bearer test-key")
    request.data = json.dumps({"user_name": "user-" + uuid.uuid4().hex[:8]}).encode()
    with urllib.request.urlopen(request) as answer:
        made = json.loads(answer.read())
    yield client(keys=(made["access_key"], made["secret_key"]))


def v4(s3):
    """The same client, but one whose URLs and forms are signed as Ringfort takes them."""
    keys = s3._request_signer._credentials
    return client(signature_version="s3v4", keys=(keys.access_key, keys.secret_key))


def signed(s3, bucket, key, fields=None, conditions=(), expires=600):
    """The fields of a form that somebody signed."""
    s3, fields = v4(s3), dict(fields or {})
    conditions = [{name: value} for name, value in fields.items()] + list(conditions)
    post = s3.generate_presigned_post(bucket, key, fields, conditions, expires)
    return list(post["fields"].items())


def check_a_form_stores_what_it_says(s3, bucket):
    extra = {
        "Content-Type": "image/jpeg",
        "Cache-Control": "max-age=60",
        "x-amz-meta-color": "süß",
        "success_action_status": "201",
    }
    for size in [0, 1, 5000, 131072, 131073, (9 << 20) + 5]:
        data = pattern(size)
        fields = signed(s3, bucket, f"up/{size}/${{filename}}", extra)
        status, headers, body = send_form(bucket, fields, data)
        equal(status, 201)
        etag = f'"{hashlib.md5(data).hexdigest()}"'
        equal(headers["etag"], etag)
        assert f"<Key>up/{size}/photo.jpg</Key>" in body and "<PostResponse>" in body, body
        assert headers["location"].endswith(f"/{bucket}/up/{size}/photo.jpg"), headers
        got = s3.get_object(Bucket=bucket, Key=f"up/{size}/photo.jpg")
        equal((got["ETag"], got["ContentType"]), (etag, "image/jpeg"))
        equal(got["CacheControl"], "max-age=60")
        assert got["Body"].read() == data


def check_a_form_is_answered_as_it_asks(s3, bucket):
    fields = signed(s3, bucket, "k")
    status, headers, body = send_form(bucket, fields, b"data", late=[("submit", "Send")])
    equal((status, body), (204, ""))
    equal(s3.get_object(Bucket=bucket, Key="k")["ContentType"], "binary/octet-stream")
    target = {"success_action_redirect": "http://app.test/done?x=1"}
    status, headers, _ = send_form(bucket, signed(s3, bucket, "a b", target), b"data")
    equal(status, 303)
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(headers["location"]).query)
    etag = f'"{hashlib.md5(b"data").hexdigest()}"'
    equal(query, {"x": ["1"], "bucket": [bucket], "key": ["a b"], "etag": [etag]})
    for status in ["200", "500"]:
        fields = signed(s3, bucket, "k", {"success_action_status": status})
        equal(send_form(bucket, fields, b"data")[0], 200 if status == "200" else 204)
    sum32 = base64.b64encode(zlib.crc32(b"data").to_bytes(4, "big")).decode()
    fields = signed(s3, bucket, "sum", {"x-amz-checksum-crc32": sum32})
    equal(send_form(bucket, fields, b"data")[0], 204)
    status, _, body = send_form(bucket, fields, b"other")
    equal((status, code_of(body)), (400, "BadDigest"))
    equal(body_of(s3, bucket, "sum"), b"data")


def check_a_form_is_held_to_its_policy(s3, bucket):
    def check(fields, status, code, message="", data=b"data", **arguments):
        found, _, body = send_form(bucket, fields, data, **arguments)
        equal((found, code_of(body)), (status, code))
        assert message in message_of(body), body

    within = signed(s3, bucket, "k", conditions=[["content-length-range", 2, 10]])
    equal(send_form(bucket, within, b"1234567890")[0], 204)
    check(within, 400, "EntityTooLarge", data=b"12345678901")
    check(within, 400, "EntityTooLarge", data=pattern(3 << 20))
    check(within, 400, "EntityTooSmall", data=b"1")
    equal(body_of(s3, bucket, "k"), b"1234567890")

    fields = signed(s3, bucket, "k")
    check(fields + [("acl", "private")], 403, "AccessDenied", "Extra input fields: acl")
    other = [(name, "other" if name == "key" else value) for name, value in fields]
    check(other, 403, "AccessDenied", "Policy Condition failed")
    start = signed(s3, bucket, "user/${filename}")
    check([(n, "x" if n == "key" else v) for n, v in start], 403, "AccessDenied", "starts-with")
    check(signed(s3, bucket, "k", expires=-5), 403, "AccessDenied", "Policy expired")
    forged = [(n, "0" * 64 if n == "x-amz-signature" else v) for n, v in fields]
    check(forged, 403, "SignatureDoesNotMatch")
    loose = json.dumps({"expiration": "2099-01-01T00:00:00Z", "conditions": []})
    loose = base64.b64encode(loose.encode()).decode()
    check([(n, loose if n == "policy" else v) for n, v in fields], 403, "SignatureDoesNotMatch")
    check([(n, v) for n, v in fields if n != "key"], 403, "AccessDenied")
    check([(n, v) for n, v in fields if n != "policy"], 400, "InvalidArgument", "policy")
    token = {"x-amz-security-token": "t"}
    check(signed(s3, bucket, "k", token), 400, "InvalidToken")
    elsewhere = signed(s3, bucket + "x", "k")
    check(elsewhere, 403, "AccessDenied", "Policy Condition failed")
    check([("key", "k")], 403, "AccessDenied")
    check([], 400, "InvalidArgument", "key")


def check_forms_that_are_none_are_refused(s3, bucket):
    fields = signed(s3, bucket, "broken")
    body, content_type = form(fields, pattern(200000))
    headers = {"Content-Type": content_type}
    for cut in [len(body) - 60, len(body) // 2, 30]:
        status, _, answer = ask("POST", f"/{bucket}", headers, body[:cut])
        equal((status, code_of(answer)), (400, "MalformedPOSTRequest"))
    status, _, answer = ask("POST", f"/{bucket}", {"Content-Type": "text/plain"}, body)
    equal((status, code_of(answer)), (412, "PreconditionFailed"))
    status, _, answer = ask("POST", f"/{bucket}", {"Content-Type": "multipart/form-data"}, body)
    equal((status, code_of(answer)), (400, "MalformedPOSTRequest"))
    long = fields + [("x-ignore-me", "x" * 30000)]
    status, _, answer = send_form(bucket, long, b"data")
    equal((status, code_of(answer)), (400, "MaxPostPreDataLengthExceededError"))
    status, _, answer = send_form(bucket, fields + [("key", "again")], b"data")
    equal((status, code_of(answer)), (400, "InvalidArgument"))
    equal(s3.list_objects_v2(Bucket=bucket)["KeyCount"], 0)


def check_bucket_tags(s3, bucket):
    with refused("NoSuchTagSet", 404):
        s3.get_bucket_tagging(Bucket=bucket)
    tags = [{"Key": "team", "Value": "süß"}, {"Key": "a/b", "Value": ""}]
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": tags})
    equal(s3.get_bucket_tagging(Bucket=bucket)["TagSet"], tags)

    def bad(tags, code):
        with refused(code, 400):
            s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": tags})

    bad([{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}], "InvalidTag")
    bad([{"Key": "aws:x", "Value": "1"}], "InvalidTag")
    bad([{"Key": "a<b", "Value": "1"}], "InvalidTag")
    bad([{"Key": "k" * 129, "Value": "1"}], "InvalidTag")
    bad([{"Key": "k", "Value": "v" * 257}], "InvalidTag")
    bad([{"Key": f"k{n}", "Value": ""} for n in range(51)], "BadRequest")
    equal(s3.get_bucket_tagging(Bucket=bucket)["TagSet"], tags)
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": [{"Key": f"k{n}", "Value": ""} for n in range(50)]})
    equal(len(s3.get_bucket_tagging(Bucket=bucket)["TagSet"]), 50)
    s3.delete_bucket_tagging(Bucket=bucket)
    with refused("NoSuchTagSet", 404):
        s3.get_bucket_tagging(Bucket=bucket)


def check_request_payment(s3, bucket):
    equal(s3.get_bucket_request_payment(Bucket=bucket)["Payer"], "BucketOwner")
    for payer in ["Requester", "BucketOwner"]:
        payment = {"Payer": payer}
        s3.put_bucket_request_payment(Bucket=bucket, RequestPaymentConfiguration=payment)
        equal(s3.get_bucket_request_payment(Bucket=bucket)["Payer"], payer)
    with refused("MalformedXML", 400):
        payment = {"Payer": "Nobody"}
        s3.put_bucket_request_payment(Bucket=bucket, RequestPaymentConfiguration=payment)


def check_object_attributes(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"data", ChecksumAlgorithm="SHA256")
    every = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"]
    found = s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=every)
    equal(found["ETag"], hashlib.md5(b"data").hexdigest())
    digest = base64.b64encode(hashlib.sha256(b"data").digest()).decode()
    equal(found["Checksum"], {"ChecksumSHA256": digest, "ChecksumType": "FULL_OBJECT"})
    equal((found["ObjectSize"], found["StorageClass"]), (4, "STANDARD"))
    assert "ObjectParts" not in found and "LastModified" in found, found
    few = s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=["ObjectSize"])
    assert "ETag" not in few and "StorageClass" not in few, few
    with refused("NoSuchKey", 404):
        s3.get_object_attributes(Bucket=bucket, Key="none", ObjectAttributes=["ETag"])
    with refused("InvalidArgument", 400):
        s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=["Color"])

    upload = s3.create_multipart_upload(Bucket=bucket, Key="m", ChecksumAlgorithm="CRC32")["UploadId"]
    parts = []
    for number, size in [(1, 5 << 20), (3, 5 << 20), (7, 10)]:
        part = s3.upload_part(
            Bucket=bucket, Key="m", UploadId=upload, PartNumber=number, Body=pattern(size, number),
            ChecksumAlgorithm="CRC32",
        )
        parts.append({"PartNumber": number, "ETag": part["ETag"], "ChecksumCRC32": part["ChecksumCRC32"]})
    s3.complete_multipart_upload(
        Bucket=bucket, Key="m", UploadId=upload, MultipartUpload={"Parts": parts}
    )
    found = s3.get_object_attributes(Bucket=bucket, Key="m", ObjectAttributes=every, MaxParts=2)
    assert found["ETag"].endswith("-3"), found
    equal(found["Checksum"]["ChecksumType"], "COMPOSITE")
    listed = found["ObjectParts"]
    equal((listed["TotalPartsCount"], listed["IsTruncated"], listed["MaxParts"]), (3, True, 2))
    equal([part["PartNumber"] for part in listed["Parts"]], [1, 3])
    equal(listed["Parts"][0]["ChecksumCRC32"], parts[0]["ChecksumCRC32"])
    rest = s3.get_object_attributes(
        Bucket=bucket, Key="m", ObjectAttributes=["ObjectParts"],
        PartNumberMarker=listed["NextPartNumberMarker"],
    )["ObjectParts"]
    equal(([part["Size"] for part in rest["Parts"]], rest["IsTruncated"]), ([10], False))


def check_nothing_is_archived(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"data")
    with refused("InvalidObjectState", 403):
        s3.restore_object(Bucket=bucket, Key="k", RestoreRequest={"Days": 1})
    with refused("NoSuchKey", 404):
        s3.restore_object(Bucket=bucket, Key="none", RestoreRequest={"Days": 1})


def check_what_is_not_built_is_refused_by_name(s3, bucket):
    with refused("NotImplemented", 501):
        s3.get_bucket_accelerate_configuration(Bucket=bucket)
    with refused("NotImplemented", 501):
        s3.get_bucket_replication(Bucket=bucket)
    with refused("NotImplemented", 501):
        s3.list_bucket_inventory_configurations(Bucket=bucket)


PAGES = {
    "IndexDocument": {"Suffix": "index.html"},
    "ErrorDocument": {"Key": "errors/404.html"},
    "RoutingRules": [
        {
            "Condition": {"KeyPrefixEquals": "docs/"},
            "Redirect": {"ReplaceKeyPrefixWith": "documents/"},
        },
        {
            "Condition": {"HttpErrorCodeReturnedEquals": "404", "KeyPrefixEquals": "img/"},
            "Redirect": {"HostName": "cdn.test", "Protocol": "https", "HttpRedirectCode": "302"},
        },
    ],
}


def check_website_settings(s3, bucket):
    with refused("NoSuchWebsiteConfiguration", 404):
        s3.get_bucket_website(Bucket=bucket)
    s3.put_bucket_website(Bucket=bucket, WebsiteConfiguration=PAGES)
    found = s3.get_bucket_website(Bucket=bucket)
    equal({name: found[name] for name in PAGES}, PAGES)

    def bad(configuration, code):
        with refused(code, 400):
            s3.put_bucket_website(Bucket=bucket, WebsiteConfiguration=configuration)

    bad({"IndexDocument": {"Suffix": "a/b"}}, "InvalidArgument")
    bad({"ErrorDocument": {"Key": "e"}}, "InvalidArgument")
    both = {"ReplaceKeyPrefixWith": "a", "ReplaceKeyWith": "b"}
    bad({"IndexDocument": {"Suffix": "i"}, "RoutingRules": [{"Redirect": both}]}, "InvalidRequest")
    rule = {"Redirect": {"ReplaceKeyWith": "b"}}
    bad({"IndexDocument": {"Suffix": "i"}, "RoutingRules": [rule] * 51}, "InvalidRequest")
    place = {"HostName": "www.example.com", "Protocol": "https"}
    s3.put_bucket_website(Bucket=bucket, WebsiteConfiguration={"RedirectAllRequestsTo": place})
    equal(s3.get_bucket_website(Bucket=bucket)["RedirectAllRequestsTo"], place)
    s3.delete_bucket_website(Bucket=bucket)
    with refused("NoSuchWebsiteConfiguration", 404):
        s3.get_bucket_website(Bucket=bucket)


def open_to_all(s3, bucket, action="s3:GetObject"):
    s3.delete_public_access_block(Bucket=bucket)
    statement = {
        "Effect": "Allow",
        "Principal": "*",
        "Action": action,
        "Resource": f"arn:aws:s3:::{bucket}/*",
    }
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))


def visit(bucket, path, method="GET", headers=None):
    return ask(method, path, headers, host=f"{bucket}.web.localhost:{PORT}")


PORT = HOST.rsplit(":", 1)[1]


def check_a_website_is_visited(s3, bucket):
    status, headers, body = visit(bucket, "/")
    equal((status, headers["x-amz-error-code"]), (404, "NoSuchWebsiteConfiguration"))
    assert "<li>Code: NoSuchWebsiteConfiguration</li>" in body, body
    equal(visit("no-such-bucket-here", "/")[1]["x-amz-error-code"], "NoSuchBucket")
    s3.put_bucket_website(Bucket=bucket, WebsiteConfiguration=PAGES)

    def page(key, body, **arguments):
        arguments.setdefault("ContentType", "text/html")
        s3.put_object(Bucket=bucket, Key=key, Body=body, **arguments)

    page("index.html", b"home")
    page("a b/index.html", "süß".encode())
    page("plain.txt", pattern(300000), ContentType="text/plain")
    page("errors/404.html", b"custom")
    page("moved", b"", WebsiteRedirectLocation="/elsewhere?x=1")
    # Private until it is opened: visitors are nobody, whatever they sign.
    status, headers, body = visit(bucket, "/")
    equal((status, headers["x-amz-error-code"]), (403, "AccessDenied"))
    assert headers["content-type"].startswith("text/html"), headers
    equal(visit(bucket, "/", headers={"Authorization": "AWS4-HMAC-SHA256 x"})[0], 403)
    open_to_all(s3, bucket)

    status, headers, body = visit(bucket, "/")
    equal((status, body, headers["content-type"]), (200, "home", "text/html"))
    equal(visit(bucket, "/index.html?ignored&acl")[2], "home")
    equal(visit(bucket, "/a%20b/")[2], "süß")
    status, headers, body = visit(bucket, "/a%20b")
    equal((status, headers["location"], body), (302, "/a%20b/", ""))
    status, headers, body = visit(bucket, "/plain.txt", headers={"Range": "bytes=0-9"})
    equal((status, len(body.encode("latin-1", "replace"))), (206, 10))
    etag = visit(bucket, "/plain.txt", "HEAD")[1]["etag"]
    equal(visit(bucket, "/plain.txt", headers={"If-None-Match": etag})[0], 304)
    status, headers, body = visit(bucket, "/moved")
    equal((status, headers["location"], body), (301, "/elsewhere?x=1", ""))
    assert "x-amz-website-redirect-location" not in headers
    status, headers, _ = visit(bucket, "/docs/x/y.html")
    place = f"http://{bucket}.web.localhost:{PORT}/documents/x/y.html"
    equal((status, headers["location"]), (301, place))

    # Only who may list hears that a page is not there; nobody may here.
    status, headers, body = visit(bucket, "/none", headers={"Range": "bytes=0-1"})
    equal((status, body, headers["content-type"]), (403, "custom", "text/html"))
    equal(headers["x-amz-error-code"], "AccessDenied")
    statements = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])
    statements["Statement"].append(
        {
            "Effect": "Allow",
            "Principal": "*",
            "Action": "s3:ListBucket",
            "Resource": f"arn:aws:s3:::{bucket}",
        }
    )
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(statements))
    status, headers, body = visit(bucket, "/none")
    equal((status, body, headers["x-amz-error-code"]), (404, "custom", "NoSuchKey"))
    equal(visit(bucket, "/none", "HEAD")[0], 404)
    status, headers, _ = visit(bucket, "/img/none.png")
    equal((status, headers["location"]), (302, "https://cdn.test/img/none.png"))
    s3.delete_object(Bucket=bucket, Key="errors/404.html")
    status, headers, body = visit(bucket, "/no<ne>")
    equal(status, 404)
    assert "<h1>404 Not Found</h1>" in body and "<li>Key: no&lt;ne&gt;</li>" in body, body
    for method in ["PUT", "POST", "DELETE"]:
        equal(visit(bucket, "/index.html", method)[0], 405)
    equal(body_of(s3, bucket, "index.html"), b"home")

    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration=RULES)
    equal(visit(bucket, "/", headers={"Origin": APP})[1]["access-control-allow-origin"], APP)
    place = {"HostName": "www.example.com", "Protocol": "https"}
    s3.put_bucket_website(Bucket=bucket, WebsiteConfiguration={"RedirectAllRequestsTo": place})
    status, headers, _ = visit(bucket, "/a/b?c=d")
    equal((status, headers["location"]), (301, "https://www.example.com/a/b?c=d"))


def check_the_rest_endpoint_is_no_website(s3, bucket):
    s3.put_bucket_website(Bucket=bucket, WebsiteConfiguration=PAGES)
    s3.put_object(Bucket=bucket, Key="index.html", Body=b"home")
    open_to_all(s3, bucket)
    status, _, body = ask("GET", f"/{bucket}/")
    equal((status, code_of(body)), (403, "AccessDenied"))
    equal(ask("GET", f"/{bucket}/index.html")[2], "home")


def check_requesters_pay(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"data")
    open_to_all(s3, bucket)
    equal(ask("GET", f"/{bucket}/k")[0], 200)
    payment = {"Payer": "Requester"}
    s3.put_bucket_request_payment(Bucket=bucket, RequestPaymentConfiguration=payment)
    got = s3.get_object(Bucket=bucket, Key="k")
    assert "RequestCharged" not in got, got
    payer = {"x-amz-request-payer": "requester"}
    for headers in [None, payer]:
        status, _, body = ask("GET", f"/{bucket}/k", headers)
        equal((status, code_of(body)), (403, "AccessDenied"))
    with user(s3) as other:
        with refused("AccessDenied", 403):
            other.get_object(Bucket=bucket, Key="k")
        got = other.get_object(Bucket=bucket, Key="k", RequestPayer="requester")
        equal((got["Body"].read(), got["RequestCharged"]), (b"data", "requester"))
        parameters = {"Bucket": bucket, "Key": "k", "RequestPayer": "requester"}
        url = v4(other).generate_presigned_url("get_object", Params=parameters)
        equal(ask("GET", url[url.index("/", 8) :], payer)[0], 200)


def check_anybody_may_send_a_form_where_anybody_may_write(s3, bucket):
    fields = [("key", "drop/${filename}"), ("Content-Type", "text/plain")]
    status, _, body = send_form(bucket, fields, b"data")
    equal((status, code_of(body)), (403, "AccessDenied"))
    open_to_all(s3, bucket, "s3:PutObject")
    equal(send_form(bucket, fields, b"data")[0], 204)
    equal(body_of(s3, bucket, "drop/photo.jpg"), b"data")


def check_a_form_may_do_what_its_signer_may(s3, bucket):
    with user(s3) as other:
        status, _, body = send_form(bucket, signed(other, bucket, "k"), b"data")
        equal((status, code_of(body)), (403, "AccessDenied"))
        open_to_all(s3, bucket, "s3:PutObject")
        equal(send_form(bucket, signed(other, bucket, "k"), b"data")[0], 204)


def check_head_bucket_tells_what_it_holds(s3, bucket):
    def held():
        headers = s3.head_bucket(Bucket=bucket)["ResponseMetadata"]["HTTPHeaders"]
        return int(headers["x-rgw-object-count"]), int(headers["x-rgw-bytes-used"])

    equal(held(), (0, 0))
    s3.put_object(Bucket=bucket, Key="a", Body=b"12345")
    s3.put_object(Bucket=bucket, Key="b", Body=pattern(300000))
    equal(held(), (2, 300005))
    s3.put_object(Bucket=bucket, Key="a", Body=b"1")
    s3.delete_object(Bucket=bucket, Key="b")
    equal(held(), (1, 1))


def check_timing_is_told_on_request(s3, bucket):
    status, headers, _ = ask("GET", f"/{bucket}/k")
    assert "server-timing" not in headers, headers
    for path, asking in [(f"/{bucket}/k", {"x-ringfort-server-timing": "1"}), (f"/{bucket}/k?x-ringfort-server-timing=1", {})]:
        status, headers, _ = ask("GET", path, asking)
        names = [phase.split(";")[0] for phase in headers["server-timing"].split(", ")]
        equal(names, ["auth", "body", "engine", "total"])


def check_appends(s3, bucket):
    def append(key, data, offset, **arguments):
        return s3.put_object(
            Bucket=bucket, Key=key, Body=data, WriteOffsetBytes=offset, **arguments
        )

    whole, digest, pieces = b"", None, 1
    for size in [10, 0, 100000, 200000, 1, 0, 3 << 20, 5]:
        grows = len(whole) > 128 << 10
        piece = pattern(size, size)
        put = append("k", piece, len(whole), **({"Metadata": {"a": "1"}} if not whole else {}))
        whole += piece
        equal(put["Size"], len(whole))
        if grows:
            # The MD5 of the digests of what there was and of what was added.
            pieces += 1
            digest = hashlib.md5(digest + hashlib.md5(piece).digest()).digest()
            equal(put["ETag"], f'"{digest.hex()}-{pieces}"')
        else:
            digest = hashlib.md5(whole).digest()
            equal(put["ETag"], f'"{digest.hex()}"')
        got = s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
        assert got["Body"].read() == whole
        equal((got["Metadata"], got["ChecksumType"]), ({"a": "1"}, "FULL_OBJECT"))
        checksum = base64.b64encode(zlib.crc32(whole).to_bytes(4, "big")).decode()
        equal(got["ChecksumCRC32"], checksum)
    for offset in [0, 1, len(whole) - 1, len(whole) + 1]:
        with refused("InvalidWriteOffset", 400):
            append("k", b"x", offset)
    with refused("InvalidWriteOffset", 400):
        append("none", b"x", 5)
    with refused("InvalidRequest", 400):
        append("k", b"x", len(whole), Metadata={"a": "2"})
    with refused("NotImplemented", 501):
        append("k", b"x", len(whole), ServerSideEncryption="AES256")
    with refused("PreconditionFailed", 412):
        append("k", b"x", len(whole), IfNoneMatch="*")
    with refused("BadDigest", 400):
        append("k", b"x", len(whole), ChecksumCRC32="AAAAAA==")
    assert body_of(s3, bucket, "k") == whole
    s3.put_object(Bucket=bucket, Key="hashed", Body=b"data", ChecksumAlgorithm="SHA256")
    with refused("InvalidRequest", 400):
        append("hashed", b"x", 4)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    with refused("InvalidBucketState", 409):
        append("k", b"x", len(whole))


def check_of_two_appends_at_one_place_one_happens(s3, bucket):
    clients = [client() for _ in range(8)]
    size = 0
    for turn in range(12):
        wins, losses, start = [], [], threading.Barrier(len(clients))

        def run(number):
            data = bytes([number]) * (number + 1)
            start.wait()
            try:
                clients[number].put_object(
                    Bucket=bucket, Key="k", Body=data, WriteOffsetBytes=size
                )
                wins.append(data)
            except botocore.exceptions.ClientError as error:
                losses.append(error.response["Error"]["Code"])

        threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        equal((len(wins), losses), (1, ["InvalidWriteOffset"] * 7))
        assert body_of(s3, bucket, "k")[size:] == wins[0]
        size += len(wins[0])


main()
