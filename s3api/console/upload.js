// Uploads: a queue, its progress, and large files in parts that go side by side.
//
// A file's bytes are read by the browser as they are sent; nothing here holds more than a slice's name.

import { Refusal, current, expired, onChange } from "./api.js";
import { bytes, h, plural, replace } from "./dom.js";
import { CSRF_HEADER, head, objectUrl, refusal, send } from "./s3.js";
import { iconButton } from "./ui.js";
import * as xml from "./xml.js";

const SINGLE_BYTES_MAX = 16 * 1024 * 1024;
const PARTS_MAX = 10000;
const PARTS_AT_ONCE = 4;
const FILES_AT_ONCE = 3;
const ATTEMPTS = 4;

const entries = [];
const doneListeners = new Set();
let running = 0;
let panel = null;
let redraw = 0;

// `listener(bucket)` is called when an upload to a bucket has ended well.
export function onDone(listener) {
  doneListeners.add(listener);
  return () => doneListeners.delete(listener);
}

export function isBusy() {
  return entries.some(isOpen);
}

// Queues files of [{file, key}].
export function enqueue(bucket, files) {
  const csrf = current()?.csrf ?? "";
  for (const { file, key } of files) {
    entries.push({ bucket, key: key.toWellFormed?.() ?? key, file, sent: 0, state: "waiting", message: "", control: new AbortController(), csrf });
  }
  draw();
  pump();
}

// What one has queued does not go on in the name of another.
onChange((session) => {
  const others = entries.filter((entry) => entry.csrf !== session?.csrf);
  others.forEach(cancel);
  entries.splice(0, entries.length, ...entries.filter((entry) => !others.includes(entry)));
  draw();
});

function pump() {
  while (running < FILES_AT_ONCE) {
    const next = entries.find((entry) => entry.state === "waiting");
    if (!next) return;
    running++;
    next.state = "running";
    transfer(next)
      .then(() => { next.state = "done"; next.sent = next.file.size; })
      .catch((error) => {
        next.state = next.control.signal.aborted ? "cancelled" : "failed";
        next.message = error.message;
      })
      .finally(() => {
        running--;
        draw();
        if (next.state === "done") for (const listener of doneListeners) listener(next.bucket);
        pump();
      });
  }
  draw();
}

function transfer(entry) {
  return entry.file.size > SINGLE_BYTES_MAX ? inParts(entry) : whole(entry);
}

async function whole(entry) {
  const headers = entry.file.type ? { "Content-Type": entry.file.type } : {};
  await insisting(entry, () => post(entry, objectUrl(entry.bucket, entry.key), entry.file, headers,
    (sent) => { entry.sent = sent; draw(); }));
}

async function inParts(entry) {
  const { bucket, key, file } = entry;
  const own = { [CSRF_HEADER]: entry.csrf };
  const headers = file.type ? { ...own, "Content-Type": file.type } : own;
  const signal = entry.control.signal;
  const begun = await insisting(entry, async () =>
    (await send("POST", bucket, key, { uploads: "" }, { headers, signal })).text());
  const uploadId = xml.parse(begun)?.text("UploadId");
  if (!uploadId) throw new Error("The server did not begin an upload.");
  let isEnding = false;
  try {
    const parts = await sendParts(entry, uploadId);
    isEnding = true;
    await complete(entry, uploadId, parts);
  } catch (error) {
    // Whether an upload has ended that was to end, nobody knows who has not heard so.
    if (!isEnding || !isPassing(error)) await send("DELETE", bucket, key, { uploadId }, { headers: own }).catch(() => {});
    throw error;
  }
}

async function complete(entry, uploadId, parts) {
  const { bucket, key, file, csrf } = entry;
  const rows = parts.map((etag, at) => ["Part", [["PartNumber", at + 1], ["ETag", etag]]]);
  const body = xml.write("CompleteMultipartUpload", rows);
  const options = { body, signal: entry.control.signal, headers: { [CSRF_HEADER]: csrf, "Content-Type": "application/xml" } };
  let isAgain = false;
  await insisting(entry, async () => {
    try {
      const text = await (await send("POST", bucket, key, { uploadId }, options)).text();
      // An answer that began with 200 may still tell of an error.
      if (xml.parse(text)?.name === "Error") throw refusal(500, text);
    } catch (error) {
      // The upload has ended, and the answer that said so was lost.
      if (isAgain && error.code === "NoSuchUpload" && Number((await head(bucket, key)).get("content-length")) === file.size) return;
      throw error;
    } finally {
      isAgain = true;
    }
  });
}

async function sendParts(entry, uploadId) {
  const { file } = entry;
  const size = Math.max(SINGLE_BYTES_MAX, Math.ceil(file.size / PARTS_MAX / 1048576) * 1048576);
  const count = Math.ceil(file.size / size);
  const etags = new Array(count);
  const sent = new Array(count).fill(0);
  const tell = () => { entry.sent = sent.reduce((sum, part) => sum + part, 0); draw(); };
  let next = 0;
  const worker = async () => {
    while (next < count) {
      const at = next++;
      const slice = file.slice(at * size, Math.min(file.size, (at + 1) * size));
      const url = objectUrl(entry.bucket, entry.key, { partNumber: at + 1, uploadId });
      etags[at] = await insisting(entry, () => post(entry, url, slice, {}, (done) => { sent[at] = done; tell(); }));
      sent[at] = slice.size;
      tell();
    }
  };
  const workers = Array.from({ length: Math.min(PARTS_AT_ONCE, count) }, worker);
  try {
    await Promise.all(workers);
  } catch (error) {
    // No other part begins, and those under way end before the upload is given up.
    next = count;
    await Promise.allSettled(workers);
    throw error;
  }
  return etags;
}

