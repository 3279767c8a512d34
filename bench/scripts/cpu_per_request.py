#!/usr/bin/env python3
"""What a request costs the server: CPU time, rate, latency and device flushes, over loopback.

Each run starts a fresh `ringfort serve`, bound to one CPU, over a new data directory, and drives it
with `ringfort-loadgen` on another CPU. One line of JSON per run is appended to the results file.

Runs of different scenarios and servers alternate (A B A B, never A A B B), so that what drifts on
the host falls on all of them alike. nginx (`--peer`) and an S3 endpoint that runs already
(`--endpoint`) take turns with them. `summarise.py` makes medians and ratios of the lines.

Only Python's standard library is used. Nothing but loopback is touched unless `--allow-remote` is
given, and only processes that were started here are ended.
"""

import argparse
import dataclasses
import datetime
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from typing import Callable

import host
from loadgen import run_loadgen
from scenarios import SCENARIOS
from servers import REPOSITORY, Endpoint, Failed, Nginx, Server, find_nginx

# After a start, before a server is taken to be at rest.
SETTLE_SECONDS = 3
CLEAR_SECONDS_MAX = 300


@dataclasses.dataclass(frozen=True)
class Subject:
    """Something that takes turns in being measured."""

    label: str
    # Given a directory and a scenario's name: a context of `servers.py`.
    start: Callable
    # Only what plain HTTP knows.
    only_plain: bool = False


def main():
    options = parse_options()
    host.check_data_dir(options.data_dir)
    options.results.parent.mkdir(parents=True, exist_ok=True)
    common = {"host": host.describe_host(options.data_dir)}
    # Rounds are told apart by it where several invocations share a file.
    started = now_text()
    failures = 0
    for round_number in range(1, options.rounds + 1):
        for name in options.scenario:
            for subject in options.subjects:
                if subject.only_plain and not SCENARIOS[name].is_plain:
                    continue
                line = {"run": started, "round": round_number, "scenario": name,
                        "server": subject.label}
                try:
                    line |= run(options, subject, name)
                except (Failed, OSError, subprocess.SubprocessError) as error:
                    failures += 1
                    print(f"{name} of {subject.label}: {error}", file=sys.stderr)
                    continue
                with open(options.results, "a", encoding="utf-8") as results:
                    results.write(json.dumps(line | common) + "\n")
                print(short_text(line), flush=True)
    return 1 if failures else 0


