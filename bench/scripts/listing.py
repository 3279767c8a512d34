#!/usr/bin/env python3
"""What a page of a listing costs the server: CPU time per page of 1,000 rows, over loopback.

For each shape of keys a store is filled (`fill_store`), a server bound to one CPU is started on it, and
pages are asked for one after the other. One line of JSON per case is appended to the results file.

Cases: the whole bucket page by page (`flat`), its directories (`delimiter`), one directory (`prefix`), the
versions (`versions`). Only Python's standard library is used. Nothing but loopback is touched, and only
processes that were started here are ended.
"""

import argparse
import datetime
import hashlib
import hmac
import http.client
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.parse

import host
from servers import REPOSITORY, Failed, Server

SHAPES = ("hashed", "ascending", "deep")
EMPTY = hashlib.sha256(b"").hexdigest()
REGION = "us-east-1"
# Name: query, and where the next page begins. A case without a next page asks for the same one again.
CASES = {
    "flat": ("list-type=2&max-keys=1000", ("NextContinuationToken", "continuation-token")),
    "flat-v1": ("delimiter=%01&max-keys=1000", ("NextMarker", "marker")),
    "delimiter": ("delimiter=%2F&list-type=2&max-keys=1000", None),
    "prefix": ("delimiter=%2F&list-type=2&max-keys=1000&prefix=directory-0000500%2F", None),
    "versions": ("max-keys=1000&versions=", ("NextKeyMarker", "key-marker")),
}
TICK = os.sysconf("SC_CLK_TCK")


def main():
    options = parse_options()
    host.check_data_dir(options.data_dir)
    options.results.parent.mkdir(parents=True, exist_ok=True)
    described = host.describe_host(options.data_dir)
    for shape in options.shape:
        directory = pathlib.Path(tempfile.mkdtemp(prefix="ringfort-bench-", dir=options.data_dir))
        try:
            fill(options, directory / "data", shape)
            with started(options, directory) as server:
                for name in CASES:
                    line = {"shape": shape, "keys": options.keys, "case": name}
                    line |= measure(options, server, name)
                    line["time"] = datetime.datetime.now(datetime.timezone.utc).isoformat(
                        timespec="seconds"
                    )
                    print(
                        f"{shape:10} {name:10} {line['rows_per_page']:6.0f} rows  "
                        f"{line['server_cpu_ms_per_page']:7.3f} ms CPU",
                        flush=True,
                    )
                    with open(options.results, "a", encoding="utf-8") as results:
                        results.write(json.dumps(line | {"host": described}) + "\n")
        finally:
            shutil.rmtree(directory, ignore_errors=True)
    return 0


def parse_options():
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", type=pathlib.Path, required=True,
                        help="directory on a disk; a temporary one is made in it")
    parser.add_argument("--server", type=pathlib.Path, default=target / "release/ringfort")
    parser.add_argument("--filler", type=pathlib.Path, default=target / "release/fill_store")
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--pages", type=int, default=500, help="asked for in each case")
    parser.add_argument("--shape", action="append", choices=SHAPES, help="repeatable (default: all)")
    parser.add_argument("--server-cores", "--server-core", type=host.cpu_list, default=[0],
                        metavar="CPUS", help="default: 0")
    parser.add_argument("--capacity", default="8GiB", help="of the store, which is made already")
    parser.add_argument("--results", type=pathlib.Path,
                        default=REPOSITORY / "bench/results/local/listing.jsonl")
    options = parser.parse_args()
    options.shape = options.shape or list(SHAPES)
    return options


def fill(options, directory, shape):
    command = [
        options.filler, f"--data-dir={directory}", f"--keys={options.keys}", f"--key-shape={shape}",
    ]
    directory.mkdir()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=3600)


def started(options, directory):
    return Server(options.server, directory, options.server_cores, options.capacity)


def measure(options, server, name):
    query, following = CASES[name]
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    page(connection, server, query)
    before, rows, after = cpu_seconds(server.process.pid), 0, None
    for _ in range(options.pages):
        asked = query
        if after is not None:
            parameter = f"{following[1]}={urllib.parse.quote(after, safe='')}"
            asked = "&".join(sorted([*query.split("&"), parameter]))
        text = page(connection, server, asked)
        rows += len(re.findall("<Contents>|<CommonPrefixes>|<Version>|<DeleteMarker>", text))
        found = re.search(f"<{following[0]}>([^<]*)<", text) if following else None
        after = found.group(1) if found else None
    spent = cpu_seconds(server.process.pid) - before
    connection.close()
    return {
        "pages": options.pages,
        "rows_per_page": rows / options.pages,
        "server_cpu_ms_per_page": spent * 1000 / options.pages,
    }


def cpu_seconds(pid):
    """User and system time of a process."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def page(connection, server, query):
    connection.request("GET", f"/bench?{query}", headers=signed(server, query))
    answer = connection.getresponse()
    text = answer.read().decode()
    if answer.status != 200:
        raise Failed(f"GET /bench?{query}: {answer.status}\n{text}")
    return text


def signed(server, query):
    """The headers of a signed GET (AWS Signature Version 4)."""
    now = datetime.datetime.now(datetime.timezone.utc)
    stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    address = f"127.0.0.1:{server.port}"
    names = "host;x-amz-content-sha256;x-amz-date"
    canonical = (
        f"GET\n/bench\n{query}\nhost:{address}\nx-amz-content-sha256:{EMPTY}\nx-amz-date:{stamp}\n\n"
        f"{names}\n{EMPTY}"
    )
    scope = f"{day}/{REGION}/s3/aws4_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    key = b"AWS4" + server.secret_key.encode()
    for step in (day, REGION, "s3", "aws4_request"):
        key = hmac.new(key, step.encode(), hashlib.sha256).digest()
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}"
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    return {
        "Host": address,
        "x-amz-date": stamp,
        "x-amz-content-sha256": EMPTY,
        "Authorization": f"AWS4-HMAC-SHA256 Credential={server.access_key}/{scope}, "
                         f"SignedHeaders={names}, Signature={signature}",
    }


if __name__ == "__main__":
    sys.exit(main())
