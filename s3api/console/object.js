// One object: preview, properties, metadata, tags, versions, retention, links.

import { bytes, h, icon, replace, time } from "./dom.js";
import { browse } from "./buckets.js";
import { objectPage } from "./browser.js";
import * as links from "./links.js";
import * as s3 from "./s3.js";
import { attempt, button, card, check, confirm, facts, field, iconButton, input, load, page, select, table, toast } from "./ui.js";
import { pairsEditor } from "./editors.js";
import * as xml from "./xml.js";

const TEXT_BYTES_MAX = 256 * 1024;
const IMAGES = ["image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/bmp", "image/x-icon"];
// Types that say nothing of the content.
const UNTOLD = ["", "application/octet-stream", "binary/octet-stream"];
const TEXTS = /^(text\/|application\/(json|xml|javascript|x-sh|toml|yaml|x-yaml|sql)|image\/svg)|\+(json|xml)/;
const TEXT_NAMES = /\.(txt|md|json|xml|csv|tsv|log|ya?ml|toml|ini|conf|css|js|ts|html?|svg|rs|py|go|c|h|cpp|java|sh|sql)$/i;

export function show(place, [bucket, ...rest], query) {
  const key = rest.join("/");
  const version = query.get("version");
  const folder = key.slice(0, key.replace(/\/$/, "").lastIndexOf("/") + 1);
  const name = key.slice(folder.length) || key;
  const body = h("div");
  const at = { bucket, key, version, name, folder };
  replace(place, page(name, [
    h("a", { class: "button", href: s3.objectUrl(bucket, key, { versionId: version }), download: "" }, icon("download"), h("span", {}, "Download")),
    button("Link", { glyph: "link", onclick: () => links.make(at) }),
    button("Delete", { kind: "danger", glyph: "trash", onclick: () => remove(at) }),
  ], crumbs(at), body));
  load(body, () => details(at));
}

function crumbs({ bucket, folder, name }) {
  const links = [h("li", {}, h("a", { href: browse(bucket) }, bucket))];
  let so = "";
  for (const part of folder.split("/").slice(0, -1)) {
    so += `${part}/`;
    links.push(h("li", {}, h("a", { href: browse(bucket, so) }, part || "(empty name)")));
  }
  links.push(h("li", { "aria-current": "page" }, name));
  return h("nav", { class: "crumbs", "aria-label": "Folders" }, h("ol", {}, links));
}

async function details(at) {
  const headers = await s3.head(at.bucket, at.key, at.version);
  const lazy = (title, work) => {
    const inner = h("div");
    load(inner, work);
    return card(title, inner);
  };
  return h("div", { class: "columns" },
    h("div", {}, card("Preview", preview(at, headers)), lazy("Versions", () => versions(at))),
    h("div", {}, properties(at, headers), metadata(headers), lazy("Tags", () => tags(at)), lazy("Retention", () => retention(at))));
}

function preview(at, headers) {
  const size = Number(headers.get("content-length"));
  const kind = (headers.get("content-type") ?? "").split(";")[0].trim().toLowerCase();
  const url = s3.viewUrl(at.bucket, at.key, { versionId: at.version });
  if (size === 0) return h("p", { class: "hint" }, "The object is empty.");
  if (IMAGES.includes(kind)) return h("img", { class: "preview", src: url, alt: `The picture ${at.name}` });
  if (kind.startsWith("video/")) return h("video", { class: "preview", src: url, controls: true, preload: "metadata" });
  if (kind.startsWith("audio/")) return h("audio", { class: "preview", src: url, controls: true, preload: "metadata" });
  if (kind === "application/pdf" || (UNTOLD.includes(kind) && /\.pdf$/i.test(at.name))) return pdfPreview(at);
  if (TEXTS.test(kind) || TEXT_NAMES.test(at.name)) {
    const place = h("div");
    load(place, () => textPreview(at, size));
    return place;
  }
  return h("p", { class: "hint" }, `There is no preview of ${kind || "this type"}. Download the object to look at it.`);
}

function pdfPreview(at) {
  const open = button("Open the PDF in a new tab", { glyph: "file", onclick: () => attempt(() => links.openPdf(at), open) });
  return [h("div", { class: "actions left gap" }, open), h("p", { class: "hint" }, "The browser shows it, from the address of the S3 port, by a link in your name that is good for 15 minutes.")];
}