def parse_options():
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", type=pathlib.Path, required=True,
                        help="directory on the disk to be measured, not tmpfs; "
                             "a temporary one is made in it")
    parser.add_argument("--server", type=labelled_path, action="append", metavar="[LABEL=]PATH",
                        help="the server; given several times, they take turns")
    parser.add_argument("--loadgen", type=pathlib.Path,
                        default=target / "release/ringfort-loadgen")
    parser.add_argument("--scenario", action="append", choices=SCENARIOS, metavar="NAME",
                        help=f"repeatable (default: all): {', '.join(SCENARIOS)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=10, help="measured in each run")
    parser.add_argument("--warmup-seconds", type=int, default=2)
    parser.add_argument("--idle-seconds", type=int, default=0,
                        help="measure the server at rest this long before the load")
    parser.add_argument("--server-cores", "--server-core", type=host.cpu_list, default=[0],
                        metavar="CPUS",
                        help="one core of the server for each, as in 0-1; more than one may "
                             "include the load generator's (default: 0)")
    parser.add_argument("--loadgen-cores", "--loadgen-core", type=host.cpu_list, default=[1],
                        metavar="CPUS", help="default: 1")
    parser.add_argument("--connections-per-core", action="store_true",
                        help="for each core of the server the connections that a scenario names")
    parser.add_argument("--capacity", default="16GiB", help="of each run's new store")
    parser.add_argument("--results", type=pathlib.Path,
                        default=REPOSITORY / "bench/results/local/cpu-per-request.jsonl")
    peers = parser.add_argument_group("other servers (see bench/peers/README.md)")
    peers.add_argument("--peer", choices=["nginx"], action="append", default=[],
                       help="takes turns with the servers where it can")
    peers.add_argument("--nginx", default=find_nginx(), metavar="PATH", help="its program")
    peers.add_argument("--endpoint", metavar="URL",
                       help="an S3 endpoint that runs already, in place of the default server; "
                            "credentials are taken from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    peers.add_argument("--label", default="endpoint", help="of the endpoint in the results")
    peers.add_argument("--pid", type=int, help="the endpoint's process, for its CPU time")
    peers.add_argument("--allow-remote", action="store_true",
                       help="let the endpoint be on another host")
    options = parser.parse_args()
    if not options.server and not options.endpoint:
        options.server = [("ringfort", target / "release/ringfort")]
    options.scenario = options.scenario or list(SCENARIOS)
    is_shared = options.server_cores == options.loadgen_cores
    if len(options.server_cores) == 1 and options.server_cores[0] in options.loadgen_cores \
            and not is_shared:
        parser.error("server and load generator need a CPU each, or share all that they have")
    if options.peer and len(options.server_cores) > 1:
        parser.error("nginx is measured with one worker on one CPU")
    if options.peer and options.nginx is None:
        parser.error("nginx is not installed")
    options.subjects = subjects(options)
    return options


def labelled_path(text):
    label, separator, path = text.rpartition("=")
    return (label if separator else "ringfort", pathlib.Path(path))


def subjects(options):
    """All that takes turns, in the order in which it does."""

    def ringfort(program):
        return lambda directory, name: Server(
            program, directory, options.server_cores, options.capacity,
            SCENARIOS[name].server_options,
        )

    def nginx(directory, _):
        return Nginx(options.nginx, directory, options.server_cores)

    def endpoint(_, name):
        def clear(running):
            scenario = SCENARIOS[name]
            arguments = ["delete", "--no-prepare", "--concurrency=16",
                         f"--size={scenario.size}", f"--objects={scenario.objects}"]
            run_loadgen(options.loadgen, running, arguments, CLEAR_SECONDS_MAX)

        return Endpoint(options.endpoint, options.pid, f"bench-{name.lower()}",
                        options.allow_remote, clear)

    found = [Subject(label, ringfort(program)) for label, program in options.server or []]
    if "nginx" in options.peer:
        found.append(Subject("nginx", nginx, only_plain=True))
    if options.endpoint:
        found.append(Subject(options.label, endpoint))
    return found


def run(options, subject, name):
    """One run: a new store, a new server, one window of load."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="ringfort-bench-", dir=options.data_dir))
    try:
        with subject.start(directory, name) as running:
            return measure(options, running, asked(options, name))
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def asked(options, name):
    """The scenario, with as many connections as it has in this run."""
    scenario = SCENARIOS[name]
    if not options.connections_per_core:
        return scenario
    connections = scenario.connections * len(options.server_cores)
    return dataclasses.replace(scenario, connections=connections)


def measure(options, server, scenario):
    idle = measure_idle(options, server) if options.idle_seconds and server.pid else {}
    before = server.counters()
    started = now_text()
    report = load(options, server, scenario)
    after = server.counters()
    operation = report["operations"].get(scenario.main_operation)
    if operation is None or (server.pid and report["server"] is None):
        raise Failed("the load generator measured nothing")
    line = {
        "time": started,
        "workload": scenario.workload,
        "size": scenario.size,
        "objects": scenario.objects,
        "connections": scenario.connections,
        "connections_per_core": options.connections_per_core,
        "server_options": scenario.server_options if isinstance(server, Server) else [],
        "server_cores": host.cpu_text(options.server_cores),
        "loadgen_cores": host.cpu_text(options.loadgen_cores),
        "seconds": report["window_seconds"],
        "requests": report["requests"],
        "requests_per_second": report["requests_per_second"],
        "mib_per_second": report["mib_per_second"],
        **cpu_figures(report),
        "latency_us_p50": operation["latency_us"]["p50"],
        "latency_us_p99": operation["latency_us"]["p99"],
        "load_average": os.getloadavg()[0],
    }
    if isinstance(server, Endpoint):
        # It runs where it was started.
        del line["server_cores"]
    if len(report["operations"]) > 1:
        line["operations"] = {
            name: {
                "requests_per_second": told["requests_per_second"],
                "latency_us_p50": told["latency_us"]["p50"],
                "latency_us_p99": told["latency_us"]["p99"],
            }
            for name, told in report["operations"].items()
        }
    if report["invalid"]:
        line["invalid"] = report["invalid"]
    return line | idle | counted(scenario, before, after)


def measure_idle(options, server):
    """CPU time and memory of a server that nobody asks for anything."""
    time.sleep(SETTLE_SECONDS)
    pid = server.pid
    cpu, clock = host.running_seconds(pid), time.monotonic()
    time.sleep(options.idle_seconds)
    cpu, clock = host.running_seconds(pid) - cpu, time.monotonic() - clock
    return {
        "idle_seconds": clock,
        "idle_cpu_ms_per_second": cpu * 1000 / clock,
        "idle_resident_bytes": host.resident_bytes(pid),
    }


def load(options, server, scenario):
    arguments = [
        *scenario.loadgen_arguments(),
        f"--duration={options.seconds}s", f"--warmup={options.warmup_seconds}s",
        f"--cores={host.cpu_text(options.loadgen_cores)}",
        *([f"--server-pid={server.pid}"] if server.pid else []),
    ]
    patience = 10 * (options.seconds + options.warmup_seconds) + 300
    return run_loadgen(options.loadgen, server, arguments, patience)


def cpu_figures(report):
    """Of both sides; the server's are absent where its process is not known."""
    client, server = report["client"], report["server"]
    figures = {
        "loadgen_cpus": client["cpus"],
        "loadgen_cpu_us_per_request": client["cpu_us_per_request"],
    }
    if server is None:
        return figures
    spent = server["cpu_us_per_request"]
    return figures | {
        "server_cpu_us_per_request": spent,
        "server_cpu_seconds_per_gib": server["cpu_seconds_per_gib"],
        "server_cpus": server["cpus"],
        # Above 1 the generator does more for a request than the server.
        "loadgen_cpu_per_server_cpu": client["cpu_us_per_request"] / spent if spent else None,
        "server_resident_bytes": server["resident_bytes"],
        "server_resident_bytes_max": server["resident_bytes_max"],
    }


def counted(scenario, before, after):
    """What the server's own counters grew by in the whole run, preparation and warm-up included:
    flushes and PUTs grow together, and preparation reads nothing."""
    # Operations are not listed before their first request.
    grown = {name: count - (before.get(name) or 0)
             for name, count in after.items() if count is not None}
    found = {}
    if scenario.has_puts and {"flushes", "puts"} <= grown.keys():
        found["flushes"], found["puts"] = grown["flushes"], grown["puts"]
        found["flushes_per_put"] = grown["flushes"] / max(grown["puts"], 1)
    hits, misses = grown.get("hot_hits", 0), grown.get("hot_misses", 0)
    if hits + misses:
        found["hot_hits"], found["hot_misses"] = hits, misses
        found["hot_hit_share"] = hits / (hits + misses)
    return found


def now_text():
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def short_text(line):
    def part(name, form):
        return form.format(line[name]) if line.get(name) is not None else ""

    parts = [
        f"{line['scenario']:15} {line['server']}",
        part("requests_per_second", "{:10.0f}/s"),
        part("server_cpu_us_per_request", "{:9.1f} us CPU"),
        part("server_cpu_seconds_per_gib", "{:7.3f} s/GiB"),
        part("latency_us_p99", "p99 {:.0f} us"),
        part("loadgen_cpu_per_server_cpu", "loadgen {:.2f} of it"),
        part("flushes_per_put", "{:.3f} flushes/PUT"),
        part("hot_hit_share", "{:.0%} hot"),
        part("idle_cpu_ms_per_second", "idle {:.2f} ms/s"),
    ]
    if "invalid" in line:
        parts.append("(the generator was the limit)")
    return "  ".join(part for part in parts if part)


if __name__ == "__main__":
    sys.exit(main())
