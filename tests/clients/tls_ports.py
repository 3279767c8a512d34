"""Both ports over TLS, by Python's own: `fingerprint` prints the certificate's, `speak` tries what a client
may try, `manage` shows RINGFORT_CERT and RINGFORT_KEY to the management port at RINGFORT_ADMIN, and
prints what that answers.
"""

import hashlib
import http.client
import os
import socket
import ssl
import sys
import urllib.parse
import urllib.request

import common
from checks import ENDPOINT, equal

PATIENCE = 60


def address(url):
    parts = urllib.parse.urlsplit(url)
    return parts.hostname, parts.port


def context(**versions):
    made = ssl.create_default_context(cafile=os.environ["AWS_CA_BUNDLE"])
    for name, version in versions.items():
        setattr(made, name, version)
    return made


def connect(made):
    stream = socket.create_connection(address(ENDPOINT), timeout=PATIENCE)
    return made.wrap_socket(stream, server_hostname="localhost")


def fingerprint():
    with connect(context()) as stream:
        print(hashlib.sha256(stream.getpeercert(binary_form=True)).hexdigest())


def speak():
    for version in [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]:
        only = context(minimum_version=version, maximum_version=version)
        only.set_alpn_protocols(["h2", "http/1.1"])
        with connect(only) as stream:
            equal(stream.selected_alpn_protocol(), "http/1.1")
            # Requests in one record, and a head that comes byte by byte.
            stream.sendall(b"GET /-/live HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3)
            for byte in b"GET /-/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n":
                stream.sendall(bytes([byte]))
            answer = b""
            while piece := stream.recv(1 << 16):
                answer += piece
            equal(answer.count(b"HTTP/1.1 200 OK"), 4)

    # Who speaks no TLS is sent away, and so is who speaks it and then stops in the midst of a record.
    with socket.create_connection(address(ENDPOINT), timeout=PATIENCE) as stream:
        stream.sendall(b"GET /-/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert not stream.recv(1 << 16).startswith(b"HTTP"), "answered without TLS"
    with socket.create_connection(address(ENDPOINT), timeout=PATIENCE) as stream:
        stream.sendall(b"\x16\x03\x01\x02\x00\x01")
        stream.shutdown(socket.SHUT_WR)
        equal(stream.recv(1 << 16), b"")

    # A body that is sent before the answer is read, and an answer that is larger than any buffer.
    s3 = common.client()
    bucket = common.make_bucket(s3)
    body = os.urandom(24 << 20)
    s3.put_object(Bucket=bucket, Key="large", Body=body)
    equal(s3.get_object(Bucket=bucket, Key="large")["Body"].read(), body)
    signer = common.client(signature_version="s3v4")
    link = signer.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "large"})
    assert link.startswith("https://"), link
    with urllib.request.urlopen(link, context=context(), timeout=PATIENCE) as answer:
        equal(answer.read(), body)

    # Customers' keys are taken where nobody can read them.
    key = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": bytes(32)}
    s3.put_object(Bucket=bucket, Key="sealed", Body=b"secret", **key)
    equal(s3.get_object(Bucket=bucket, Key="sealed", **key)["Body"].read(), b"secret")


def manage():
    made = context()
    if os.path.exists(os.environ["RINGFORT_CERT"]):
        made.load_cert_chain(os.environ["RINGFORT_CERT"], os.environ["RINGFORT_KEY"])
    connection = http.client.HTTPSConnection(
        *address(os.environ["RINGFORT_ADMIN"]), context=made, timeout=PATIENCE
    )
    connection.request("GET", "/health/live")
    print(connection.getresponse().read().decode())


if __name__ == "__main__":
    {"fingerprint": fingerprint, "speak": speak, "manage": manage}[sys.argv[1]]()
