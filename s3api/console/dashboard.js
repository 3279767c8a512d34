// What the server does now: throughput, latency, capacity, background work, cores.

import { manage } from "./api.js";
import { bytes, h, number, plural, replace, seconds, svg } from "./dom.js";
import { fetchMetrics, quantile, rate } from "./metrics.js";
import { attempt, button, card, facts, page, table, toast } from "./ui.js";

const INTERVAL_MS = 2000;
const HISTORY = 90;
// Latencies are told over so many looks.
const WINDOW = 30;

export function show(place) {
  const control = new AbortController();
  const looks = [];
  const live = h("div", { class: "grid" });
  // Each has a place of its own, so that what has the focus stays while others are drawn anew.
  const [latencies, space, work, scrub, load] = Array.from({ length: 5 }, () => h("div", { class: "contents" }));
  const counts = h("div");
  const health = h("div");
  replace(place, page("Dashboard", [], health, counts, live, h("div", { class: "grid cards" }, latencies, space, work, scrub, load)));

  const look = async () => {
    try {
      looks.push(await fetchMetrics(control.signal));
      if (looks.length > HISTORY) looks.shift();
      replace(live, throughput(looks));
      replace(latencies, latency(looks));
      replace(space, capacity(looks));
      replace(work, background(looks));
      replace(load, cores(looks));
    } catch (error) {
      if (error.name === "AbortError") return;
      replace(live, h("div", { class: "notice error", role: "alert" }, h("p", {}, `No figures: ${error.message}`)));
    }
  };
  const lookAround = async () => {
    try {
      replace(health, await healthNotice(control.signal));
      replace(counts, await totals(control.signal));
      if (!scrub.contains(document.activeElement)) replace(scrub, await scrubCard(control.signal));
    } catch (error) {
      if (error.name !== "AbortError") replace(counts, h("p", { class: "hint" }, error.message));
    }
  };
  look();
  lookAround();
  const timers = [setInterval(() => document.hidden || look(), INTERVAL_MS),
    setInterval(() => document.hidden || lookAround(), 10 * INTERVAL_MS)];
  return () => {
    timers.forEach(clearInterval);
    control.abort();
  };
}

async function healthNotice(signal) {
  const response = await fetch("/health", { signal, credentials: "omit" });
  const health = await response.json();
  if (response.ok && !health.degraded) return null;
  const what = [
    response.ok ? null : `The server is ${health.status}.`,
    health.drives_offline?.length ? `${plural(health.drives_offline.length, "drive")} offline.` : null,
    health.shards_offline?.length ? `${plural(health.shards_offline.length, "shard")} offline.` : null,
    health.shards_read_only?.length ? `${plural(health.shards_read_only.length, "shard")} read-only.` : null,
  ];
  return h("div", { class: "notice error", role: "alert" }, h("p", {}, h("strong", {}, "Degraded. "), what.filter(Boolean).join(" ")));
}

// From the management API, where it tells them.
async function totals(signal) {
  const stats = await manage("stats", { signal });
  if (!stats) return null;
  const tiles = [
    ["Buckets", stats.buckets], ["Objects", stats.objects], ["Stored", bytes(stats.total_storage)],
    ["Credentials", stats.credentials], ["Uploads under way", stats.active_multipart_uploads],
    ["Active links", stats.active_presigned_urls],
  ].filter(([, value]) => value !== undefined && value !== null);
  return h("div", { class: "tiles" }, tiles.map(([name, value]) =>
    h("div", { class: "tile" }, h("span", { class: "figure" }, typeof value === "number" ? number(value) : value), h("span", { class: "hint" }, name))));
}

async function scrubCard(signal) {
  const scrub = await manage("scrub", { signal });
  if (!scrub) return null;
  const start = button("Start a pass", {
    onclick: () => attempt(async () => {
      await manage("scrub", { method: "POST" });
      toast("A pass of scrubbing was asked for.");
    }, start),
  });
  return card("Scrubbing", h("progress", { max: 100, value: scrub.percent, "aria-label": "Progress of the pass" }), facts([
    ["State", scrub.state], ["Progress", `${scrub.percent} %`], ["Passes", number(scrub.passes)],
    ["Read", `${bytes(scrub.bytes_done)} of ${bytes(scrub.bytes_expected)}`],
    ["Damage found", scrub.findings_total ? h("strong", { class: "bad" }, number(scrub.findings_total)) : "none"],
  ]), start);
}

const IN = "ringfort_request_body_bytes_total";
const OUT = "ringfort_response_body_bytes_total";
const REQUESTS = "ringfort_requests_total";

function throughput(looks) {
  const series = (name, matches) => looks.slice(1).map((after, at) => rate(looks[at], after, name, matches));
  const isError = ({ status }) => status >= "500";
  return [
    chart("Requests", series(REQUESTS), (value) => `${value < 10 ? value.toFixed(1) : number(Math.round(value))}/s`),
    chart("Received", series(IN), (value) => `${bytes(value)}/s`),
    chart("Sent", series(OUT), (value) => `${bytes(value)}/s`),
    chart("Server errors", series(REQUESTS, isError), (value) => `${value.toFixed(1)}/s`, "bad"),
  ];
}