const isPassing = (error) => error.status === 0 || error.status >= 500;

// Tries again what the network or a busy server has spoilt.
async function insisting(entry, work) {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work();
    } catch (error) {
      if (entry.control.signal.aborted || !isPassing(error) || attempt >= ATTEMPTS) throw error;
      await new Promise((resolve) => setTimeout(resolve, 500 * 2 ** attempt));
    }
  }
}

// A PUT with progress, which fetch does not tell. Resolves to the ETag.
function post(entry, url, body, headers, progress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const abort = () => request.abort();
    const { signal } = entry.control;
    if (signal.aborted) return reject(new Error("Cancelled."));
    signal.addEventListener("abort", abort);
    request.open("PUT", url);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.setRequestHeader(CSRF_HEADER, entry.csrf);
    request.upload.addEventListener("progress", (event) => progress(event.loaded));
    request.addEventListener("load", () => {
      if (request.status === 401 && current()?.csrf === entry.csrf) expired();
      if (request.status < 300) resolve(request.getResponseHeader("ETag"));
      else reject(refusal(request.status, request.responseText));
    });
    request.addEventListener("error", () => reject(new Refusal(0, "The connection broke.")));
    request.addEventListener("abort", () => reject(new Error("Cancelled.")));
    request.addEventListener("loadend", () => signal.removeEventListener("abort", abort));
    request.send(body);
  });
}

function cancel(entry) {
  entry.control.abort();
  if (entry.state === "waiting") entry.state = "cancelled";
  draw();
}

// Drawn at most once a frame, however often progress is told.
function draw() {
  redraw ||= requestAnimationFrame(() => { redraw = 0; drawNow(); });
}

const STATES = { waiting: "Waiting", running: "", done: "Done", failed: "Failed", cancelled: "Cancelled" };
const ROWS_MAX = 100;
const isOpen = (entry) => entry.state === "waiting" || entry.state === "running";

// The panel's elements stay while it is open: a button that were made anew could not be pressed, and
// what is read aloud would be read again and again.
function makePanel() {
  const title = h("h2", {});
  const bar = h("progress", { max: 1, value: 0, "aria-label": "All uploads" });
  const count = h("p", { class: "hint" });
  const rows = h("ul", {});
  const close = iconButton("Close", "close", () => {
    const open = entries.filter(isOpen);
    if (open.length) open.forEach(cancel);
    else entries.length = 0;
    draw();
  });
  const element = h("aside", { class: "uploads", "aria-label": "Uploads" },
    h("div", { class: "uploads-head" }, h("div", { role: "status" }, title), close), bar, count, rows);
  document.body.append(element);
  return { element, title, bar, count, rows, close };
}

function drawNow() {
  if (entries.length === 0) {
    panel?.element.remove();
    panel = null;
    return;
  }
  panel ??= makePanel();
  const total = entries.reduce((sum, entry) => sum + entry.file.size, 0);
  const sent = entries.reduce((sum, entry) => sum + (entry.state === "done" ? entry.file.size : entry.sent), 0);
  const left = entries.filter(isOpen).length;
  const failed = entries.filter((entry) => entry.state === "failed").length;
  const title = left ? `Uploading ${plural(left, "file")}` : failed ? `${plural(failed, "upload")} failed` : "Uploads done";
  set(panel.title, title);
  set(panel.count, `${bytes(sent)} of ${bytes(total)}`);
  panel.bar.max = Math.max(total, 1);
  panel.bar.value = sent;
  panel.close.setAttribute("aria-label", left ? "Cancel all uploads" : "Close");
  panel.close.title = panel.close.getAttribute("aria-label");
  const order = { running: 0, failed: 1, waiting: 2, cancelled: 3, done: 4 };
  const shown = [...entries].sort((a, b) => order[a.state] - order[b.state]).slice(0, ROWS_MAX).map(row);
  if (shown.some((element, at) => panel.rows.children[at] !== element) || panel.rows.children.length !== shown.length) {
    replace(panel.rows, shown);
  }
}

function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function row(entry) {
  entry.row ??= makeRow(entry);
  const { element, state, bar, stop } = entry.row;
  const progress = `${bytes(entry.sent)} of ${bytes(entry.file.size)}`;
  set(state, entry.message || (entry.state === "running" ? progress : STATES[entry.state]));
  element.className = entry.state;
  bar.hidden = entry.state !== "running";
  bar.value = entry.sent;
  stop.hidden = !isOpen(entry);
  return element;
}

function makeRow(entry) {
  const state = h("span", { class: "hint" });
  const bar = h("progress", { max: Math.max(entry.file.size, 1), value: 0, "aria-label": entry.key });
  const stop = iconButton(`Cancel ${entry.key}`, "close", () => cancel(entry));
  const name = h("span", { title: entry.key }, entry.key.split("/").pop() || entry.key);
  const element = h("li", {}, h("div", { class: "upload-name" }, name, state), bar, stop);
  return { element, state, bar, stop };
}

// The files of a drop, those of its directories among them, as {file, path}.
export async function droppedFiles(transfer) {
  const roots = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (roots.length === 0) return [...transfer.files].map((file) => ({ file, path: file.name }));
  const found = [];
  const open = roots.map((root) => ({ entry: root, path: root.name }));
  while (open.length) {
    const { entry, path } = open.pop();
    if (entry.isFile) {
      found.push({ file: await new Promise((resolve, reject) => entry.file(resolve, reject)), path });
      continue;
    }
    const reader = entry.createReader();
    for (;;) {
      const batch = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (batch.length === 0) break;
      open.push(...batch.map((inner) => ({ entry: inner, path: `${path}/${inner.name}` })));
    }
  }
  return found;
}

