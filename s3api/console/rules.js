// Settings that are lists of rules: lifecycle, CORS, notification.

import { h, replace } from "./dom.js";
import { form } from "./settings.js";
import * as s3 from "./s3.js";
import { button, check, field, iconButton, input, select } from "./ui.js";
import * as xml from "./xml.js";

// A list of rules, each drawn by `draw(rule)`, which returns its fields and how it is read from them.
function rulesForm({ rules, fresh, draw, title, none, intro }, save, again, remove) {
  const place = h("div");
  const shown = [];
  const redraw = () => replace(place,
    shown.length === 0 && h("p", { class: "hint" }, none),
    shown.map((one, at) => h("fieldset", { class: "rule" }, h("legend", {}, `${title} ${at + 1}`), one.content,
      h("div", { class: "actions" }, iconButton(`Remove ${title.toLowerCase()} ${at + 1}`, "trash", () => { shown.splice(at, 1); redraw(); })))));
  for (const rule of rules) shown.push(draw(rule));
  redraw();
  const more = button("Add a rule", { glyph: "plus", onclick: () => {
    shown.push(draw(fresh()));
    redraw();
    place.lastElementChild.querySelector("input, select")?.focus();
  } });
  const go = async () => {
    if (shown.length === 0) return remove();
    return save(shown.map((one) => one.read()));
  };
  return form([h("p", { class: "hint" }, intro), place, h("div", { class: "actions left gap" }, more)], go, again);
}

const lines = (text) => text.split(/[\n,]/).map((one) => one.trim()).filter(Boolean);
const days = (value) => input({ type: "number", min: 1, value: value ?? "" });

// --- Lifecycle

export async function lifecycle(bucket, again) {
  const set = await s3.readOrNone(bucket, null, { lifecycle: "" }, ["NoSuchLifecycleConfiguration"]);
  return rulesForm({
    rules: set?.all("Rule").map(readRule) ?? [],
    fresh: () => ({ enabled: true, tags: [] }),
    draw: drawRule,
    title: "Rule",
    none: "No rules: nothing is deleted by itself.",
    intro: "Rules delete objects that are old, versions that are no longer current, and uploads that nobody completes.",
  }, (rules) => s3.put(bucket, null, { lifecycle: "" }, xml.write("LifecycleConfiguration", rules)), again,
  async () => { if (set) await s3.send("DELETE", bucket, null, { lifecycle: "" }); });
}

function readRule(rule) {
  const filter = rule.one("Filter/And") ?? rule.one("Filter") ?? rule;
  return {
    id: rule.text("ID"),
    enabled: rule.text("Status") === "Enabled",
    prefix: filter.text("Prefix"),
    tags: filter.all("Tag").map((tag) => `${tag.text("Key")}=${tag.text("Value")}`),
    greater: filter.text("ObjectSizeGreaterThan"),
    less: filter.text("ObjectSizeLessThan"),
    days: rule.text("Expiration/Days"),
    date: rule.text("Expiration/Date"),
    markers: rule.text("Expiration/ExpiredObjectDeleteMarker") === "true",
    noncurrent: rule.text("NoncurrentVersionExpiration/NoncurrentDays"),
    newer: rule.text("NoncurrentVersionExpiration/NewerNoncurrentVersions"),
    abort: rule.text("AbortIncompleteMultipartUpload/DaysAfterInitiation"),
  };
}

