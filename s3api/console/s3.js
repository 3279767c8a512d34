// S3 by way of the console: the same requests as on the S3 port, without a signature.

import { Refusal, current, expired } from "./api.js";
import * as xml from "./xml.js";

export const CSRF_HEADER = "X-Ringfort-CSRF";

// Bucket and key are one segment, because browsers fold "." and ".." between slashes.
function address(prefix, bucket, key, query = {}) {
  const place = key === null || key === undefined ? bucket : `${bucket}/${key}`;
  const pairs = Object.entries(query).filter(([, value]) => value !== null && value !== undefined);
  const text = pairs.map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join("&");
  return `${prefix}${encodeURIComponent(place)}${text ? `?${text}` : ""}`;
}

export const objectUrl = (bucket, key, query) => address("/console/s3/", bucket, key, query);
export const viewUrl = (bucket, key, query) => address("/console/view/", bucket, key, query);

export function refusal(status, text) {
  const document = text ? xml.parse(text) : null;
  const code = document?.text("Code") ?? "";
  let message = document?.text("Message") ?? "";
  if (!message) {
    try {
      message = JSON.parse(text).detail ?? "";
    } catch {
      message = "";
    }
  }
  return new Refusal(status, message || `The server answered ${status}.`, code);
}

export async function send(method, bucket, key, query, { headers = {}, body, signal } = {}) {
  const session = current();
  const isChange = method !== "GET" && method !== "HEAD";
  const all = { ...(isChange ? { [CSRF_HEADER]: session?.csrf ?? "" } : {}), ...headers };
  let response;
  try {
    const options = { method, headers: all, body, signal, credentials: "same-origin" };
    response = await fetch(objectUrl(bucket, key, query), options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(0, "The server cannot be reached.");
  }
  if (!response.ok) {
    if (response.status === 401 && current() === session) expired();
    throw refusal(response.status, method === "HEAD" ? "" : await response.text());
  }
  return response;
}

// A document of S3's, parsed.
export async function read(bucket, key, query, options) {
  const text = await (await send("GET", bucket, key, query, options)).text();
  const document = xml.parse(text);
  if (!document) throw new Refusal(500, "The server's answer is not XML.");
  return document;
}

// The same; null where nothing is set.
export async function readOrNone(bucket, key, query, codes) {
  try {
    return await read(bucket, key, query);
  } catch (error) {
    if (error.status === 404 && (codes.length === 0 || codes.includes(error.code))) return null;
    throw error;
  }
}

export async function put(bucket, key, query, document, headers = {}) {
  return send("PUT", bucket, key, query, { body: document, headers });
}

export async function listBuckets() {
  const document = await read("", null, {});
  return document.one("Buckets").all("Bucket").map((bucket) => ({
    name: bucket.text("Name"),
    created: bucket.text("CreationDate"),
    region: bucket.text("BucketRegion"),
  }));
}

// A key of a listing with encoding-type=url.
export const decode = (text) => decodeURIComponent(text.replace(/\+/g, " "));

export async function listObjects(bucket, { prefix = "", delimiter = "/", token, max = 200, signal } = {}) {
  const query = {
    "list-type": 2, "encoding-type": "url", "max-keys": max, prefix,
    delimiter: delimiter || null, "continuation-token": token,
  };
  const document = await read(bucket, null, query, { signal });
  return {
    folders: document.all("CommonPrefixes").map((item) => decode(item.text("Prefix"))),
    objects: document.all("Contents").map((item) => ({
      key: decode(item.text("Key")),
      size: Number(item.text("Size")),
      modified: item.text("LastModified"),
      etag: item.text("ETag"),
      storage: item.text("StorageClass"),
    })),
    token: document.text("IsTruncated") === "true" ? document.text("NextContinuationToken") : null,
  };
}

export async function listVersions(bucket, { prefix = "", delimiter, after, max = 200, signal } = {}) {
  const query = {
    versions: "", "encoding-type": "url", "max-keys": max, prefix, delimiter,
    "key-marker": after?.key, "version-id-marker": after?.version,
  };
  const document = await read(bucket, null, query, { signal });
  const rows = document.children.filter((c) => c.name === "Version" || c.name === "DeleteMarker");
  return {
    folders: document.all("CommonPrefixes").map((item) => decode(item.text("Prefix"))),
    versions: rows.map((item) => ({
      key: decode(item.text("Key")),
      version: item.text("VersionId"),
      isLatest: item.text("IsLatest") === "true",
      isMarker: item.name === "DeleteMarker",
      size: Number(item.text("Size", "0")),
      modified: item.text("LastModified"),
      etag: item.text("ETag"),
    })),
    after: document.text("IsTruncated") === "true"
      ? { key: decode(document.text("NextKeyMarker")), version: document.text("NextVersionIdMarker") || null }
      : null,
  };
}

export async function head(bucket, key, version) {
  const response = await send("HEAD", bucket, key, { versionId: version });
  return response.headers;
}

export async function remove(bucket, key, version, headers = {}) {
  await send("DELETE", bucket, key, { versionId: version }, { headers });
}

// Deletes up to 1000 of {key, version}; returns those that stayed, with the reason.
export async function removeMany(bucket, items, headers = {}) {
  const failures = [];
  const odd = items.filter((item) => !xml.isWritable(item.key));
  for (const { key, version } of odd) {
    try {
      await remove(bucket, key, version, headers);
    } catch (error) {
      failures.push({ key, message: error.message });
    }
  }
  const usual = items.filter((item) => xml.isWritable(item.key));
  if (usual.length === 0) return failures;
  const rows = usual.map(({ key, version }) => ["Object", [["Key", key], ["VersionId", version]]]);
  const body = xml.write("Delete", [["Quiet", "true"], ...rows]);
  const response = await send("POST", bucket, null, { delete: "" }, {
    body, headers: { "Content-Type": "application/xml", ...headers },
  });
  const text = await response.text();
  const document = text ? xml.parse(text) : null;
  for (const item of document?.all("Error") ?? []) {
    failures.push({ key: item.text("Key"), message: item.text("Message") || item.text("Code") });
  }
  return failures;
}

export async function versioning(bucket) {
  return (await read(bucket, null, { versioning: "" })).text("Status");
}
