"""What the client scripts share: a client, buckets of their own, and the running of checks.

A script defines functions named check_*, each of which gets a boto3 client with default settings and
the name of a fresh, empty bucket, and ends with common.main(). Every failed check is told; the exit
code is 1 if there was one.
"""

import os
import socket
import sys
import threading
import traceback
import uuid

import boto3
import botocore.config
import botocore.exceptions

ENDPOINT = os.environ["RINGFORT_ENDPOINT"]


def resolve(host, *arguments, **settings):
    """Names below localhost are this host (RFC 6761), though not every resolver knows."""
    if isinstance(host, str) and host.endswith(".localhost"):
        host = "127.0.0.1"
    return resolve.original(host, *arguments, **settings)


resolve.original, socket.getaddrinfo = socket.getaddrinfo, resolve


def client(endpoint=ENDPOINT, keys=(None, None), **settings):
    """A client without retries, so that each fault of the server is seen. `keys`: an access key and its
    secret, where they are not root's."""
    config = botocore.config.Config(
        retries={"total_max_attempts": 1}, read_timeout=120, **settings
    )
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        config=config,
        aws_access_key_id=keys[0],
        aws_secret_access_key=keys[1],
    )


def make_bucket(s3):
    name = "b-" + uuid.uuid4().hex[:16]
    s3.create_bucket(Bucket=name)
    return name


class Refused:
    """With refused(code, status): the call within must be refused just so."""

    def __init__(self, code, status):
        self.code, self.status = code, status
        self.response = None

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        assert kind is not None, f"accepted, where {self.code} was expected"
        if not isinstance(error, botocore.exceptions.ClientError):
            return False
        self.response = error.response
        found = (
            error.response["Error"]["Code"],
            error.response["ResponseMetadata"]["HTTPStatusCode"],
        )
        assert found == (self.code, self.status), f"{found}, expected {(self.code, self.status)}"
        assert error.response["ResponseMetadata"]["RequestId"]
        return True


def refused(code, status):
    return Refused(code, status)


def equal(found, expected):
    if found != expected:
        raise AssertionError(f"found {short(found)}, expected {short(expected)}")


def short(value):
    text = repr(value)
    return text if len(text) < 600 else text[:300] + " ... " + text[-300:]


def body_of(s3, bucket, key, **arguments):
    return s3.get_object(Bucket=bucket, Key=key, **arguments)["Body"].read()


def pattern(size, seed=1):
    """Bytes that tell where they belong: every 8 bytes are a function of their place."""
    whole = bytearray()
    for place in range(0, size, 8):
        whole += ((place // 8 * 0x9E3779B97F4A7C15 + seed) % 2**64).to_bytes(8, "little")
    return bytes(whole[:size])


def main():
    checks = {
        name: function
        for name, function in vars(sys.modules["__main__"]).items()
        if name.startswith("check_") and (len(sys.argv) < 2 or name in sys.argv[1:])
    }
    failed = []
    lock = threading.Lock()

    def run(name, function):
        s3 = client()
        try:
            function(s3, make_bucket(s3))
            verdict = "ok"
        except Exception:  # every kind of fault is a finding
            verdict = "FAILED\n" + traceback.format_exc()
            failed.append(name)
        with lock:
            print(f"{name}: {verdict}", flush=True)

    assert checks, "there is no such check"
    for name, function in checks.items():
        run(name, function)
    sys.exit(1 if failed else 0)
