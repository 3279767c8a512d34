"""One run of `ringfort-loadgen` against a server of `servers.py`."""

import json
import os
import subprocess

from servers import Failed


def run_loadgen(program, server, arguments, seconds_max):
    """Its report; content that was wrong and requests that failed give none."""
    command = [
        program, "run", *arguments, f"--endpoint={server.endpoint}", *server.loadgen_options,
        "--json=-", "--quiet",
    ]
    environment = os.environ | server.credentials
    ended = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=seconds_max, check=False
    )
    if ended.returncode != 0:
        told = (ended.stderr or ended.stdout)[-2000:]
        raise Failed(
            f"the load generator ended with {ended.returncode}:\n{told}\n"
            f"the server's log:\n{server.log_tail()}"
        )
    return json.loads(ended.stdout)
