// Users: their keys, whether they are active, and their policies.

import { call, manage } from "./api.js";
import { bytes, h, icon, number, replace, time } from "./dom.js";
import { browse } from "./buckets.js";
import { jsonEditor } from "./editors.js";
import { limits } from "./limits.js";
import { button, card, check, confirm, confirmByName, copyable, dialog, empty, facts, field, iconButton, input, load, missing, page, table, toast } from "./ui.js";

export function show(place, [id]) {
  if (id) return showOne(place, id);
  const list = h("div");
  const again = () => load(list, async () => {
    const answer = await manage("credentials");
    return answer ? view(answer.credentials, again) : missing("credentials");
  });
  const add = async () => { if (await create()) again(); };
  replace(place, page("Credentials", [button("Create credential", { kind: "primary", glyph: "plus", onclick: add })],
    h("p", { class: "hint" }, "Each is a user with an access key of its own. Without policies, bucket policies or ACLs a user reaches what it owns alone."), list));
  again();
}

const pageOf = (user) => `#/credentials/${user.id}`;

function view(users, again) {
  if (users.length === 0) return empty("users", "There are no credentials but root's.");
  return h("div", { class: "card list" }, table("Credentials", [["Name"], ["Access key", "wide-only"], ["State"], ["Created", "wide-only"], ["", "narrow"]],
    users.map((user) => h("tr", {},
      h("td", {}, h("a", { class: "name", href: pageOf(user) }, icon("users"), h("span", {}, user.user_name))),
      h("td", { class: "wide-only code" }, user.access_key), h("td", {}, state(user)), h("td", { class: "wide-only" }, time(user.created_at)),
      h("td", { class: "narrow" }, iconButton(`Delete ${user.user_name}`, "trash", async () => (await remove(user)) && again()))))));
}

const state = (user) => h("span", { class: `badge ${user.is_active ? "good" : ""}` }, user.is_active ? "active" : "inactive");

async function create() {
  const name = input(), access = input(), secret = input();
  let made = null;
  const done = await dialog("Create a credential", [
    field("Name", name, "The access key, if it is left empty."),
    field("Access key", access, "Made up, if it is left empty."),
    field("Secret key", secret, "Made up, if it is left empty."),
  ], {
    action: "Create",
    submit: async () => {
      const given = [["user_name", name], ["access_key", access], ["secret_key", secret]].filter(([, control]) => control.value !== "");
      made = await call("/api/v1/credentials", { method: "POST", json: Object.fromEntries(given.map(([key, control]) => [key, control.value])) });
    },
  });
  if (done) {
    await dialog("The new credential", [h("p", {}, "The secret key is shown now and never again."),
      labelled("Access key", made.access_key), labelled("Secret key", made.secret_key)]);
  }
  return done;
}

const labelled = (label, text) => h("div", { class: "field" }, h("span", { class: "label" }, label), copyable(text));

function remove(user) {
  return confirmByName("Delete the credential", "Its access key works no more at once. What it owns stays.", user.user_name, async () => {
    await call(`/api/v1/credentials/${user.id}`, { method: "DELETE" });
    toast(`${user.user_name} was deleted.`);
  });
}

function showOne(place, id) {
  const body = h("div");
  replace(place, page("Credential", [h("a", { class: "button", href: "#/credentials" }, "All credentials")], body));
  const again = () => load(body, async () => one(await call(`/api/v1/credentials/${encodeURIComponent(id)}`), again));
  again();
}

function one(user, again) {
  const name = input({ value: user.user_name, required: true });
  const active = check("Active", { checked: user.is_active });
  const save = button("Save", { type: "submit", kind: "primary" });
  const form = h("form", {
    onsubmit: async (event) => {
      event.preventDefault();
      save.disabled = true;
      try {
        await call(`/api/v1/credentials/${user.id}`, { method: "PUT", json: { user_name: name.value, is_active: active.input.checked } });
        toast("Saved.");
        again();
      } catch (error) {
        toast(error.message, "error");
      } finally {
        save.disabled = false;
      }
    },
  }, field("Name", name), active.whole, save);
  return h("div", { class: "columns" },
    h("div", {}, card(user.user_name, facts([["Access key", h("span", { class: "code" }, user.access_key)], ["State", state(user)],
      ["Created", time(user.created_at)], user.canonical_id && ["Canonical id", h("span", { class: "code wrap" }, user.canonical_id)]]), form), policies(user, again)),
    h("div", {}, card("Buckets", owned(user.buckets ?? [])), card("Limits", traffic(user))));
}

function traffic(user) {
  const place = h("div");
  const again = () => load(place, () => limits(`credentials/${user.id}`, "They count for all that the user asks for.", again));
  again();
  return place;
}

function owned(buckets) {
  if (buckets.length === 0) return h("p", { class: "hint" }, "It owns no bucket.");
  return table("Buckets", [["Name"], ["Objects", "number"], ["Size", "number"]], buckets.map((bucket) => h("tr", {},
    h("td", {}, h("a", { href: browse(bucket.name) }, bucket.name)),
    h("td", { class: "number" }, bucket.object_count === undefined ? "–" : number(bucket.object_count)), h("td", { class: "number" }, bytes(bucket.total_size)))));
}

const EXAMPLE = {
  Version: "2012-10-17",
  Statement: [{ Effect: "Allow", Action: ["s3:GetObject", "s3:ListBucket"], Resource: ["arn:aws:s3:::a-bucket", "arn:aws:s3:::a-bucket/*"] }],
};

function policies(user, again) {
  const names = user.policies ?? [];
  const path = (name) => `/api/v1/credentials/${user.id}/policies/${encodeURIComponent(name)}`;
  const edit = async (name) => {
    const title = input({ value: name ?? "", required: true, disabled: Boolean(name) });
    const text = name ? JSON.stringify(await call(path(name)), null, 2) : JSON.stringify(EXAMPLE, null, 2);
    const editor = jsonEditor("Policy", text);
    const done = await dialog(name ? `Policy ${name}` : "New policy", [field("Name", title), editor.element], {
      wide: true,
      submit: () => call(path(title.value), { method: "PUT", text: editor.text() }),
    });
    if (done) again();
  };
  const rows = names.map((name) => h("tr", {}, h("td", {}, name), h("td", { class: "narrow" },
    iconButton(`Edit ${name}`, "settings", () => edit(name).catch((error) => toast(error.message, "error"))),
    iconButton(`Delete ${name}`, "trash", async () => {
      if (await confirm(`Delete the policy ${name}?`, "It counts no more at once.", { submit: () => call(path(name), { method: "DELETE" }) })) again();
    }))));
  return card("Policies", rows.length ? table("Policies", [["Name"], ["", "narrow"]], rows) : h("p", { class: "hint" }, "It has no policies."),
    button("Add a policy", { glyph: "plus", onclick: () => edit(null) }));
}