function drawRule(rule) {
  const id = input({ value: rule.id ?? "" });
  const enabled = check("In force", { checked: rule.enabled });
  const prefix = input({ value: rule.prefix ?? "" });
  const tags = input({ value: rule.tags.join(", "), placeholder: "name=value, …" });
  const greater = input({ type: "number", min: 0, value: rule.greater ?? "" });
  const less = input({ type: "number", min: 0, value: rule.less ?? "" });
  const age = days(rule.days);
  const date = input({ type: "date", value: (rule.date ?? "").slice(0, 10) });
  const markers = check("Delete markers with no version behind them", { checked: rule.markers });
  const noncurrent = days(rule.noncurrent);
  const newer = days(rule.newer);
  const abort = days(rule.abort);
  const content = [
    enabled.whole,
    h("div", { class: "row" }, field("Name", id), field("Keys that begin with", prefix, "All, if it is left empty."), field("Objects with all these tags", tags)),
    h("div", { class: "row" }, field("Larger than (bytes)", greater), field("Smaller than (bytes)", less)),
    h("div", { class: "row" }, field("Delete objects after (days)", age), field("or from a day on", date), field("Abort uploads after (days)", abort)),
    h("div", { class: "row" }, field("Delete versions that were replaced, after (days)", noncurrent), field("but keep the newest of them", newer)),
    markers.whole,
  ];
  const read = () => {
    const size = (control) => (control.value === "" ? null : control.value);
    const pairs = lines(tags.value).map((text) => {
      const at = text.indexOf("=");
      if (at < 1) throw new Error(`Tags: "${text}" must be name=value.`);
      return ["Tag", [["Key", text.slice(0, at)], ["Value", text.slice(at + 1)]]];
    });
    const parts = [...(prefix.value ? [["Prefix", prefix.value]] : []), ...pairs,
      ...(size(greater) ? [["ObjectSizeGreaterThan", greater.value]] : []), ...(size(less) ? [["ObjectSizeLessThan", less.value]] : [])];
    const filter = parts.length === 0 ? [["Prefix", ""]] : parts.length === 1 ? parts : [["And", parts]];
    const expiration = age.value ? [["Days", age.value]] : date.value ? [["Date", `${date.value}T00:00:00Z`]]
      : markers.input.checked ? [["ExpiredObjectDeleteMarker", "true"]] : null;
    if (newer.value && !noncurrent.value) throw new Error("Versions that were replaced: give the days too.");
    if (!expiration && !noncurrent.value && !abort.value) throw new Error("A rule must delete or abort something.");
    return ["Rule", [
      ["ID", id.value || null], ["Filter", filter], ["Status", enabled.input.checked ? "Enabled" : "Disabled"], ["Expiration", expiration],
      ["NoncurrentVersionExpiration", noncurrent.value ? [["NoncurrentDays", noncurrent.value], ["NewerNoncurrentVersions", newer.value || null]] : null],
      ["AbortIncompleteMultipartUpload", abort.value ? [["DaysAfterInitiation", abort.value]] : null],
    ]];
  };
  return { content, read };
}

// --- CORS

const METHODS = ["GET", "HEAD", "PUT", "POST", "DELETE"];

export async function cors(bucket, again) {
  const set = await s3.readOrNone(bucket, null, { cors: "" }, ["NoSuchCORSConfiguration"]);
  return rulesForm({
    rules: set?.all("CORSRule").map((rule) => ({
      id: rule.text("ID"), age: rule.text("MaxAgeSeconds"),
      ...Object.fromEntries(["AllowedOrigin", "AllowedMethod", "AllowedHeader", "ExposeHeader"].map((name) => [name, rule.all(name).map((one) => one.content)])),
    })) ?? [],
    fresh: () => ({ AllowedOrigin: [], AllowedMethod: ["GET", "HEAD"], AllowedHeader: [], ExposeHeader: ["ETag"] }),
    draw: drawCors,
    title: "Rule",
    none: "No rules: pages of other origins cannot read this bucket.",
    intro: "Rules let pages of other origins reach this bucket from a browser. The first one that fits counts.",
  }, (rules) => s3.put(bucket, null, { cors: "" }, xml.write("CORSConfiguration", rules)), again,
  async () => { if (set) await s3.send("DELETE", bucket, null, { cors: "" }); });
}

