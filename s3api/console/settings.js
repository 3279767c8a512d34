// The settings of a bucket, one section at a time.

import { current, manage } from "./api.js";
import { browse } from "./buckets.js";
import { bytes, h, icon, number, replace, time } from "./dom.js";
import { jsonEditor, pairsEditor } from "./editors.js";
import { limits } from "./limits.js";
import { cors, lifecycle, notification } from "./rules.js";
import * as s3 from "./s3.js";
import { attempt, button, card, check, confirm, facts, field, input, load, missing, page, select, toast } from "./ui.js";
import * as xml from "./xml.js";

const SECTIONS = [
  ["overview", "Overview", overview],
  ["versioning", "Versioning", versioning],
  ["lifecycle", "Lifecycle", lifecycle],
  ["policy", "Policy", policy],
  ["public", "Public access", publicAccess],
  ["cors", "CORS", cors],
  ["lock", "Object lock", objectLock],
  ["encryption", "Encryption", encryption],
  ["notification", "Notification", notification],
  ["tags", "Tags", tags],
  ["quota", "Quota", quota],
  ["limits", "Limits", traffic],
  ["origin", "CDN origin", origin],
];

export function show(place, [bucket, chosen]) {
  const [name, title, section] = SECTIONS.find(([id]) => id === chosen) ?? SECTIONS[0];
  const body = h("div");
  const tabs = h("nav", { class: "tabs", "aria-label": "Settings" }, SECTIONS.map(([id, label]) =>
    h("a", { href: `#/settings/${encodeURIComponent(bucket)}/${id}`, "aria-current": id === name ? "page" : null }, label)));
  replace(place, page(`Settings of ${bucket}`, [h("a", { class: "button", href: browse(bucket) }, icon("folder"), h("span", {}, "Objects"))],
    h("div", { class: "settings" }, tabs, h("div", {}, card(title, body)))));
  // On a phone the sections lie side by side.
  tabs.querySelector("[aria-current]").scrollIntoView({ block: "nearest", inline: "center" });
  const again = () => load(body, () => section(bucket, again));
  again();
}

// A form whose button saves, says so, and shows what is there then.
export function form(content, save, again, { remove, action = "Save" } = {}) {
  const go = button(action, { kind: "primary", type: "submit" });
  return h("form", {
    onsubmit: async (event) => {
      event.preventDefault();
      if (await attempt(save, go)) {
        toast("Saved.");
        again();
      }
    },
  }, content, h("div", { class: "actions left" }, go, remove && button("Remove", {
    kind: "danger", onclick: async () => {
      if (await confirm("Remove this setting?", "It counts no more at once.", { action: "Remove", submit: remove })) again();
    },
  })));
}

async function overview(bucket) {
  const [location, found, details] = await Promise.all([
    s3.read(bucket, null, { location: "" }),
    s3.listBuckets().then((all) => all.find((one) => one.name === bucket)),
    current().may_manage ? manage(`buckets/${encodeURIComponent(bucket)}`).catch(() => null) : null,
  ]);
  const status = await s3.versioning(bucket).catch(() => "");
  return facts([
    ["Name", bucket], ["Region", location.content || "us-east-1"], ["Created", time(found?.created)],
    details && ["Owner", details.owner], details && ["Objects", number(details.object_count ?? 0)], details && ["Size", bytes(details.total_size)],
    ["Versioning", status || "Never switched on"],
  ]);
}

async function versioning(bucket, again) {
  const status = await s3.versioning(bucket);
  const choice = select([["Enabled", "On: every version is kept"], ["Suspended", "Suspended: earlier versions stay, new ones replace each other"]], status || "");
  if (!status) choice.prepend(h("option", { value: "", selected: true }, "Never switched on"));
  return form([h("p", { class: "hint" }, "Versioning can be suspended, but not be taken back."), field("Versioning", choice)], async () => {
    if (!choice.value) throw new Error("Versioning: choose a state.");
    await s3.put(bucket, null, { versioning: "" }, xml.write("VersioningConfiguration", [["Status", choice.value]]));
  }, again);
}

