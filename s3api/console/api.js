// The session, and requests to the console's own endpoints and the management API.

let session = null;
const listeners = new Set();

export function current() {
  return session;
}

export function onChange(listener) {
  listeners.add(listener);
}

function become(next) {
  session = next;
  for (const listener of listeners) listener(session);
}

// What the server refused, in its own words.
export class Refusal extends Error {
  constructor(status, message, code = "") {
    super(message);
    this.status = status;
    this.code = code;
  }
}

// Called when a request within a session is answered 401.
export function expired() {
  if (session) become(null);
}

export async function call(path, { method = "GET", json, text, signal } = {}) {
  const headers = {};
  if (method !== "GET" && session) headers["X-Ringfort-CSRF"] = session.csrf;
  let body;
  if (json !== undefined) body = JSON.stringify(json);
  if (text !== undefined) body = text;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, { method, headers, body, signal, credentials: "same-origin" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(0, "The server cannot be reached.");
  }
  const content = await response.text();
  let parsed = null;
  try {
    parsed = content ? JSON.parse(content) : null;
  } catch {
    // An answer that is no JSON says nothing that could be shown.
  }
  if (!response.ok) {
    if (response.status === 401 && path !== "/console/session") expired();
    throw new Refusal(response.status, parsed?.detail ?? `The server answered ${response.status}.`);
  }
  return parsed;
}

// The management API; null where this server does not have the resource.
export async function manage(path, options) {
  try {
    return await call(`/api/v1/${path}`, options);
  } catch (error) {
    if (error.status === 404 && error.message.includes("no such resource")) return null;
    throw error;
  }
}

export async function resume() {
  try {
    become(await call("/console/session"));
  } catch (error) {
    if (error.status === 401) return become(null);
    // Cookies of two sessions: to sign in again takes both away.
    if (error.status === 409) become(null);
    throw error;
  }
}

export async function signIn(proof) {
  become(await call("/console/session", { method: "POST", json: proof }));
}

export async function signOut() {
  try {
    await call("/console/session", { method: "DELETE" });
  } catch (error) {
    // Otherwise the session goes on, and who believes that it has ended leaves it to others.
    if (error.status !== 401) throw error;
  }
  become(null);
}
