#!/usr/bin/env python3
"""What a server does that is asked for twice of what it can do, over loopback.

For each case a new store and a server bound to one CPU are started. Turn by turn, `--rounds` times, the load
generator measures the peak (a closed loop of a few connections), and then offers each of `--times` of that rate in
turn (an open loop) over thousands of connections; the last is the overload. Told is goodput (requests that were answered
well) per second, and per second of the server's CPU time, in overload as a part of that at the peak, and as a part of
the best that any rate offered over as many connections brought: the first also holds what thousands of connections
cost however much is asked, the second only what overload does. Told too are the latencies of what was served, counted
from when a request was meant to start, and how many were refused, after what time. Requests that fail in any other
way than by 503 fail the case. `--peer nginx` asks the same of nginx, which serves the objects as unsigned static files.

One line of JSON per round is appended to the results file. Only Python's standard library is used. Nothing but
loopback is touched, and only processes that were started here are ended.
"""

import argparse
import datetime
import json
import os
import pathlib
import resource
import shutil
import statistics
import sys
import tempfile

import host
from loadgen import run_loadgen
from servers import REPOSITORY, Failed, Nginx, Server, find_nginx

# Name: what is asked for.
CASES = {
    "get-4KiB": ("get", "--size=4KiB", "--objects=10000"),
    "get-1MiB": ("get", "--size=1MiB", "--objects=300"),
    "put-4KiB": ("put", "--size=4KiB", "--objects=10000"),
    "put-1MiB": ("put", "--size=1MiB", "--objects=300"),
    "list-1000": ("list", "--size=16", "--objects=5000", "--list-keys=1000"),
}
DESCRIPTORS = 20_000
# What is kept of goodput: of the peak's rate, of its rate per second of the server's CPU time, and of the best rate
# that was served over as many connections.
KEPT = ("goodput_kept", "goodput_per_core_second_kept", "goodput_kept_of_curve")


def main():
    options = parse_options()
    host.check_data_dir(options.data_dir)
    options.results.parent.mkdir(parents=True, exist_ok=True)
    described = host.describe_host(options.data_dir)
    # One for each connection, here and in what is started here.
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
    failures = 0
    names = options.case or list(CASES)
    asked = [(name, server) for name in names for server in ["ringfort", *options.peer]]
    # nginx has no listings, and puts files anew as no store does.
    for name, server in [(n, s) for n, s in asked if s == "ringfort" or n.startswith("get-")]:
        try:
            lines = run(options, name, server)
        except Failed as failed:
            failures += 1
            print(f"{name} of {server}: {failed}", file=sys.stderr, flush=True)
            continue
        with open(options.results, "a", encoding="utf-8") as results:
            for line in lines:
                results.write(json.dumps({"case": name, "server": server} | line | {"host": described}) + "\n")
        medians = [statistics.median(line[kept] for line in lines) for kept in KEPT]
        print(f"{name:10} {server}: goodput in overload (medians): {medians[0]:.2f} of the peak's, "
              f"per core-second {medians[1]:.2f} of it, {medians[2]:.2f} of the best over as many connections", flush=True)
    return 1 if failures else 0


