// The AWS SDK for JavaScript, version 3, with its default checksums: streams, uploads by parts, paginators,
// waiters, links that are signed in advance.
"use strict";

const assert = require("node:assert/strict");
const s3 = require("@aws-sdk/client-s3");
const { Upload } = require("@aws-sdk/lib-storage");
const { getSignedUrl } = require("@aws-sdk/s3-request-presigner");
const {
  MIB,
  announce,
  collect,
  endpoint,
  failure,
  main,
  newName,
  pattern,
  region,
  same,
  streamOf,
} = require("./checks");

async function make() {
  const client = new s3.S3Client({
    endpoint: endpoint.href,
    region,
    forcePathStyle: true,
    maxAttempts: 1,
  });
  const Bucket = newName();
  await client.send(new s3.CreateBucketCommand({ Bucket }));
  return [client, Bucket];
}

const checks = {
  async objects_with_default_checksums(client, Bucket) {
    for (const Body of ["", "text", pattern(3 * MIB + 1)]) {
      const Key = "dir/ä b+%";
      const put = await client.send(
        new s3.PutObjectCommand({ Bucket, Key, Body, Metadata: { a: "1" } }),
      );
      assert.match(put.ChecksumCRC32, /^.{6}==$/);
      const got = await client.send(new s3.GetObjectCommand({ Bucket, Key }));
      assert.equal(got.ChecksumCRC32, put.ChecksumCRC32);
      assert.deepEqual(got.Metadata, { a: "1" });
      same(Buffer.from(await got.Body.transformToByteArray()), Buffer.from(Body));
    }
    for (const ChecksumAlgorithm of ["CRC32C", "SHA1", "SHA256"]) {
      await client.send(
        new s3.PutObjectCommand({ Bucket, Key: "k", Body: "text", ChecksumAlgorithm }),
      );
      const got = await client.send(
        new s3.GetObjectCommand({ Bucket, Key: "k", ChecksumMode: "ENABLED" }),
      );
      assert.ok(got["Checksum" + ChecksumAlgorithm]);
      assert.equal(await got.Body.transformToString(), "text");
    }
    const wrong = { Bucket, Key: "k", Body: "text", ChecksumCRC64NVME: "AAAAAAAAAAA=" };
    assert.equal((await failure(client.send(new s3.PutObjectCommand(wrong)))).name, "BadDigest");
  },

  async a_stream_of_known_length(client, Bucket) {
    const data = pattern(9 * MIB + 7);
    // The checksum follows in the trailer: nobody can read the stream twice.
    const put = { Bucket, Key: "k", Body: streamOf(data), ContentLength: data.length };
    await client.send(new s3.PutObjectCommand(put));
    const got = await client.send(new s3.GetObjectCommand({ Bucket, Key: "k" }));
    same(await collect(got.Body), data);
    const part = await client.send(
      new s3.GetObjectCommand({ Bucket, Key: "k", Range: "bytes=1000000-1000099" }),
    );
    assert.equal(part.ContentRange, `bytes 1000000-1000099/${data.length}`);
    same(await collect(part.Body), data.subarray(1000000, 1000100));
  },

  async an_upload_by_parts(client, Bucket) {
    const data = pattern(33 * MIB + 3);
    const parts = new Set();
    const upload = new Upload({
      client,
      params: {
        Bucket,
        Key: "large",
        Body: streamOf(data),
        ContentType: "a/b",
        Metadata: { a: "1" },
      },
      partSize: 5 * MIB,
      queueSize: 4,
    });
    upload.on("httpUploadProgress", (progress) => parts.add(progress.part));
    const done = await upload.done();
    assert.match(done.ETag, /-7"$/);
    assert.equal(parts.size, 7);
    const head = await client.send(
      new s3.HeadObjectCommand({ Bucket, Key: "large", ChecksumMode: "ENABLED" }),
    );
    assert.equal(head.ContentLength, data.length);
    assert.equal(head.ContentType, "a/b");
    assert.ok(head.ChecksumCRC32, "the whole has a checksum");
    const got = await client.send(new s3.GetObjectCommand({ Bucket, Key: "large" }));
    same(await collect(got.Body), data);
    const part = await client.send(
      new s3.GetObjectCommand({ Bucket, Key: "large", PartNumber: 7 }),
    );
    assert.equal(part.PartsCount, 7);
    same(await collect(part.Body), data.subarray(30 * MIB));
  },

  async an_upload_that_is_aborted_leaves_nothing(client, Bucket) {
    const params = { Bucket, Key: "large", Body: streamOf(pattern(20 * MIB)) };
    const upload = new Upload({ client, params, partSize: 5 * MIB, queueSize: 1 });
    upload.on("httpUploadProgress", () => upload.abort());
    assert.equal((await failure(upload.done())).name, "AbortError");
    // It sees to that by itself, in the background.
    const deadline = Date.now() + 60_000;
    for (;;) {
      const open = await client.send(new s3.ListMultipartUploadsCommand({ Bucket }));
      if ((open.Uploads ?? []).length === 0) break;
      assert.ok(Date.now() < deadline, "the upload is still there");
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    const head = new s3.HeadObjectCommand({ Bucket, Key: "large" });
    assert.ok((await failure(client.send(head))) instanceof s3.NotFound);
  },

  async paginators_and_deletions(client, Bucket) {
    const keys = Array.from(
      { length: 120 },
      (_, number) => `k/${String(number).padStart(3, "0")} ü+&`,
    );
    for (let begin = 0; begin < keys.length; begin += 20) {
      const batch = keys.slice(begin, begin + 20);
      await Promise.all(
        batch.map((Key) => client.send(new s3.PutObjectCommand({ Bucket, Key, Body: Key }))),
      );
    }
    const found = [];
    for await (const page of s3.paginateListObjectsV2({ client, pageSize: 17 }, { Bucket })) {
      found.push(...page.Contents.map((entry) => entry.Key));
    }
    assert.deepEqual(found, keys);
    const Objects = keys.map((Key) => ({ Key }));
    const answer = await client.send(new s3.DeleteObjectsCommand({ Bucket, Delete: { Objects } }));
    assert.equal(answer.Deleted.length, keys.length);
    await client.send(new s3.DeleteBucketCommand({ Bucket }));
    await s3.waitUntilBucketNotExists({ client, maxWaitTime: 30 }, { Bucket });
  },

  async waiters(client, Bucket) {
    await s3.waitUntilBucketExists({ client, maxWaitTime: 30 }, { Bucket });
    const wait = s3.waitUntilObjectExists(
      { client, maxWaitTime: 30, minDelay: 1, maxDelay: 1 },
      { Bucket, Key: "k" },
    );
    await client.send(new s3.PutObjectCommand({ Bucket, Key: "k", Body: "x" }));
    assert.equal((await wait).state, "SUCCESS");
    await client.send(new s3.DeleteObjectCommand({ Bucket, Key: "k" }));
    await s3.waitUntilObjectNotExists({ client, maxWaitTime: 30 }, { Bucket, Key: "k" });
  },

  async copies(client, Bucket) {
    await client.send(
      new s3.PutObjectCommand({ Bucket, Key: "a b/ü+", Body: "text", Metadata: { a: "1" } }),
    );
    const CopySource = encodeURI(`${Bucket}/a b/ü`) + "%2B";
    const copy = await client.send(new s3.CopyObjectCommand({ Bucket, Key: "copy", CopySource }));
    assert.ok(copy.CopyObjectResult.ETag && copy.CopyObjectResult.LastModified instanceof Date);
    const head = await client.send(new s3.HeadObjectCommand({ Bucket, Key: "copy" }));
    assert.deepEqual(head.Metadata, { a: "1" });
  },

  async conditions(client, Bucket) {
    const put = (Body, condition) =>
      client.send(new s3.PutObjectCommand({ Bucket, Key: "k", Body, ...condition }));
    const races = Array.from({ length: 16 }, (_, number) =>
      put(`winner ${number}`, { IfNoneMatch: "*" }),
    );
    const outcomes = await Promise.allSettled(races);
    assert.equal(outcomes.filter((outcome) => outcome.status === "fulfilled").length, 1);
    for (const outcome of outcomes.filter((outcome) => outcome.status === "rejected")) {
      assert.equal(outcome.reason.name, "PreconditionFailed");
    }
    const { ETag } = await client.send(new s3.HeadObjectCommand({ Bucket, Key: "k" }));
    await put("next", { IfMatch: ETag });
    assert.equal((await failure(put("last", { IfMatch: ETag }))).name, "PreconditionFailed");
    const unchanged = new s3.GetObjectCommand({
      Bucket,
      Key: "k",
      IfNoneMatch: '"0"',
      IfMatch: ETag,
    });
    assert.equal((await failure(client.send(unchanged))).$metadata.httpStatusCode, 412);
  },

  async links(client, Bucket) {
    const Key = "dir/a b+ä";
    const link = await getSignedUrl(client, new s3.PutObjectCommand({ Bucket, Key }), {
      expiresIn: 300,
    });
    const put = await fetch(link, { method: "PUT", body: "by link" });
    assert.equal(put.status, 200, await put.text());
    const get = new s3.GetObjectCommand({ Bucket, Key, ResponseContentType: "x/y" });
    const answer = await fetch(await getSignedUrl(client, get, { expiresIn: 300 }));
    assert.equal(answer.headers.get("content-type"), "x/y");
    assert.equal(await answer.text(), "by link");
    const spoilt = (await getSignedUrl(client, get)).replace("x%2Fy", "x%2Fz");
    assert.equal((await fetch(spoilt)).status, 403);
  },

  async errors_have_their_types(client, Bucket) {
    const absent = await failure(client.send(new s3.GetObjectCommand({ Bucket, Key: "absent" })));
    assert.ok(absent instanceof s3.NoSuchKey);
    assert.ok(absent.$metadata.requestId);
    const head = await failure(client.send(new s3.HeadObjectCommand({ Bucket, Key: "absent" })));
    assert.ok(head instanceof s3.NotFound);
    const list = await failure(client.send(new s3.ListObjectsV2Command({ Bucket: newName() })));
    assert.ok(list instanceof s3.NoSuchBucket);
  },
};

announce("@aws-sdk/client-s3");
main(make, checks);
