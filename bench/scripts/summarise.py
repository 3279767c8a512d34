#!/usr/bin/env python3
"""Medians and ratios of the runs that `cpu_per_request.py` wrote, as a Markdown table.

The spread is (greatest - least) / median over the rounds: a difference smaller than it is noise.
Ratios are made within a round, then their median is taken, so that drift cancels out. The last two
columns hold each server against the baseline where both were given the scenario.
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
    ("hot_hit_share", "hot", "{:.0%}"),
    ("server_cpus", "server CPUs", "{:.2f}"),
    ("loadgen_cpus", "loadgen CPUs", "{:.2f}"),
    ("loadgen_cpu_per_server_cpu", "loadgen CPU / server CPU", "{:.2f}"),
    ("server_resident_bytes", "resident MiB", "{:.0f}"),
    ("idle_cpu_ms_per_second", "idle ms/s", "{:.2f}"),
]
SCALES = {"server_resident_bytes": 1 / (1 << 20)}
RATIOS = [("requests_per_second", "rate"), ("server_cpu_us_per_request", "CPU")]
ONE, MANY = "put-4KiB-1", "put-4KiB-64"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", help="a file of lines of JSON")
    parser.add_argument("--baseline", default="nginx", metavar="LABEL",
                        help="what servers are held against (default: nginx)")
    options = parser.parse_args()
    with open(options.results, encoding="utf-8") as results:
        lines = [json.loads(line) for line in results if line.strip()]
    runs = collections.defaultdict(list)
    for line in lines:
        runs[line["scenario"], label(line)].append(line)

    columns = [column for column in COLUMNS if any(values(lines, column[0]))]
    baseline = options.baseline if any(server == options.baseline for _, server in runs) else None
    titles = [title for _, title, _ in columns]
    ratio_titles = [f"{title} / {baseline}" for _, title in RATIOS] if baseline else []
    row("scenario", "server", "runs", *titles, "CPU spread", *ratio_titles)
    row(*["---"] * (len(titles) + len(ratio_titles) + 4))
    for (scenario, server), group in sorted(runs.items()):
        cells = [median_text(group, name, form) for name, _, form in columns]
        if baseline:
            other = runs.get((scenario, baseline), []) if server != baseline else []
            held = [ratio_text(group, other, name) for name, _ in RATIOS]
        else:
            held = []
        row(scenario, server, len(group), *cells, spread_text(group), *held)

    print()
    for server in sorted({server for _, server in runs}):
        rates = ratios(runs.get((MANY, server), []), runs.get((ONE, server), []),
                       "requests_per_second")
        if rates:
            print(f"{server}: 64 connections PUT {statistics.median(rates):.1f} times as fast as 1")
    return 0


def label(line):
    """Runs on several CPUs, on the load generator's, or with more connections are another thing."""
    cpus = line.get("server_cores", "0")
    more = " by cores" if line.get("connections_per_core") else ""
    if cpus == line.get("loadgen_cores"):
        return f"{line['server']} and its clients on CPUs {cpus}{more}"
    return line["server"] if "," not in cpus else f"{line['server']} on CPUs {cpus}{more}"


def row(*cells):
    print("| " + " | ".join(str(cell) for cell in cells) + " |")


def values(group, name):
    return [line[name] for line in group if line.get(name) is not None]


def median_text(group, name, form):
    found = values(group, name)
    return form.format(statistics.median(found) * SCALES.get(name, 1)) if found else ""


def spread_text(group):
    found = values(group, "server_cpu_us_per_request")
    median = statistics.median(found) if found else 0
    return f"{(max(found) - min(found)) / median:.0%}" if median else ""


def ratio_text(group, baseline, name):
    found = ratios(group, baseline, name)
    return f"{statistics.median(found):.2f}" if found else ""


def ratios(many, one, name):
    """Of runs of the same round of the same invocation."""
    others = {(line.get("run"), line["round"]): line for line in one}
    pairs = [(line, others.get((line.get("run"), line["round"]), {})) for line in many]
    return [a[name] / b[name] for a, b in pairs if a.get(name) and b.get(name)]


if __name__ == "__main__":
    raise SystemExit(main())
