#!/usr/bin/env python3
"""Where the server's CPU time goes: a flame graph of each scenario, one page of HTML without scripts
or pictures from elsewhere.

Each run is that of `cpu_per_request.py`: a fresh server over a new directory. `perf record` samples
the server's threads by their CPU clock, with stacks by DWARF, since builds have no frame pointers.
Samples outside of the measured window are left out. Recording copies stacks, so requests cost
more than they do without: the shares count, not the rates.

Needs perf, and the right to sample the kernel (root, or kernel.perf_event_paranoid of 1 or less).
Only Python's standard library is used.
"""

import argparse
import html
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zlib

import host
from cpu_per_request import labelled_path, load
from scenarios import SCENARIOS
from servers import REPOSITORY, Failed, Server

# Of the stack's top, copied with each sample. With half of it a quarter of the stacks have no end.
STACK_BYTES = 16384
# Unwinding takes perf about a millisecond a sample, more at its first look at a binary.
FOLD_SECONDS_MAX = 600
# Between the end of the window and that of the load generator, which writes its report.
REPORT_SECONDS = 0.2
# Narrower frames are not drawn.
SHARE_MIN = 0.0005
# Of a line of `perf script`: address, symbol with or without offset, and the binary.
FRAME = re.compile(r"^\s+[0-9a-f]+ (.*) \(([^()]*(?:\([^()]*\))?)\)$")
KERNEL, USER = "kernel", "user"
UNKNOWN, DEEPER = "[unknown]", ("(deeper stack)", USER)
THREAD_START = "__rust_begin_short_backtrace"
ROW_PIXELS = 18
# Hue, how far shades of it go, and lightness in percent; a name keeps its shade.
COLOURS = {KERNEL: (200, 30, 62), USER: (25, 30, 66)}

PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font: 14px/1.4 sans-serif; margin: 16px; color: #222; background: #fff; }}
h1 {{ font-size: 20px; margin: 0; }}
p {{ margin: 4px 0 12px; }}
b {{ padding: 0 6px; font-weight: normal; border-radius: 2px; }}
#graph {{ position: relative; height: {height}px; overflow: hidden; }}
#graph div {{ position: absolute; box-sizing: border-box; height: {row}px; overflow: hidden;
  font: 11px/{row_inner}px monospace; white-space: nowrap; padding: 0 3px; cursor: pointer;
  border: solid #fff; border-width: 0 1px 1px 0; border-radius: 3px; }}
