// minio for JavaScript: versions, tags, locks, life cycles, encryption, policies, forms.
"use strict";

const assert = require("node:assert/strict");
const minio = require("minio");
const {
  announce,
  collect,
  endpoint,
  entries,
  failure,
  main,
  newName,
  region,
} = require("./checks");

async function make() {
  const client = new minio.Client({
    endPoint: endpoint.hostname,
    port: Number(endpoint.port),
    useSSL: false,
    accessKey: process.env.AWS_ACCESS_KEY_ID,
    secretKey: process.env.AWS_SECRET_ACCESS_KEY,
    region,
  });
  const bucket = newName();
  await client.makeBucket(bucket, region);
  return [client, bucket];
}

const checks = {
  async versions(client, bucket) {
    await client.setBucketVersioning(bucket, { Status: "Enabled" });
    assert.equal((await client.getBucketVersioning(bucket)).Status, "Enabled");
    const ids = [];
    for (const text of ["one", "two"])
      ids.push((await client.putObject(bucket, "k", text)).versionId);
    const old = await client.getObject(bucket, "k", { versionId: ids[0] });
    assert.equal(String(await collect(old)), "one");
    await client.removeObject(bucket, "k");
    const found = await entries(client.listObjects(bucket, "", true, { IncludeVersion: true }));
    assert.equal(found.length, 3);
    for (const { name, versionId } of found) await client.removeObject(bucket, name, { versionId });
    await client.removeBucket(bucket);
  },

  async tags(client, bucket) {
    await client.putObject(bucket, "k", "x");
    await client.setObjectTagging(bucket, "k", { a: "1", "b c": "ä" });
    const found = await client.getObjectTagging(bucket, "k");
    assert.deepEqual(found.map((tag) => [tag.Key, String(tag.Value)]).sort(), [
      ["a", "1"],
      ["b c", "ä"],
    ]);
    await client.removeObjectTagging(bucket, "k");
    // setBucketTagging takes no 204 for an answer, which AWS and Ringfort give.
    assert.equal((await failure(client.getBucketTagging(bucket))).code, "NoSuchTagSet");
  },

  async locks(client) {
    const bucket = newName();
    await client.makeBucket(bucket, region, { ObjectLocking: true });
    await client.setObjectLockConfig(bucket, { mode: "GOVERNANCE", unit: "Days", validity: 1 });
    const found = await client.getObjectLockConfig(bucket);
    assert.deepEqual([found.mode, found.unit, found.validity], ["GOVERNANCE", "Days", 1]);
    const { versionId } = await client.putObject(bucket, "k", "x");
    assert.equal((await client.getObjectRetention(bucket, "k", { versionId })).mode, "GOVERNANCE");
    assert.equal(
      (await failure(client.removeObject(bucket, "k", { versionId }))).code,
      "AccessDenied",
    );
    await client.setObjectLegalHold(bucket, "k", { versionId, status: "ON" });
    assert.deepEqual(await client.getObjectLegalHold(bucket, "k", { versionId }), { Status: "ON" });
    await client.setObjectLegalHold(bucket, "k", { versionId, status: "OFF" });
    await client.removeObject(bucket, "k", { versionId, governanceBypass: true });
  },

  async lifecycle(client, bucket) {
    const rule = {
      ID: "a",
      Status: "Enabled",
      Filter: { Prefix: "logs/" },
      Expiration: { Days: 3 },
    };
    await client.setBucketLifecycle(bucket, { Rule: [rule] });
    const found = await client.getBucketLifecycle(bucket);
    assert.equal([found.Rule].flat()[0].ID, "a");
    await client.removeBucketLifecycle(bucket);
    assert.equal(
      (await failure(client.getBucketLifecycle(bucket))).code,
      "NoSuchLifecycleConfiguration",
    );
  },

  async encryption(client, bucket) {
    await client.setBucketEncryption(bucket, {
      Rule: [{ ApplyServerSideEncryptionByDefault: { SSEAlgorithm: "AES256" } }],
    });
    const found = await client.getBucketEncryption(bucket);
    const { Rule } = found.ServerSideEncryptionConfiguration;
    assert.equal(Rule.ApplyServerSideEncryptionByDefault.SSEAlgorithm, "AES256");
    await client.putObject(bucket, "k", "text");
    assert.equal(String(await collect(await client.getObject(bucket, "k"))), "text");
    await client.removeBucketEncryption(bucket);
  },

  async policies(client, bucket) {
    const policy = {
      Version: "2012-10-17",
      Statement: [
        {
          Effect: "Allow",
          Principal: "*",
          Action: "s3:GetObject",
          Resource: `arn:aws:s3:::${bucket}/*`,
        },
      ],
    };
    await client.putObject(bucket, "k", "for all");
    const plain = new URL(`/${bucket}/k`, endpoint);
    assert.equal((await fetch(plain)).status, 403);
    await client.setBucketPolicy(bucket, JSON.stringify(policy));
    assert.deepEqual(JSON.parse(await client.getBucketPolicy(bucket)), policy);
    assert.equal(await (await fetch(plain)).text(), "for all");
  },

  async forms(client, bucket) {
    const policy = client.newPostPolicy();
    policy.setBucket(bucket);
    policy.setKeyStartsWith("upload/");
    policy.setExpires(new Date(Date.now() + 3_600_000));
    policy.setContentLengthRange(1, 1000);
    const { postURL, formData } = await client.presignedPostPolicy(policy);
    const post = (key, text) => {
      const form = new FormData();
      for (const [name, value] of Object.entries({ ...formData, key })) form.append(name, value);
      form.append("file", new Blob([text]), "name.txt");
      return fetch(postURL, { method: "POST", body: form });
    };
    assert.equal((await post("upload/a b", "by form")).status, 204);
    assert.equal(String(await collect(await client.getObject(bucket, "upload/a b"))), "by form");
    assert.equal((await post("elsewhere", "by form")).status, 403);
  },
};

announce("minio");
main(make, checks);
