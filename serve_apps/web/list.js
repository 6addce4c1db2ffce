// The list of analyses, newest first; and the search for what was found in them: "dog", "who said invoice".

import { FINISHED, request } from "./api.js";
import { ago, byId, clock, h, money, show, titleOf } from "./dom.js";

const PAGE = 20;
const TOGETHER_S = 10;

export class AnalysisList {
  constructor() {
    this.pages = 1;
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
    show(byId("more"), Boolean(cursor));
    this.tell(found.map((view) => this.row(view)), "Nothing has been analysed yet.");
    return found.some((view) => !FINISHED.has(view.state));
  }

  async search(query) {
    const { hits, terms } = await request(`v1/search?${new URLSearchParams({ q: query, limit: "200" })}`);
    if (query !== byId("search").value.trim()) return true;
    show(byId("more"), false);
    this.tell(nearby(hits).map((hit) => hitRow(hit, terms)), `Nothing was found for “${query}”.`);
    return false;
  }

  tell(rows, nothing) {
    const focused = document.activeElement?.closest?.("#list a")?.hash;
    byId("list").replaceChildren(...(rows.length ? rows : [h("li", { class: "quiet" }, nothing)]));
    if (focused) byId("list").querySelector(`a[href="${focused}"]`)?.focus();
  }

  row(view) {
    const detail = FINISHED.has(view.state) ? money(view.cost_usd) : view.waiting ? "waiting" : `${Math.round(view.progress.percent)} %`;
    return h("li", {}, h("a", { href: `#/analyses/${view.id}`, "aria-current": view.id === this.current ? "page" : null },
      h("span", { class: `state dot ${view.state}`, title: view.state }, h("span", { class: "visually-hidden" }, view.state)),
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

function hitRow(hit, terms) {
  const at = hit.time_s ?? 0;
  const address = `#/analyses/${hit.analysis_id}?m=${hit.media_index}&t=${at}`;
  const said = stringsIn(hit.record);
  const meant = said.filter((text) => terms.some((term) => text.toLowerCase().split(/\W+/).some((word) => word.startsWith(term))));
  return h("li", {}, h("a", { href: address }, h("span", { class: "jump" }, clock(at)),
    h("span", { class: "what" }, (meant.length ? meant : said).join(", ")), h("span", { class: "quiet" }, hit.analyzer)));
}

// Every text in a record, wherever it stands in it.
function stringsIn(value) {
  if (typeof value === "string") return [value];
  return value && typeof value === "object" ? Object.values(value).flatMap(stringsIn) : [];
}
