// One analysis: how it stands and why it waits, the player over the timeline, and what was found, in words.

import { FINISHED, followEvents, request } from "./api.js";
import { ago, byId, clock, duration, fileName, h, money, say, show, titleOf } from "./dom.js";
import { Player } from "./player.js";
import { Timeline } from "./timeline.js";
import { tracksOf } from "./tracks.js";

const EVERY_MS = 1000;
const MOST_RECORDS = 5_000; // of each analyzer, of the media item that is shown

export class AnalysisView {
  constructor(id, onChange) {
    this.id = id;
    this.onChange = onChange;
    this.item = 0;
    this.results = null;
    this.length = 0;
    this.stop = new AbortController();
    this.build();
  }

  build() {
    this.player = new Player((time, length) => this.onTime(time, length));
    this.timeline = new Timeline((time) => this.player.seek(time));
    this.title = h("h2", { class: "big" });
    this.state = h("span", { class: "state" });
    this.facts = h("p", { class: "quiet facts" });
    this.line = h("p", { class: "line", "aria-live": "polite" });
    this.bar = h("progress", { max: "100", value: "0", "aria-label": "Progress" });
    this.usual = h("progress", { class: "usual", max: "1", value: "0", "aria-label": "Of the usual wait" });
    this.picker = h("select", { "aria-label": "Media item", onchange: () => this.pick(Number(this.picker.value)) });
    this.trouble = h("p", { class: "problem" });
    this.buttons = h("div", { class: "buttons" });
    this.found = h("div", { class: "found" });
    this.story = h("ol", { class: "story" });
    byId("analysis").replaceChildren(
      h("a", { class: "back", href: "#/" }, "‹ All analyses"),
      h("header", { class: "title" }, this.title, this.state, this.buttons),
      this.facts,
      h("div", { class: "progress" }, this.line, this.usual, this.bar),
      this.picker, this.trouble, this.player.element, this.timeline.element, this.found,
      h("details", { class: "card" }, h("summary", {}, "What happened, step by step"), this.story),
    );
  }

  async open() {
    await this.refresh();
    this.picker.value = String(this.item);
    if (!this.player.place) this.loadMedia();
    await this.loadResults();
    this.watch();
    followEvents(this.id, (event) => this.onEvent(event), this.stop.signal);
  }

  // Show a moment of a media item, now or as soon as it is loaded.
  jump(item, time) {
    if (item !== this.item) {
      this.picker.value = String(item);
      this.pick(item);
    }
    this.player.seek(time);
  }

  lookAt(time) {
    this.player.seek(time);
    this.player.element.scrollIntoView({ block: "nearest", behavior: "smooth" });
  }

  close() {
    this.stop.abort();
    this.player.media?.pause?.();
    clearTimeout(this.timer);
  }

  watch() {
    if (this.stop.signal.aborted || FINISHED.has(this.view?.state)) return;
    this.timer = setTimeout(() => this.refresh().catch(() => {}).then(() => this.watch()), EVERY_MS);
  }

  onEvent(event) {
    this.story.append(h("li", {}, h("time", { datetime: event.at }, new Date(event.at).toLocaleTimeString()), " ", h("span", {}, told(event))));
    if (["segment_done", "media_failed"].includes(event.kind) || FINISHED.has(event.kind)) this.soon();
  }

  // Several segments may end at once: the results are read again at most every second.
  soon() {
    if (this.pending) return;
    this.pending = setTimeout(async () => {
      this.pending = null;
      await Promise.all([this.refresh(), this.loadResults()]).catch(() => {});
    }, this.results?.state === "running" ? EVERY_MS : 0);
  }

  async refresh() {
    const view = await request(`v1/analyses/${this.id}`, { signal: this.stop.signal });
    const before = this.view?.state;
    this.view = view;
    this.tell(view);
    if (before !== view.state) this.onChange(view);
  }

