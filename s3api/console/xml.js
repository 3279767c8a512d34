// S3's XML documents, read into plain objects and written from them. No node of a parsed document
// leaves this file.

const policy = globalThis.trustedTypes?.createPolicy("ringfort-xml", { createHTML: (text) => text });

// One element: its name, its text, and its children.
class Element {
  constructor(node) {
    this.name = node.localName;
    this.children = Array.from(node.children, (child) => new Element(child));
    this.content = this.children.length ? "" : node.textContent;
    this.attributes = Object.fromEntries(Array.from(node.attributes, (a) => [a.name, a.value]));
  }

  all(name) {
    return this.children.filter((child) => child.name === name);
  }

  // The first child of that name, or of that path of names.
  one(path) {
    let found = this;
    for (const name of path.split("/")) found = found?.children.find((child) => child.name === name);
    return found ?? null;
  }

  text(path, fallback = "") {
    return this.one(path)?.content ?? fallback;
  }
}

export function parse(text) {
  const source = policy ? policy.createHTML(text) : text;
  const parsed = new DOMParser().parseFromString(source, "application/xml");
  if (!parsed.documentElement || parsed.querySelector("parsererror")) return null;
  return new Element(parsed.documentElement);
}

export function escape(text) {
  const codes = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#13;" };
  return String(text).replace(/[&<>"\r]/g, (found) => codes[found]);
}

// Writes [name, text or children] pairs; those without a value are left out.
export function write(name, content) {
  if (content === null || content === undefined) return "";
  if (Array.isArray(content)) {
    return `<${name}>${content.map(([child, inner]) => write(child, inner)).join("")}</${name}>`;
  }
  return `<${name}>${escape(content)}</${name}>`;
}

// Whether a text can stand in a document of XML 1.0 at all.
export function isWritable(text) {
  return !/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/.test(text);
}
