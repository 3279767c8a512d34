// How much traffic a user or a bucket may make.

import { manage } from "./api.js";
import { h } from "./dom.js";
import { form } from "./settings.js";
import { field, input, missing } from "./ui.js";

const FIELDS = [
  ["requests_per_second", "Requests per second", "On average; beyond it requests are answered with SlowDown."],
  ["burst_requests", "Burst", "Requests that may come at once behind a pause; as many as per second, if it is left empty."],
  ["concurrent_requests", "Concurrent requests", "From a request's head until its answer was sent."],
  ["bytes_in_per_second", "Bytes received per second", "Of bodies; beyond it they wait."],
  ["bytes_out_per_second", "Bytes sent per second", "Of objects; beyond it they wait."],
];

// `owner` is the resource whose limits they are, as the management API names it; `note` says whom they hold.
export async function limits(owner, note, again) {
  const path = `${owner}/limits`;
  const set = await manage(path);
  if (!set) return missing("limits");
  const rows = FIELDS.map(([name, label, hint]) => {
    const control = input({ type: "number", min: 1, value: set[name] ?? "" });
    return { name, control, whole: field(label, control, hint) };
  });
  return form([h("p", { class: "hint" }, `${note} What is left empty is not limited.`), rows.map((row) => row.whole)], async () => {
    const json = Object.fromEntries(rows.map(({ name, control }) => [name, control.value === "" ? null : Number(control.value)]));
    await manage(path, { method: "PUT", json });
  }, again, { remove: FIELDS.some(([name]) => set[name] != null) ? () => manage(path, { method: "DELETE" }) : null });
}