function drawCors(rule) {
  const origins = h("textarea", { rows: 2, placeholder: "https://www.example.com" });
  origins.value = rule.AllowedOrigin.join("\n");
  const methods = METHODS.map((name) => [name, check(name, { checked: rule.AllowedMethod.includes(name) })]);
  const headers = input({ value: rule.AllowedHeader.join(", "), placeholder: "*" });
  const exposed = input({ value: rule.ExposeHeader.join(", ") });
  const age = input({ type: "number", min: 0, value: rule.age ?? "" });
  const content = [
    field("Origins", origins, "One on a line; * stands for any text, once."),
    h("div", { class: "field", role: "group", "aria-label": "Methods" }, h("span", { class: "label" }, "Methods"), h("div", { class: "bar plain-bar" }, methods.map(([, box]) => box.whole))),
    h("div", { class: "row" }, field("Headers that requests may carry", headers), field("Headers that scripts may read", exposed), field("Remembered for (seconds)", age)),
  ];
  const read = () => ["CORSRule", [
    ["ID", rule.id || null],
    ...methods.filter(([, box]) => box.input.checked).map(([name]) => ["AllowedMethod", name]),
    ...lines(origins.value).map((one) => ["AllowedOrigin", one]),
    ...lines(headers.value).map((one) => ["AllowedHeader", one]),
    ...lines(exposed.value).map((one) => ["ExposeHeader", one]),
    ["MaxAgeSeconds", age.value || null],
  ]];
  return { content, read };
}

// --- Notification

const KINDS = [["TopicConfiguration", "Topic"], ["QueueConfiguration", "Queue"], ["CloudFunctionConfiguration", "CloudFunction"]];
const EVENTS = [
  ["s3:ObjectCreated:*", "Created"], ["s3:ObjectRemoved:*", "Removed"], ["s3:ObjectTagging:*", "Tags changed"],
  ["s3:ObjectAcl:Put", "ACL changed"], ["s3:LifecycleExpiration:*", "Expired"],
];

export async function notification(bucket, again) {
  const set = await s3.read(bucket, null, { notification: "" });
  const rules = KINDS.flatMap(([element, arn]) => set.all(element).map((one) => ({
    element, arn, id: one.text("Id"), target: one.text(arn), events: one.all("Event").map((event) => event.content),
    ...Object.fromEntries(one.one("Filter/S3Key")?.all("FilterRule").map((rule) => [rule.text("Name").toLowerCase(), rule.text("Value")]) ?? []),
  })));
  return rulesForm({
    rules,
    fresh: () => ({ element: "QueueConfiguration", arn: "Queue", target: "", events: ["s3:ObjectCreated:*"] }),
    draw: drawNotification,
    title: "Notification",
    none: "No events are sent.",
    intro: "What happens to objects is sent to targets that the operator has configured when the server was started.",
  }, (all) => s3.put(bucket, null, { notification: "" }, xml.write("NotificationConfiguration", all)), again,
  () => s3.put(bucket, null, { notification: "" }, "<NotificationConfiguration/>"));
}

function drawNotification(rule) {
  const id = input({ value: rule.id ?? "" });
  const target = input({ value: rule.target, required: true });
  const prefix = input({ value: rule.prefix ?? "" });
  const suffix = input({ value: rule.suffix ?? "" });
  const others = rule.events.filter((event) => !EVENTS.some(([name]) => name === event));
  const boxes = [...EVENTS, ...others.map((event) => [event, event])].map(([name, label]) => [name, check(label, { checked: rule.events.includes(name) })]);
  const kind = select(KINDS.map(([element, arn]) => [element, arn === "CloudFunction" ? "Function" : arn]), rule.element);
  const content = [
    h("div", { class: "row" }, field("Name", id), field("Kind", kind), field("Target", target, "Its ARN, as in arn:ringfort:sqs::NAME:webhook.")),
    h("div", { class: "field", role: "group", "aria-label": "Events" }, h("span", { class: "label" }, "Events"), h("div", { class: "bar plain-bar" }, boxes.map(([, box]) => box.whole))),
    h("div", { class: "row" }, field("Keys that begin with", prefix), field("Keys that end with", suffix)),
  ];
  const read = () => {
    const arn = KINDS.find(([element]) => element === kind.value)[1];
    const filters = [["prefix", prefix.value], ["suffix", suffix.value]].filter(([, value]) => value);
    return [kind.value, [
      ["Id", id.value || null], [arn, target.value.trim()],
      ...boxes.filter(([, box]) => box.input.checked).map(([name]) => ["Event", name]),
      ["Filter", filters.length ? [["S3Key", filters.map(([name, value]) => ["FilterRule", [["Name", name], ["Value", value]]])]] : null],
    ]];
  };
  return { content, read };
}
