#!/usr/bin/env python3
"""How many instructions a request costs the server, counted by callgrind: figures that repeat.

Each run starts a fresh `ringfort serve` under valgrind, fills it, counts the instructions of so many
requests, and appends one line of JSON to the results file. The kernel's instructions are not counted,
and time means nothing under valgrind.

What the server does of its own in the meantime (timers, metrics) is counted too; with thousands of
requests it is less than a hundredth.

`--check` holds each figure against the last of the same scenario in the history, and ends with 1 when
one of them has grown. Needs valgrind. Only Python's standard library is used, and only loopback is
touched.
"""

import argparse
import dataclasses
import datetime
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import host
from cpu_per_request import labelled_path
from loadgen import run_loadgen
from servers import REPOSITORY, Failed, Server

HISTORY = REPOSITORY / "bench/results/instructions.jsonl"
OBJECTS = 200
# A start is fifty times slower than without valgrind.
LOADGEN_SECONDS_MAX = 900
# Runs of one build differ by 2 % at most.
GROWTH_MAX = 0.05


@dataclasses.dataclass(frozen=True)
class Count:
    """What is counted: requests of one kind, against so many cores."""

    workload: str
    size: str
    cores: int = 1
    connections: int = 1

    def server_options(self):
        # Pinned cores look out for one another before they rest. How many instructions that takes
        # depends on time, and would be counted with the requests.
        return ["--placement=unbound"] if self.cores > 1 else []


SCENARIOS = {
    "get-4KiB": Count("get", "4KiB"),
    "put-4KiB": Count("put", "4KiB"),
    "get-4KiB-16": Count("get", "4KiB", connections=16),
    "put-4KiB-16": Count("put", "4KiB", connections=16),
    # Whether instructions grow with cores. Not among the defaults, since under valgrind 3.19 the
    # cores hold each other up, seemingly while one waits in io_uring_enter(2), and the run gives up.
    "get-4KiB-16-2-cores": Count("get", "4KiB", cores=2, connections=16),
    "put-4KiB-16-2-cores": Count("put", "4KiB", cores=2, connections=16),
}
DEFAULTS = [name for name, asked in SCENARIOS.items() if asked.cores == 1]


def main():
    options = parse_options()
    host.check_data_dir(options.data_dir)
    options.results.parent.mkdir(parents=True, exist_ok=True)
    # Before the first line is appended, which may be to the same file.
    known = last_counts(options.check) if options.check else {}
    regressions, failures = 0, 0
    for scenario in options.scenario:
        for label, program in options.server:
            try:
                counted = run(options, program, scenario)
            except (Failed, OSError, subprocess.SubprocessError) as error:
                failures += 1
                print(f"{scenario} of {label}: {error}", file=sys.stderr)
                continue
            line = {
                "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
                "scenario": scenario,
                "server": label,
                "requests": options.requests,
                "instructions_per_request": counted,
                "cpu": host.cpu_model(),
            }
            with open(options.results, "a", encoding="utf-8") as results:
                results.write(json.dumps(line) + "\n")
            growth = counted / known[scenario] - 1 if scenario in known else None
            print(short_text(line, growth), flush=True)
            regressions += growth is not None and growth > GROWTH_MAX
    return 1 if regressions or failures else 0


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
                        help="repeatable (default: all of one core)")
    parser.add_argument("--requests", type=int, default=3000)
    parser.add_argument("--server-cores", type=host.cpu_list, default=[0, 1], metavar="CPUS",
                        help="from which the server takes as many as a scenario has (default: 0-1)")
    parser.add_argument("--keep", type=pathlib.Path, metavar="DIR",
                        help="keep callgrind's files there, for callgrind_annotate")
    parser.add_argument("--check", type=pathlib.Path, nargs="?", const=HISTORY, metavar="FILE",
                        help=f"end with 1 when a figure is more than {100 * GROWTH_MAX:.0f} %% above the last "
                             "one of its scenario there (default: the history of the repository)")
    parser.add_argument("--results", type=pathlib.Path,
                        default=REPOSITORY / "bench/results/local/instructions.jsonl")
    options = parser.parse_args()
    options.server = options.server or [("ringfort", target / "release/ringfort")]
    options.scenario = options.scenario or DEFAULTS
    if max(SCENARIOS[name].cores for name in options.scenario) > len(options.server_cores):
        parser.error("--server-cores gives fewer CPUs than the scenarios have cores")
    return options


def last_counts(history):
    """Instructions per request by scenario; the last line of each counts."""
    with open(history, encoding="utf-8") as lines:
        found = [json.loads(line) for line in lines if line.strip()]
    return {line["scenario"]: line["instructions_per_request"] for line in found}


def run(options, program, scenario):
    asked = SCENARIOS[scenario]
    directory = pathlib.Path(tempfile.mkdtemp(prefix="ringfort-bench-", dir=options.data_dir))
    counts = directory / f"{scenario}.callgrind"
    under = [
        "valgrind", "--tool=callgrind", "--fair-sched=yes", "--instr-atstart=no",
        f"--callgrind-out-file={counts}",
    ]
    cpus = options.server_cores[:asked.cores]
    server = Server(program, directory, cpus, "1GiB", asked.server_options(), under)
    try:
        with server:
            load(options, server, "put", asked, OBJECTS)
            control(server, "on")
            load(options, server, asked.workload, asked, options.requests)
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
    command = ["callgrind_control", "-i", state, str(server.pid)]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    if "OK" not in told:
        raise Failed(f"callgrind_control: {told}")


def load(options, server, workload, asked, count):
    arguments = [
        workload, f"--size={asked.size}", f"--objects={OBJECTS}", f"--count={count}",
        f"--concurrency={asked.connections}", "--no-prepare", "--order=sequential",
    ]
    run_loadgen(options.loadgen, server, arguments, LOADGEN_SECONDS_MAX)


def short_text(line, growth):
    text = (f"{line['scenario']:19} {line['server']:12} "
            f"{line['instructions_per_request']:9} instructions")
    if growth is None:
        return text
    return f"{text}  {growth:+.1%}{'  REGRESSION' if growth > GROWTH_MAX else ''}"


if __name__ == "__main__":
    sys.exit(main())