  tell(view) {
    say(this.title, titleOf(view));
    document.title = `${FINISHED.has(view.state) ? "" : `${Math.round(view.progress.percent)} % · `}${this.title.textContent} · AIMA`;
    say(this.state, view.waiting ? "waiting" : view.state);
    this.state.className = `state ${this.state.textContent}`;
    say(this.facts, factsOf(view).join(" · "));
    say(this.line, lineOf(view));
    this.line.classList.toggle("problem", Boolean(view.error));
    this.bar.value = view.progress.percent;
    show(this.bar, !FINISHED.has(view.state) && !view.waiting);
    const usual = view.waiting?.usual_s;
    show(this.usual, Boolean(usual));
    if (usual) this.usual.value = Math.min(1, view.waiting.since_s / usual);
    this.tellMedia(view);
    this.tellButtons(view);
  }

  tellMedia(view) {
    show(this.picker, view.media.length > 1);
    const failed = new Set(view.failed_media.map((item) => item.index));
    const names = view.media.map((uri, i) => `${i + 1}. ${fileName(uri)}${failed.has(i) ? " (failed)" : ""}`);
    if (this.picker.dataset.shown === names.join("\n")) return;
    this.picker.dataset.shown = names.join("\n");
    this.picker.replaceChildren(...names.map((name, i) => h("option", { value: String(i), selected: i === this.item }, name)));
  }

  tellButtons(view) {
    const wanted = FINISHED.has(view.state) ? (view.state === "succeeded" ? "download" : "download retry") : "cancel";
    if (this.buttons.dataset.shown === wanted) return;
    this.buttons.dataset.shown = wanted;
    const made = {
      cancel: () => h("button", { type: "button", onclick: () => this.act("DELETE", "") }, "Cancel"),
      retry: () => h("button", { type: "button", onclick: () => this.act("POST", "/retry") }, "Try again"),
      download: () => h("button", { type: "button", onclick: () => this.download() }, "Results as JSON"),
    };
    this.buttons.replaceChildren(...wanted.split(" ").map((name) => made[name]()));
  }

  async act(method, path) {
    try {
      await request(`v1/analyses/${this.id}${path}`, { method });
      this.onChange(this.view, method === "POST");
    } catch (error) {
      say(this.line, error.message);
    }
  }

