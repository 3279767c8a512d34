// What pages are made of: toasts, dialogs, fields, tables, states of loading.

import { add, h, icon, replace } from "./dom.js";

export function toast(message, kind = "info") {
  const note = h("div", { class: `toast ${kind}` }, h("span", {}, message),
    h("button", { class: "plain", type: "button", "aria-label": "Dismiss", onclick: () => note.remove() }, icon("close")));
  document.getElementById("toasts").append(note);
  setTimeout(() => note.remove(), kind === "error" ? 12000 : 5000);
}

// Runs what a button does; tells what went wrong, and keeps the button from being pressed twice.
export async function attempt(work, button) {
  if (button) button.disabled = true;
  try {
    await work();
    return true;
  } catch (error) {
    if (error.name !== "AbortError") toast(error.message, "error");
    return false;
  } finally {
    if (button) button.disabled = false;
  }
}

export function button(label, { kind = "", glyph, onclick, type = "button", ...rest } = {}) {
  return h("button", { type, class: `button ${kind}`, onclick, ...rest }, glyph && icon(glyph), h("span", {}, label));
}

export function iconButton(label, glyph, onclick, rest = {}) {
  return h("button", { type: "button", class: "plain", "aria-label": label, title: label, onclick, ...rest }, icon(glyph));
}

let fields = 0;

// A labelled input. `control` is an element; the hint is read with it.
export function field(label, control, hint) {
  const id = `field-${++fields}`;
  control.id = id;
  if (hint) control.setAttribute("aria-describedby", `${id}-hint`);
  return h("div", { class: "field" }, h("label", { for: id }, label), control,
    hint && h("p", { class: "hint", id: `${id}-hint` }, hint));
}

export function check(label, props = {}) {
  const input = h("input", { type: "checkbox", ...props });
  const whole = h("label", { class: "check" }, input, h("span", {}, label));
  return { input, whole };
}

export function input(props = {}) {
  return h("input", { type: "text", autocomplete: "off", spellcheck: "false", ...props });
}

export function select(options, value) {
  return h("select", {}, options.map(([name, label]) =>
    h("option", { value: name, selected: name === value }, label)));
}

export const STAY = Symbol("stay");

// A dialog with a form. `submit` may throw, or return STAY, to keep it open; resolves to true once it
// was submitted.
export function dialog(title, content, { action = "Save", kind = "primary", submit, wide = false } = {}) {
  return new Promise((resolve) => {
    let isDone = false;
    const problem = h("p", { class: "problem", role: "alert" });
    const go = button(action, { kind, type: "submit" });
    const cancel = button(submit ? "Cancel" : "Close", { onclick: () => box.close() });
    const form = h("form", { method: "dialog" }, h("h2", {}, title), content, problem,
      h("div", { class: "actions" }, cancel, submit && go));
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (!submit) return box.close();
      go.disabled = true;
      problem.textContent = "";
      try {
        // What has something to show stays open.
        if ((await submit()) === STAY) return;
        isDone = true;
        box.close();
      } catch (error) {
        problem.textContent = error.message;
      } finally {
        go.disabled = false;
      }
    });
    const box = h("dialog", { class: wide ? "wide" : "", "aria-label": title }, form);
    box.addEventListener("close", () => { box.remove(); resolve(isDone); });
    document.body.append(box);
    box.showModal();
    const first = form.querySelector("input:not([type=checkbox]), select, textarea");
    (first ?? (submit ? go : cancel)).focus();
  });
}

export function confirm(title, message, { action = "Delete", submit } = {}) {
  return dialog(title, h("p", { class: "wrap" }, message), { action, kind: "danger", submit: submit ?? (async () => {}) });
}

// Asks for the name of what is to be deleted, so that it is not done by mistake.
export function confirmByName(title, message, name, submit) {
  const typed = input({ required: true });
  return dialog(title, [h("p", {}, message), field(`Type ${name} to confirm`, typed)], {
    action: "Delete", kind: "danger",
    submit: async () => {
      if (typed.value !== name) throw new Error("That is not the name.");
      await submit();
    },
  });
}

export function copyable(text, label = "Text to copy") {
  const shown = h("input", { type: "text", readonly: true, value: text, class: "code", "aria-label": label });
  shown.addEventListener("focus", () => shown.select());
  const copy = iconButton("Copy", "copy", async () => {
    shown.select();
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // Browsers have no clipboard on plain HTTP; the text is selected.
      document.execCommand("copy");
    }
    toast("Copied.");
  });
  return h("div", { class: "copyable" }, shown, copy);
}

// Columns are [title, class]; rows are elements made by `row`.
export function table(caption, columns, rows) {
  const head = h("tr", {}, columns.map(([title, kind]) => h("th", { scope: "col", class: kind ?? "" }, title)));
  return h("div", { class: "scroll" }, h("table", {}, h("caption", { class: "hidden" }, caption),
    h("thead", {}, head), h("tbody", {}, rows)));
}

export function empty(glyph, title, ...more) {
  return h("div", { class: "empty" }, icon(glyph), h("p", {}, title), more);
}

// Fills a place with what `load` resolves to, and tells meanwhile that it loads, or why it failed.
export async function load(place, work) {
  replace(place, h("p", { class: "loading", role: "status" }, "Loading…"));
  try {
    const content = await work();
    if (content !== undefined) replace(place, content);
  } catch (error) {
    if (error.name === "AbortError") return;
    replace(place, problem(error, () => load(place, work)));
  }
}

export function problem(error, again) {
  return h("div", { class: "notice error", role: "alert" }, h("p", {}, error.message),
    again && button("Try again", { glyph: "refresh", onclick: again }));
}

export function missing(what) {
  return h("div", { class: "notice" }, h("p", {}, `This server does not offer ${what} yet.`));
}

export function page(title, actions, ...content) {
  const heading = h("h1", { tabindex: "-1" }, title);
  return add(h("div", { class: "page" }), [h("header", { class: "head" }, heading, h("div", { class: "actions" }, actions)), content]);
}

export function card(title, ...content) {
  return h("section", { class: "card" }, title && h("h2", {}, title), content);
}

export function facts(pairs) {
  return h("dl", { class: "facts" }, pairs.filter(Boolean).map(([name, value]) =>
    h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}