// A line over time whose last value stands above it.
function chart(title, values, shown, kind = "") {
  const width = 240, height = 56, top = Math.max(...values, 1e-9);
  const step = width / Math.max(values.length - 1, 20);
  const from = width - step * (values.length - 1);
  const points = values.map((value, at) => `${(from + at * step).toFixed(1)},${(height - 3 - (value / top) * (height - 8)).toFixed(1)}`);
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, class: `spark ${kind}`, preserveAspectRatio: "none", role: "img",
    "aria-label": `${title} over the last minutes, at most ${shown(values.length ? Math.max(...values) : 0)}` });
  if (points.length > 1) {
    picture.append(
      svg("polygon", { points: `${from.toFixed(1)},${height} ${points.join(" ")} ${width},${height}`, class: "area" }),
      svg("polyline", { points: points.join(" "), class: "line" }));
  }
  return h("section", { class: "card chart" }, h("h2", {}, title),
    h("p", { class: "figure" }, values.length ? shown(values[values.length - 1]) : "–"), picture);
}

const SHARES = [[0.5, "p50", "number"], [0.9, "p90", "number wide-only"], [0.99, "p99", "number"], [0.999, "p99.9", "number wide-only"]];

function latency(looks) {
  const after = looks[looks.length - 1];
  const before = looks.length > 1 ? looks[Math.max(0, looks.length - WINDOW)] : null;
  const operations = after.of(REQUESTS, "operation").map((operation) => {
    const count = (metrics) => metrics.sum(REQUESTS, (labels) => labels.operation === operation);
    return { operation, all: count(after), now: before ? count(after) - count(before) : 0 };
  }).sort((a, b) => b.now - a.now || b.all - a.all).slice(0, 12);
  const rows = operations.map(({ operation, all, now }) => {
    const base = now > 0 ? before : null;
    return h("tr", { class: now > 0 ? "" : "faint" }, h("td", {}, operation), h("td", { class: "number wide-only" }, number(all)),
      SHARES.map(([share, , kind]) => h("td", { class: kind }, seconds(quantile(base, after, operation, share)))));
  });
  const columns = [["Operation"], ["Requests", "number wide-only"], ...SHARES.map(([, title, kind]) => [title, kind])];
  const note = "Of the last minute; of the time since the start where an operation was not asked for in it.";
  return h("section", { class: "card full" }, h("h2", {}, "Latency"), rows.length
    ? [table("Latency by operation", columns, rows), h("p", { class: "hint" }, note)] : h("p", { class: "hint" }, "No requests yet."));
}

function capacity(looks) {
  const now = looks[looks.length - 1];
  const free = now.sum("ringfort_available_bytes");
  const log = now.sum("ringfort_log_capacity_bytes");
  const live = now.sum("ringfort_log_live_bytes");
  return card("Capacity", facts([
    ["Free for new data", bytes(free)],
    ["Logs", `${bytes(live)} alive of ${bytes(log)}`],
    ["Keys", number(now.sum("ringfort_index_entries"))],
    ["Memory of the index", bytes(now.sum("ringfort_index_bytes"))],
    ["Memory of the process", bytes(now.sum("process_resident_memory_bytes"))],
    ["Hot objects", bytes(now.sum("ringfort_hot_bytes"))],
  ]), h("progress", { max: log || 1, value: live, "aria-label": "Share of the logs that is alive" }));
}

function background(looks) {
  const now = looks[looks.length - 1];
  const before = looks[0];
  return card("Background work", facts([
    ["Compaction", active(now.sum("ringfort_shards_in_compaction"))],
    ["Moved by it", `${bytes(now.sum("ringfort_relocated_bytes_total"))} (${bytes(rate(before, now, "ringfort_relocated_bytes_total"))}/s)`],
    ["Segments compacted", number(now.sum("ringfort_segments_compacted_total"))],
    ["Checkpoints", `${number(now.sum("ringfort_checkpoints_total"))}, ${active(now.sum("ringfort_shards_in_checkpoint"))}`],
    ["Scrubbing reads", `${bytes(rate(before, now, "ringfort_scrub_bytes_total"))}/s`],
    ["Read errors", number(now.sum("ringfort_read_errors_total"))],
    ["Checksum failures", number(now.sum("ringfort_checksum_failures_total"))],
  ]));
}

const active = (count) => (count ? `in ${plural(count, "shard")}` : "at rest");

function cores(looks) {
  const now = looks[looks.length - 1];
  const before = looks[Math.max(0, looks.length - 2)];
  const rows = now.of("ringfort_core_requests_total", "core").map((core) => {
    const mine = (labels) => labels.core === core;
    return h("tr", {}, h("td", {}, core),
      h("td", { class: "number" }, number(Math.round(rate(before, now, "ringfort_core_requests_total", mine)))),
      h("td", { class: "number wide-only" }, number(now.sum("ringfort_connections", mine))),
      h("td", { class: "number" }, `${bytes(rate(before, now, "ringfort_read_bytes_total", mine))}/s`),
      h("td", { class: "number" }, `${bytes(rate(before, now, "ringfort_log_bytes_total", mine))}/s`),
      h("td", { class: "number wide-only" }, number(now.sum("ringfort_index_entries", mine))));
  });
  const columns = [["Core"], ["Requests/s", "number"], ["Connections", "number wide-only"], ["Disk reads", "number"], ["Log writes", "number"], ["Keys", "number wide-only"]];
  return h("section", { class: "card full" }, h("h2", {}, "Cores"), table("Load of each core", columns, rows));
}