  async download() {
    const results = await request(`v1/analyses/${this.id}/results`);
    const url = URL.createObjectURL(new Blob([JSON.stringify(results, null, 2)], { type: "application/json" }));
    h("a", { href: url, download: `${this.id}.json` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  }

  async loadResults() {
    const item = this.item;
    const wanted = `media_index=${item}&max_records=${MOST_RECORDS}`;
    const results = await request(`v1/analyses/${this.id}/results?${wanted}`, { signal: this.stop.signal });
    if (item !== this.item) return; // another one has been picked meanwhile
    this.results = results;
    this.shownItem = item;
    this.fill();
  }

  pick(item) {
    this.item = item;
    this.length = 0;
    this.loadMedia();
    this.fill();
    this.loadResults().catch(() => {});
  }

  loadMedia() {
    this.player.load(this.id, this.item).catch(() => this.player.failed());
  }

  onTime(time, length) {
    if (length && Number.isFinite(length) && Math.abs(length - this.length) > 0.01) {
      this.length = length;
      this.fill();
    }
    this.timeline.move(time);
    for (const row of this.found.querySelectorAll("[data-start]")) {
      row.classList.toggle("now", time >= Number(row.dataset.start) - 0.01 && time < Number(row.dataset.end));
    }
  }

  fill() {
    const { analyzers: records, error } = this.results?.media[this.item] ?? {};
    const analyzers = this.shownItem === this.item ? records : null;
    // With one media item, the line above says it.
    const trouble = (this.results?.media.length > 1 && error) || "";
    say(this.trouble, trouble);
    show(this.trouble, trouble !== "");
    if (!analyzers) return;
    const length = this.length || lastTime(analyzers);
    const ended = FINISHED.has(this.results.state);
    this.timeline.fill(analyzers, length, ended);
    this.player.show(analyzers);
    this.found.replaceChildren(...foundIn(analyzers, tracksOf(analyzers, length, ended), (time) => this.lookAt(time)));
  }
}

function lineOf(view) {
  if (view.state === "partial") return `${view.failed_media.length} of ${view.media.length} media failed. ${view.error.message}`;
  if (view.error) return view.error.message;
  if (view.waiting) return `Waiting for ${duration(view.waiting.since_s)}: ${view.waiting.reason}`;
  if (view.state === "succeeded") return `Done in ${duration(view.seconds.total)}.`;
  if (view.state === "cancelled") return "Cancelled; what was found until then is kept.";
  const left = view.eta_s === null ? "" : `, about ${duration(view.eta_s)} left`;
  return `${Math.round(view.progress.percent)} %${left}`;
}

function factsOf(view) {
  const { progress } = view;
  const segments = progress.segments_total ? `${progress.segments_done} of ${progress.segments_total} segments` : null;
  const frames = progress.frames ? `${progress.frames.toLocaleString()} frames` : null;
  const estimate = view.estimate_usd && !FINISHED.has(view.state) ? ` of about ${money(view.estimate_usd)}` : "";
  const each = FINISHED.has(view.state) && view.usd_per_media_minute ? ` (${money(view.usd_per_media_minute)} per minute of media)` : "";
  return [ago(view.created_at), view.analyzers.join(", "), segments, frames, `${money(view.cost_usd)}${estimate}${each}`].filter(Boolean);
}

function told(event) {
  const segment = `segment ${event.segment_index + 1} of media ${event.media_index + 1} (${event.lane})`;
  return {
    queued: "stored: from here on it is not lost",
    planned: `cut into ${event.segments_total} segments`,
    media_retried: `tried again within a minute: ${event.error}`,
    media_failed: `media ${event.media_index + 1} cannot be read: ${event.error}`,
    first_frame: `${event.instance || "a worker"} has its first frame`,
    segment_done: `${segment} done: ${event.frames} frames`,
    segment_retried: `${segment} failed and is tried again: ${event.error}`,
    segment_failed: `${segment} failed: ${event.error}`,
    succeeded: "everything is done",
    partial: "everything is done that could be done",
    failed: `failed: ${event.error?.message || event.message || ""}`,
    cancelled: "cancelled",
  }[event.kind] || event.kind;
}

function lastTime(analyzers) {
  const times = Object.values(analyzers).flat().map((record) => record.end_s ?? record.time_s ?? 0);
  return times.reduce((last, time) => Math.max(last, time), 0);
}

// The same as the timeline, as lists that can be read aloud and walked through by key.
function foundIn(analyzers, all, seek) {
  return Object.keys(analyzers).map((analyzer) => {
    const tracks = all.filter((track) => track.analyzer === analyzer);
    const rows = tracks.flatMap((track) => (track.kind === "seen" ? [seenRow(track, seek)] : track.spans.map((s) => spokenRow(s, seek))));
    const nothing = h("p", { class: "quiet" }, "Nothing yet.");
    return h("section", { class: `card ${analyzer}` }, h("h3", {}, analyzer), rows.length ? h("ul", { class: "rows" }, ...rows) : nothing);
  });
}

function jump(span, seek, text) {
  return h("button", { type: "button", class: "jump", onclick: () => seek(span.start), "aria-label": `${text} at ${clock(span.start)}: play from there` }, clock(span.start));
}

function seenRow(track, seek) {
  const shown = track.spans.slice(0, 12).map((span) => jump(span, seek, track.name));
  const best = Math.max(...track.spans.map((span) => span.score ?? 0));
  const more = track.spans.length > shown.length ? `+${track.spans.length - shown.length}` : null;
  return h("li", {}, h("strong", {}, track.name), best ? h("span", { class: "quiet" }, ` ${Math.round(best * 100)} %`) : null,
    h("span", { class: "jumps" }, ...shown, more));
}

function spokenRow(span, seek) {
  return h("li", { "data-start": String(span.start), "data-end": String(span.end) }, jump(span, seek, span.text), h("span", {}, span.text));
}
