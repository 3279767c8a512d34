#!/usr/bin/env python3
"""What a request costs the server: CPU time, rate, latency and device flushes, over loopback.

Each run starts a fresh `ringfort serve`, bound to one CPU, over a new data directory, and drives it
with `ringfort-loadgen` on another CPU. One line of JSON per run is appended to the results file.

Runs of different scenarios and servers alternate (A B A B, never A A B B), so that what drifts on
the host falls on all of them alike. `summarise.py` makes medians and ratios of the lines.

Only Python's standard library is used. Nothing but loopback is touched, and only processes that were
started here are ended.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]

# Name: workload, size, objects, connections. The bodies of a GET scenario are written before its
# window; a PUT scenario writes its keys over and over.
SCENARIOS = {
    "get-4KiB-64": ("get", "4KiB", 10_000, 64),
    "put-4KiB-64": ("put", "4KiB", 10_000, 64),
    "put-4KiB-1": ("put", "4KiB", 10_000, 1),
    "get-16MiB-64": ("get", "16MiB", 64, 64),
    "put-16MiB-16": ("put", "16MiB", 64, 16),
    "put-16MiB-64": ("put", "16MiB", 128, 64),
    "put-1MiB-1": ("put", "1MiB", 1_000, 1),
    "put-1MiB-16": ("put", "1MiB", 1_000, 16),
    "put-1MiB-64": ("put", "1MiB", 1_000, 64),
}

START_SECONDS_MAX = 60
# Above the server's own time for draining.
STOP_SECONDS_MAX = 40
# Counters are published once a second.
PUBLISHED_SECONDS = 1.5


class Failed(Exception):
    """A run that gives no figures."""


def main():
    options = parse_options()
    check_data_dir(options.data_dir)
    options.results.parent.mkdir(parents=True, exist_ok=True)
    host = describe_host(options.data_dir)
    failures = 0
    for round_number in range(1, options.rounds + 1):
        for scenario in options.scenario:
            for label, server in options.server:
                line = {"round": round_number, "scenario": scenario, "server": label}
                try:
                    line |= run(options, server, scenario)
                except (Failed, OSError, subprocess.SubprocessError) as error:
                    failures += 1
                    print(f"{scenario} of {label}: {error}", file=sys.stderr)
                    continue
                line["host"] = host
                with open(options.results, "a", encoding="utf-8") as results:
                    results.write(json.dumps(line) + "\n")
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
    parser.add_argument("--scenario", action="append", choices=SCENARIOS,
                        help="repeatable (default: all)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=10, help="measured in each run")
    parser.add_argument("--warmup-seconds", type=int, default=2)
    parser.add_argument("--server-core", type=int, default=0)
    parser.add_argument("--loadgen-core", type=int, default=1)
    parser.add_argument("--capacity", default="16GiB", help="of each run's new store")
    parser.add_argument("--results", type=pathlib.Path,
                        default=REPOSITORY / "bench/results/local/cpu-per-request.jsonl")
    options = parser.parse_args()
    options.server = options.server or [("ringfort", target / "release/ringfort")]
    options.scenario = options.scenario or list(SCENARIOS)
    if options.server_core == options.loadgen_core:
        parser.error("server and load generator need a CPU each")
    return options


def labelled_path(text):
    label, separator, path = text.rpartition("=")
    return (label if separator else "ringfort", pathlib.Path(path))


def check_data_dir(directory):
    """Memory is no disk: a flush costs nothing there."""
    kind = filesystem(directory)
    if kind in ("tmpfs", "ramfs"):
        sys.exit(f"{directory} is on {kind}; --data-dir must be on a disk")


def filesystem(directory):
    command = ["stat", "-f", "-c", "%T", str(directory)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def describe_host(data_dir):
    """What figures depend on, so that a line can be read on its own."""
    return {
        "kernel": platform.release(),
        "cpu": cpu_model(),
        "cpus": os.cpu_count(),
        "filesystem": filesystem(data_dir),
    }


def cpu_model():
    text = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8")
    found = re.search(r"^model name\s*: (.*)$", text, re.MULTILINE)
    return found.group(1) if found else platform.machine()


def run(options, server, scenario):
    """One run: a new store, a new server, one window of load."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="ringfort-bench-", dir=options.data_dir))
    try:
        with Server(options, server, directory) as running:
            return measure(options, running, scenario)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