def parse_options():
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", type=pathlib.Path, required=True,
                        help="directory on a disk; a temporary one is made in it")
    parser.add_argument("--server", type=pathlib.Path, default=target / "release/ringfort")
    parser.add_argument("--loadgen", type=pathlib.Path, default=target / "release/ringfort-loadgen")
    parser.add_argument("--peer", choices=["nginx"], action="append", default=[],
                        help="measured too, where it can do the same")
    parser.add_argument("--nginx", default=find_nginx(), metavar="PATH", help="its program")
    parser.add_argument("--case", action="append", choices=CASES, help="repeatable (default: all)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=8, help="of each window")
    parser.add_argument("--connections", type=int, default=64, help="that find the peak")
    parser.add_argument("--overload-connections", type=int, default=4000)
    parser.add_argument("--times", type=float, nargs="+", default=[0.5, 0.75, 1, 1.5, 2], metavar="FACTOR",
                        help="of the peak's rate that are offered, rising; the last is the overload")
    parser.add_argument("--memory", default="2GiB", help="of the server")
    parser.add_argument("--capacity", default="3GiB", help="of the store")
    parser.add_argument("--server-core", type=int, default=0, metavar="CPU")
    parser.add_argument("--loadgen-core", type=int, default=1, metavar="CPU")
    parser.add_argument("--results", type=pathlib.Path,
                        default=REPOSITORY / "bench/results/local/overload.jsonl")
    options = parser.parse_args()
    if options.peer and options.nginx is None:
        parser.error("nginx is not installed")
    return options


def start(options, name, directory):
    cpus = [options.server_core]
    if name == "nginx":
        return Nginx(options.nginx, directory, cpus)
    return Server(options.server, directory, cpus, options.capacity, [f"--memory={options.memory}"])


def run(options, name, server):
    directory = pathlib.Path(tempfile.mkdtemp(prefix="ringfort-bench-", dir=options.data_dir))
    try:
        with start(options, server, directory) as started:
            return [measure(options, started, name, number) for number in range(1, options.rounds + 1)]
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def measure(options, server, name, number):
    """A round: the peak, then what is offered in open loops."""
    prepare = ["--no-prepare"] if number > 1 else []
    peak = load(options, server, name, [f"--concurrency={options.connections}", *prepare])
    print(f"{name:10} peak {text(peak)}", flush=True)
    if peak["refused"]:
        raise Failed(f"{peak['refused']} requests were refused at the peak already")
    curve = []
    for times in options.times:
        rate = round(peak["good_per_second"] * times)
        curve.append({"times": times, "rate_offered": rate} | load(
            options, server, name,
            [f"--concurrency={options.overload_connections}", f"--rate={rate}", "--no-prepare"]))
        print(f"{'':10} {rate:9}/s offered {text(curve[-1])}", flush=True)
    overload = curve[-1]
    line = {
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "round": number,
        KEPT[0]: overload["good_per_second"] / peak["good_per_second"],
        KEPT[1]: overload["good_per_core_second"] / peak["good_per_core_second"],
        KEPT[2]: overload["good_per_second"] / max(point["good_per_second"] for point in curve),
        "peak": peak,
        "curve": curve,
    }
    print(f"{name:10} {'  '.join(f'{line[kept]:.2f}' for kept in KEPT)}", flush=True)
    return line


def load(options, server, name, arguments):
    arguments = [
        *CASES[name], *arguments, f"--duration={options.seconds}s", f"--cores={options.loadgen_core}",
        f"--server-pid={server.pid}", "--allow-non-empty",
    ]
    report = run_loadgen(options.loadgen, server, arguments, 10 * options.seconds + 300,
                         are_refusals_fine=True)
    (told,) = report["operations"].values()
    refusals = report["refusals_us"] or {}
    return {
        "good_per_second": told["requests_per_second"],
        "good_per_core_second": report["server"]["requests_per_core_second"],
        "server_cpus": report["server"]["cpus"],
        "server_resident_bytes_max": report["server"]["resident_bytes_max"],
        "loadgen_cpus": report["client"]["cpus"],
        "latency_us_p50": told["latency_us"]["p50"],
        "latency_us_p99": told["latency_us"]["p99"],
        "refused": refusals.get("count", 0),
        "refusal_us_p50": refusals.get("p50"),
        "refusal_us_p99": refusals.get("p99"),
    }


def text(figures):
    parts = [
        f"{figures['good_per_second']:8.0f}/s good",
        f"{figures['good_per_core_second']:8.0f} per core-second",
        f"server {figures['server_cpus']:.2f} CPUs, generator {figures['loadgen_cpus']:.2f}",
        f"p50 {figures['latency_us_p50'] / 1000:.1f} ms, p99 {figures['latency_us_p99'] / 1000:.1f} ms",
        f"{figures['server_resident_bytes_max'] >> 20} MiB",
    ]
    if figures["refused"]:
        parts.append(f"{figures['refused']} refused after {figures['refusal_us_p50'] / 1000:.1f} ms, "
                     f"p99 {figures['refusal_us_p99'] / 1000:.1f} ms")
    return "  ".join(parts)


if __name__ == "__main__":
    sys.exit(main())
