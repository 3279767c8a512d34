// Editors that several pages use.

import { h, replace } from "./dom.js";
import { attempt, button, iconButton, input, toast } from "./ui.js";

// A list of [key, value] pairs. `save` gets the new list.
export function pairsEditor(pairs, { key, value, max }, save) {
  const rows = pairs.map((pair) => [...pair]);
  const place = h("div");
  const draw = () => replace(place,
    rows.length === 0 && h("p", { class: "hint" }, "None."),
    rows.map((row, at) => h("div", { class: "pair" },
      input({ value: row[0], "aria-label": `${key} ${at + 1}`, placeholder: key, oninput: (event) => { row[0] = event.target.value; } }),
      input({ value: row[1], "aria-label": `${value} ${at + 1}`, placeholder: value, oninput: (event) => { row[1] = event.target.value; } }),
      iconButton(`Remove ${key.toLowerCase()} ${at + 1}`, "close", () => { rows.splice(at, 1); draw(); }))),
    h("div", { class: "actions left" },
      rows.length < max && button("Add", { glyph: "plus", onclick: () => { rows.push(["", ""]); draw(); place.querySelectorAll("input")[2 * rows.length - 2]?.focus(); } }),
      button("Save", { onclick: (event) => attempt(async () => {
        const named = rows.filter(([name]) => name !== "");
        if (named.length !== rows.length && rows.some(([name, content]) => name === "" && content !== "")) throw new Error(`${key}: it must have a name.`);
        await save(named);
        toast("Saved.");
      }, event.currentTarget) })));
  draw();
  return place;
}

// A text of JSON, checked as it is typed. `text()` throws while it is none.
export function jsonEditor(label, text) {
  const area = h("textarea", { class: "code", rows: 16, spellcheck: "false", "aria-label": label });
  area.value = text;
  const state = h("p", { class: "hint", role: "status" });
  const look = () => {
    const wrong = problemOf(area.value);
    state.textContent = wrong ? `Not JSON yet: ${wrong}` : "Valid JSON.";
    state.classList.toggle("bad", Boolean(wrong));
  };
  area.addEventListener("input", look);
  look();
  const tidy = button("Format", { onclick: () => attempt(async () => { area.value = JSON.stringify(JSON.parse(area.value), null, 2); look(); }) });
  return {
    element: h("div", { class: "field" }, h("span", { class: "label" }, label), area, h("div", { class: "bar plain-bar" }, state, tidy)),
    set: (next) => { area.value = next; look(); },
    text: () => {
      const wrong = problemOf(area.value);
      if (wrong) throw new Error(`${label}: ${wrong}`);
      return area.value;
    },
  };
}

function problemOf(text) {
  try {
    JSON.parse(text);
    return "";
  } catch (error) {
    return error.message;
  }
}
