// All buckets: list, make, empty, delete.

import { current, manage } from "./api.js";
import { bytes, h, icon, number, plural, replace, time } from "./dom.js";
import * as s3 from "./s3.js";
import { button, check, confirmByName, dialog, empty, field, iconButton, input, load, page, select, table, toast } from "./ui.js";

export const browse = (bucket, prefix = "") =>
  `#/b/${encodeURIComponent(bucket)}${prefix ? `/${encodeURIComponent(prefix)}` : ""}`;
export const settingsOf = (bucket) => `#/settings/${encodeURIComponent(bucket)}`;

export function show(place) {
  const list = h("div");
  const again = () => load(list, async () => view(await gather(), again));
  replace(place, page("Buckets", [
    iconButton("Refresh", "refresh", again),
    button("Create bucket", { kind: "primary", glyph: "plus", onclick: async () => (await create()) && again() }),
  ], list));
  again();
}

// S3 tells whose buckets they are that one may see; the management API knows more of each.
async function gather() {
  const buckets = await s3.listBuckets();
  const known = current().may_manage ? await allDetails().catch(() => new Map()) : new Map();
  return buckets.map((bucket) => ({ ...bucket, details: known.get(bucket.name) }));
}

async function allDetails() {
  const known = new Map();
  let marker = null;
  do {
    const answer = await manage(`buckets${marker ? `?marker=${encodeURIComponent(marker)}` : ""}`);
    for (const bucket of answer?.buckets ?? []) known.set(bucket.name, bucket);
    marker = answer?.is_truncated ? answer.next_marker : null;
  } while (marker);
  return known;
}

function view(buckets, again) {
  if (buckets.length === 0) {
    return empty("bucket", "There are no buckets yet.",
      button("Create bucket", { kind: "primary", glyph: "plus", onclick: async () => (await create()) && again() }));
  }
  const hasDetails = buckets.some((bucket) => bucket.details);
  const needle = input({ type: "search", placeholder: "Filter by name", "aria-label": "Filter by name" });
  const place = h("div");
  const draw = () => {
    const shown = buckets.filter((bucket) => bucket.name.includes(needle.value.trim().toLowerCase()));
    const columns = [["Name"], hasDetails && ["Owner", "wide-only"], hasDetails && ["Objects", "number"], hasDetails && ["Size", "number"],
      ["Created", "wide-only"], ["", "narrow"]].filter(Boolean);
    replace(place, shown.length ? table("Buckets", columns, shown.map((bucket) => row(bucket, hasDetails, again)))
      : h("p", { class: "hint" }, "No bucket has such a name."));
  };
  needle.addEventListener("input", draw);
  draw();
  return h("div", { class: "card list" }, h("div", { class: "bar" }, needle, h("span", { class: "hint" }, plural(buckets.length, "bucket"))), place);
}

function row(bucket, hasDetails, again) {
  const { name, details } = bucket;
  return h("tr", {},
    h("td", {}, h("a", { class: "name", href: browse(name) }, icon("bucket"), h("span", {}, name))),
    hasDetails && h("td", { class: "wide-only" }, details?.owner ?? "–"),
    hasDetails && h("td", { class: "number" }, details?.object_count === undefined ? "–" : number(details.object_count)),
    hasDetails && h("td", { class: "number" }, bytes(details?.total_size)),
    h("td", { class: "wide-only" }, time(bucket.created)),
    h("td", { class: "narrow" }, h("a", { class: "plain", href: settingsOf(name), "aria-label": `Settings of ${name}`, title: "Settings" }, icon("settings")),
      iconButton(`Delete ${name}`, "trash", async () => (await remove(name)) && again())));
}

async function create() {
  const name = input({ required: true, minlength: 3, maxlength: 63, pattern: "[a-z0-9][a-z0-9.\\-]*[a-z0-9]" });
  const lock = check("Object lock: objects can be kept from being changed for a time. It cannot be switched on later, and switches versioning on.");
  const versions = check("Versioning: what is overwritten or deleted stays as an earlier version.");
  const owners = await ownerChoice();
  return dialog("Create a bucket", [
    field("Name", name, "3 to 63 lower-case letters, digits, hyphens and dots."),
    owners && field("Owner", owners),
    versions.whole, lock.whole,
  ], {
    action: "Create",
    submit: async () => {
      if (owners?.value) {
        const made = await manage("buckets", { method: "POST", json: { name: name.value, owner_id: Number(owners.value) } });
        if (!made) throw new Error("This server cannot make buckets for other owners yet.");
        if (lock.input.checked) await s3.put(name.value, null, { "object-lock": "" }, "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>");
      } else {
        const headers = lock.input.checked ? { "x-amz-bucket-object-lock-enabled": "true" } : {};
        await s3.put(name.value, null, {}, undefined, headers);
      }
      if (versions.input.checked && !lock.input.checked) {
        await s3.put(name.value, null, { versioning: "" }, "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>");
      }
      toast(`The bucket ${name.value} was made.`);
    },
  });
}

// Users that a bucket may be made for; null where one cannot choose.
async function ownerChoice() {
  if (!current().may_manage) return null;
  const answer = await manage("credentials").catch(() => null);
  const users = answer?.credentials ?? [];
  if (users.length === 0) return null;
  return select([["", current().name], ...users.map((user) => [String(user.id), user.user_name])], "");
}

async function remove(name) {
  const page = await s3.listVersions(name, { max: 1 }).catch(() => null);
  if (!page || page.versions.length === 0) {
    return confirmByName("Delete the bucket", "The bucket is deleted, if it is empty.", name, async () => {
      await s3.remove(name, null);
      toast(`The bucket ${name} was deleted.`);
    });
  }
  const progress = h("p", { class: "hint", role: "status" });
  const typed = input({ required: true });
  return dialog("Empty and delete the bucket", [
    h("p", {}, "The bucket holds objects. All of them are deleted for good, with all their versions, and then the bucket."),
    field(`Type ${name} to confirm`, typed), progress,
  ], {
    action: "Empty and delete", kind: "danger",
    submit: async () => {
      if (typed.value !== name) throw new Error("That is not the name.");
      await emptyOut(name, (count) => { progress.textContent = `${plural(count, "version")} deleted`; });
      await s3.remove(name, null);
      toast(`The bucket ${name} was deleted.`);
    },
  });
}

// Uploads go first: one that ends later would leave an object.
async function emptyOut(name, tell) {
  await abortUploads(name);
  let count = 0;
  for (;;) {
    const { versions } = await s3.listVersions(name, { max: 1000 });
    if (versions.length === 0) break;
    const failures = await s3.removeMany(name, versions);
    if (failures.length) throw new Error(`${failures[0].key}: ${failures[0].message}`);
    count += versions.length;
    tell(count);
  }
}

async function abortUploads(name) {
  let after = {};
  do {
    const page = await s3.read(name, null, { uploads: "", "encoding-type": "url", ...after });
    for (const upload of page.all("Upload")) {
      const uploadId = upload.text("UploadId");
      await s3.send("DELETE", name, s3.decode(upload.text("Key")), { uploadId }).catch((error) => {
        // It has ended meanwhile.
        if (error.code !== "NoSuchUpload") throw error;
      });
    }
    after = page.text("IsTruncated") === "true"
      ? { "key-marker": s3.decode(page.text("NextKeyMarker")), "upload-id-marker": page.text("NextUploadIdMarker") || null }
      : null;
  } while (after);
}

