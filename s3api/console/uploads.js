// Multipart uploads under way, of one bucket at a time.

import { bytes, h, plural, replace, time } from "./dom.js";
import * as s3 from "./s3.js";
import { button, confirm, empty, field, iconButton, load, page, select, table, toast } from "./ui.js";

export function show(place, [chosen]) {
  const body = h("div");
  replace(place, page("Uploads under way", [], h("p", { class: "hint" },
    "Uploads in parts that were begun and neither completed nor aborted. Their parts take space; a lifecycle rule can abort those that are old."), body));
  load(body, async () => {
    const buckets = await s3.listBuckets();
    if (buckets.length === 0) return empty("clock", "There are no buckets yet.");
    const list = h("div");
    const pick = select(buckets.map((bucket) => [bucket.name, bucket.name]), chosen ?? buckets[0].name);
    const look = () => load(list, () => ofBucket(pick.value, look));
    pick.addEventListener("change", look);
    look();
    return [h("div", { class: "bar plain-bar" }, field("Bucket", pick), button("Refresh", { glyph: "refresh", onclick: look })), list];
  });
}

async function ofBucket(bucket, again) {
  const document = await s3.read(bucket, null, { uploads: "", "encoding-type": "url", "max-uploads": 200 });
  const uploads = document.all("Upload").map((upload) => ({
    key: s3.decode(upload.text("Key")), id: upload.text("UploadId"), begun: upload.text("Initiated"), by: upload.text("Initiator/DisplayName"),
  }));
  if (uploads.length === 0) return empty("clock", "No uploads are under way in this bucket.");
  const rows = uploads.map((upload) => {
    const size = h("td", { class: "number" }, "…");
    partsOf(bucket, upload).then((text) => { size.textContent = text; }).catch(() => { size.textContent = "–"; });
    return h("tr", {}, h("td", { class: "wrap" }, upload.key), size, h("td", { class: "wide-only" }, upload.by), h("td", { class: "wide-only" }, time(upload.begun)),
      h("td", { class: "narrow" }, iconButton(`Abort the upload of ${upload.key}`, "trash", async () => {
        const submit = async () => {
          await s3.send("DELETE", bucket, upload.key, { uploadId: upload.id });
          toast("The upload was aborted.");
        };
        if (await confirm("Abort the upload?", `The parts of ${upload.key} that were sent are deleted.`, { action: "Abort the upload", submit })) again();
      })));
  });
  return [h("div", { class: "card list" }, table("Uploads", [["Key"], ["Sent", "number"], ["By", "wide-only"], ["Begun", "wide-only"], ["", "narrow"]], rows)),
    document.text("IsTruncated") === "true" && h("p", { class: "hint" }, "These are the first 200.")];
}

async function partsOf(bucket, upload) {
  const document = await s3.read(bucket, upload.key, { uploadId: upload.id });
  const parts = document.all("Part");
  const total = parts.reduce((sum, part) => sum + Number(part.text("Size")), 0);
  const more = document.text("IsTruncated") === "true" ? "more than " : "";
  return `${more}${bytes(total)} in ${plural(parts.length, "part")}`;
}
