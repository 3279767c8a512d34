"""What the boto3 scripts share: a client and buckets of their own, and what a refusal looks like.

Each check_* function of theirs gets a boto3 client with default settings and the name of a fresh, empty
bucket; a script ends with common.main(). See checks.py.
"""

import socket

import boto3
import botocore.config
import botocore.exceptions

import checks
from checks import ENDPOINT, equal, pattern  # noqa: F401, for the scripts


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
    name = checks.new_name()
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


def body_of(s3, bucket, key, **arguments):
    return s3.get_object(Bucket=bucket, Key=key, **arguments)["Body"].read()


def main():
    checks.announce("boto3")

    def make():
        s3 = client()
        return s3, make_bucket(s3)

    checks.main(make)
