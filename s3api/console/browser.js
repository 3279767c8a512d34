// The objects of a bucket: folders, uploads, selection, deletion.

import { bytes, h, icon, plural, replace, time } from "./dom.js";
import { browse, settingsOf } from "./buckets.js";
import * as s3 from "./s3.js";
import { attempt, button, check, dialog, empty, field, iconButton, input, page, problem, table, toast } from "./ui.js";
import { droppedFiles, enqueue, onDone } from "./upload.js";

export const objectPage = (bucket, key, version) =>
  `#/o/${encodeURIComponent(bucket)}/${encodeURIComponent(key)}${version ? `?version=${encodeURIComponent(version)}` : ""}`;

export function show(place, [bucket, ...rest]) {
  const view = new Browser(bucket, rest.join("/"));
  replace(place, view.element);
  view.refresh();
  return () => view.leave();
}

class Browser {
  constructor(bucket, prefix) {
    this.bucket = bucket;
    this.prefix = prefix;
    this.selected = new Set();
    this.rows = { folders: [], objects: [] };
    this.token = null;
    this.control = null;
    this.withVersions = false;
    this.list = h("div");
    this.bar = h("div", { class: "bar" });
    this.element = this.build();
    this.stopListening = onDone((done) => done === bucket && this.refreshSoon());
  }

  leave() {
    this.control?.abort();
    this.stopListening();
    clearTimeout(this.timer);
  }

