// Multipart uploads under way, of one bucket at a time.

import { bytes, h, plural, replace, time } from "./dom.js";
import * as s3 from "./s3.js";
import { attempt, button, confirm, empty, field, iconButton, load, page, select, table, toast } from "./ui.js";

// Rows of a page; each is asked for its parts.
const PAGE = 200;
const COLUMNS = [["Key"], ["Sent", "number"], ["By", "wide-only"], ["Begun", "wide-only"], ["", "narrow"]];

export function show(place, [chosen]) {
  const body = h("div");
  let shown = null;
  replace(place, page("Uploads under way", [], h("p", { class: "hint" },
    "Uploads in parts that were begun and neither completed nor aborted. Their parts take space; a lifecycle rule can abort those that are old."), body));
  load(body, async () => {
    const buckets = await s3.listBuckets();
    if (!body.isConnected) return undefined;
    if (buckets.length === 0) return empty("clock", "There are no buckets yet.");
    const list = h("div");
    const pick = select(buckets.map((bucket) => [bucket.name, bucket.name]), chosen ?? buckets[0].name);
    const look = () => {
      shown?.leave();
      shown = new Uploads(pick.value);
      replace(list, shown.element);
      shown.begin();
    };
    pick.addEventListener("change", look);
    look();
    return [h("div", { class: "bar plain-bar" }, field("Bucket", pick), button("Refresh", { glyph: "refresh", onclick: look })), list];
  });
  return () => shown?.leave();
}

// A page of a bucket's uploads after another.
class Uploads {
  constructor(bucket) {
    this.bucket = bucket;
    this.control = new AbortController();
    this.count = 0;
    this.after = {};
    this.table = table("Uploads", COLUMNS, []);
    this.rows = this.table.querySelector("tbody");
    this.told = h("p", { class: "hint", role: "status" });
    this.element = h("div");
  }

  leave() {
    this.control.abort();
  }

  begin() {
    return load(this.element, async () => {
      // What is still on its way goes into rows that are no longer shown.
      const rows = h("tbody");
      this.rows.replaceWith(rows);
      this.rows = rows;
      this.count = 0;
      this.after = {};
      await this.more();
      return this.count > 0 ? this.view() : this.none();
    });
  }

  none() {
    return empty("clock", "No uploads are under way in this bucket.");
  }

  view() {
    const next = button("Load more", { onclick: () => attempt(() => this.more(), next) });
    this.next = h("div", { class: "more" }, next);
    this.tell();
    return h("div", { class: "card list" }, h("div", { class: "bar" }, this.told), this.table, this.next);
  }

  tell() {
    this.told.textContent = `${plural(this.count, "upload")}${this.after ? " so far" : ""}`;
    if (this.next) this.next.hidden = !this.after;
  }

  // Markers go with the last upload of a page, whether or not it has ended since.
  async more() {
    const { signal } = this.control;
    const query = { uploads: "", "encoding-type": "url", "max-uploads": PAGE, ...this.after };
    const rows = this.rows;
    const page = await s3.read(this.bucket, null, query, { signal });
    if (rows !== this.rows) return;
    for (const upload of page.all("Upload")) {
      this.rows.append(this.row({
        key: s3.decode(upload.text("Key")), id: upload.text("UploadId"), begun: upload.text("Initiated"), by: upload.text("Initiator/DisplayName"),
      }));
      this.count++;
    }
    this.after = page.text("IsTruncated") === "true"
      ? { "key-marker": s3.decode(page.text("NextKeyMarker")), "upload-id-marker": page.text("NextUploadIdMarker") || null }
      : null;
    this.tell();
  }

  row(upload) {
    const size = h("td", { class: "number" }, "…");
    partsOf(this.bucket, upload, this.control.signal).then((text) => { size.textContent = text; }).catch(() => { size.textContent = "–"; });
    const row = h("tr", {}, h("td", { class: "wrap" }, upload.key), size, h("td", { class: "wide-only" }, upload.by), h("td", { class: "wide-only" }, time(upload.begun)),
      h("td", { class: "narrow" }, iconButton(`Abort the upload of ${upload.key}`, "trash", async () => {
        if (await this.abort(upload)) this.gone(row);
      })));
    return row;
  }

  abort({ key, id }) {
    const submit = async () => {
      await s3.send("DELETE", this.bucket, key, { uploadId: id }).catch((error) => {
        // It has ended meanwhile.
        if (error.code !== "NoSuchUpload") throw error;
      });
      toast("The upload was aborted.");
    };
    return confirm("Abort the upload?", `The parts of ${key} that were sent are deleted.`, { action: "Abort the upload", submit });
  }

  // The others stay where they are: to list anew would lose one's place.
  gone(row) {
    row.remove();
    this.count--;
    this.tell();
    if (this.count === 0) this.begin();
  }
}

async function partsOf(bucket, upload, signal) {
  const document = await s3.read(bucket, upload.key, { uploadId: upload.id }, { signal });
  const parts = document.all("Part");
  const total = parts.reduce((sum, part) => sum + Number(part.text("Size")), 0);
  const more = document.text("IsTruncated") === "true" ? "more than " : "";
  return `${more}${bytes(total)} in ${plural(parts.length, "part")}`;
}
