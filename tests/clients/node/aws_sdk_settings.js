// The AWS SDK for JavaScript: versions, tags, locks, encryption, attributes, forms.
"use strict";

const assert = require("node:assert/strict");
const s3 = require("@aws-sdk/client-s3");
const { createPresignedPost } = require("@aws-sdk/s3-presigned-post");
const { announce, endpoint, failure, main, newName, region } = require("./checks");

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
  async versions(client, Bucket) {
    const VersioningConfiguration = { Status: "Enabled" };
    await client.send(new s3.PutBucketVersioningCommand({ Bucket, VersioningConfiguration }));
    const put = (Body) => client.send(new s3.PutObjectCommand({ Bucket, Key: "k", Body }));
    const [first, second] = [await put("first"), await put("second")];
    const marker = await client.send(new s3.DeleteObjectCommand({ Bucket, Key: "k" }));
    assert.equal(marker.DeleteMarker, true);
    const get = (VersionId) =>
      client.send(new s3.GetObjectCommand({ Bucket, Key: "k", VersionId }));
    assert.ok((await failure(get())) instanceof s3.NoSuchKey);
    assert.equal((await failure(get(marker.VersionId))).$metadata.httpStatusCode, 405);
    assert.equal(await (await get(first.VersionId)).Body.transformToString(), "first");
    const CopySource = `${Bucket}/k?versionId=${first.VersionId}`;
    const copy = await client.send(new s3.CopyObjectCommand({ Bucket, Key: "k", CopySource }));
    assert.equal(copy.CopySourceVersionId, first.VersionId);
    assert.equal(await (await get()).Body.transformToString(), "first");
    const found = await client.send(new s3.ListObjectVersionsCommand({ Bucket }));
    assert.deepEqual(
      found.Versions.map((entry) => entry.VersionId),
      [copy, second, first].map((put) => put.VersionId),
    );
    assert.deepEqual(
      found.DeleteMarkers.map((entry) => entry.VersionId),
      [marker.VersionId],
    );
    const Objects = [...found.Versions, ...found.DeleteMarkers].map(({ Key, VersionId }) => ({
      Key,
      VersionId,
    }));
    await client.send(new s3.DeleteObjectsCommand({ Bucket, Delete: { Objects } }));
    await client.send(new s3.DeleteBucketCommand({ Bucket }));
  },

  async tags(client, Bucket) {
    await client.send(new s3.PutObjectCommand({ Bucket, Key: "k", Tagging: "a=1&b+c=%C3%A4" }));
    const tags = async () =>
      (await client.send(new s3.GetObjectTaggingCommand({ Bucket, Key: "k" }))).TagSet;
    assert.deepEqual(await tags(), [
      { Key: "a", Value: "1" },
      { Key: "b c", Value: "ä" },
    ]);
    const TagSet = [{ Key: "only", Value: "this" }];
    await client.send(new s3.PutObjectTaggingCommand({ Bucket, Key: "k", Tagging: { TagSet } }));
    assert.deepEqual(await tags(), TagSet);
    const CopySource = `${Bucket}/k`;
    await client.send(new s3.CopyObjectCommand({ Bucket, Key: "copy", CopySource }));
    const copied = await client.send(new s3.GetObjectTaggingCommand({ Bucket, Key: "copy" }));
    assert.deepEqual(copied.TagSet, TagSet);
    await client.send(new s3.DeleteObjectTaggingCommand({ Bucket, Key: "k" }));
    assert.deepEqual(await tags(), []);
    await client.send(new s3.PutBucketTaggingCommand({ Bucket, Tagging: { TagSet } }));
    assert.deepEqual(
      (await client.send(new s3.GetBucketTaggingCommand({ Bucket }))).TagSet,
      TagSet,
    );
  },

  async locks(client) {
    const Bucket = newName();
    await client.send(new s3.CreateBucketCommand({ Bucket, ObjectLockEnabledForBucket: true }));
    const RetainUntilDate = new Date(Math.ceil(Date.now() / 1000) * 1000 + 86_400_000);
    const put = {
      Bucket,
      Key: "k",
      Body: "x",
      ObjectLockMode: "GOVERNANCE",
      ObjectLockRetainUntilDate: RetainUntilDate,
    };
    const { VersionId } = await client.send(new s3.PutObjectCommand(put));
    const found = await client.send(
      new s3.GetObjectRetentionCommand({ Bucket, Key: "k", VersionId }),
    );
    assert.deepEqual(found.Retention, { Mode: "GOVERNANCE", RetainUntilDate });
    const remove = (BypassGovernanceRetention) =>
      client.send(
        new s3.DeleteObjectCommand({ Bucket, Key: "k", VersionId, BypassGovernanceRetention }),
      );
    assert.equal((await failure(remove())).name, "AccessDenied");
    const hold = (Status) =>
      client.send(
        new s3.PutObjectLegalHoldCommand({ Bucket, Key: "k", VersionId, LegalHold: { Status } }),
      );
    await hold("ON");
    assert.equal((await failure(remove(true))).name, "AccessDenied");
    await hold("OFF");
    await remove(true);
  },

  async encryption(client, Bucket) {
    const put = await client.send(
      new s3.PutObjectCommand({ Bucket, Key: "k", Body: "text", ServerSideEncryption: "AES256" }),
    );
    assert.equal(put.ServerSideEncryption, "AES256");
    const got = await client.send(new s3.GetObjectCommand({ Bucket, Key: "k" }));
    assert.equal(got.ServerSideEncryption, "AES256");
    assert.equal(await got.Body.transformToString(), "text");
  },

  async attributes(client, Bucket) {
    const { UploadId } = await client.send(
      new s3.CreateMultipartUploadCommand({ Bucket, Key: "k", ChecksumAlgorithm: "SHA256" }),
    );
    const parts = [];
    for (const [index, Body] of [Buffer.alloc(5 << 20), Buffer.from("last")].entries()) {
      const part = {
        Bucket,
        Key: "k",
        UploadId,
        PartNumber: index + 1,
        Body,
        ChecksumAlgorithm: "SHA256",
      };
      const { ETag, ChecksumSHA256 } = await client.send(new s3.UploadPartCommand(part));
      parts.push({ ETag, ChecksumSHA256, PartNumber: index + 1 });
    }
    const MultipartUpload = { Parts: parts };
    await client.send(
      new s3.CompleteMultipartUploadCommand({ Bucket, Key: "k", UploadId, MultipartUpload }),
    );
    const ObjectAttributes = ["ETag", "Checksum", "ObjectParts", "ObjectSize", "StorageClass"];
    const found = await client.send(
      new s3.GetObjectAttributesCommand({ Bucket, Key: "k", ObjectAttributes }),
    );
    assert.equal(found.ObjectSize, (5 << 20) + 4);
    assert.equal(found.ObjectParts.TotalPartsCount, 2);
    assert.deepEqual(
      found.ObjectParts.Parts.map((part) => part.ChecksumSHA256),
      parts.map((part) => part.ChecksumSHA256),
    );
    assert.match(found.Checksum.ChecksumSHA256, /-2$/);
  },

  async forms(client, Bucket) {
    const { url, fields } = await createPresignedPost(client, {
      Bucket,
      Key: "upload/${filename}",
      Conditions: [["content-length-range", 1, 1000], { success_action_status: "201" }],
      Fields: { success_action_status: "201" },
      Expires: 300,
    });
    const post = (text) => {
      const form = new FormData();
      for (const [name, value] of Object.entries(fields)) form.append(name, value);
      form.append("file", new Blob([text]), "name.txt");
      return fetch(url, { method: "POST", body: form });
    };
    const answer = await post("by form");
    assert.equal(answer.status, 201, await answer.text());
    const got = await client.send(new s3.GetObjectCommand({ Bucket, Key: "upload/name.txt" }));
    assert.equal(await got.Body.transformToString(), "by form");
    assert.equal((await post("x".repeat(1001))).status, 400);
  },
};

announce("@aws-sdk/client-s3");
main(make, checks);
