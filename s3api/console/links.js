// Presigned URLs: the making of one, and the list of those that are good still.

import { call, current, manage } from "./api.js";
import { browse } from "./buckets.js";
import { h, replace, time } from "./dom.js";
import { STAY, copyable, dialog, empty, field, input, load, missing, page, select, table } from "./ui.js";

export function show(place) {
  const list = h("div");
  replace(place, page("Links", [], h("p", { class: "hint" },
    "Links that root and API keys have made and that are good still. A link cannot be taken back; it dies with the credential that it was made for."), list));
  load(list, async () => {
    const urls = [];
    let marker = null;
    do {
      const answer = await manage(`presigned-urls${marker ? `?marker=${encodeURIComponent(marker)}` : ""}`);
      if (!answer) return missing("a list of links");
      urls.push(...answer.urls);
      marker = answer.is_truncated ? answer.next_marker : null;
    } while (marker && urls.length < 5000);
    return view(urls);
  });
}

function view(urls) {
  if (urls.length === 0) return empty("link", "There are no links that are good now.");
  return h("div", { class: "card list" }, table("Links", [["Object"], ["Bucket", "wide-only"], ["Method"], ["Credential", "wide-only"], ["Expires"]],
    urls.map((url) => h("tr", {}, h("td", { class: "wrap" }, url.object_key),
      h("td", { class: "wide-only" }, h("a", { href: browse(url.bucket_name) }, url.bucket_name)), h("td", {}, url.method),
      h("td", { class: "wide-only code" }, url.access_key), h("td", {}, time(url.expires_at))))));
}

const PERIODS = [[900, "15 minutes"], [3600, "1 hour"], [86400, "1 day"], [604800, "7 days"]];
const ENDPOINT = "ringfort-endpoint";
// The viewer asks for more of a large one as one reads on.
const PDF_SECONDS = 900;

function stored() {
  try {
    return localStorage.getItem(ENDPOINT) ?? "";
  } catch {
    // Without storage the address is guessed each time.
    return "";
  }
}

function store(endpoint) {
  try {
    if (endpoint === current().endpoint) localStorage.removeItem(ENDPOINT);
    else localStorage.setItem(ENDPOINT, endpoint);
  } catch {
    // As above.
  }
}

export async function make({ bucket, key, version }) {
  const period = select(PERIODS.map(([value, label]) => [String(value), label]), "3600");
  const method = select([["GET", "Download"], ["PUT", "Upload in its place"]], "GET");
  const endpoint = input({ value: stored() || current().endpoint, required: true });
  const result = h("div", { "aria-live": "polite" });
  await dialog("Make a link", [
    h("p", { class: "hint" }, "Whoever has the link can use it, in your name, for as long as it is good."),
    field("Good for", period), field("For", method),
    field("Address of the S3 port", endpoint, "As whoever gets the link reaches it."), result,
  ], {
    action: "Make the link",
    submit: async () => {
      const order = { bucket, key, method: method.value, expires_in: Number(period.value), endpoint: endpoint.value.trim() };
      if (version && method.value === "GET") order.version_id = version;
      const url = await sign(order);
      store(order.endpoint);
      replace(result, copyable(url), method.value === "GET" && h("a", { href: url, target: "_blank", rel: "noopener noreferrer" }, "Open it"));
      return STAY;
    },
  });
}

// Opens a PDF in a tab of its own, by a link to the S3 port: that is another origin, where the browser's
// viewer has nothing of the console's within reach. A policy would not hold it: some browsers drop the
// policy for their viewer, others show nothing under it.
export async function openPdf({ bucket, key, version }) {
  // At once, while the click lets it; a tab opened later counts as unasked for.
  const tab = open("about:blank", "_blank");
  if (!tab) throw new Error("The browser did not let a tab be opened.");
  tab.opener = null;
  try {
    const json = { bucket, key, show_as: "application/pdf", expires_in: PDF_SECONDS, endpoint: stored() || current().endpoint };
    if (version) json.version_id = version;
    tab.location.replace((await call("/console/links", { method: "POST", json })).url);
  } catch (error) {
    tab.close();
    throw error;
  }
}

// The management API remembers the links that it makes. It writes keys as they are, and browsers fold
// "." and ".." between slashes: the console's own way writes such keys otherwise.
async function sign(order) {
  const isFolded = order.key.split("/").some((part) => part === "." || part === "..");
  const [, scheme, host] = /^(https?):\/\/([^/]+)\/?$/.exec(order.endpoint) ?? [];
  if (current().may_manage && !isFolded && host) {
    const { bucket, key, method, expires_in, version_id } = order;
    const json = { bucket_name: bucket, object_key: key, method, expires_in, access_key: current().access_key, host };
    if (version_id) json.query = { versionId: version_id };
    const made = await manage("presigned-urls", { method: "POST", json });
    if (made) return `${scheme}://${host}${made.url}`;
  }
  return (await call("/console/links", { method: "POST", json: order })).url;
}
