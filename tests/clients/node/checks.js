// What the Node scripts share: where the server is, and the running of checks.
//
// A script hands main() its checks by name, and a function that makes their arguments anew for each. Every
// failed check is told; the exit code is 1 if there was one. CommonJS, since libraries are found by
// NODE_PATH: they are installed below target/, not beside the scripts.
"use strict";

const assert = require("node:assert/strict");
const { randomBytes } = require("node:crypto");
const { Readable } = require("node:stream");

const MIB = 1 << 20;

/** A bucket's name that nobody has had. */
const newName = () => "b-" + randomBytes(8).toString("hex");

/** Bytes that tell where they belong. */
function pattern(size, seed = 1) {
  const whole = Buffer.alloc(size);
  let state = seed >>> 0;
  for (let place = 0; place + 4 <= size; place += 4) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    whole.writeUInt32LE(state, place);
  }
  return whole;
}

/** A stream in chunks of no round size, which nobody can rewind. */
function streamOf(data, chunk = 70_001) {
  function* chunks() {
    for (let begin = 0; begin < data.length; begin += chunk)
      yield data.subarray(begin, begin + chunk);
  }
  return Readable.from(chunks());
}

async function collect(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** Entries of a stream of objects, as minio's listings are. */
async function entries(stream) {
  const found = [];
  for await (const entry of stream) found.push(entry);
  return found;
}

/** The error that `promise` must end with. */
async function failure(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new assert.AssertionError({ message: "it succeeded, where an error was expected" });
}

/** Without a diff of megabytes when it fails. */
function same(found, expected) {
  assert.ok(
    Buffer.compare(found, expected) === 0,
    `${found.length} bytes differ from ${expected.length}`,
  );
}

function announce(name) {
  console.log(
    `client: ${name} ${require(name + "/package.json").version}, node ${process.versions.node}`,
  );
}

async function main(make, checks) {
  let hasFailed = false;
  const chosen = process.argv.slice(2);
  for (const [name, check] of Object.entries(checks)) {
    if (chosen.length > 0 && !chosen.includes(name)) continue;
    let verdict = "ok";
    try {
      await check(...(await make()));
    } catch (error) {
      verdict = "FAILED\n" + (error.stack ?? error);
      hasFailed = true;
    }
    console.log(`${name}: ${verdict}`);
  }
  process.exit(hasFailed ? 1 : 0);
}

const endpoint = new URL(process.env.RINGFORT_ENDPOINT);
const region = process.env.AWS_DEFAULT_REGION;
module.exports = {
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
};
