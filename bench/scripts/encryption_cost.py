#!/usr/bin/env python3
"""What SSE-S3 costs the server: CPU of PUT and GET of 16 MiB, plain against encrypted, in one run.

Starts `ringfort serve` with one core and a key file over a new data directory, and sends rounds of PUTs
and GETs that alternate between two buckets, one with SSE-S3 as its default. CPU is user and system time
of the server's process. Needs boto3. Usage: encryption_cost.py BINARY DATA_PARENT [ROUNDS]
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

import boto3
import botocore.config

SIZE = 16 << 20
OBJECTS = 8
TICK = os.sysconf("SC_CLK_TCK")


def cpu(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def main():
    binary, parent = sys.argv[1:3]
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 5
    with tempfile.TemporaryDirectory(dir=parent) as directory:
        keys = os.path.join(directory, "keys")
        subprocess.run([binary, "sse-key", keys], check=True, stdout=subprocess.DEVNULL)
        environment = os.environ | {
            "RINGFORT_ROOT_ACCESS_KEY": "benchmark-key",
            "RINGFORT_ROOT_SECRET_KEY": "benchmark-secret",
            "RINGFORT_ADMIN_API_KEY": "benchmark-admin",
        }
        server = subprocess.Popen(
            [binary, "serve", "--cores", "1", "--placement", "unbound", "--listen", "127.0.0.1:0"]
            + ["--admin-listen", "127.0.0.1:0", "--data-dir", os.path.join(directory, "data")]
            + ["--capacity", "6GiB", "--memory", "512MiB", "--log-format", "json"]
            + ["--sse-key-file", keys],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            ready = json.loads(server.stdout.readline())
            measure(ready["listen"], server.pid, rounds)
        finally:
            server.terminate()
            server.wait()


def measure(address, pid, rounds):
    s3 = boto3.client(
        "s3",
        endpoint_url="http://" + address,
        aws_access_key_id="benchmark-key",
        aws_secret_access_key="benchmark-secret",
        region_name="us-east-1",
        config=botocore.config.Config(
            s3={"payload_signing_enabled": False},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )
    body = os.urandom(SIZE)
    for bucket in ("plain", "sealed"):
        s3.create_bucket(Bucket=bucket)
    default = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    s3.put_bucket_encryption(
        Bucket="sealed", ServerSideEncryptionConfiguration={"Rules": [default]}
    )

    def put(bucket, number):
        s3.put_object(Bucket=bucket, Key=str(number), Body=body)

    def get(bucket, number):
        assert s3.get_object(Bucket=bucket, Key=str(number))["Body"].read() == body

    costs = {}
    for round_number in range(rounds + 1):
        for name, call in (("PUT", put), ("GET", get)):
            for bucket in ("plain", "sealed"):
                before = cpu(pid)
                for number in range(OBJECTS):
                    call(bucket, number)
                # The first round only warms up.
                if round_number > 0:
                    costs.setdefault((name, bucket), []).append((cpu(pid) - before) / OBJECTS)
    for name in ("PUT", "GET"):
        plain, sealed = (statistics.fmean(costs[name, b]) * 1000 for b in ("plain", "sealed"))
        print(f"{name} 16 MiB: plain {plain:.2f} ms CPU, SSE-S3 {sealed:.2f} ms, {sealed / plain:.3f}")


if __name__ == "__main__":
    main()
