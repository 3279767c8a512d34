"""One run of `ringfort-loadgen` against a server of `servers.py`."""

import json
import os
import subprocess

from servers import Failed


# What it ends with where requests failed.
REQUESTS_FAILED = 2


def run_loadgen(program, server, arguments, seconds_max, are_refusals_fine=False):
    """Its report; content that was wrong and requests that failed give none, but for those that were answered
    503 where that is fine."""
    command = [
        program, "run", *arguments, f"--endpoint={server.endpoint}", *server.loadgen_options,
        "--json=-", "--quiet",
    ]
    environment = os.environ | server.credentials
    ended = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=seconds_max, check=False
    )
    if ended.returncode == REQUESTS_FAILED and are_refusals_fine:
        report = json.loads(ended.stdout)
        others = {kind: count for kind, count in report["errors"]["by_kind"].items()
                  if " 503 " not in kind}
        if not others and not report["stopped_early"]:
            return report
        raise Failed(f"requests failed: {others}")
    if ended.returncode != 0:
        told = (ended.stderr or ended.stdout)[-2000:]
        raise Failed(
            f"the load generator ended with {ended.returncode}:\n{told}\n"
            f"the server's log:\n{server.log_tail()}"
        )
    return json.loads(ended.stdout)
