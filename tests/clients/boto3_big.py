"""One large object by boto3's transfer manager, read back whole, in ranges, and part by part.

RINGFORT_BIG_BYTES is its size. It is made as it is read and checked as it comes, and never held.
"""

import hashlib
import os
import random

from common import equal, main

SIZE = int(os.environ.get("RINGFORT_BIG_BYTES", 64 << 20))
BLOCK = 1 << 20
NOISE = random.Random(5).randbytes(BLOCK)


def block(number):
    """The content of one MiB: noise that begins with its number."""
    return number.to_bytes(8, "big") + NOISE[8:]


def content(begin, end):
    """The bytes of the object from begin to end."""
    first = begin // BLOCK
    data = b"".join(block(number) for number in range(first, (end - 1) // BLOCK + 1))
    return data[begin - first * BLOCK : end - first * BLOCK]


class Source:
    """The object as a file that is read once, from front to back."""

    def __init__(self):
        self.place = 0

    def read(self, size=-1):
        end = SIZE if size < 0 else min(SIZE, self.place + size)
        data = content(self.place, end) if end > self.place else b""
        self.place = end
        return data


class Sink:
    """Checks what is written against the object."""

    def __init__(self):
        self.place = 0

    def write(self, data):
        end = self.place + len(data)
        assert data == content(self.place, end), f"wrong bytes within {self.place} to {end}"
        self.place = end
        return len(data)


def check_a_large_object(s3, bucket):
    s3.upload_fileobj(Source(), bucket, "big")
    head = s3.head_object(Bucket=bucket, Key="big")
    equal(head["ContentLength"], SIZE)
    sink = Sink()
    s3.download_fileobj(bucket, "big", sink)
    equal(sink.place, SIZE)
    body = s3.get_object(Bucket=bucket, Key="big")["Body"]
    sink = Sink()
    for data in body.iter_chunks(BLOCK):
        sink.write(data)
    equal(sink.place, SIZE)
    chance = random.Random(7)
    for _ in range(50):
        begin = chance.randrange(SIZE)
        end = min(SIZE, begin + chance.choice([1, 4096, 100_000, 3 << 20]))
        got = s3.get_object(Bucket=bucket, Key="big", Range=f"bytes={begin}-{end - 1}")
        equal(got["ContentRange"], f"bytes {begin}-{end - 1}/{SIZE}")
        data = got["Body"].read()
        assert data == content(begin, end), f"wrong bytes within {begin} to {end}"
    digests = b""
    place = 0
    for number in range(1, int(head["ETag"].strip('"').split("-")[1]) + 1):
        part = s3.head_object(Bucket=bucket, Key="big", PartNumber=number)
        length = part["ContentLength"]
        digests += hashlib.md5(content(place, place + length)).digest()
        place += length
    equal(place, SIZE)
    equal(head["ETag"].split("-")[0], '"' + hashlib.md5(digests).hexdigest())
    s3.delete_object(Bucket=bucket, Key="big")
    equal(s3.list_objects_v2(Bucket=bucket)["KeyCount"], 0)


main()
