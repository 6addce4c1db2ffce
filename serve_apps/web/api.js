// The way to the API: the token, requests, problems, and event streams that resume.

const KEY = "aima-token";
export const FINISHED = new Set(["succeeded", "partial", "failed", "cancelled"]);

export class Problem extends Error {
  constructor(status, body) {
    super(body.detail || body.title || `the API answered ${status}`);
    this.status = status;
    this.field = body.field;
  }
}

// `aima open` brings the token behind the #; it leaves the address, and so the history, at once.
export function takeTokenFromAddress() {
  const found = /^#token=(.+)$/.exec(location.hash);
  if (!found) return;
  setToken(decodeURIComponent(found[1]));
  history.replaceState(null, "", location.pathname + location.search);
}

export const hasToken = () => sessionStorage.getItem(KEY) !== null;
export const setToken = (token) => sessionStorage.setItem(KEY, token.trim());
export const forgetToken = () => sessionStorage.removeItem(KEY);

function authorised(headers = {}) {
  return { ...headers, Authorization: `Bearer ${sessionStorage.getItem(KEY) || ""}` };
}

async function problemOf(reply) {
  const body = await reply.json().catch(() => ({}));
  if (reply.status === 401) window.dispatchEvent(new Event("token-needed"));
  return new Problem(reply.status, body);
}

export async function request(path, { method = "GET", json, body, headers, signal } = {}) {
  const options = { method, body, signal, headers: authorised(headers) };
  if (json !== undefined) {
    options.body = JSON.stringify(json);
    options.headers["Content-Type"] = "application/json";
  }
  let reply;
  try {
    reply = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, { detail: "the API does not answer; this page keeps trying" });
  }
  if (!reply.ok) throw await problemOf(reply);
  return reply.status === 204 ? null : reply.json();
}

// PUT bytes, telling how many are sent, which fetch cannot.
export function send(path, body, onSent) {
  return new Promise((resolve, reject) => {
    const call = new XMLHttpRequest();
    call.open("PUT", path);
    const headers = authorised({ "Content-Type": "application/octet-stream" });
    for (const [name, value] of Object.entries(headers)) call.setRequestHeader(name, value);
    call.upload.onprogress = (event) => onSent(event.loaded);
    call.onerror = () => reject(new Problem(0, { detail: "the upload broke off; try again" }));
    call.onload = () => (call.status < 300 ? resolve() : reject(new Problem(call.status, parsed(call.responseText))));
    call.send(body);
  });
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Every event of an analysis, once, in order, until it has ended; a connection that breaks is resumed where it broke.
export async function followEvents(id, onEvent, signal) {
  let last = "0";
  let wait = 500;
  while (!signal.aborted) {
    try {
      const headers = authorised({ "Last-Event-ID": last, Accept: "text/event-stream" });
      const reply = await fetch(`v1/analyses/${id}/events`, { headers, signal });
      if (reply.status === 204) return;
      if (!reply.ok) throw await problemOf(reply);
      for await (const event of eventsIn(reply.body)) {
        last = event.id;
        wait = 500;
        onEvent(event);
        if (FINISHED.has(event.kind)) return;
      }
    } catch (error) {
      if (signal.aborted || [401, 403, 404].includes(error.status)) return;
    }
    await pause(wait);
    wait = Math.min(wait * 2, 10_000);
  }
}

async function* eventsIn(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value;
    const frames = text.split("\n\n");
    text = frames.pop();
    for (const frame of frames) {
      const event = parseFrame(frame);
      if (event) yield event;
    }
  }
}

export function parseFrame(frame) {
  const fields = {};
  for (const line of frame.split("\n")) {
    const colon = line.indexOf(":");
    if (colon > 0) fields[line.slice(0, colon)] = line.slice(colon + 1).trimStart();
  }
  return fields.data ? { id: fields.id, kind: fields.event, ...JSON.parse(fields.data) } : null;
}