#graph div:hover {{ filter: brightness(0.85); }}
</style>
<h1>{title}</h1>
<p>{told}.
<b style="background: {kernel}">kernel</b> <b style="background: {user}">user</b>
The outermost frame is at the top; a click widens a frame, the top row shows all again.</p>
<div id="graph">
{frames}
</div>
<script>
const graph = document.getElementById("graph");
const frames = Array.from(graph.children, element => ({{
  element, left: parseFloat(element.style.left), width: parseFloat(element.style.width),
}}));
graph.addEventListener("click", event => {{
  const chosen = frames.find(frame => frame.element === event.target);
  if (!chosen) return;
  for (const frame of frames) {{
    const left = Math.max(frame.left, chosen.left);
    const right = Math.min(frame.left + frame.width, chosen.left + chosen.width);
    frame.element.hidden = right - left < 1e-6;
    frame.element.style.left = (left - chosen.left) / chosen.width * 100 + "%";
    frame.element.style.width = (right - left) / chosen.width * 100 + "%";
  }}
}});
</script>
</html>
"""


def main():
    options = parse_options()
    host.check_data_dir(options.data_dir)
    options.output.mkdir(parents=True, exist_ok=True)
    failures = 0
    for name in options.scenario:
        try:
            stacks, report = run(options, name)
        except (Failed, OSError, subprocess.SubprocessError) as error:
            failures += 1
            print(f"{name}: {error}", file=sys.stderr)
            continue
        path = options.output / f"flame-{name}.html"
        label, _ = options.server
        path.write_text(page(f"{name} of {label}", stacks, options.frequency, report),
                        encoding="utf-8")
        print(f"{name:15} {sum(stacks.values()):6} samples  {path}", flush=True)
    return 1 if failures else 0


def parse_options():
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", type=pathlib.Path, required=True,
                        help="directory on a disk, not tmpfs; a temporary one is made in it")
    parser.add_argument("--server", type=labelled_path, metavar="[LABEL=]PATH",
                        default=("ringfort", target / "release/ringfort"))
    parser.add_argument("--loadgen", type=pathlib.Path,
                        default=target / "release/ringfort-loadgen")
    parser.add_argument("--scenario", action="append", choices=SCENARIOS, metavar="NAME",
                        help=f"repeatable (default: all): {', '.join(SCENARIOS)}")
    parser.add_argument("--seconds", type=int, default=5, help="measured in each run")
    parser.add_argument("--warmup-seconds", type=int, default=1)
    parser.add_argument("--frequency", type=int, default=999, help="samples a second of CPU time")
    parser.add_argument("--server-cores", type=host.cpu_list, default=[0], metavar="CPUS",
                        help="default: 0")
    parser.add_argument("--loadgen-cores", type=host.cpu_list, default=[1], metavar="CPUS",
                        help="default: 1")
    parser.add_argument("--capacity", default="16GiB", help="of each run's new store")
    parser.add_argument("--output", type=pathlib.Path, metavar="DIR",
                        default=REPOSITORY / "bench/results/local")
    options = parser.parse_args()
    options.scenario = options.scenario or list(SCENARIOS)
    return options


def run(options, name):
    """Stacks of a scenario's window with their samples, and the load generator's report."""
    scenario = SCENARIOS[name]
    directory = pathlib.Path(tempfile.mkdtemp(prefix="ringfort-bench-", dir=options.data_dir))
    recording = directory / "perf.data"
    _, program = options.server
    try:
        server = Server(program, directory, options.server_cores, options.capacity,
                        scenario.server_options)
        with server:
            recorder = record(options, server.pid, recording)
            try:
                report = load(options, server, scenario)
                end = time.monotonic() - REPORT_SECONDS
            finally:
                recorder.terminate()
                told = recorder.communicate(timeout=60)[1]
        if not recording.exists():
            raise Failed(f"perf record: {told}")
        return fold(recording, end - report["window_seconds"], end), report
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def record(options, pid, recording):
    # Of the clocks, time.monotonic() gives this one.
    command = [
        "perf", "record", "--event=cpu-clock", f"--freq={options.frequency}",
        f"--call-graph=dwarf,{STACK_BYTES}", "--clockid=mono", f"--pid={pid}",
        f"--output={recording}",
    ]
    cpus = set(options.loadgen_cores)
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                            preexec_fn=lambda: os.sched_setaffinity(0, cpus))


def fold(recording, start, end):
    """Samples by stack, outermost frame first; a frame is its name and whose it is."""
    command = [
        "perf", "script", f"--input={recording}", f"--time={start:.6f},{end:.6f}",
        "--fields=comm,ip,sym,dso", "--no-inline",
    ]
    ended = subprocess.run(command, capture_output=True, text=True, errors="replace",
                           timeout=FOLD_SECONDS_MAX, check=False)
    if ended.returncode != 0:
        raise Failed(f"perf script: {ended.stderr[-2000:]}")
    stacks = {}
    for sample in ended.stdout.split("\n\n"):
        thread, *lines = sample.strip("\n").split("\n")
        found = [frame(line) for line in lines]
        if found:
            stack = ((thread.strip(), USER), *rooted(list(reversed(found))))
            stacks[stack] = stacks.get(stack, 0) + 1
    if not stacks:
        raise Failed("perf recorded nothing in the window")
    return stacks


def rooted(stack):
    """Without the frame by which libc starts a thread, which has no name."""
    if stack[0] != (UNKNOWN, USER):
        return stack
    is_whole = len(stack) > 1 and stack[1][0].endswith(THREAD_START)
    # Else the copy of the stack did not reach to its end.
    return stack[1:] if is_whole else [DEEPER, *stack[1:]]


def frame(line):
    found = FRAME.match(line)
    if found is None:
        return line.strip(), USER
    symbol, binary = found.groups()
    side = KERNEL if binary.startswith("[") and binary not in (UNKNOWN, "[vdso]") else USER
    if symbol == UNKNOWN and binary != UNKNOWN:
        symbol = f"[{pathlib.Path(binary.strip('[]')).name}]"
    return shortened(symbol), side


def shortened(symbol):
    """Without the hash that tells instances of a generic function apart."""
    return re.sub(r"::h[0-9a-f]{16}$", "", symbol)


def page(title, stacks, frequency, report):
    total = sum(stacks.values())
    kernel = sum(samples for stack, samples in stacks.items() if stack[-1][1] == KERNEL)
    told = (
        f"{total} samples at {frequency} Hz of the server's CPU time, {kernel / total:.1%} of them in "
        f"the kernel, in {report['window_seconds']:.0f} s; {report['requests_per_second']:.0f} "
        "requests/s while recording"
    )
    frames = []
    draw(frames, ("all", USER), [total, tree_of(stacks)], 0, 0, total)
    depth = 1 + max(len(stack) for stack in stacks)
    return PAGE.format(
        title=html.escape(title), told=html.escape(told), frames="\n".join(frames),
        height=depth * ROW_PIXELS, row=ROW_PIXELS, row_inner=ROW_PIXELS - 1,
        kernel=colour("", KERNEL), user=colour("", USER),
    )


def tree_of(stacks):
    """Of each frame its samples and, in the same form, the frames that it called."""
    tree = {}
    for stack, samples in stacks.items():
        called = tree
        for name in stack:
            node = called.setdefault(name, [0, {}])
            node[0] += samples
            called = node[1]
    return tree


def draw(frames, frame_, node, depth, start, total):
    """Appends a frame and all that it called; what it called is in order of names."""
    (name, side), (samples, called) = frame_, node
    share = samples / total
    if share < SHARE_MIN:
        return
    hint = html.escape(f"{name} ({side}): {samples} samples, {share:.2%}", quote=True)
    frames.append(
        f'<div style="left:{start / total:.4%};width:{share:.4%};top:{depth * ROW_PIXELS}px;'
        f'background:{colour(name, side)}" title="{hint}">{html.escape(name)}</div>'
    )
    for inner, inner_node in sorted(called.items()):
        draw(frames, inner, inner_node, depth + 1, start, total)
        start += inner_node[0]


def colour(name, side):
    hue, hue_span, lightness = COLOURS[side]
    shade = zlib.crc32(name.encode()) % 100 / 100
    return f"hsl({hue + shade * hue_span:.0f} 75% {lightness + shade * 12:.0f}%)"


if __name__ == "__main__":
    sys.exit(main())
