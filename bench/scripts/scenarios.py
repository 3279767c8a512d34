"""What is asked of a server, by name: the table that the scripts beside this file share.

A name says operation, size and connections. `hot` in it means that the server keeps small objects in
memory, as it does unless told otherwise; without it each of them is read from disk. Names keep their
meaning, so that lines of JSON of different days speak of the same thing: what changes gets a new name.
"""

import dataclasses

FROM_DISK = ("--hot-objects=0",)
# What plain HTTP knows, too: the operations that a server of static files can be asked for.
PLAIN = ("get", "put", "head")


@dataclasses.dataclass(frozen=True)
class Scenario:
    """One load. What is read is written before the window; PUTs write their keys over and over."""

    workload: str
    size: str
    objects: int
    connections: int
    # Of `ringfort serve`; other servers are not given any.
    server_options: tuple[str, ...] = ()
    loadgen_options: tuple[str, ...] = ()

    @property
    def is_plain(self):
        """Whether a server of static files can be asked for it."""
        return self.workload in PLAIN

    @property
    def has_puts(self):
        """Whether its window has PUTs, so that flushes are worth counting."""
        return self.workload in ("put", "mixed")

    @property
    def main_operation(self):
        """The operation whose latencies stand for the scenario."""
        return "get" if self.workload in ("mixed", "cdn") else self.workload

    def loadgen_arguments(self):
        """Of `ringfort-loadgen run`: the load itself, without endpoint, time and CPUs."""
        return [
            self.workload, f"--size={self.size}", f"--objects={self.objects}",
            f"--concurrency={self.connections}", *self.loadgen_options,
        ]


def get(size, objects, connections, *server_options):
    return Scenario("get", size, objects, connections, server_options)


def put(size, objects, connections):
    return Scenario("put", size, objects, connections)


def mixed(size, objects):
    return Scenario("mixed", size, objects, 64, FROM_DISK, ("--mix=get=70,put=30",))


def cdn(*server_options):
    return Scenario("cdn", "zipf:4KiB-1MiB:1.2", 10_000, 64, server_options)


SCENARIOS = {
    "get-4KiB-64": get("4KiB", 10_000, 64, *FROM_DISK),
    "get-4KiB-hot-64": get("4KiB", 1_000, 64),
    "get-64KiB-64": get("64KiB", 2_000, 64, *FROM_DISK),
    "get-1MiB-64": get("1MiB", 500, 64),
    "get-16MiB-64": get("16MiB", 64, 64),
    "put-4KiB-1": put("4KiB", 10_000, 1),
    "put-4KiB-16": put("4KiB", 10_000, 16),
    "put-4KiB-64": put("4KiB", 10_000, 64),
    "put-64KiB-1": put("64KiB", 2_000, 1),
    "put-64KiB-16": put("64KiB", 2_000, 16),
    "put-64KiB-64": put("64KiB", 2_000, 64),
    "put-1MiB-1": put("1MiB", 1_000, 1),
    "put-1MiB-16": put("1MiB", 1_000, 16),
    "put-1MiB-64": put("1MiB", 1_000, 64),
    "put-16MiB-1": put("16MiB", 64, 1),
    "put-16MiB-16": put("16MiB", 64, 16),
    "put-16MiB-64": put("16MiB", 128, 64),
    "head-4KiB-64": Scenario("head", "4KiB", 10_000, 64),
    "list-1000-16": Scenario("list", "4KiB", 20_000, 16, (), ("--list-keys=1000",)),
    "mixed-4KiB-64": mixed("4KiB", 10_000),
    "mixed-64KiB-64": mixed("64KiB", 2_000),
    "cdn-64": cdn(*FROM_DISK),
    "cdn-hot-64": cdn(),
}
