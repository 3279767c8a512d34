// Keys of SSE-KMS: the ring, making, rotating, disabling and enabling them.

import { call, manage } from "./api.js";
import { h, number, plural, replace, time } from "./dom.js";
import { attempt, button, confirm, dialog, empty, field, iconButton, input, load, missing, page, table, toast } from "./ui.js";

export function show(place) {
  const list = h("div");
  const add = button("Create KMS key", { kind: "primary", glyph: "plus", hidden: true, onclick: async () => (await create()) && again() });
  const again = () => load(list, async () => {
    const ring = await manage("kms/keys");
    if (!ring) return missing("KMS keys");
    add.hidden = !ring.has_master_key;
    return [!ring.has_master_key && noMaster(ring.keys.length), view(ring, again)];
  });
  replace(place, page("KMS keys", [iconButton("Refresh", "refresh", again), add],
    h("p", { class: "hint" }, "Keys that requests and buckets name for SSE-KMS. A bucket names one in its settings, under Encryption. Each object has a key of its own, wrapped by the newest backing key of such a key, which the master key wraps in turn. Keys cannot be deleted: what they encrypted would be lost."),
    list));
  again();
}

// What follows from it, and what to do: nothing on this page can set one.
function noMaster(count) {
  return h("div", { class: "notice error", role: "alert" },
    h("p", {}, h("strong", {}, "This server has no master key. "),
      "It refuses what asks for SSE-S3 or SSE-KMS, and no key can be made or rotated.",
      count > 0 && ` What was encrypted with ${count === 1 ? "the key" : "the keys"} below cannot be read until the server has the master key of then.`),
    h("p", {}, "A master key is made on the server's host, once, and named at each start:"),
    h("pre", { class: "code" }, "ringfort sse-key /etc/ringfort/sse-keys\nringfort serve --sse-key-file /etc/ringfort/sse-keys"),
    h("p", {}, "Keep copies of the file apart from the data and from its backups: without it nobody can read what is encrypted."));
}

function view(ring, again) {
  const { keys, has_master_key: hasMaster } = ring;
  if (keys.length === 0) {
    return empty("lock", "There are no KMS keys yet.",
      hasMaster && h("p", { class: "hint" }, "Who asks for SSE-KMS and names no key uses the usual one, which is made then."));
  }
  const columns = [["Id"], ["State"], ["Backing keys", "number wide-only"], ["Created", "wide-only"], ["Last rotated", "wide-only"], ["", "narrow"]];
  return h("div", { class: "card list" }, table("KMS keys", columns, keys.map((key) => row(key, hasMaster, again))));
}

function row(key, hasMaster, again) {
  return h("tr", {},
    h("td", { class: "wrap" }, h("span", { class: "code" }, key.id), key.is_default && h("span", { class: "badge" }, "usual key")),
    h("td", {}, h("span", { class: `badge ${key.enabled ? "good" : ""}` }, key.enabled ? "enabled" : "disabled")),
    h("td", { class: "number wide-only" }, number(key.versions)),
    h("td", { class: "wide-only" }, time(key.created)), h("td", { class: "wide-only" }, time(key.rotated)),
    h("td", { class: "narrow" },
      hasMaster && iconButton(`Rotate ${key.id}`, "refresh", async () => (await rotate(key)) && again()),
      key.enabled
        ? iconButton(`Disable ${key.id}`, "pause", async () => (await disable(key)) && again())
        : iconButton(`Enable ${key.id}`, "play", async () => (await attempt(() => enable(key))) && again())));
}

const address = (key) => `/api/v1/kms/keys/${encodeURIComponent(key.id)}`;

async function create() {
  const id = input({ maxlength: 128, pattern: "[A-Za-z0-9._\\-]+" });
  return dialog("Create a KMS key", field("Id", id, "Letters, digits, dots, dashes and underscores; made up, if it is left empty. It cannot be changed."), {
    action: "Create",
    submit: async () => {
      const made = await call("/api/v1/kms/keys", { method: "POST", json: id.value ? { id: id.value } : {} });
      toast(`The key ${made.id} was made.`);
    },
  });
}

function rotate(key) {
  const message = "It gets a new backing key, which counts for what is written from then on. Older objects keep theirs and stay readable. A rotation cannot be taken back.";
  return confirm(`Rotate ${key.id}?`, message, {
    action: "Rotate",
    submit: async () => {
      const { versions } = await call(`${address(key)}/rotate`, { method: "POST" });
      toast(`The key ${key.id} has ${plural(versions, "backing key")} now.`);
    },
  });
}

function disable(key) {
  const message = "What is encrypted with it can be neither read nor written, at once, until it is enabled again.";
  return confirm(`Disable ${key.id}?`, message, { action: "Disable", submit: () => set(key, false) });
}

async function enable(key) {
  await set(key, true);
  toast(`The key ${key.id} is enabled.`);
}

const set = (key, enabled) => call(address(key), { method: "PUT", json: { enabled } });
