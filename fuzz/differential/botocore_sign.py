"""Requests as botocore signs them, for fuzz/tests/botocore.rs: one JSON object a line.

Every request is made by chance from a seed: methods, paths and parameters with whatever bytes keys may hold, headers
with blanks in them, repeated parameters. Each is signed twice, in its header and in its query. A line holds the request
as it would go over the wire and the canonical request that botocore made of it.

    botocore_sign.py SEED COUNT
"""

import json
import random
import sys
from urllib.parse import urlsplit

from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.utils import percent_encode

CREDENTIALS = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
REGION = "us-east-1"
METHODS = ["GET", "PUT", "POST", "HEAD", "DELETE"]
HOSTS = ["localhost:9000", "bucket.example.com", "127.0.0.1", "example.com:80"]
# What has been canonicalised wrongly by somebody.
PIECES = ["a", "B", "7", "-", "_", ".", "~", "/", "//", "..", "/./", " ", "+", "%", "%2F", "%20", "&", "=", "?", "#",
          ";", ":", "@", "!", "$", "'", "(", ")", "*", ",", "[", "]", "{", "}", "|", "\\", "^", "`", "\"", "<", ">",
          "\u00fc", "\u20ac", "\U0001f600", "\x01", "\x7f", "\t", "\n"]
NAMES = ["prefix", "delimiter", "uploads", "versionId", "list-type", "max-keys", "acl", "Marker", "x-id", "a b", "a"]
HEADERS = ["Range", "x-amz-acl", "x-amz-meta-one", "X-Amz-Meta-Two", "x-amz-tagging", "Content-Type", "If-Match"]
BLANKS = ["a", "b", " ", "  ", "\t", ",", "\"", ";", "="]


def text(chance, pieces, most):
    return "".join(chance.choice(pieces) for _ in range(chance.randrange(most)))


def request(chance):
    host = chance.choice(HOSTS)
    path = "/" + percent_encode(text(chance, PIECES, 12), safe="/~")
    pairs = [(chance.choice(NAMES + [text(chance, PIECES, 4) or "q"]), text(chance, PIECES, 6))
             for _ in range(chance.randrange(5))]
    query = "&".join(f"{percent_encode(name)}={percent_encode(value)}" for name, value in pairs)
    url = f"http://{host}{path}" + (f"?{query}" if query else "")
    headers = {name: text(chance, BLANKS, 8).strip() for name in chance.sample(HEADERS, chance.randrange(4))}
    return AWSRequest(method=chance.choice(METHODS), url=url, headers=headers, data=b"")


def sign(auth_class, made, *more):
    auth = auth_class(CREDENTIALS, "s3", REGION, *more)
    canonical = []
    plain = auth.canonical_request

    def noting(signed):
        canonical.append(plain(signed))
        return canonical[-1]

    auth.canonical_request = noting
    auth.add_auth(made)
    parts = urlsplit(made.url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    headers = [[name, value.decode() if isinstance(value, bytes) else value] for name, value in made.headers.items()]
    if not any(name.lower() == "host" for name, _ in headers):
        # Like http.client, which leaves out the usual port.
        headers.append(["Host", parts.netloc.removesuffix(":80")])
    return {"method": made.method, "target": target, "headers": headers, "canonical": canonical[-1]}


def main():
    seed, count = int(sys.argv[1]), int(sys.argv[2])
    for number in range(count):
        for auth_class, more in ((S3SigV4Auth, ()), (S3SigV4QueryAuth, (3600,))):
            # The same request for both.
            made = request(random.Random(seed * 1_000_003 + number))
            print(json.dumps(sign(auth_class, made, *more)))


main()
