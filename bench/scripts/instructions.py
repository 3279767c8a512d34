#!/usr/bin/env python3
"""How many instructions a request costs the server, counted by callgrind: figures that repeat.

Each run starts a fresh `ringfort serve` on one core under valgrind, fills it, counts the instructions of
so many requests over one connection, and appends one line of JSON to the results file. The kernel's
instructions are not counted, and time means nothing under valgrind.

What the server does of its own in the meantime (timers, metrics) is counted too; with thousands of
requests it is less than a hundredth.

Needs valgrind. Only Python's standard library is used, and only loopback is touched.
"""

import argparse
import datetime
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

from cpu_per_request import (
    REPOSITORY, Failed, Server, check_data_dir, cpu_model, labelled_path,
)

# Name: workload, size.
SCENARIOS = {
    "get-4KiB": ("get", "4KiB"),
    "put-4KiB": ("put", "4KiB"),
}
OBJECTS = 200
# A start is fifty times slower than without valgrind.
LOADGEN_SECONDS_MAX = 900


def main():
    options = parse_options()
    check_data_dir(options.data_dir)
    options.results.parent.mkdir(parents=True, exist_ok=True)
    for scenario in options.scenario:
        for label, program in options.server:
            line = {
                "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
                "scenario": scenario,
                "server": label,
                "requests": options.requests,
                "instructions_per_request": run(options, program, scenario),
                "cpu": cpu_model(),
            }
            with open(options.results, "a", encoding="utf-8") as results:
                results.write(json.dumps(line) + "\n")
            print(f"{scenario:10} {label:12} {line['instructions_per_request']:9} instructions")
    return 0


def parse_options():
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", type=pathlib.Path, required=True,
                        help="directory on a disk, not tmpfs; a temporary one is made in it")
    parser.add_argument("--server", type=labelled_path, action="append", metavar="[LABEL=]PATH")
    parser.add_argument("--loadgen", type=pathlib.Path,
                        default=target / "release/ringfort-loadgen")
    parser.add_argument("--scenario", action="append", choices=SCENARIOS,
                        help="repeatable (default: all)")
    parser.add_argument("--requests", type=int, default=3000)
    parser.add_argument("--server-core", type=int, default=0)
    parser.add_argument("--keep", type=pathlib.Path, metavar="DIR",
                        help="keep callgrind's files there, for callgrind_annotate")
    parser.add_argument("--results", type=pathlib.Path,
                        default=REPOSITORY / "bench/results/local/instructions.jsonl")
    options = parser.parse_args()
    options.server = options.server or [("ringfort", target / "release/ringfort")]
    options.scenario = options.scenario or list(SCENARIOS)
    options.capacity = "1GiB"
    return options


def run(options, program, scenario):
    directory = pathlib.Path(tempfile.mkdtemp(prefix="ringfort-bench-", dir=options.data_dir))
    counts = directory / f"{scenario}.callgrind"
    options.under = [
        "valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={counts}",
    ]
    try:
        with Server(options, program, directory) as server:
            workload, size = SCENARIOS[scenario]
            load(options, server, "put", size, OBJECTS)
            control(server, "on")
            load(options, server, workload, size, options.requests)
            control(server, "off")
        if options.keep is not None:
            options.keep.mkdir(parents=True, exist_ok=True)
            shutil.copy(counts, options.keep)
        found = re.search(r"^totals: (\d+)", counts.read_text(), re.MULTILINE)
        if found is None:
            raise Failed("callgrind counted nothing")
        return round(int(found.group(1)) / options.requests)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def control(server, state):
    """Switches counting on or off; returns when the server has heard it."""
    command = ["callgrind_control", "-i", state, str(server.process.pid)]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    if "OK" not in told:
        raise Failed(f"callgrind_control: {told}")


def load(options, server, workload, size, count):
    environment = os.environ | {
        "AWS_ACCESS_KEY_ID": server.access_key,
        "AWS_SECRET_ACCESS_KEY": server.secret_key,
        "AWS_REGION": "us-east-1",
    }
    command = [
        options.loadgen, "run", workload, f"--endpoint=http://127.0.0.1:{server.port}",
        f"--size={size}", f"--objects={OBJECTS}", f"--count={count}", "--concurrency=1",
        "--no-prepare", "--order=sequential", "--json=-", "--quiet",
    ]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True,
                           timeout=LOADGEN_SECONDS_MAX, check=False)
    if ended.returncode != 0:
        raise Failed(f"the load generator: {(ended.stderr or ended.stdout)[-2000:]}")


if __name__ == "__main__":
    sys.exit(main())
