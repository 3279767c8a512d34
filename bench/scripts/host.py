"""What figures depend on: the host's CPUs, kernel and disk, and what `/proc` says of a process."""

import os
import pathlib
import platform
import re
import subprocess
import sys


def check_data_dir(directory):
    """Memory is no disk: a flush costs nothing there."""
    kind = filesystem(directory)
    if kind in ("tmpfs", "ramfs"):
        sys.exit(f"{directory} is on {kind}; --data-dir must be on a disk")


def filesystem(directory):
    command = ["stat", "-f", "-c", "%T", str(directory)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def describe_host(data_dir):
    """So that a line of results can be read on its own."""
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


def cpu_list(text):
    """The CPUs of a list such as `0,2-3`."""
    cpus = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        cpus.extend(range(int(first), int(last or first) + 1))
    if not cpus or len(set(cpus)) != len(cpus):
        raise ValueError(f"{text} is not a list of CPUs")
    return cpus


def cpu_text(cpus):
    return ",".join(str(cpu) for cpu in cpus)


def running_seconds(pid):
    """CPU time of the threads that a process has, to a nanosecond."""
    seconds = 0
    for schedstat in pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat"):
        try:
            seconds += int(schedstat.read_text().split()[0]) / 1e9
        except (FileNotFoundError, ProcessLookupError):
            # The thread has ended.
            continue
    return seconds


def resident_bytes(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(re.search(r"^VmRSS:\s*(\d+) kB$", text, re.MULTILINE).group(1)) * 1024
