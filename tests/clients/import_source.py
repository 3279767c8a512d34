"""Moto's S3 server, filled with what an import must bring over; the source of tests/e2e/import.rs.

    import_source.py OBJECTS [faulty|partless]

Prints its address when it is filled and serves until its standard input ends. `faulty`: requests fail at times,
bodies are cut short at times, `changing` is written anew while it is read, and the bytes of keys that begin with `wrong` are not those that were stored.
`partless`: the boundaries of parts are not told.
"""

import datetime
import sys
import threading

import boto3
import botocore.config
from moto.s3.models import s3_backends
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

ODD_KEYS = [
    "a b", "a+b", "a%2Fb", "a%b", "/lead", "two//slashes", "up/../down", "./here", "tail/", "日本/ü",
    "q?x=1&y", "#hash", "quote\"'<&>", "tab\there", "~tilde*", "emoji-🦀",
]  # fmt: skip
MIB = 1 << 20


def pattern(seed, length):
    """Bytes that differ from one object to the next."""
    block = b"".join((seed * 7919 + n).to_bytes(8, "big") for n in range(1024))
    return (block * (length // len(block) + 1))[:length]


class Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, kind, message, *arguments):
        pass


class Faults:
    """Breaks every so-and-so-many answer of the application behind it."""

    def __init__(self, application):
        self.application = application
        self.lock = threading.Lock()
        self.count = 0
        self.on = False
        self.hides_parts = False
        # Changes what is read, once.
        self.change = None

    def __call__(self, environ, start):
        if self.hides_parts and environ["REQUEST_METHOD"] == "HEAD" and "partNumber" in environ["QUERY_STRING"]:
            start("501 Not Implemented", [("Content-Length", "0")])
            return [b""]
        if not self.on:
            return self.application(environ, start)
        with self.lock:
            self.count += 1
            number = self.count
        if number % 11 == 0:
            start("503 Slow Down", [("Content-Length", "0")])
            return [b""]
        body = b"".join(self.application(environ, start))
        if environ["PATH_INFO"] == "/rich/changing" and self.change and environ["REQUEST_METHOD"] == "GET":
            self.change()
            self.change = None
            return Cut(body[: len(body) // 2], environ["werkzeug.socket"])
        is_object = environ["REQUEST_METHOD"] == "GET" and environ["PATH_INFO"].count("/") > 1
        if is_object and "/wrong" in environ["PATH_INFO"] and not environ["QUERY_STRING"]:
            return [bytes([body[0] ^ 1]) + body[1:]]
        if is_object and number % 3 == 0 and len(body) > 1:
            # The length was announced: the connection ends before it.
            return Cut(body[: len(body) // 2], environ["werkzeug.socket"])
        return [body]


class Cut:
    def __init__(self, body, socket):
        self.parts, self.socket = [body], socket

    def __iter__(self):
        return iter(self.parts)

    def close(self):
        self.socket.shutdown(2)


def fill_many(backend, count):
    for number in range(count):
        key = backend.put_object("many", f"{number % 97:02}/object-{number:06}", pattern(number, number % 3000))
        key.set_metadata({"number": str(number)})
        if number % 10 == 0:
            backend.put_object_tagging(key, {"tenth": str(number), "odd name": "a+b=c"})


def upload(s3, key, sizes):
    arguments = {"Metadata": {"parts": str(len(sizes))}, "ContentType": "video/mp4"}
    place = {"Bucket": "rich", "Key": key}
    place["UploadId"] = s3.create_multipart_upload(**place, **arguments)["UploadId"]
    parts = []
    for number, size in enumerate(sizes, 1):
        body = pattern(number, size)
        etag = s3.upload_part(**place, PartNumber=number, Body=body)["ETag"]
        parts.append({"PartNumber": number, "ETag": etag})
    s3.complete_multipart_upload(**place, MultipartUpload={"Parts": parts})


def fill_rich(s3):
    s3.create_bucket(Bucket="rich")
    upload(s3, "parts/even", [5 * MIB, 5 * MIB, MIB])
    upload(s3, "parts/odd", [5 * MIB, 6 * MIB, 5 * MIB + 17, 3])
    upload(s3, "parts/one", [1000])
    upload(s3, "parts/large", [10 * MIB, 9 * MIB])
    s3.put_object(Bucket="rich", Key="whole/large", Body=pattern(5, 20 * MIB), ContentEncoding="gzip")
    s3.put_object(
        Bucket="rich",
        Key="whole/described",
        Body=b"<p>",
        ContentType="text/html; charset=utf-8",
        CacheControl="max-age=60, public",
        ContentDisposition='attachment; filename="a b.html"',
        ContentEncoding="identity",
        ContentLanguage="de-AT",
        Metadata={"camera": "Leica  M3", "empty": ""},
        Tagging="project=x%2By&stage=%C3%BC",
    )
    s3.put_object(Bucket="rich", Key="whole/empty", Body=b"")
    s3.put_object(Bucket="rich", Key="whole/sum", Body=b"summed", ChecksumAlgorithm="SHA256")
    for number, key in enumerate(ODD_KEYS):
        s3.put_object(Bucket="rich", Key=f"odd/{key}", Body=pattern(number, 50 + number))
        if key[0] != ".":
            s3.put_object(Bucket="rich", Key=key, Body=pattern(number, 5 + number))
    s3.put_object(Bucket="rich", Key="changing", Body=pattern(98, 50_000))
    for number in range(3):
        s3.put_object(Bucket="rich", Key=f"wrong-{number}", Body=pattern(number, 400))


def fill_versions(s3, backend):
    s3.create_bucket(Bucket="versions")
    bucket = backend.get_bucket("versions")
    s3.put_object(Bucket="versions", Key="older", Body=b"before versioning")
    s3.put_bucket_versioning(Bucket="versions", VersioningConfiguration={"Status": "Enabled"})
    for number in range(40):
        for version in range(number % 5 + 1):
            key = f"key-{number:02}"
            if (number + version) % 4 == 3:
                s3.delete_object(Bucket="versions", Key=key)
            else:
                body = pattern(version, 10 * number + version)
                s3.put_object(Bucket="versions", Key=key, Body=body, Metadata={"version": str(version)})
    s3.put_object(Bucket="versions", Key="older", Body=b"afterwards")
    # Moto lists markers apart and times in seconds: they must tell the order.
    for key in bucket.keys:
        for number, version in enumerate(bucket.keys.getlist(key)):
            version.last_modified = datetime.datetime(2026, 1, 1) + datetime.timedelta(seconds=number)


def main():
    count, is_faulty = int(sys.argv[1]), "faulty" in sys.argv[2:]
    faults = Faults(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, faults, threaded=True, request_handler=Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    config = botocore.config.Config(request_checksum_calculation="when_required")
    s3 = boto3.client(
        "s3",
        endpoint_url=address,
        config=config,
        region_name="us-east-1",
        aws_access_key_id="moto",
        aws_secret_access_key="moto-secret",
    )
    s3.create_bucket(Bucket="many")
    backend = s3_backends["123456789012"]["aws"]
    fill_many(backend, count)
    fill_rich(s3)
    fill_versions(s3, backend)
    faults.on = is_faulty
    faults.hides_parts = "partless" in sys.argv[2:]
    faults.change = lambda: backend.put_object("rich", "changing", pattern(99, 30_000))
    print(address, flush=True)
    sys.stdin.read()


main()