async function policy(bucket, again) {
  let text = "";
  try {
    text = await (await s3.send("GET", bucket, null, { policy: "" })).text();
  } catch (error) {
    if (error.code !== "NoSuchBucketPolicy") throw error;
  }
  const start = (statement) => JSON.stringify({ Version: "2012-10-17", Statement: [statement] }, null, 2);
  const resource = [`arn:aws:s3:::${bucket}`, `arn:aws:s3:::${bucket}/*`];
  const presets = [
    ["", "Choose a template"],
    ["read", "Anybody may read objects"],
    ["user", "One user may read and write"],
    ["tls", "Refuse requests without TLS"],
  ];
  const templates = {
    read: { Effect: "Allow", Principal: "*", Action: "s3:GetObject", Resource: resource[1] },
    user: { Effect: "Allow", Principal: { AWS: ["arn:aws:iam:::user/NAME"] }, Action: ["s3:ListBucket", "s3:GetObject", "s3:PutObject", "s3:DeleteObject"], Resource: resource },
    tls: { Effect: "Deny", Principal: "*", Action: "s3:*", Resource: resource, Condition: { Bool: { "aws:SecureTransport": "false" } } },
  };
  const editor = jsonEditor("Bucket policy", text ? pretty(text) : start(templates.user));
  const preset = select(presets, "");
  preset.addEventListener("change", () => templates[preset.value] && editor.set(start(templates[preset.value])));
  return form([!text && h("p", { class: "hint" }, "The bucket has no policy. The text below is a proposal."), field("Template", preset), editor.element],
    () => s3.put(bucket, null, { policy: "" }, editor.text()), again,
    { remove: text ? () => s3.send("DELETE", bucket, null, { policy: "" }) : null });
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

const BLOCKS = [
  ["BlockPublicAcls", "Refuse new ACLs that are public"],
  ["IgnorePublicAcls", "Ignore what public ACLs grant"],
  ["BlockPublicPolicy", "Refuse new policies that are public"],
  ["RestrictPublicBuckets", "Let a public policy grant nothing to others than the bucket's owner"],
];

async function publicAccess(bucket, again) {
  const set = await s3.readOrNone(bucket, null, { publicAccessBlock: "" }, ["NoSuchPublicAccessBlockConfiguration"]);
  const status = await s3.readOrNone(bucket, null, { policyStatus: "" }, ["NoSuchBucketPolicy"]);
  const boxes = BLOCKS.map(([name, label]) => [name, check(label, { checked: set?.text(name) === "true" })]);
  const isPublic = status?.text("IsPublic").toLowerCase() === "true";
  return form([
    h("p", {}, "The policy of the bucket is ", h("strong", { class: isPublic ? "bad" : "" }, isPublic ? "public" : "not public"), "."),
    boxes.map(([, box]) => box.whole),
  ], () => s3.put(bucket, null, { publicAccessBlock: "" },
    xml.write("PublicAccessBlockConfiguration", boxes.map(([name, box]) => [name, String(box.input.checked)]))), again,
  { remove: set ? () => s3.send("DELETE", bucket, null, { publicAccessBlock: "" }) : null });
}

async function objectLock(bucket, again) {
  const set = await s3.readOrNone(bucket, null, { "object-lock": "" }, ["ObjectLockConfigurationNotFoundError"]);
  const rule = set?.one("Rule/DefaultRetention");
  const mode = select([["", "None"], ["GOVERNANCE", "Governance: some may shorten it"], ["COMPLIANCE", "Compliance: nobody may shorten it"]], rule?.text("Mode") ?? "");
  const unit = select([["Days", "days"], ["Years", "years"]], rule?.one("Years") ? "Years" : "Days");
  const period = input({ type: "number", min: 1, max: 36500, value: rule?.text("Days") || rule?.text("Years") || "30" });
  const note = set ? "Object lock is on, and stays on." : "Object lock is off. It needs versioning, and cannot be switched off again.";
  return form([h("p", { class: "hint" }, note), field("Default retention of new objects", mode), h("div", { class: "row" }, field("For", period), field("Unit", unit))], async () => {
    const retention = mode.value ? [["Rule", [["DefaultRetention", [["Mode", mode.value], [unit.value, period.value]]]]]] : [];
    await s3.put(bucket, null, { "object-lock": "" }, xml.write("ObjectLockConfiguration", [["ObjectLockEnabled", "Enabled"], ...retention]));
  }, again, { action: set ? "Save" : "Switch on" });
}

async function encryption(bucket, again) {
  const set = await s3.readOrNone(bucket, null, { encryption: "" }, ["ServerSideEncryptionConfigurationNotFoundError"]);
  const rule = set?.one("Rule");
  const chosen = rule?.text("ApplyServerSideEncryptionByDefault/SSEAlgorithm") ?? "";
  const method = select([["", "None"], ["AES256", "The server's own key (SSE-S3)"], ["aws:kms", "A key of the key service (SSE-KMS)"]], chosen);
  const keys = current().may_manage ? (await manage("kms/keys").catch(() => null))?.keys ?? [] : [];
  const key = input({ value: rule?.text("ApplyServerSideEncryptionByDefault/KMSMasterKeyID") ?? "", list: "kms-keys" });
  const names = h("datalist", { id: "kms-keys" }, keys.map((one) => h("option", { value: one.id ?? one.key_id ?? one.name ?? "" })));
  const shared = check("One key for the bucket: fewer calls of the key service", { checked: rule?.text("BucketKeyEnabled") === "true" });
  const refused = check("Refuse keys of the client's own (SSE-C)", { checked: rule?.text("BlockedEncryptionTypes/EncryptionType") === "SSE-C" });
  const more = h("div", {}, field("Key", key, "Its id or ARN; the usual key, if it is left empty."), names, shared.whole);
  const toggle = () => { more.hidden = method.value !== "aws:kms"; };
  method.addEventListener("change", toggle);
  toggle();
  return form([h("p", { class: "hint" }, "It counts for objects that are written from then on."), field("Encryption of new objects", method), more, refused.whole], async () => {
    if (!method.value) {
      if (set) await s3.send("DELETE", bucket, null, { encryption: "" });
      return;
    }
    const isKms = method.value === "aws:kms";
    await s3.put(bucket, null, { encryption: "" }, xml.write("ServerSideEncryptionConfiguration", [["Rule", [
      ["ApplyServerSideEncryptionByDefault", [["SSEAlgorithm", method.value], ["KMSMasterKeyID", isKms && key.value.trim() ? key.value.trim() : null]]],
      ["BucketKeyEnabled", String(isKms && shared.input.checked)],
      refused.input.checked ? ["BlockedEncryptionTypes", [["EncryptionType", "SSE-C"]]] : ["BlockedEncryptionTypes", null],
    ]]]));
  }, again);
}

async function tags(bucket) {
  const set = await s3.readOrNone(bucket, null, { tagging: "" }, ["NoSuchTagSet"]);
  const pairs = set?.one("TagSet")?.all("Tag").map((tag) => [tag.text("Key"), tag.text("Value")]) ?? [];
  return pairsEditor(pairs, { key: "Tag", value: "Value", max: 50 }, async (next) => {
    if (next.length === 0) return s3.send("DELETE", bucket, null, { tagging: "" });
    const rows = next.map(([key, value]) => ["Tag", [["Key", key], ["Value", value]]]);
    return s3.put(bucket, null, { tagging: "" }, xml.write("Tagging", [["TagSet", rows]]));
  });
}

const UNITS = [["1048576", "MiB"], ["1073741824", "GiB"], ["1099511627776", "TiB"]];

async function quota(bucket, again) {
  if (!current().may_manage) return h("p", { class: "hint" }, "Quotas are set by who manages the server.");
  const path = `buckets/${encodeURIComponent(bucket)}/quota`;
  const set = await manage(path);
  if (!set) return missing("quotas");
  const limit = set.max_bytes ?? null;
  const factor = limit && limit % 1099511627776 === 0 ? "1099511627776" : limit && limit % 1073741824 === 0 ? "1073741824" : limit ? "1048576" : "1073741824";
  const size = input({ type: "number", min: 0, step: "any", value: limit ? limit / Number(factor) : "" });
  const unit = select(UNITS, factor);
  const objects = input({ type: "number", min: 0, value: set.max_objects ?? "" });
  const used = set.used_bytes === undefined ? "" : ` ${bytes(set.used_bytes)} in ${number(set.used_objects)} objects are used, all versions together.`;
  return form([h("p", { class: "hint" }, `What is left empty is not limited.${used}`), h("div", { class: "row" }, field("Size", size), field("Unit", unit)), field("Objects", objects)], async () => {
    const json = {
      max_bytes: size.value === "" ? null : Math.round(Number(size.value) * Number(unit.value)),
      max_objects: objects.value === "" ? null : Number(objects.value),
    };
    await manage(path, { method: "PUT", json });
  }, again, { remove: limit || set.max_objects ? () => manage(path, { method: "DELETE" }) : null });
}

const KEY_HEADERS = ["Surrogate-Key", "Cache-Tag"];

async function origin(bucket, again) {
  if (!current().may_manage) return h("p", { class: "hint" }, "What a bucket is to caches is set by who manages the server.");
  const path = `buckets/${encodeURIComponent(bucket)}/origin`;
  const set = await manage(path);
  if (!set) return missing("CDN origins");
  const cacheControl = input({ value: set.cache_control ?? "", placeholder: "public, max-age=60" });
  const headers = KEY_HEADERS.map((name) => [name, check(`Send keys as ${name}`, { checked: set.key_headers.includes(name) })]);
  const metadata = input({ value: set.key_metadata });
  const header = input({ value: set.secret_header ?? "", placeholder: "x-origin-secret" });
  const [secret, second] = [0, 1].map(() => input({ type: "password", autocomplete: "new-password" }));
  const there = set.secret_count ? `${number(set.secret_count)} set: leave both empty to keep what there is.` : "None is set.";
  return form([
    field("Default Cache-Control", cacheControl, "For objects that have neither Cache-Control nor Expires."),
    headers.map(([, box]) => box.whole),
    field("Metadata with keys", metadata, "Behind x-amz-meta-. The bucket's key and the object's own are always there."),
    field("Secret header", header, "Who shows the secret in it reads objects without an access key."),
    field("Secret", secret, there),
    field("Second secret", second, "While one takes the other's place."),
  ], async () => {
    const json = {
      cache_control: cacheControl.value || null,
      key_headers: headers.filter(([, box]) => box.input.checked).map(([name]) => name),
      key_metadata: metadata.value || null,
      secret_header: header.value || null,
    };
    const secrets = [secret.value, second.value].filter((value) => value !== "");
    if (secrets.length > 0) json.secrets = secrets;
    await manage(path, { method: "PUT", json });
  }, again, {
    remove: set.cache_control || set.key_headers.length > 0 || set.secret_header ? () => manage(path, { method: "DELETE" }) : null,
  });
}

async function traffic(bucket, again) {
  if (!current().may_manage) return h("p", { class: "hint" }, "Limits are set by who manages the server.");
  return limits(`buckets/${encodeURIComponent(bucket)}`, "They count for all but root, together.", again);
}
