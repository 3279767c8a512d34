// Prometheus' text format, read; and what the dashboard wants to know of it.

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/;
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g;
const ESCAPES = { "\\n": "\n", "\\\\": "\\", '\\"': '"' };

export class Metrics {
  constructor(text, at) {
    this.at = at;
    this.rows = new Map();
    for (const line of text.split("\n")) {
      const found = line.startsWith("#") ? null : LINE.exec(line);
      if (!found) continue;
      const labels = {};
      for (const [, name, value] of (found[2] ?? "").matchAll(LABEL)) {
        labels[name] = value.replace(/\\[n\\"]/g, (escape) => ESCAPES[escape]);
      }
      if (!this.rows.has(found[1])) this.rows.set(found[1], []);
      this.rows.get(found[1]).push({ labels, value: Number(found[3]) });
    }
  }

  all(name) {
    return this.rows.get(name) ?? [];
  }

  sum(name, matches = () => true) {
    return this.all(name).filter((row) => matches(row.labels)).reduce((sum, row) => sum + row.value, 0);
  }

  of(name, label) {
    return [...new Set(this.all(name).map((row) => row.labels[label]))];
  }
}

export async function fetchMetrics(signal) {
  const response = await fetch("/metrics", { signal, credentials: "omit" });
  if (!response.ok) throw new Error(`The metrics answered ${response.status}.`);
  return new Metrics(await response.text(), performance.now());
}

// What a counter grew by in a second between two looks.
export function rate(before, after, name, matches) {
  const span = (after.at - before.at) / 1000;
  return span > 0 ? Math.max(0, after.sum(name, matches) - before.sum(name, matches)) / span : 0;
}

const BUCKETS = "ringfort_request_duration_seconds_bucket";

// The latency under which a share of one operation's requests between two looks stayed, in seconds,
// by linear interpolation within a bucket; NaN without requests.
export function quantile(before, after, operation, share) {
  const counts = new Map();
  const collect = (metrics, sign) => {
    for (const { labels, value } of metrics.all(BUCKETS)) {
      if (labels.operation !== operation) continue;
      const bound = labels.le === "+Inf" ? Infinity : Number(labels.le);
      counts.set(bound, (counts.get(bound) ?? 0) + sign * value);
    }
  };
  collect(after, 1);
  if (before) collect(before, -1);
  const bounds = [...counts.keys()].sort((a, b) => a - b);
  const total = counts.get(Infinity) ?? 0;
  if (!(total > 0)) return NaN;
  let below = 0, lower = 0;
  for (const bound of bounds) {
    const count = counts.get(bound);
    if (count >= share * total) {
      if (bound === Infinity) return lower;
      const within = count > below ? (share * total - below) / (count - below) : 1;
      return lower + (bound - lower) * within;
    }
    below = count;
    lower = bound;
  }
  return lower;
}
