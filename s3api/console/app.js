// The frame: who is signed in, where in the console one is, light or dark.

import { current, onChange, resume, signIn, signOut } from "./api.js";
import { h, icon, replace } from "./dom.js";
import { attempt, button, field, iconButton, input, problem, toast } from "./ui.js";
import { isBusy } from "./upload.js";
import * as backups from "./backups.js";
import * as browser from "./browser.js";
import * as buckets from "./buckets.js";
import * as credentials from "./credentials.js";
import * as dashboard from "./dashboard.js";
import * as keys from "./keys.js";
import * as kms from "./kms.js";
import * as links from "./links.js";
import * as object from "./object.js";
import * as settings from "./settings.js";
import * as uploads from "./uploads.js";

// First word of the address behind "#/", its page, and whether it is for those who manage.
const PAGES = {
  "": [dashboard, true],
  buckets: [buckets, false],
  b: [browser, false],
  o: [object, false],
  settings: [settings, false],
  credentials: [credentials, true],
  keys: [keys, true],
  kms: [kms, true],
  backups: [backups, true],
  links: [links, true],
  uploads: [uploads, false],
};

const NAVIGATION = [
  ["", "Dashboard", "dashboard"],
  ["buckets", "Buckets", "bucket"],
  ["uploads", "Uploads under way", "clock"],
  ["links", "Links", "link"],
  ["credentials", "Credentials", "users"],
  ["keys", "API keys", "key"],
  ["kms", "KMS keys", "lock"],
  ["backups", "Backups", "archive"],
];

const app = document.getElementById("app");
let main = null;
let leave = null;

function parts() {
  try {
    return location.hash.replace(/^#\/?/, "").split("?")[0].split("/").map(decodeURIComponent);
  } catch {
    return [""];
  }
}

function route() {
  if (!current() || !main) return;
  leave?.();
  leave = null;
  const [first, ...rest] = parts();
  const [page, isManaging] = Object.hasOwn(PAGES, first) ? PAGES[first] : PAGES[""];
  if (isManaging && !current().may_manage) {
    location.replace("#/buckets");
    return;
  }
  for (const link of app.querySelectorAll("nav a")) {
    const owner = { b: "buckets", o: "buckets", settings: "buckets" }[first] ?? first;
    if (link.dataset.page === owner) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  app.classList.remove("open");
  try {
    leave = page.show(main, rest, new URLSearchParams(location.hash.split("?")[1] ?? "")) ?? null;
  } catch (error) {
    replace(main, problem(error));
  }
  main.scrollTop = 0;
  const heading = main.querySelector("h1");
  document.title = heading ? `${heading.textContent} · Ringfort` : "Ringfort";
  heading?.focus({ preventScroll: true });
}

function applyTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
}

function storedTheme() {
  try {
    return localStorage.getItem("ringfort-theme");
  } catch {
    return null;
  }
}

function isDark() {
  return (storedTheme() ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
}

function themeSwitch() {
  const flip = iconButton(isDark() ? "Light colours" : "Dark colours", isDark() ? "sun" : "moon", () => {
    const next = isDark() ? "light" : "dark";
    try {
      localStorage.setItem("ringfort-theme", next);
    } catch {
      // Without storage the choice holds for this page.
    }
    applyTheme(next);
    flip.replaceWith(themeSwitch());
  });
  return flip;
}

function brand() {
  return h("a", { class: "brand", href: "#/" }, h("img", { src: "icon.svg", alt: "", width: 26, height: 26 }), h("span", {}, "Ringfort"));
}

function frame() {
  const session = current();
  const links = NAVIGATION.filter(([name]) => session.may_manage || !PAGES[name][1]);
  const nav = h("nav", { "aria-label": "Console" }, links.map(([name, label, glyph]) =>
    h("a", { href: `#/${name}`, "data-page": name }, icon(glyph), h("span", {}, label))));
  const key = session.api_key;
  const who = key ? `API key ${key.name}` : session.name;
  const rights = key && key.rights !== "full" ? "Read-only" : `Version ${session.version}`;
  const side = h("div", { class: "side", id: "side" }, brand(), nav,
    h("div", { class: "who" }, h("div", {}, h("strong", { title: session.access_key }, who), h("span", { class: "hint" }, rights)),
      themeSwitch(), iconButton("Sign out", "out", () => attempt(signOut))));
  const toggle = iconButton("Menu", "menu", () => {
    const isOpen = app.classList.toggle("open");
    toggle.setAttribute("aria-expanded", isOpen);
  }, { "aria-controls": "side", "aria-expanded": "false", class: "plain menu" });
  main = h("main", { id: "main" });
  const skip = h("a", { class: "skip", href: "#main", onclick: (event) => { event.preventDefault(); main.querySelector("h1")?.focus(); } }, "Skip to the content");
  const shade = h("div", { class: "shade", onclick: () => app.classList.remove("open") });
  app.className = "framed";
  replace(app, skip, h("header", { class: "top" }, toggle, brand()), side, shade, main);
  route();
}

function signInPage() {
  main = null;
  leave?.();
  leave = null;
  app.className = "gate";
  const access = input({ name: "username", autocomplete: "username", required: true });
  const secret = input({ type: "password", name: "password", autocomplete: "current-password", required: true });
  const api = input({ type: "password", name: "api-key", autocomplete: "off" });
  const notice = h("p", { class: "problem", role: "alert" });
  const byKeys = h("div", {}, field("Access key", access), field("Secret key", secret));
  const byApi = h("div", { hidden: true }, field("API key", api, "The key of the management API."));
  const go = button("Sign in", { kind: "primary", type: "submit" });
  let isApi = false;
  const other = button("Use an API key instead", {
    kind: "link",
    onclick: () => {
      isApi = !isApi;
      byKeys.hidden = isApi;
      byApi.hidden = !isApi;
      access.required = secret.required = !isApi;
      api.required = isApi;
      other.lastChild.textContent = isApi ? "Use an access key instead" : "Use an API key instead";
      (isApi ? api : access).focus();
    },
  });
  const form = h("form", {
    class: "card sign-in",
    onsubmit: async (event) => {
      event.preventDefault();
      notice.textContent = "";
      go.disabled = true;
      try {
        await signIn(isApi ? { api_key: api.value } : { access_key: access.value, secret_key: secret.value });
      } catch (error) {
        notice.textContent = error.status === 401 ? "These credentials are not right, or they may not be used." : error.message;
        (isApi ? api : secret).select();
      } finally {
        go.disabled = false;
      }
    },
  }, h("div", { class: "sign-in-head" }, h("img", { src: "icon.svg", alt: "", width: 44, height: 44 }), h("h1", {}, "Ringfort")),
  byKeys, byApi, notice, go, other);
  replace(app, h("div", { class: "corner" }, themeSwitch()), form);
  document.title = "Sign in · Ringfort";
  access.focus();
}

applyTheme(storedTheme());
let was = null;
onChange((session) => {
  if (session) frame();
  else {
    for (const dialog of document.querySelectorAll("dialog")) dialog.close();
    if (was) toast("You are signed out.");
    signInPage();
  }
  was = session;
});
addEventListener("hashchange", route);
addEventListener("beforeunload", (event) => {
  if (isBusy()) event.preventDefault();
});
resume().catch((error) => {
  if (error.status === 409) toast(error.message, "error");
  else replace(app, problem(error, () => location.reload()));
});
