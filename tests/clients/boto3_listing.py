"""Listings through boto3: both versions, page by page, with every parameter that shapes a page."""

from common import equal, main, make_bucket, refused

KEYS = sorted(
    ["a", "a/b", "a/c/d", "a0", "b/1", "b/2", "b//", "c", "space key", "z/ä", "z/ö", "ä/x", "🦀"]
    + [f"many/{number:04}" for number in range(1203)],
    key=lambda key: key.encode(),
)


def fill(s3, bucket):
    for key in KEYS:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())


def walk(s3, operation, bucket, page_size, **arguments):
    """All keys and common prefixes, and the size of every page."""
    pages = s3.get_paginator(operation).paginate(
        Bucket=bucket, PaginationConfig={"PageSize": page_size}, **arguments
    )
    keys, prefixes, sizes = [], [], []
    for page in pages:
        rows, groups = page.get("Contents", []), page.get("CommonPrefixes", [])
        keys += [row["Key"] for row in rows]
        prefixes += [group["Prefix"] for group in groups]
        sizes.append(len(rows) + len(groups))
    return keys, prefixes, sizes


def expected(prefix="", delimiter=None):
    keys, prefixes = [], []
    for key in KEYS:
        if not key.startswith(prefix):
            continue
        rest = key[len(prefix) :]
        if delimiter and delimiter in rest:
            group = prefix + rest[: rest.index(delimiter) + len(delimiter)]
            if group not in prefixes:
                prefixes.append(group)
        else:
            keys.append(key)
    return keys, prefixes


def check_every_shape_of_listing(s3, bucket):
    fill(s3, bucket)
    for operation in ["list_objects", "list_objects_v2"]:
        for prefix in ["", "a", "a/", "b/", "many/", "many/01", "z", "none", "ä"]:
            for delimiter in [None, "/", "//", "0", "y/0"]:
                arguments = {"Prefix": prefix}
                if delimiter:
                    arguments["Delimiter"] = delimiter
                # Small pages only where that is few pages.
                small = len(expected(prefix, delimiter)[0]) < 100
                for page_size in [1, 3, 1000] if small else [400, 1000]:
                    keys, prefixes, sizes = walk(s3, operation, bucket, page_size, **arguments)
                    found = (keys, prefixes)
                    case = (operation, prefix, delimiter, page_size)
                    if found != expected(prefix, delimiter):
                        equal((case, found), (case, expected(prefix, delimiter)))
                    assert all(size == page_size for size in sizes[:-1]), (case, sizes)
                    assert sizes[-1] <= page_size, (case, sizes)
    rows = s3.list_objects_v2(Bucket=bucket, Prefix="b/")["Contents"]
    for row in rows:
        equal(row["Size"], len(row["Key"].encode()))
        equal(row["ETag"], s3.head_object(Bucket=bucket, Key=row["Key"])["ETag"])
    check_starting_points(s3, bucket)


def check_starting_points(s3, bucket):
    if not s3.list_objects_v2(Bucket=bucket)["KeyCount"]:
        return  # run by the check above, which has filled the bucket
    after = lambda key: [known for known in KEYS if known.encode() > key.encode()][:5]
    for key in ["", "a", "a/", "a/b", "b/zzz", "many/0500", "🦀", "🦀🦀"]:
        page = s3.list_objects_v2(Bucket=bucket, StartAfter=key, MaxKeys=5)
        equal([row["Key"] for row in page.get("Contents", [])], after(key))
        page = s3.list_objects(Bucket=bucket, Marker=key, MaxKeys=5)
        equal([row["Key"] for row in page.get("Contents", [])], after(key))
    # A marker inside a common prefix: what is left of the prefix is still one row.
    page = s3.list_objects_v2(Bucket=bucket, StartAfter="b/1", Delimiter="/", MaxKeys=2)
    equal([group["Prefix"] for group in page["CommonPrefixes"]], ["b/"])
    page = s3.list_objects(Bucket=bucket, Marker="b/", Delimiter="/", MaxKeys=2)
    equal([row["Key"] for row in page["Contents"]], ["c"])


def check_pages_of_nothing(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"")
    page = s3.list_objects_v2(Bucket=bucket, MaxKeys=0)
    equal((page["KeyCount"], page["IsTruncated"], page.get("Contents")), (0, False, None))
    page = s3.list_objects_v2(Bucket=bucket, Prefix="other")
    equal((page["KeyCount"], page["IsTruncated"]), (0, False))
    page = s3.list_objects_v2(Bucket=bucket, MaxKeys=5000)
    equal((page["KeyCount"], page["MaxKeys"]), (1, 1000))


def check_what_a_row_says(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    row = s3.list_objects_v2(Bucket=bucket, FetchOwner=True)["Contents"][0]
    equal((row["Size"], row["StorageClass"]), (1, "STANDARD"))
    assert row["Owner"]["ID"] and row["LastModified"]
    assert "Owner" not in s3.list_objects_v2(Bucket=bucket)["Contents"][0]


def check_wrong_arguments(s3, bucket):
    for wrong in [{"MaxKeys": -1}, {"EncodingType": "base64"}, {"ContinuationToken": "nonsense"}]:
        with refused("InvalidArgument", 400):
            s3.list_objects_v2(Bucket=bucket, **wrong)


def check_many_buckets(s3, bucket):
    names = sorted([bucket] + [make_bucket(s3) for _ in range(5)])
    listed = [row["Name"] for row in s3.list_buckets()["Buckets"]]
    equal(listed, sorted(listed))
    assert set(names) <= set(listed)
    pages = s3.get_paginator("list_buckets").paginate(PaginationConfig={"PageSize": 2})
    equal([row["Name"] for page in pages for row in page["Buckets"]], listed)
    page = s3.list_buckets(Prefix=bucket)
    equal([row["Name"] for row in page["Buckets"]], [bucket])


main()