  refreshSoon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.refresh(), 400);
  }

  build() {
    const files = h("input", { type: "file", multiple: true, hidden: true, "aria-label": "Files to upload" });
    const folder = h("input", { type: "file", hidden: true, webkitdirectory: true, "aria-label": "Folder to upload" });
    const take = (picker) => {
      this.upload([...picker.files].map((file) => ({ file, path: file.webkitRelativePath || file.name })));
      picker.value = "";
    };
    files.addEventListener("change", () => take(files));
    folder.addEventListener("change", () => take(folder));
    const view = page(this.bucket, [
      h("a", { class: "button", href: settingsOf(this.bucket) }, icon("settings"), h("span", {}, "Settings")),
      button("New folder", { glyph: "folder", onclick: () => this.newFolder() }),
      button("Upload folder", { glyph: "upload", onclick: () => folder.click() }),
      button("Upload files", { kind: "primary", glyph: "upload", onclick: () => files.click() }),
    ], files, folder, this.crumbs(), h("div", { class: "card list" }, this.bar, this.list));
    view.classList.add("drop");
    this.takeDrops(view);
    return view;
  }

  crumbs() {
    const parts = this.prefix.split("/");
    const last = parts.pop();
    const links = [h("li", {}, h("a", { href: browse(this.bucket) }, this.bucket))];
    let so = "";
    for (const part of parts) {
      so += `${part}/`;
      links.push(h("li", {}, h("a", { href: browse(this.bucket, so) }, part || "(empty name)")));
    }
    if (last) links.push(h("li", {}, `${last}…`));
    links.at(-1).setAttribute("aria-current", "page");
    return h("nav", { class: "crumbs", "aria-label": "Folders" }, h("ol", {}, links));
  }

  takeDrops(view) {
    let depth = 0;
    const hasFiles = (event) => [...event.dataTransfer.types].includes("Files");
    view.addEventListener("dragenter", (event) => { if (hasFiles(event)) { depth++; view.classList.add("over"); } });
    view.addEventListener("dragleave", () => { if (--depth <= 0) { depth = 0; view.classList.remove("over"); } });
    view.addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
    view.addEventListener("drop", (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      depth = 0;
      view.classList.remove("over");
      attempt(async () => this.upload(await droppedFiles(event.dataTransfer)));
    });
  }

  upload(files) {
    enqueue(this.bucket, files.map(({ file, path }) => ({ file, key: this.prefix + path })));
  }

  async newFolder() {
    const name = input({ required: true });
    const made = await dialog("New folder", field("Name", name, "An empty object whose key ends in a slash."), {
      action: "Create",
      submit: () => s3.put(this.bucket, `${this.prefix}${name.value.replace(/\/+$/, "")}/`, {}, ""),
    });
    if (made) this.refresh();
  }

  async refresh() {
    this.selected.clear();
    this.rows = { folders: [], objects: [] };
    this.token = null;
    replace(this.list, h("p", { class: "loading", role: "status" }, "Loading…"));
    await this.more();
  }

  async more() {
    this.control?.abort();
    this.control = new AbortController();
    const { signal } = this.control;
    try {
      const next = this.withVersions ? await this.versionPage(signal) : await this.objectPage(signal);
      this.rows.folders.push(...next.folders);
      this.rows.objects.push(...next.objects);
      this.token = next.token;
      this.draw();
    } catch (error) {
      if (error.name !== "AbortError") replace(this.list, problem(error, () => this.refresh()));
    }
  }

  async objectPage(signal) {
    return s3.listObjects(this.bucket, { prefix: this.prefix, token: this.token, signal });
  }

  async versionPage(signal) {
    const { folders, versions, after } = await s3.listVersions(this.bucket, { prefix: this.prefix, delimiter: "/", after: this.token, signal });
    return { folders, objects: versions, token: after };
  }

  draw() {
    const { folders, objects } = this.rows;
    this.drawBar();
    // The object that stands for the folder itself is no content of it.
    const shown = objects.filter((object) => object.key !== this.prefix || this.withVersions);
    if (folders.length === 0 && shown.length === 0) {
      return replace(this.list, empty("upload", this.prefix ? "This folder is empty." : "This bucket is empty.",
        h("p", { class: "hint" }, "Drop files or folders here, or use the buttons above.")));
    }
    const all = h("input", { type: "checkbox", "aria-label": "Select all", checked: this.isAllSelected(shown, folders), onchange: () => {
      for (const row of [...folders, ...shown]) all.checked ? this.selected.add(row) : this.selected.delete(row);
      this.draw();
    } });
    const head = h("tr", {}, h("th", { class: "narrow" }, all), h("th", { scope: "col" }, "Name"),
      this.withVersions && h("th", { scope: "col", class: "wide-only" }, "Version"),
      h("th", { scope: "col", class: "number" }, "Size"), h("th", { scope: "col", class: "wide-only" }, "Modified"), h("th", { class: "narrow" }));
    const body = h("tbody", {}, folders.map((folder) => this.folderRow(folder)), shown.map((object) => this.objectRow(object)));
    replace(this.list, h("div", { class: "scroll" }, h("table", {}, h("caption", { class: "hidden" }, "Objects"), h("thead", {}, head), body)),
      this.token && h("div", { class: "more" }, button("Load more", { onclick: (event) => attempt(() => this.more(), event.currentTarget) })));
  }

  isAllSelected(shown, folders) {
    return [...shown, ...folders].every((row) => this.selected.has(row));
  }

  drawBar() {
    const { folders, objects } = this.rows;
    const count = folders.length + objects.length;
    const versions = check("Show versions", { checked: this.withVersions });
    versions.input.addEventListener("change", () => { this.withVersions = versions.input.checked; this.refresh(); });
    const filter = input({ type: "search", placeholder: "Go to prefix", "aria-label": "Go to prefix" });
    const go = h("form", { onsubmit: (event) => { event.preventDefault(); location.hash = browse(this.bucket, this.prefix + filter.value); } }, filter);
    replace(this.bar, this.selected.size
      ? [h("strong", { role: "status" }, `${plural(this.selected.size, "item")} selected`),
        button("Delete", { kind: "danger", glyph: "trash", onclick: () => this.removeSelected() }),
        button("Clear", { onclick: () => { this.selected.clear(); this.draw(); } })]
      : [go, versions.whole, iconButton("Refresh", "refresh", () => this.refresh()),
        h("span", { class: "hint", role: "status" }, `${plural(count, "item")}${this.token ? " so far" : ""}`)]);
  }

  tick(row, label) {
    const box = h("input", { type: "checkbox", "aria-label": `Select ${label}`, checked: this.selected.has(row) });
    box.addEventListener("change", () => {
      box.checked ? this.selected.add(row) : this.selected.delete(row);
      this.drawBar();
      box.closest("tr").classList.toggle("selected", box.checked);
    });
    return h("td", { class: "narrow" }, box);
  }

  folderRow(folder) {
    const name = folder.slice(this.prefix.length);
    return h("tr", { class: this.selected.has(folder) ? "selected" : "" }, this.tick(folder, name),
      h("td", {}, h("a", { class: "name", href: browse(this.bucket, folder) }, icon("folder"), h("span", {}, name === "/" ? "/ (empty name)" : name))),
      this.withVersions && h("td", { class: "wide-only" }), h("td", { class: "number" }, "–"), h("td", { class: "wide-only" }, "–"),
      h("td", { class: "narrow" }));
  }

  objectRow(object) {
    const name = object.key.slice(this.prefix.length) || object.key;
    const { key, version } = object;
    const actions = object.isMarker ? null : h("a", {
      class: "plain", href: s3.objectUrl(this.bucket, key, { versionId: version }), download: "", "aria-label": `Download ${name}`, title: "Download",
    }, icon("download"));
    const mark = object.isMarker ? h("span", { class: "badge" }, "deleted") : this.withVersions && object.isLatest ? h("span", { class: "badge good" }, "current") : null;
    const label = object.isMarker ? h("span", { class: "name" }, icon("trash"), h("span", {}, name), mark)
      : h("a", { class: "name", href: objectPage(this.bucket, key, version) }, icon("file"), h("span", {}, name), mark);
    return h("tr", { class: this.selected.has(object) ? "selected" : "" }, this.tick(object, name), h("td", {}, label),
      this.withVersions && h("td", { class: "wide-only code" }, version),
      h("td", { class: "number" }, object.isMarker ? "–" : bytes(object.size)), h("td", { class: "wide-only" }, time(object.modified)),
      h("td", { class: "narrow" }, actions));
  }

  async removeSelected() {
    const rows = [...this.selected];
    const folders = rows.filter((row) => typeof row === "string");
    const objects = rows.filter((row) => typeof row !== "string");
    const what = [objects.length && plural(objects.length, this.withVersions ? "version" : "object"),
      folders.length && `${plural(folders.length, "folder")} with all that is in ${folders.length === 1 ? "it" : "them"}`].filter(Boolean).join(" and ");
    const note = this.withVersions ? "What is deleted by its version is gone for good." : "In a bucket with versioning, earlier versions stay.";
    const progress = h("p", { class: "hint", role: "status" });
    let failures = [];
    const done = await dialog("Delete", [h("p", {}, `Delete ${what}?`), h("p", { class: "hint" }, note), progress], {
      action: "Delete", kind: "danger",
      submit: async () => {
        let count = 0;
        const removeAll = async (items) => {
          for (let at = 0; at < items.length; at += 1000) {
            const batch = items.slice(at, at + 1000);
            const failed = await s3.removeMany(this.bucket, batch);
            failures.push(...failed);
            count += batch.length - failed.length;
            progress.textContent = `${count} deleted`;
          }
        };
        await removeAll(objects.map(({ key, version }) => ({ key, version })));
        for (const folder of folders) await this.eachBelow(folder, removeAll);
      },
    });
    if (!done) return;
    if (failures.length) toast(`${plural(failures.length, "item")} stayed. ${failures[0].key}: ${failures[0].message}`, "error");
    else toast("Deleted.");
    this.refresh();
  }

  // Hands out everything below a folder, in pages; with its versions where those are shown.
  async eachBelow(prefix, work) {
    let token = null;
    do {
      if (this.withVersions) {
        const { versions, after } = await s3.listVersions(this.bucket, { prefix, after: token, max: 1000 });
        if (versions.length) await work(versions.map(({ key, version }) => ({ key, version })));
        token = after;
      } else {
        const { objects, token: next } = await s3.listObjects(this.bucket, { prefix, delimiter: "", token, max: 1000 });
        if (objects.length) await work(objects.map(({ key }) => ({ key })));
        token = next;
      }
    } while (token);
  }
}

