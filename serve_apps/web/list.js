// The list of analyses, newest first; and the search for what was found in them: "dog", "who said invoice".

import { FINISHED, request } from "./api.js";
import { ago, byId, clock, fileName, h, money, show, titleOf } from "./dom.js";

const PAGE = 20;
const TOGETHER_S = 10;

export class AnalysisList {
  constructor() {
    this.pages = 1;
    this.titles = new Map();
    this.current = null;
    byId("search").addEventListener("input", () => {
      clearTimeout(this.typing);
      this.typing = setTimeout(() => this.refresh(), 250);
    });
    byId("more").addEventListener("click", () => {
      this.pages += 1;
      this.refresh();
    });
  }

  // Read the list, or the search, again; true while an analysis of it has not ended.
  async refresh() {
    const query = byId("search").value.trim();
    if (query) return this.search(query);
    const found = [];
    let cursor = null;
    for (let page = 0; page < this.pages; page += 1) {
      const asked = new URLSearchParams({ limit: String(PAGE), ...(cursor && { cursor }) });
      const answer = await request(`v1/analyses?${asked}`);
      found.push(...answer.analyses);
      cursor = answer.next_cursor;
      if (!cursor) break;
    }
    if (byId("search").value.trim()) return true; // a question was typed meanwhile
    for (const view of found) this.titles.set(view.id, titleOf(view));
    show(byId("more"), Boolean(cursor));
    this.tell(found.map((view) => this.row(view)), "Nothing has been analysed yet.");
    return found.some((view) => !FINISHED.has(view.state));
  }

  async search(query) {
    const { hits, terms } = await request(`v1/search?${new URLSearchParams({ q: query, limit: "200" })}`);
    const shown = nearby(hits);
    await this.learnTitles(shown);
    if (query !== byId("search").value.trim()) return true;
    show(byId("more"), false);
    this.tell(shown.map((hit) => hitRow(hit, terms, this.titles.get(hit.analysis_id))), `Nothing was found for “${query}”.`);
    return false;
  }

  // What the analyses of hits are called, which the hits do not say; those of the newest page are known.
  async learnTitles(hits) {
    const unknown = [...new Set(hits.map((hit) => hit.analysis_id))].filter((id) => !this.titles.has(id));
    await Promise.all(unknown.map(async (id) => {
      const view = await request(`v1/analyses/${id}`).catch(() => null); // erased meanwhile
      if (view) this.titles.set(id, titleOf(view));
    }));
  }

  tell(rows, nothing) {
    const focused = document.activeElement?.closest?.("#list a")?.hash;
    byId("list").replaceChildren(...(rows.length ? rows : [h("li", { class: "quiet" }, nothing)]));
    if (focused) byId("list").querySelector(`a[href="${focused}"]`)?.focus();
  }

  row(view) {
    const state = view.waiting ? "waiting" : view.state;
    const detail = FINISHED.has(view.state) ? money(view.cost_usd) : view.waiting ? "waiting" : `${Math.round(view.progress.percent)} %`;
    return h("li", {}, h("a", { href: `#/analyses/${view.id}`, "aria-current": view.id === this.current ? "page" : null },
      h("span", { class: `state dot ${state}`, title: state }, h("span", { class: "visually-hidden" }, state)),
      h("span", { class: "what" }, titleOf(view)), h("span", { class: "quiet" }, `${ago(view.created_at)} · ${detail}`)));
  }
}

// One hit for each stretch of ten seconds in which it was found.
function nearby(hits) {
  const last = new Map();
  return hits.filter((hit) => {
    const place = `${hit.analysis_id} ${hit.media_index} ${hit.analyzer}`;
    const again = last.has(place) && Math.abs((hit.time_s ?? 0) - last.get(place)) < TOGETHER_S;
    if (!again) last.set(place, hit.time_s ?? 0);
    return !again;
  });
}

function hitRow(hit, terms, title) {
  const at = hit.time_s ?? 0;
  const address = `#/analyses/${hit.analysis_id}?m=${hit.media_index}&t=${at}`;
  const said = stringsIn(hit.record);
  const meant = said.filter((text) => terms.some((term) => text.toLowerCase().split(/\W+/).some((word) => word.startsWith(term))));
  return h("li", {}, h("a", { href: address }, h("span", { class: "jump" }, clock(at)),
    h("span", { class: "hit" }, (meant.length ? meant : said).join(", "),
      h("span", { class: "quiet what" }, `${title ?? fileName(hit.media)} · ${hit.analyzer}`))));
}

// Every text in a record, wherever it stands in it.
function stringsIn(value) {
  if (typeof value === "string") return [value];
  return value && typeof value === "object" ? Object.values(value).flatMap(stringsIn) : [];
}
