"""pyarrow's own S3 filesystem: a partitioned Parquet dataset, streams, random access, moves."""

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyarrow import fs

from checks import ACCESS_KEY, HOST, MIB, REGION, SECRET_KEY
from checks import announce, equal, main, new_name, pattern

PARTITIONS = ds.partitioning(
    pa.schema([("day", pa.int32()), ("zone", pa.string())]), flavor="hive"
)


def make():
    store = fs.S3FileSystem(
        access_key=ACCESS_KEY,
        secret_key=SECRET_KEY,
        region=REGION,
        scheme="http",
        endpoint_override=HOST,
        allow_bucket_creation=True,
        allow_bucket_deletion=True,
    )
    bucket = new_name()
    store.create_dir(bucket)
    return store, bucket


def check_a_partitioned_dataset(store, bucket):
    count = 200_000
    table = pa.table(
        {
            "id": pa.array(range(count), pa.int64()),
            "day": pa.array([number % 7 for number in range(count)], pa.int32()),
            "zone": pa.array([f"zone {number % 3} ä" for number in range(count)]),
            "value": pa.array([number * 0.5 for number in range(count)]),
        }
    )
    place = f"{bucket}/warehouse/events"
    ds.write_dataset(
        table, place, filesystem=store, format="parquet",
        partitioning=PARTITIONS,
        max_rows_per_file=5000, max_rows_per_group=1000,
    )  # fmt: skip
    dataset = ds.dataset(place, filesystem=store, format="parquet", partitioning="hive")
    assert len(dataset.files) >= 42, len(dataset.files)
    equal(dataset.count_rows(), count)
    back = dataset.to_table(columns=table.column_names).sort_by("id")
    equal(back["id"].to_pylist() == table["id"].to_pylist(), True)
    equal(back["value"].to_pylist() == table["value"].to_pylist(), True)
    chosen = dataset.to_table(filter=(ds.field("day") == 3) & (ds.field("value") < 500))
    equal(chosen.num_rows, len([n for n in range(1000) if n % 7 == 3]))
    # A second write replaces the partitions that it touches, whose files it deletes first.
    ds.write_dataset(
        table.slice(0, 700), place, filesystem=store, format="parquet",
        partitioning=PARTITIONS,
        existing_data_behavior="delete_matching",
    )  # fmt: skip
    dataset = ds.dataset(place, filesystem=store, format="parquet", partitioning="hive")
    equal(dataset.count_rows(), 700)
    equal(pc.sum(dataset.to_table()["id"]).as_py(), sum(range(700)))


def check_parquet_by_ranges(store, bucket):
    numbers = range(1_000_000)
    table = pa.table({"number": numbers, "text": ["x" * (n % 9) for n in numbers]})
    pq.write_table(table, f"{bucket}/one.parquet", filesystem=store, row_group_size=50_000)
    with store.open_input_file(f"{bucket}/one.parquet") as file:
        parquet = pq.ParquetFile(file)
        equal(parquet.num_row_groups, 20)
        group = parquet.read_row_group(13, columns=["number"])
        equal(group["number"][0].as_py(), 650_000)
    assert pq.read_table(f"{bucket}/one.parquet", filesystem=store).equals(table)


def check_streams_become_multipart_uploads(store, bucket):
    data = pattern(30 * MIB + 11)
    metadata = {"Content-Type": "a/b"}
    with store.open_output_stream(f"{bucket}/dir/stream", metadata=metadata) as out:
        for begin in range(0, len(data), 700_001):
            out.write(data[begin : begin + 700_001])
    info = store.get_file_info(f"{bucket}/dir/stream")
    equal((info.type, info.size), (fs.FileType.File, len(data)))
    with store.open_input_stream(f"{bucket}/dir/stream") as stream:
        equal(stream.metadata()["Content-Type"], b"a/b")
        assert stream.read() == data
    with store.open_input_file(f"{bucket}/dir/stream") as file:
        for begin in [0, 5 * MIB - 3, 10 * MIB, len(data) - 5]:
            file.seek(begin)
            equal(file.read(16), data[begin : begin + 16])


def check_the_tree(store, bucket):
    paths = [f"{bucket}/tree/{a}/{b} ü+%.txt" for a in ("one", "two", "three") for b in range(5)]
    for path in paths:
        with store.open_output_stream(path) as out:
            out.write(path.encode())
    selector = fs.FileSelector(f"{bucket}/tree", recursive=True)
    found = store.get_file_info(selector)
    equal(sorted(info.path for info in found if info.is_file), sorted(paths))
    equal(len([info for info in found if not info.is_file]), 3)
    found = store.get_file_info(fs.FileSelector(f"{bucket}/tree"))
    equal({info.type for info in found}, {fs.FileType.Directory})
    store.create_dir(f"{bucket}/tree/empty")
    equal(store.get_file_info(f"{bucket}/tree/empty").type, fs.FileType.Directory)
    store.copy_file(paths[0], f"{bucket}/copy")
    store.move(paths[1], f"{bucket}/moved")
    equal(store.get_file_info(paths[1]).type, fs.FileType.NotFound)
    for path, expected in [("copy", paths[0]), ("moved", paths[1])]:
        with store.open_input_stream(f"{bucket}/{path}") as stream:
            equal(stream.read(), expected.encode())
    store.delete_dir(f"{bucket}/tree/one")
    equal(store.get_file_info(f"{bucket}/tree/one").type, fs.FileType.NotFound)
    store.delete_dir_contents(bucket)
    equal(store.get_file_info(fs.FileSelector(bucket, recursive=True)), [])
    store.delete_dir(bucket)
    equal(store.get_file_info(bucket).type, fs.FileType.NotFound)


def check_absence_is_understood(store, bucket):
    equal(store.get_file_info(f"{bucket}/absent").type, fs.FileType.NotFound)
    for path in [f"{bucket}/absent", f"{new_name()}/absent"]:
        try:
            store.open_input_file(path)
        except FileNotFoundError:
            pass
        else:
            raise AssertionError(f"{path} was opened")


announce("pyarrow")
main(make)
