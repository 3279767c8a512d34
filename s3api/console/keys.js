// API keys of the management API.

import { call, manage } from "./api.js";
import { h, replace, time } from "./dom.js";
import { button, confirm, copyable, dialog, empty, field, iconButton, input, load, missing, page, select, table } from "./ui.js";

export function show(place) {
  const list = h("div");
  const again = () => load(list, async () => {
    const answer = await manage("api-keys");
    return answer ? view(answer.api_keys ?? answer.keys ?? [], again) : missing("API keys of its own beside the one of its start");
  });
  replace(place, page("API keys", [button("Create API key", { kind: "primary", glyph: "plus", onclick: async () => (await create()) && again() })],
    h("p", { class: "hint" }, "They open the management API and this console. A read-only key changes nothing."), list));
  again();
}

function view(keys, again) {
  if (keys.length === 0) return empty("key", "There are no API keys beside the one of the start.");
  return h("div", { class: "card list" }, table("API keys", [["Name"], ["Rights"], ["Created", "wide-only"], ["Expires", "wide-only"], ["", "narrow"]],
    keys.map((key) => h("tr", {}, h("td", {}, key.name), h("td", {}, rights(key)),
      h("td", { class: "wide-only" }, time(key.created_at)), h("td", { class: "wide-only" }, key.expires_at ? time(key.expires_at) : "never"),
      h("td", { class: "narrow" }, iconButton(`Revoke ${key.name}`, "trash", async () => {
        const path = `/api/v1/api-keys/${encodeURIComponent(key.id ?? key.name)}`;
        if (await confirm(`Revoke ${key.name}?`, "It opens nothing more at once.", { action: "Revoke", submit: () => call(path, { method: "DELETE" }) })) again();
      }))))));
}

function rights(key) {
  const isReadOnly = key.read_only ?? (key.access ?? key.rights ?? key.scope) !== "full";
  return h("span", { class: `badge ${isReadOnly ? "" : "good"}` }, isReadOnly ? "read-only" : "full");
}

async function create() {
  const name = input({ required: true });
  const access = select([["read-only", "Read-only"], ["full", "Full"]], "read-only");
  let made = null;
  const done = await dialog("Create an API key", [field("Name", name), field("Rights", access)], {
    action: "Create",
    submit: async () => {
      made = await manage("api-keys", { method: "POST", json: { name: name.value, access: access.value } });
      if (!made) throw new Error("This server does not offer API keys of its own yet.");
    },
  });
  if (done) await dialog("The new API key", [h("p", {}, "It is shown now and never again."), copyable(made.api_key ?? made.key ?? made.secret)]);
  return done;
}
