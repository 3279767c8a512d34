"""s3fs, S3 for fsspec: a tree written and read, multipart files, find and glob, moves, appends."""

import os
import tempfile

import fsspec
import s3fs

from checks import ACCESS_KEY, ENDPOINT, MIB, SECRET_KEY
from checks import announce, equal, main, new_name, pattern


def make():
    store = s3fs.S3FileSystem(
        key=ACCESS_KEY,
        secret=SECRET_KEY,
        endpoint_url=ENDPOINT,
        # Else botocore signs links for unknown endpoints by SigV2.
        config_kwargs={"signature_version": "s3v4"},
        skip_instance_cache=True,
    )
    bucket = new_name()
    store.mkdir(bucket)
    return store, bucket


def check_a_tree_there_and_back(store, bucket):
    with tempfile.TemporaryDirectory() as directory:
        source, back = os.path.join(directory, "source"), os.path.join(directory, "back")
        content = {
            f"{place}/file {number} ü+%&.bin": pattern(size, number)
            for place in ("a", "a/b", "c d/é")
            for number, size in enumerate([0, 1, 4096, 131_073, 700_000, 9 * MIB])
        }
        for name, data in content.items():
            path = os.path.join(source, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(data)
        store.put(source, f"{bucket}/tree", recursive=True)
        equal(sorted(store.find(f"{bucket}/tree")), sorted(f"{bucket}/tree/{n}" for n in content))
        store.get(f"{bucket}/tree", back, recursive=True)
        for name, data in content.items():
            with open(os.path.join(back, name), "rb") as file:
                assert file.read() == data, name
        equal(store.du(f"{bucket}/tree"), sum(map(len, content.values())))
        store.rm(f"{bucket}/tree", recursive=True)
        assert not store.exists(f"{bucket}/tree")


def check_files_are_written_by_parts(store, bucket):
    data = pattern(27 * MIB + 13)
    with store.open(f"{bucket}/large", "wb", block_size=5 * MIB) as file:
        for begin in range(0, len(data), 1_000_003):
            file.write(data[begin : begin + 1_000_003])
    info = store.info(f"{bucket}/large")
    equal((info["size"], info["type"]), (len(data), "file"))
    assert info["ETag"].strip('"').partition("-")[2], info["ETag"]
    with store.open(f"{bucket}/large", "rb", block_size=1 * MIB) as file:
        for begin in [20 * MIB - 5, 3, len(data) - 9]:
            file.seek(begin)
            equal(file.read(9), data[begin : begin + 9])
        file.seek(0)
        assert file.read() == data
    begin = 5 * MIB - 2
    equal(store.cat_file(f"{bucket}/large", start=begin, end=begin + 4), data[begin:][:4])
    equal(store.tail(f"{bucket}/large", 100), data[-100:])
    equal(
        store.cat_ranges([f"{bucket}/large"] * 3, [0, MIB, 9 * MIB], [5, MIB + 5, 9 * MIB + 5]),
        [data[0:5], data[MIB:][:5], data[9 * MIB :][:5]],
    )


def check_an_upload_that_is_discarded_leaves_nothing(store, bucket):
    file = store.open(f"{bucket}/half", "wb", block_size=5 * MIB, autocommit=False)
    file.write(pattern(11 * MIB))
    file.flush(force=True)
    file.discard()
    assert not store.exists(f"{bucket}/half")
    equal(store.list_multipart_uploads(bucket), [])
    with store.transaction:
        with store.open(f"{bucket}/whole", "wb") as file:
            file.write(b"committed")
        assert not store.exists(f"{bucket}/whole")
    equal(store.cat(f"{bucket}/whole"), b"committed")


def check_appends(store, bucket):
    for size in [100, 6 * MIB]:
        store.pipe(f"{bucket}/log", pattern(size))
        with store.open(f"{bucket}/log", "ab") as file:
            file.write(b"and more")
        assert store.cat(f"{bucket}/log") == pattern(size) + b"and more"


def check_names(store, bucket):
    names = [f"{a}/{b}.{c}" for a in ("x", "y", "x/z") for b in ("1", "2") for c in ("csv", "json")]
    store.pipe({f"{bucket}/{name}": name.encode() for name in names})

    def chosen(condition):
        return sorted(f"{bucket}/{name}" for name in names if condition(name))

    found = store.glob(f"{bucket}/*/*.csv")
    equal(sorted(found), chosen(lambda name: name.endswith("csv") and name.count("/") == 1))
    found = store.glob(f"{bucket}/**/1.json")
    equal(sorted(found), chosen(lambda name: name.endswith("1.json")))
    found = store.ls(f"{bucket}/x", detail=False)
    expected = chosen(lambda name: name.startswith("x/") and name.count("/") == 1)
    equal(sorted(found), sorted([*expected, f"{bucket}/x/z"]))
    store.invalidate_cache()
    walked = [(path, sorted(files)) for path, _, files in store.walk(bucket)]
    equal(len(walked), 4)
    store.mv(f"{bucket}/x/1.csv", f"{bucket}/moved here/ä 1.csv")
    equal(store.cat(f"{bucket}/moved here/ä 1.csv"), b"x/1.csv")
    assert not store.exists(f"{bucket}/x/1.csv")
    store.cp(f"{bucket}/x", f"{bucket}/copy", recursive=True)
    equal(len(store.find(f"{bucket}/copy")), 7)
    store.touch(f"{bucket}/touched")
    equal(store.size(f"{bucket}/touched"), 0)
    assert store.isdir(f"{bucket}/x") and store.isfile(f"{bucket}/touched")
    # More than one page of a listing, and more than one DeleteObjects.
    store.pipe({f"{bucket}/many/{number:04}": b"" for number in range(1300)})
    store.invalidate_cache()
    equal(len(store.find(f"{bucket}/many")), 1300)
    store.rm(store.find(bucket))
    store.rmdir(bucket)
    store.invalidate_cache()
    assert not store.exists(bucket)


def check_metadata_and_links(store, bucket):
    store.pipe(f"{bucket}/k", b"data")
    store.setxattr(f"{bucket}/k", colour="green")
    equal(store.getxattr(f"{bucket}/k", "colour"), "green")
    url = store.sign(f"{bucket}/k", expiration=100)
    with fsspec.filesystem("http").open(url) as file:
        equal(file.read(), b"data")


def check_exclusive_creation(store, bucket):
    store.pipe_file(f"{bucket}/k", b"first", mode="create")
    try:
        store.pipe_file(f"{bucket}/k", b"second", mode="create")
    except OSError as error:
        equal(error.__cause__.response["Error"]["Code"], "PreconditionFailed")
    else:
        raise AssertionError("an object was replaced by a write that creates")
    equal(store.cat(f"{bucket}/k"), b"first")
    try:
        store.cat(f"{bucket}/absent")
    except FileNotFoundError:
        pass
    else:
        raise AssertionError("what is absent was read")


announce("s3fs")
main(make)
