"""Delta tables, whose commits are conditional PUTs: writers that contend, of which none may lose a row.

Every writer is a process of its own, as in life: nothing but the store decides who wins a version.
"""

import os
import subprocess
import sys

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError
import minio

from checks import ACCESS_KEY, HOST, REGION, SECRET_KEY, announce, equal, main, new_name
from checks import ENDPOINT

WRITERS = 4
COMMITS = 8
OPTIONS = {
    "AWS_ENDPOINT_URL": ENDPOINT,
    "AWS_ACCESS_KEY_ID": ACCESS_KEY,
    "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
    "AWS_REGION": REGION,
    "AWS_ALLOW_HTTP": "true",
    "conditional_put": "etag",
}
PATIENT = CommitProperties(max_commit_retries=200)


def make():
    client = minio.Minio(
        HOST, access_key=ACCESS_KEY, secret_key=SECRET_KEY, region=REGION, secure=False
    )
    bucket = new_name()
    client.make_bucket(bucket)
    return (f"s3://{bucket}/tables/events",)


def rows(writer, commit):
    numbers = range(10)
    return pa.table(
        {
            "writer": pa.array([writer for _ in numbers], pa.int64()),
            "commit": pa.array([commit for _ in numbers], pa.int64()),
            "number": pa.array(numbers, pa.int64()),
        }
    )


def append(place, writer, commit):
    write_deltalake(
        place,
        rows(writer, commit),
        mode="append",
        storage_options=OPTIONS,
        commit_properties=PATIENT,
    )


def delete(place, writer, commit):
    """Another writer's deletion may rewrite the same file: then it is begun again, as Delta has it."""
    for _ in range(200):
        try:
            table_of(place).delete(
                f"writer = {writer} AND commit = {commit}", commit_properties=PATIENT
            )
            return
        except CommitFailedError:
            pass
    raise AssertionError("a deletion lost every race")


def contend(place, job):
    """One process for each writer, all at the same table."""
    command = [sys.executable, __file__, "--writer", place, job]
    running = [subprocess.Popen([*command, str(writer)]) for writer in range(WRITERS)]
    equal([writer.wait() for writer in running], [0] * WRITERS)


def be_a_writer(place, job, writer):
    for commit in range(COMMITS):
        if job == "append":
            append(place, writer, commit)
        else:
            delete(place, writer, commit)


def table_of(place, **arguments):
    return DeltaTable(place, storage_options=OPTIONS, **arguments)


def content(place, **arguments):
    table = pa.table(table_of(place, **arguments).to_pyarrow_table())
    return sorted(zip(*(table[name].to_pylist() for name in ("writer", "commit", "number"))))


def check_contending_writers_lose_no_commit(place):
    append(place, 99, 0)
    contend(place, "append")
    table = table_of(place)
    # Each version has one winner, and there are as many versions as commits were made.
    equal(table.version(), WRITERS * COMMITS)
    expected = [(w, c, n) for w in range(WRITERS) for c in range(COMMITS) for n in range(10)]
    equal(content(place), expected + [(99, 0, n) for n in range(10)])
    equal(len(table.history()), WRITERS * COMMITS + 1)
    # Each earlier version is there as it was.
    for version in [0, 5, 17]:
        equal(len(content(place, version=version)), 10 * (version + 1))


def check_contending_deletions_delete_their_rows_alone(place):
    # All of them in few files, which every deletion has to rewrite.
    for writer in [*range(WRITERS), 99]:
        append(place, writer, 0)
    for commit in range(1, COMMITS):
        append(place, 99, commit)
        append(place, 0, commit)
    table_of(place).optimize.compact()
    contend(place, "delete")
    equal(content(place), [(99, c, n) for c in range(COMMITS) for n in range(10)])


def check_a_table_is_kept_in_order(place):
    for commit in range(12):
        append(place, 1, commit)
    table = table_of(place)
    before = content(place)
    table.optimize.compact()
    table.create_checkpoint()
    equal(content(place), before)
    equal(len(table_of(place).file_uris()), 1)
    removed = table_of(place).vacuum(
        retention_hours=0, enforce_retention_duration=False, dry_run=False
    )
    assert len(removed) >= 12, removed
    equal(content(place), before)
    table = table_of(place)
    source = pa.table({"writer": [1, 2], "commit": [3, 3], "number": [4, 4]})
    merge = table.merge(
        source,
        predicate="t.writer = s.writer AND t.commit = s.commit AND t.number = s.number",
        source_alias="s",
        target_alias="t",
    )
    merge.when_matched_delete().when_not_matched_insert_all().execute()
    equal(content(place), sorted(set(before) - {(1, 3, 4)} | {(2, 3, 4)}))


if sys.argv[1:2] == ["--writer"]:
    be_a_writer(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    os._exit(0)
else:
    announce("deltalake")
    main(make)
