"""A user whose requests are limited: boto3 tries again by itself, and all is done in the end.

Five requests a second and a burst of two are let in; four threads want ten requests each.
"""

import os
import time
from concurrent.futures import ThreadPoolExecutor

import boto3
import botocore.config

from checks import ENDPOINT, equal

BUCKET = os.environ["RINGFORT_BUCKET"]


def client(**settings):
    return boto3.client(
        "s3",
        endpoint_url=ENDPOINT,
        aws_access_key_id=os.environ["RINGFORT_USER"],
        aws_secret_access_key=os.environ["RINGFORT_USER_SECRET"],
        config=botocore.config.Config(**settings),
    )


def job(number):
    # More attempts than the usual three, with the usual pauses between them.
    s3 = client(retries={"total_max_attempts": 30, "mode": "standard"})
    retries = 0
    for turn in range(5):
        key = f"job-{number}-{turn}"
        answer = s3.put_object(Bucket=BUCKET, Key=key, Body=key.encode())
        retries += answer["ResponseMetadata"]["RetryAttempts"]
        answer = s3.get_object(Bucket=BUCKET, Key=key)
        equal(answer["Body"].read(), key.encode())
        retries += answer["ResponseMetadata"]["RetryAttempts"]
    return retries


def main():
    begin = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        retries = sum(pool.map(job, range(4)))
    seconds = time.monotonic() - begin
    assert retries > 0
    assert seconds > 7, f"40 requests took {seconds} s"


main()
