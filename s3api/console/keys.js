// API keys of the management API.

import { call, manage } from "./api.js";
import { h, replace, time } from "./dom.js";
import { button, confirm, copyable, dialog, field, iconButton, input, load, missing, page, select, table } from "./ui.js";

export function show(place) {
  const list = h("div");
  const again = () => load(list, async () => {
    const answer = await manage("api-keys");
    return answer ? view(answer.api_keys, again) : missing("API keys beside the one of its start");
  });
  replace(place, page("API keys", [button("Create API key", { kind: "primary", glyph: "plus", onclick: async () => (await create()) && again() })],
    h("p", { class: "hint" }, "They open the management API and this console. A read-only key changes nothing."), list));
  again();
}

function view(keys, again) {
  return h("div", { class: "card list" }, table("API keys", [["Name"], ["Rights"], ["Created", "wide-only"], ["Last used", "wide-only"], ["Expires", "wide-only"], ["", "narrow"]],
    keys.map((key) => h("tr", {}, h("td", {}, key.name), h("td", {}, rights(key)),
      h("td", { class: "wide-only" }, key.created_at ? time(key.created_at) : "–"),
      h("td", { class: "wide-only" }, key.last_used_at ? time(key.last_used_at) : "–"),
      h("td", { class: "wide-only" }, key.expires_at ? time(key.expires_at) : "never"),
      h("td", { class: "narrow" }, key.is_revocable && iconButton(`Revoke ${key.name}`, "trash", async () => {
        const submit = () => call(`/api/v1/api-keys/${encodeURIComponent(key.id)}`, { method: "DELETE" });
        if (await confirm(`Revoke ${key.name}?`, "It opens nothing more at once.", { action: "Revoke", submit })) again();
      }))))));
}

function rights(key) {
  if (key.is_expired) return h("span", { class: "badge" }, "expired");
  return h("span", { class: `badge ${key.rights === "full" ? "good" : ""}` }, key.rights);
}

const LIVES = [["", "For good"], ["86400", "1 day"], ["2592000", "30 days"], ["31536000", "1 year"]];

async function create() {
  const name = input({ required: true });
  const rights = select([["read-only", "Read-only"], ["full", "Full"]], "read-only");
  const life = select(LIVES, "");
  let made = null;
  const done = await dialog("Create an API key", [field("Name", name), field("Rights", rights), field("Good", life)], {
    action: "Create",
    submit: async () => {
      const json = { name: name.value, rights: rights.value };
      if (life.value) json.expires_in = Number(life.value);
      made = await manage("api-keys", { method: "POST", json });
      if (!made) throw new Error("This server does not offer API keys beside the one of its start yet.");
    },
  });
  if (done) await dialog("The new API key", [h("p", {}, "It is shown now and never again."), copyable(made.key)]);
  return done;
}
