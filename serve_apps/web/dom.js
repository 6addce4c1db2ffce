// Elements and words: what every part of the page is built with. Text is always text, never markup.

export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const byId = (id) => document.getElementById(id);

// Set a text only when it changes: a screen reader reads live regions again otherwise.
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function show(element, visible) {
  element.hidden = !visible;
}

export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const parts = [Math.floor(whole / 60) % 60, whole % 60].map((part) => String(part).padStart(2, "0"));
  const hours = Math.floor(whole / 3600);
  return hours ? `${hours}:${parts.join(":")}` : `${Number(parts[0])}:${parts[1]}`;
}

export function duration(seconds) {
  if (seconds < 1) return "less than a second";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

export function money(usd) {
  if (usd === null || usd === undefined) return "cost unknown";
  if (usd === 0 || usd >= 1) return `$${usd.toFixed(2)}`;
  return `$${usd.toFixed(Math.min(6, Math.max(3, 1 - Math.floor(Math.log10(usd)))))}`; // two digits that count
}

export function bytes(count) {
  const unit = ["B", "kB", "MB", "GB"].at(Math.min(3, Math.floor(Math.log10(Math.max(1, count)) / 3)));
  const value = count / 1000 ** ["B", "kB", "MB", "GB"].indexOf(unit);
  return `${value < 10 && unit !== "B" ? value.toFixed(1) : Math.round(value)} ${unit}`;
}

export function ago(iso, now = Date.now()) {
  const seconds = (now - Date.parse(iso)) / 1000;
  if (seconds < 45) return "just now";
  if (seconds < 5400) return `${Math.max(1, Math.round(seconds / 60))} min ago`;
  if (seconds < 86400) return `${Math.round(seconds / 3600)} h ago`;
  return new Date(iso).toLocaleDateString();
}

// The last part of a path or an address, readable.
export function fileName(uri) {
  const path = uri.split(/[?#]/)[0].replace(/\/+$/, "");
  const name = path.slice(path.lastIndexOf("/") + 1) || uri;
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}

// What an analysis is called: by its label `name`, which uploads get, else by its first media item.
export function titleOf(view) {
  const more = view.media.length - 1;
  return (view.labels?.name ?? fileName(view.media[0])) + (more ? ` and ${more} more` : "");
}
