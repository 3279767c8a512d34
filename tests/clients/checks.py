"""What every client script shares, whichever library it uses: running its checks, and judging results.

A script defines functions named check_* and ends with checks.main(make), where make() returns their
arguments, anew for each. Every failed check is told; the exit code is 1 if there was one. What libraries
are at hand depends on the script; nothing but Python's own is needed here.
"""

import importlib.metadata
import os
import sys
import traceback
import uuid

ENDPOINT = os.environ["RINGFORT_ENDPOINT"]
HOST = ENDPOINT.removeprefix("http://")
ACCESS_KEY = os.environ["AWS_ACCESS_KEY_ID"]
SECRET_KEY = os.environ["AWS_SECRET_ACCESS_KEY"]
REGION = os.environ["AWS_DEFAULT_REGION"]
MIB = 1 << 20


def new_name():
    """A bucket's name that nobody has had."""
    return "b-" + uuid.uuid4().hex[:16]


def equal(found, expected):
    if found != expected:
        raise AssertionError(f"found {short(found)}, expected {short(expected)}")


def short(value):
    text = repr(value)
    return text if len(text) < 600 else text[:300] + " ... " + text[-300:]


def pattern(size, seed=1):
    """Bytes that tell where they belong: every 8 bytes are a function of their place."""
    whole = bytearray()
    for place in range(0, size, 8):
        whole += ((place // 8 * 0x9E3779B97F4A7C15 + seed) % 2**64).to_bytes(8, "little")
    return bytes(whole[:size])


def announce(package):
    """Says which version of a client is at work."""
    print(f"client: {package} {importlib.metadata.version(package)}", flush=True)


def main(make):
    checks = {
        name: function
        for name, function in vars(sys.modules["__main__"]).items()
        if name.startswith("check_") and (len(sys.argv) < 2 or name in sys.argv[1:])
    }
    assert checks, "there is no such check"
    has_failed = False
    for name, function in checks.items():
        try:
            function(*make())
            verdict = "ok"
        except Exception:  # every kind of fault is a finding
            verdict = "FAILED\n" + traceback.format_exc()
            has_failed = True
        print(f"{name}: {verdict}", flush=True)
    sys.stdout.flush()
    # At once: what threads of a library do when an interpreter ends says nothing about the server.
    os._exit(1 if has_failed else 0)
