// minio for JavaScript: streams and files by parts, listings, copies, compositions, links.
"use strict";

const assert = require("node:assert/strict");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const minio = require("minio");
const {
  MIB,
  announce,
  collect,
  endpoint,
  entries,
  failure,
  main,
  newName,
  pattern,
  region,
  same,
  streamOf,
} = require("./checks");

async function make() {
  const client = new minio.Client({
    endPoint: endpoint.hostname,
    port: Number(endpoint.port),
    useSSL: false,
    accessKey: process.env.AWS_ACCESS_KEY_ID,
    secretKey: process.env.AWS_SECRET_ACCESS_KEY,
    region,
    partSize: 5 * MIB,
  });
  const bucket = newName();
  await client.makeBucket(bucket, region);
  return [client, bucket];
}

const names = async (stream) => (await entries(stream)).map((entry) => entry.name ?? entry.prefix);

const checks = {
  async buckets(client, bucket) {
    assert.equal(await client.bucketExists(bucket), true);
    assert.equal(await client.bucketExists(newName()), false);
    assert.ok((await client.listBuckets()).some((found) => found.name === bucket));
    await client.removeBucket(bucket);
    assert.equal(await client.bucketExists(bucket), false);
  },

  async a_stream_of_unknown_length(client, bucket) {
    const data = pattern(23 * MIB + 9);
    const put = await client.putObject(bucket, "dir/ä b+%", streamOf(data), undefined, {
      "Content-Type": "a/b",
      "x-amz-meta-a": "1",
    });
    assert.match(put.etag, /-5$/);
    const stat = await client.statObject(bucket, "dir/ä b+%");
    assert.equal(stat.size, data.length);
    assert.equal(stat.metaData.a, "1");
    assert.equal(stat.metaData["content-type"], "a/b");
    same(await collect(await client.getObject(bucket, "dir/ä b+%")), data);
    same(
      await collect(await client.getPartialObject(bucket, "dir/ä b+%", 5 * MIB - 3, 10)),
      data.subarray(5 * MIB - 3, 5 * MIB + 7),
    );
  },

  async files(client, bucket) {
    const directory = fs.mkdtempSync(path.join(os.tmpdir(), "minio-"));
    try {
      const [source, back] = ["source", "back"].map((name) => path.join(directory, name));
      fs.writeFileSync(source, pattern(12 * MIB));
      await client.fPutObject(bucket, "file", source, {});
      await client.fGetObject(bucket, "file", back);
      same(fs.readFileSync(back), fs.readFileSync(source));
    } finally {
      fs.rmSync(directory, { recursive: true });
    }
  },

  async listings(client, bucket) {
    const keys = [];
    for (const a of "abc") for (let b = 0; b < 15; b++) keys.push(`${a}/${b} ü+&.txt`);
    keys.sort();
    await Promise.all(keys.map((key) => client.putObject(bucket, key, key)));
    assert.deepEqual(await names(client.listObjectsV2(bucket, "", true)), keys);
    assert.deepEqual(await names(client.listObjectsV2(bucket, "", false)), ["a/", "b/", "c/"]);
    assert.deepEqual(
      await names(client.listObjects(bucket, "b/", true)),
      keys.filter((key) => key.startsWith("b/")),
    );
    await client.removeObjects(bucket, keys);
    assert.deepEqual(await names(client.listObjectsV2(bucket, "", true)), []);
  },

  async copies_and_compositions(client, bucket) {
    const [first, second] = [pattern(6 * MIB, 1), pattern(100, 2)];
    await client.putObject(bucket, "first", first);
    await client.putObject(bucket, "second", second);
    const conditions = new minio.CopyConditions();
    conditions.setMatchETag((await client.statObject(bucket, "first")).etag);
    await client.copyObject(bucket, "copy", `/${bucket}/first`, conditions);
    same(await collect(await client.getObject(bucket, "copy")), first);
    const target = new minio.CopyDestinationOptions({ Bucket: bucket, Object: "composed" });
    const sources = ["first", "second"].map(
      (Object) => new minio.CopySourceOptions({ Bucket: bucket, Object }),
    );
    await client.composeObject(target, sources);
    same(await collect(await client.getObject(bucket, "composed")), Buffer.concat([first, second]));
  },

  async links(client, bucket) {
    const put = await fetch(await client.presignedPutObject(bucket, "a b+ä", 300), {
      method: "PUT",
      body: "by link",
    });
    assert.equal(put.status, 200, await put.text());
    const link = await client.presignedGetObject(bucket, "a b+ä", 300, {
      "response-content-type": "x/y",
    });
    const answer = await fetch(link);
    assert.equal(answer.headers.get("content-type"), "x/y");
    assert.equal(await answer.text(), "by link");
  },

  async an_upload_that_was_left_is_removed(client, bucket) {
    await client.initiateNewMultipartUpload(bucket, "left", {});
    const open = await entries(client.listIncompleteUploads(bucket, "", true));
    assert.deepEqual(
      open.map((upload) => upload.key),
      ["left"],
    );
    await client.removeIncompleteUpload(bucket, "left");
    assert.deepEqual(await entries(client.listIncompleteUploads(bucket, "", true)), []);
  },

  async errors_are_understood(client, bucket) {
    assert.equal((await failure(client.getObject(bucket, "absent"))).code, "NoSuchKey");
    assert.equal((await failure(client.statObject(bucket, "absent"))).code, "NotFound");
    assert.equal(
      (await failure(names(client.listObjectsV2(newName(), "", true)))).code,
      "NoSuchBucket",
    );
  },
};

announce("minio");
main(make, checks);