class Server:
    """A running server; leaving the context stops it."""

    def __init__(self, options, program, directory):
        self.log_path = directory / "log"
        self.port, self.admin_port = free_ports()
        self.access_key, self.secret_key = "bench", secrets.token_hex(16)
        environment = os.environ | {
            "RINGFORT_ROOT_ACCESS_KEY": self.access_key,
            "RINGFORT_ROOT_SECRET_KEY": self.secret_key,
            "RINGFORT_ADMIN_API_KEY": secrets.token_hex(16),
        }
        command = [
            *getattr(options, "under", []), program, "serve",
            f"--data-dir={directory / 'data'}",
            f"--listen=127.0.0.1:{self.port}",
            f"--admin-listen=127.0.0.1:{self.admin_port}",
            f"--cores={options.server_core}-{options.server_core}",
            f"--capacity={options.capacity}",
        ]
        with open(self.log_path, "wb") as log:
            # Threads of the kernel's that work for the server inherit its CPU.
            self.process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=lambda: os.sched_setaffinity(0, {options.server_core}),
            )

    def __enter__(self):
        try:
            self.wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def wait_until_ready(self):
        deadline = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise Failed(f"the server ended at its start:\n{self.log_tail()}")
            try:
                self.admin("/health/ready")
                return
            except OSError:
                time.sleep(0.05)
        raise Failed(f"the server was not ready in time:\n{self.log_tail()}")

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def admin(self, path):
        url = f"http://127.0.0.1:{self.admin_port}{path}"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.read().decode()

    def counts(self):
        """Device flushes and PUTs since the start; None for what is not counted."""
        time.sleep(PUBLISHED_SECONDS)
        page = self.admin("/metrics")
        return {
            "flushes": summed(page, r"ringfort_(?:\w+_)?flushes_total"),
            "puts": summed(page, r'ringfort_requests_total\{operation="PutObject",status="200"\}'),
        }

    def log_tail(self):
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-10:])


def free_ports():
    """Two ports that nobody listens on."""
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


def summed(page, pattern):
    """The sum of a metric's values over all of its labels."""
    lines = re.findall(rf"^{pattern}(?:\{{[^}}]*\}})? ([0-9.e+]+)$", page, re.MULTILINE)
    return round(sum(float(value) for value in lines)) if lines else None


def measure(options, server, scenario):
    workload, size, objects, connections = SCENARIOS[scenario]
    before = server.counts()
    started = datetime.datetime.now(datetime.timezone.utc)
    report = load(options, server, scenario)
    after = server.counts()
    operation, cpu = report["operations"].get(workload), report["server"]
    if operation is None or cpu is None:
        raise Failed("the load generator measured nothing")
    line = {
        "time": started.isoformat(timespec="seconds"),
        "workload": workload,
        "size": size,
        "objects": objects,
        "connections": connections,
        "seconds": report["window_seconds"],
        "requests": report["requests"],
        "requests_per_second": report["requests_per_second"],
        "mib_per_second": report["mib_per_second"],
        "server_cpu_us_per_request": cpu["cpu_us_per_request"],
        "server_cpu_seconds_per_gib": cpu["cpu_seconds_per_gib"],
        "server_cpus": cpu["cpus"],
        "loadgen_cpus": report["client"]["cpus"],
        "latency_us_p50": operation["latency_us"]["p50"],
        "latency_us_p99": operation["latency_us"]["p99"],
        "server_resident_bytes_max": cpu["resident_bytes_max"],
        "load_average": os.getloadavg()[0],
    }
    if workload == "put" and None not in after.values():
        # Of the whole run, warm-up included: both counts grow together. Operations are not listed
        # before their first request.
        line |= {name: after[name] - (before[name] or 0) for name in after}
        line["flushes_per_put"] = line["flushes"] / max(line["puts"], 1)
    return line


def load(options, server, scenario):
    """Runs the load generator and gives its report; content that was wrong gives none."""
    workload, size, objects, connections = SCENARIOS[scenario]
    environment = os.environ | {
        "AWS_ACCESS_KEY_ID": server.access_key,
        "AWS_SECRET_ACCESS_KEY": server.secret_key,
        "AWS_REGION": "us-east-1",
    }
    command = [
        options.loadgen, "run", workload,
        f"--endpoint=http://127.0.0.1:{server.port}",
        f"--size={size}", f"--objects={objects}", f"--concurrency={connections}",
        f"--duration={options.seconds}s", f"--warmup={options.warmup_seconds}s",
        f"--cores={options.loadgen_core}", f"--server-pid={server.process.pid}",
        "--json=-", "--quiet",
    ]
    patience = 10 * (options.seconds + options.warmup_seconds) + 300
    ended = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=patience, check=False
    )
    if ended.returncode != 0:
        told = (ended.stderr or ended.stdout)[-2000:]
        raise Failed(
            f"the load generator ended with {ended.returncode}:\n{told}\n"
            f"the server's log:\n{server.log_tail()}"
        )
    return json.loads(ended.stdout)


def short_text(line):
    per_gib = line["server_cpu_seconds_per_gib"]
    parts = [
        f"{line['scenario']:14} {line['server']}",
        f"{line['requests_per_second']:10.0f}/s",
        f"{line['server_cpu_us_per_request']:9.1f} us CPU",
        f"{per_gib:7.3f} s/GiB" if per_gib is not None else "",
        f"p99 {line['latency_us_p99']:.0f} us",
    ]
    if "flushes_per_put" in line:
        parts.append(f"{line['flushes_per_put']:.3f} flushes/PUT")
    return "  ".join(parts)


if __name__ == "__main__":
    sys.exit(main())