async function textPreview(at, size) {
  const headers = size > TEXT_BYTES_MAX ? { Range: `bytes=0-${TEXT_BYTES_MAX - 1}` } : {};
  const response = await s3.send("GET", at.bucket, at.key, { versionId: at.version }, { headers });
  const { text, isCut } = await beginning(response);
  return [h("pre", { class: "preview", tabindex: "0", "aria-label": "The object as text" }, text),
    (isCut || size > TEXT_BYTES_MAX) && h("p", { class: "hint" }, `The first ${bytes(TEXT_BYTES_MAX)} of ${bytes(size)}.`)];
}

// As much of an answer as is shown. Under a Content-Encoding few bytes become very many, which only
// reading shows.
async function beginning(response) {
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let text = "", left = TEXT_BYTES_MAX;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return { text: text + decoder.decode(), isCut: false };
    text += decoder.decode(value.subarray(0, left), { stream: true });
    if (value.length > left) {
      await reader.cancel();
      return { text, isCut: true };
    }
    left -= value.length;
  }
}

const PROPERTIES = [
  ["etag", "ETag"], ["x-amz-version-id", "Version"], ["x-amz-storage-class", "Storage class"],
  ["x-amz-server-side-encryption", "Encryption"], ["x-amz-server-side-encryption-aws-kms-key-id", "Encryption key"],
  ["x-amz-mp-parts-count", "Parts"], ["cache-control", "Cache-Control"], ["content-encoding", "Content-Encoding"],
  ["content-language", "Content-Language"], ["expires", "Expires"], ["x-amz-expiration", "Expires by lifecycle"],
  ["x-amz-website-redirect-location", "Redirects to"],
];

function properties(at, headers) {
  const size = Number(headers.get("content-length"));
  // Cache-Control is the console's own on every answer.
  const shown = PROPERTIES.filter(([name]) => name !== "cache-control" && headers.get(name));
  return card("Properties", facts([
    ["Key", h("span", { class: "code wrap" }, at.key)], ["Bucket", at.bucket],
    ["Size", `${bytes(size)} (${size.toLocaleString()} bytes)`],
    ["Type", headers.get("content-type") ?? "–"], ["Modified", time(headers.get("last-modified"))],
    ...shown.map(([name, label]) => [label, h("span", { class: "code wrap" }, headers.get(name))]),
  ]));
}

// Values are bytes; most clients send UTF-8, which browsers show as Latin-1.
function readable(value) {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.from(value, (c) => c.charCodeAt(0)));
  } catch {
    return value;
  }
}

function metadata(headers) {
  const found = [...headers].filter(([name]) => name.startsWith("x-amz-meta-"));
  return card("Metadata", found.length
    ? facts(found.map(([name, value]) => [name.slice("x-amz-meta-".length), h("span", { class: "wrap" }, readable(value))]))
    : h("p", { class: "hint" }, "The object has no metadata of its own."));
}

async function tags(at) {
  const document = await s3.read(at.bucket, at.key, { tagging: "", versionId: at.version });
  const pairs = document.one("TagSet")?.all("Tag").map((tag) => [tag.text("Key"), tag.text("Value")]) ?? [];
  return pairsEditor(pairs, { key: "Tag", value: "Value", max: 10 }, async (next) => {
    if (next.length === 0) return s3.send("DELETE", at.bucket, at.key, { tagging: "", versionId: at.version });
    const rows = next.map(([key, value]) => ["Tag", [["Key", key], ["Value", value]]]);
    return s3.put(at.bucket, at.key, { tagging: "", versionId: at.version }, xml.write("Tagging", [["TagSet", rows]]));
  });
}

async function versions(at) {
  const rows = [];
  let after = null;
  do {
    const next = await s3.listVersions(at.bucket, { prefix: at.key, after });
    rows.push(...next.versions.filter((row) => row.key === at.key));
    // Keys that only begin so come behind those of the key itself.
    after = next.versions.every((row) => row.key === at.key) && rows.length < 1000 ? next.after : null;
  } while (after);
  if (rows.length === 1 && rows[0].version === "null") return h("p", { class: "hint" }, "There is this version alone.");
  return table("Versions", [["Version"], ["Modified", "wide-only"], ["Size", "number"], ["", "narrow"]], rows.map((row) => {
    const isHere = row.version === at.version || (!at.version && row.isLatest);
    const label = row.isMarker ? h("span", {}, "Delete marker") : h("a", { href: objectPage(at.bucket, at.key, row.version), class: "code" }, row.version);
    return h("tr", { class: isHere ? "selected" : "" }, h("td", {}, label, row.isLatest && h("span", { class: "badge good" }, "current")),
      h("td", { class: "wide-only" }, time(row.modified)), h("td", { class: "number" }, row.isMarker ? "–" : bytes(row.size)),
      h("td", { class: "narrow" },
        !row.isLatest && !row.isMarker && iconButton("Make this version the current one", "refresh", () => restore(at, row.version)),
        iconButton(`Delete version ${row.version}`, "trash", () => removeVersion(at, row))));
  }));
}

