"""What is measured: a Ringfort that is started here, nginx likewise, or an endpoint that runs already.

Each is a context that gives `endpoint`, `pid`, `credentials`, `loadgen_options`, `counters()` and
`log_tail()`. **Invariant:** leaving it ends the processes that it started, and no others.
"""

import grp
import os
import pathlib
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
import urllib.request

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
NGINX_CONFIGURATION = REPOSITORY / "bench/peers/nginx.conf"

# Enough for a start under valgrind.
START_SECONDS_MAX = 120
# Above the server's own time for draining.
STOP_SECONDS_MAX = 40
# Counters are published once a second.
PUBLISHED_SECONDS = 1.5


class Failed(Exception):
    """A run that gives no figures."""


class Started:
    """A process that was started here, bound to its CPUs; leaving the context stops it."""

    loadgen_options = ()

    def __init__(self, command, cpus, log_path, environment=None):
        self.log_path = log_path
        with open(log_path, "wb") as log:
            # Threads of the kernel's that work for the server inherit its CPUs.
            self.process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=lambda: os.sched_setaffinity(0, cpus),
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

    @property
    def pid(self):
        return self.process.pid

    def wait_until_ready(self):
        deadline = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise Failed(f"the server ended at its start:\n{self.log_tail()}")
            try:
                self.probe()
                return
            except OSError:
                time.sleep(0.05)
        raise Failed(f"the server was not ready in time:\n{self.log_tail()}")

    def probe(self):
        """Raises OSError until the server is ready."""
        raise NotImplementedError

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def counters(self):
        """What the server has counted since its start, by name."""
        return {}

    def log_tail(self):
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-10:])


class Server(Started):
    """`ringfort serve` over `data` in a directory, one core for each of the CPUs."""

    def __init__(self, program, directory, cpus, capacity, options=(), under=()):
        self.port, self.admin_port = free_ports()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.access_key, self.secret_key = "bench", secrets.token_hex(16)
        self.credentials = {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": "us-east-1",
        }
        environment = os.environ | {
            "RINGFORT_ROOT_ACCESS_KEY": self.access_key,
            "RINGFORT_ROOT_SECRET_KEY": self.secret_key,
            "RINGFORT_ADMIN_API_KEY": secrets.token_hex(16),
        }
        command = [
            *under, program, "serve",
            f"--data-dir={directory / 'data'}",
            f"--listen=127.0.0.1:{self.port}",
            f"--admin-listen=127.0.0.1:{self.admin_port}",
            # A single number would be a count of cores.
            "--cores=" + ",".join(f"{cpu}-{cpu}" for cpu in cpus),
            f"--capacity={capacity}",
            *options,
        ]
        super().__init__(command, cpus, directory / "log", environment)

    def probe(self):
        self.admin("/health/ready")

    def admin(self, path):
        url = f"http://127.0.0.1:{self.admin_port}{path}"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.read().decode()

    def counters(self):
        """Device flushes, PUTs and hot objects; None for what is not counted, or not yet."""
        time.sleep(PUBLISHED_SECONDS)
        page = self.admin("/metrics")
        return {
            "flushes": summed(page, r"ringfort_(?:\w+_)?flushes_total"),
            "puts": summed(page, r'ringfort_requests_total\{operation="PutObject",status="200"\}'),
            "hot_hits": summed(page, "ringfort_hot_hits_total"),
            "hot_misses": summed(page, "ringfort_hot_misses_total"),
        }


class Nginx(Started):
    """nginx with one worker over a directory: what a server of static files costs, the ceiling."""

    credentials = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    loadgen_options = ("--signing=anonymous",)

    def __init__(self, program, directory, cpus):
        port, _ = free_ports()
        self.address = ("127.0.0.1", port)
        self.endpoint = f"http://127.0.0.1:{port}"
        for name in ("www", "temporary"):
            (directory / name).mkdir()
        # What the worker of a root's nginx would be by itself may not enter the directory.
        user = pwd.getpwuid(os.getuid()).pw_name
        group = grp.getgrgid(os.getgid()).gr_name
        values = {"USER": f"{user} {group}", "DIRECTORY": str(directory), "PORT": str(port)}
        configuration = directory / "nginx.conf"
        configuration.write_text(filled(NGINX_CONFIGURATION.read_text(encoding="utf-8"), values))
        log_path = directory / "log"
        command = [program, "-c", configuration, "-e", log_path]
        super().__init__(command, cpus, log_path)

    @property
    def pid(self):
        """The worker's; the process that was started only watches over it."""
        path = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        workers = path.read_text(encoding="ascii").split()
        if len(workers) != 1:
            raise Failed(f"nginx has {len(workers)} workers, not one:\n{self.log_tail()}")
        return int(workers[0])

    def probe(self):
        socket.create_connection(self.address, timeout=5).close()


class Endpoint:
    """An S3 endpoint that runs already. Credentials are those of the environment."""

    credentials = {}

    def __init__(self, url, pid, bucket, remote, clear):
        self.endpoint, self.pid, self.clear = url, pid, clear
        self.loadgen_options = [f"--bucket={bucket}", *(["--allow-remote"] if remote else [])]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # The next run begins with an empty bucket, too.
        self.clear(self)

    def counters(self):
        return {}

    def log_tail(self):
        return "(of a server that was not started here)"


def find_nginx():
    # Debian's is not on the path of users.
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def filled(template, values):
    """The template with @NAME@ replaced; names that stand for nothing are an error."""
    return re.sub(r"@([A-Z]+)@", lambda name: values[name.group(1)], template)


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
