// The timeline: a ruler, a row for everything that was found, and a playhead that mouse, finger and keys move.

import { clock, h } from "./dom.js";
import { ticks, tracksOf } from "./tracks.js";

const MARK_PX = 44; // a time's width and some air
const SVG = "http://www.w3.org/2000/svg";

export class Timeline {
  constructor(onSeek) {
    this.length = 0;
    this.time = 0;
    this.onSeek = onSeek;
    this.head = h("div", { class: "playhead", "aria-hidden": "true" });
    this.ruler = h("div", { class: "ruler", "aria-hidden": "true" });
    this.rows = h("div", { class: "tracks" });
    this.element = h("div", {
      class: "timeline", role: "slider", tabindex: "0", "aria-label": "Position in the media",
      "aria-valuemin": "0", "aria-valuemax": "0", "aria-valuenow": "0", "aria-valuetext": clock(0),
      onkeydown: (event) => this.onKey(event),
      onpointerdown: (event) => this.onPointer(event),
      onpointermove: (event) => event.buttons === 1 && this.element.hasPointerCapture(event.pointerId) && this.seekTo(event),
    }, this.ruler, this.rows, this.head);
    new ResizeObserver(() => this.mark()).observe(this.ruler);
  }

  // Rebuild the rows from all that has been found so far.
  fill(found, length, ended) {
    this.length = length;
    this.element.setAttribute("aria-valuemax", length.toFixed(1));
    this.mark();
    this.rows.replaceChildren(...tracksOf(found, length, ended).map((track) => this.row(track)));
    this.move(this.time);
  }

  // The ruler, with as many times as there is room for.
  mark() {
    const { length } = this;
    const room = this.ruler.clientWidth || 600;
    const times = length ? ticks(length, Math.min(10, Math.floor(room / MARK_PX)), 1 - MARK_PX / room) : [];
    this.ruler.replaceChildren(...times.map((at) => placed(h("span", {}, clock(at)), at, at, length)));
  }

  row(track) {
    const lane = track.kind === "level" ? [curve(track.points, this.length)] : this.spans(track);
    return h("div", { class: `track ${track.analyzer}`, "data-track": track.name },
      h("span", { class: "name", title: track.name }, track.name), h("div", { class: "lane" }, ...lane));
  }

  spans(track) {
    return track.spans.map((span, number) => {
      const percent = span.score === null ? "" : ` ${Math.round(span.score * 100)} %`;
      const title = `${span.text}${percent}, ${clock(span.start)}–${clock(span.end)}`;
      const alternate = track.kind === "scenes" && number % 2 ? " other" : "";
      const mark = h("span", { class: `span${alternate}`, title }, track.kind === "speech" ? span.text : "");
      if (span.score !== null) mark.style.opacity = String(0.45 + 0.55 * Math.min(1, span.score));
      return placed(mark, span.start, span.end, this.length);
    });
  }

  move(time) {
    this.time = time;
    const share = this.length ? Math.min(1, time / this.length) : 0;
    this.head.style.setProperty("--at", String(share));
    this.element.setAttribute("aria-valuenow", time.toFixed(1));
    this.element.setAttribute("aria-valuetext", clock(time));
  }

  onPointer(event) {
    if (event.button !== 0) return;
    this.element.setPointerCapture(event.pointerId);
    this.seekTo(event);
  }

  seekTo(event) {
    const lane = this.ruler.getBoundingClientRect();
    const share = Math.min(1, Math.max(0, (event.clientX - lane.left) / lane.width));
    this.onSeek(share * this.length);
  }

  onKey(event) {
    const step = event.shiftKey ? 10 : 1;
    const to = {
      ArrowRight: this.time + step, ArrowLeft: this.time - step, ArrowUp: this.time + step, ArrowDown: this.time - step,
      PageUp: this.time + 10, PageDown: this.time - 10, Home: 0, End: this.length,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.onSeek(Math.min(this.length, Math.max(0, to)));
  }
}

function placed(element, start, end, length) {
  element.style.left = `${(100 * start) / length}%`;
  element.style.width = `${(100 * Math.max(0, Math.min(end, length) - start)) / length}%`;
  return element;
}

// A number over time as an area, its highest value at the lane's top.
function curve(points, length) {
  const most = Math.max(1, ...points.map(([, value]) => value));
  const line = points.map(([time, value]) => `L${time} ${1 - Math.max(0, value) / most}`).join("");
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${length || 1} 1`);
  svg.setAttribute("preserveAspectRatio", "none");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", `M${points[0][0]} 1${line}L${points[points.length - 1][0]} 1Z`);
  svg.append(path);
  return svg;
}
