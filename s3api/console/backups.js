// Backups of the whole store: begins one into a directory of the server's host, and tells how the last
// one goes or went.

import { call, manage } from "./api.js";
import { bytes, h, number, plural, replace, seconds, time } from "./dom.js";
import { attempt, button, card, check, copyable, facts, field, iconButton, input, missing, page, problem, toast } from "./ui.js";

const INTERVAL_MS = 1000;
const MIB = 1048576;
const DAMAGE_SHOWN = 20;

export function show(place) {
  const control = new AbortController();
  const status = h("div", { "aria-live": "polite" });
  const order = h("div");
  let timer = null;
  let form = null;
  // What is drawn, so that a screen reader hears changes of the state alone and the focus stays.
  let drawn = null;

  const look = async () => {
    clearTimeout(timer);
    try {
      const last = await manage("backup", { signal: control.signal });
      if (!last) return replace(place, page("Backups", [], missing("backups")));
      form ??= startForm(last, look);
      if (!form.element.isConnected) replace(order, form.element);
      form.setRunning(last.state === "running");
      if (drawn?.state === "running" && last.state === "running" && drawn.generation === last.generation) drawn.update(last);
      else drawn = draw(status, last);
      if (last.state === "running") timer = setTimeout(look, INTERVAL_MS);
    } catch (error) {
      if (error.name === "AbortError") return;
      drawn = null;
      replace(status, problem(error, look));
    }
  };
  replace(place, page("Backups", [iconButton("Refresh", "refresh", look)],
    h("div", { class: "columns" }, card("Start a backup", order), h("div", {}, card("The last backup", status), whereItGoes()))));
  look();
  return () => {
    clearTimeout(timer);
    control.abort();
  };
}

function whereItGoes() {
  return card("Where the files go",
    h("p", {}, "A backup is the whole store at one moment: every bucket, object and version, users and settings. It is written ",
      h("strong", {}, "on the host that the server runs on"), ", not on the computer of this browser: the directory is one that the server sees. In a container that is a path inside it, so name a mounted volume."),
    h("ul", { class: "notes" },
      h("li", {}, "Choose another drive than those of the store, or a mount of another host: what shares a drive with the store is lost with it."),
      h("li", {}, "The server's user must be able to write there. The directory is made, if its parent is there. Under systemd, the unit's ReadWritePaths must name it."),
      h("li", {}, "Backups in one directory share files: what has not changed since the one before is not copied again. Give each store a directory of its own, and leave the files there as they are."),
      h("li", {}, "Two files are not in it: root-credentials.json, and the file with the master keys of encryption. Without the master key, what is encrypted cannot be read from a backup either: keep copies of both, elsewhere.")),
    h("p", { class: "hint" }, "The server goes on meanwhile. Writes wait for the length of one flush at the beginning. A backup that fails leaves the earlier ones as they were."));
}

// The form stays as it is while the state is looked at again.
function startForm(last, look) {
  const directory = input({ required: true, pattern: "/.*", class: "code", value: last.directory ?? "", placeholder: "/backups/photos", title: "An absolute path: it begins with /" });
  const keep = input({ type: "number", min: 1, step: 1, placeholder: "all" });
  const rate = input({ type: "number", min: 0, step: "any", placeholder: "200" });
  const name = input({ maxlength: 64, pattern: "[A-Za-z0-9:_\\-]+", placeholder: "the time at which it begins" });
  const damaged = check("Go on over damage: stored data that does not verify is kept as it is. Otherwise it fails the backup.");
  const go = button("Start the backup", { kind: "primary", type: "submit" });
  const element = h("form", {
    onsubmit: async (event) => {
      event.preventDefault();
      go.disabled = true;
      const isBegun = await attempt(async () => {
        const json = { directory: directory.value, allow_damaged: damaged.input.checked };
        if (keep.value !== "") json.keep = Number(keep.value);
        if (rate.value !== "") json.bytes_per_second = Math.round(Number(rate.value) * MIB);
        if (name.value !== "") json.generation = name.value;
        const { generation } = await call("/api/v1/backup", { method: "POST", json });
        toast(`The backup ${generation} has begun.`);
        await look();
      });
      if (!isBegun) go.disabled = false;
    },
  },
  field("Directory on the server's host", directory, "An absolute path as the server sees it: the files go there, not onto this computer."),
  h("div", { class: "row" },
    field("Keep the newest", keep, "Older ones are removed."),
    field("MiB per second", rate, "At most; 0 for as fast as it goes.")),
  field("Name", name, "Letters, digits, dashes, underscores and colons."),
  damaged.whole, h("div", { class: "actions left" }, go));
  return { element, setRunning: (isRunning) => { go.disabled = isRunning; } };
}