async function restore(at, version) {
  const source = `${encodeURIComponent(at.bucket)}/${encodeURIComponent(at.key)}?versionId=${encodeURIComponent(version)}`;
  await attempt(async () => {
    await s3.put(at.bucket, at.key, {}, undefined, { "x-amz-copy-source": source });
    toast("That version was copied over the current one.");
    location.replace(objectPage(at.bucket, at.key));
    dispatchEvent(new HashChangeEvent("hashchange"));
  });
}

async function removeVersion(at, row) {
  const message = row.isMarker ? "Without its delete marker the object is there again." : "The version is gone for good.";
  const done = await confirm(`Delete version ${row.version}?`, message, { submit: () => s3.remove(at.bucket, at.key, row.version) });
  if (done) dispatchEvent(new HashChangeEvent("hashchange"));
}

async function retention(at) {
  const query = { versionId: at.version };
  const status = await s3.readOrNone(at.bucket, null, { "object-lock": "" }, []).catch(() => null);
  if (status?.text("ObjectLockEnabled") !== "Enabled") return h("p", { class: "hint" }, "The bucket has no object lock.");
  const kept = await s3.readOrNone(at.bucket, at.key, { retention: "", ...query }, []);
  const hold = await s3.readOrNone(at.bucket, at.key, { "legal-hold": "", ...query }, []);
  // What the server has, so that only changes are sent.
  const now = { mode: kept?.text("Mode") ?? "", until: kept?.text("RetainUntilDate") ?? "", isHeld: hold?.text("Status") === "ON" };
  const mode = select([["", "None"], ["GOVERNANCE", "Governance"], ["COMPLIANCE", "Compliance"]], now.mode);
  const until = input({ type: "datetime-local", value: localTime(now.until) });
  const legal = check("Legal hold", { checked: now.isHeld });
  const bypass = check("Shorten or end a governance retention");
  const save = button("Save", { onclick: () => attempt(async () => {
    const headers = bypass.input.checked ? { "x-amz-bypass-governance-retention": "true" } : {};
    if (mode.value && !until.value) throw new Error("Until: it must be a time.");
    // The field shows no seconds: a time that was not touched stays as it is.
    const date = until.value === localTime(now.until) ? now.until : toIso(until.value);
    if (mode.value !== now.mode || (mode.value && date !== now.until)) {
      const document = mode.value ? xml.write("Retention", [["Mode", mode.value], ["RetainUntilDate", date]]) : "<Retention/>";
      await s3.put(at.bucket, at.key, { retention: "", ...query }, document, headers);
      Object.assign(now, { mode: mode.value, until: mode.value ? date : "" });
    }
    if (legal.input.checked !== now.isHeld) {
      await s3.put(at.bucket, at.key, { "legal-hold": "", ...query }, xml.write("LegalHold", [["Status", legal.input.checked ? "ON" : "OFF"]]));
      now.isHeld = legal.input.checked;
    }
    toast("Retention saved.");
  }, save) });
  return h("div", {}, field("Mode", mode, "Compliance cannot be shortened by anybody."), field("Until", until), legal.whole, bypass.whole, save);
}

function localTime(text) {
  if (!text) return "";
  const date = new Date(text);
  return new Date(date.getTime() - date.getTimezoneOffset() * 60000).toISOString().slice(0, 16);
}

function toIso(local) {
  return local && new Date(local).toISOString();
}

async function remove(at) {
  const message = at.version ? "This version is gone for good." : "In a bucket with versioning, the version stays behind a delete marker.";
  const done = await confirm(`Delete ${at.name}?`, message, { submit: () => s3.remove(at.bucket, at.key, at.version) });
  if (done) {
    toast("Deleted.");
    location.hash = browse(at.bucket, at.folder);
  }
}
