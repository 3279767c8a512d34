#!/usr/bin/env python3
"""Medians and ratios of the runs that `cpu_per_request.py` wrote, as a Markdown table.

The spread is (greatest - least) / median over the rounds: a difference smaller than it is noise.
Ratios are made within a round, then their median is taken, so that drift cancels out.
"""

import argparse
import collections
import json
import statistics

COLUMNS = [
    ("requests_per_second", "requests/s", "{:.0f}"),
    ("server_cpu_us_per_request", "CPU us/request", "{:.1f}"),
    ("server_cpu_seconds_per_gib", "CPU s/GiB", "{:.3f}"),
    ("latency_us_p50", "p50 us", "{:.0f}"),
    ("latency_us_p99", "p99 us", "{:.0f}"),
    ("flushes_per_put", "flushes/PUT", "{:.3f}"),
    ("server_cpus", "server CPUs", "{:.2f}"),
    ("loadgen_cpus", "loadgen CPUs", "{:.2f}"),
]
ONE, MANY = "put-4KiB-1", "put-4KiB-64"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", help="a file of lines of JSON")
    with open(parser.parse_args().results, encoding="utf-8") as results:
        lines = [json.loads(line) for line in results if line.strip()]
    runs = collections.defaultdict(list)
    for line in lines:
        runs[line["scenario"], line["server"]].append(line)

    row("scenario", "server", "runs", *(title for _, title, _ in COLUMNS), "CPU spread")
    row(*["---"] * (len(COLUMNS) + 4))
    for (scenario, server), group in sorted(runs.items()):
        cells = [median_text(group, name, form) for name, _, form in COLUMNS]
        row(scenario, server, len(group), *cells, spread_text(group))

    print()
    for server in sorted({server for _, server in runs}):
        rates = ratios(runs[MANY, server], runs[ONE, server], "requests_per_second")
        if rates:
            print(f"{server}: 64 connections PUT {statistics.median(rates):.1f} times as fast as 1")
    return 0


def row(*cells):
    print("| " + " | ".join(str(cell) for cell in cells) + " |")


def values(group, name):
    return [line[name] for line in group if line.get(name) is not None]


def median_text(group, name, form):
    found = values(group, name)
    return form.format(statistics.median(found)) if found else ""


def spread_text(group):
    found = values(group, "server_cpu_us_per_request")
    median = statistics.median(found) if found else 0
    return f"{(max(found) - min(found)) / median:.0%}" if median else ""


def ratios(many, one, name):
    """Of runs that stand next to each other: the n-th with the n-th."""
    return [a[name] / b[name] for a, b in zip(many, one) if a.get(name) and b.get(name)]


if __name__ == "__main__":
    raise SystemExit(main())