// Draws a state; gives what a later look at the same running backup updates.
function draw(place, last) {
  if (last.state === "none") {
    replace(place, h("p", { class: "hint" }, "None was begun since the server started. Earlier ones are in their directories; on the server's host, this lists them:"),
      copyable("ringfort restore --from DIRECTORY --list", "Command"));
    return last;
  }
  const head = [["Name", h("span", { class: "code wrap" }, last.generation)], ["Directory", h("span", { class: "code wrap" }, last.directory)],
    ["Begun", time(last.begun_ns / 1e6)]];
  if (last.state !== "running") {
    replace(place, last.state === "done" ? done(last, head) : failed(last, head));
    return last;
  }
  const bar = h("progress", { "aria-label": "Progress of the backup" });
  const told = h("p", { class: "hint" });
  const update = ({ bytes_done: so, bytes_total: total, bytes_copied: copied }) => {
    if (total > 0) {
      bar.max = total;
      bar.value = Math.min(so, total);
    }
    told.textContent = total > 0
      ? `${Math.min(100, Math.floor((100 * so) / total))} %: ${bytes(so)} of about ${bytes(total)} are in it; ${bytes(copied)} were copied now`
      : "The moment is being chosen.";
  };
  update(last);
  replace(place, facts([["State", badge("running", "")], ...head]), bar, h("div", { "aria-live": "off" }, told));
  return { ...last, update };
}

const badge = (text, kind) => h("span", { class: `badge ${kind}` }, text);

function failed(last, head) {
  return [h("div", { class: "notice error", role: "alert" }, h("p", { class: "wrap" }, h("strong", {}, "It failed. "), last.error)),
    facts([["State", badge("failed", "bad")], ...head]),
    h("p", { class: "hint" }, "No backup of this name came to be. Earlier ones in the directory are as they were.")];
}

function done(last, head) {
  const { files, bytes: size, bytes_copied: copied, held_us: held, damage, removed } = last.result;
  return [
    damage.length > 0 && h("div", { class: "notice error", role: "alert" }, h("p", {}, h("strong", {}, `${plural(damage.length, "file")} did not verify`), " and went into the backup as they are."),
      h("ul", { class: "notes" }, damage.slice(0, DAMAGE_SHOWN).map((text) => h("li", { class: "wrap" }, text))),
      damage.length > DAMAGE_SHOWN && h("p", {}, `And ${number(damage.length - DAMAGE_SHOWN)} more.`)),
    facts([["State", badge("done", "good")], ...head, ["Size", `${bytes(size)} in ${plural(files, "file")}`], ["Copied now", bytes(copied)],
      ["Writes waited", seconds(held / 1e6)], removed.length > 0 && ["Removed", h("span", { class: "code wrap" }, removed.join(", "))]]),
    h("p", { class: "hint" }, "On the server's host, this verifies every file of it and writes nothing:"),
    copyable(`ringfort restore --from ${quoted(last.directory)} --generation=${last.generation} --dry-run`, "Command"),
  ];
}

// As one word of a shell.
const quoted = (text) => (/^[\w./:-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
