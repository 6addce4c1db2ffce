// A new analysis: files that are dropped or chosen, or an address; what to look for; what it may cost.

import { request } from "./api.js";
import { byId, bytes, duration, h, money, say, show } from "./dom.js";
import { upload } from "./upload.js";

const DEFAULT = new Set(["labels", "scenes"]);

export class NewAnalysis {
  constructor(onSubmitted) {
    this.onSubmitted = onSubmitted;
    this.files = [];
    const drop = byId("drop");
    for (const name of ["dragenter", "dragover"]) window.addEventListener(name, (event) => this.over(event, true));
    for (const name of ["dragleave", "drop"]) window.addEventListener(name, (event) => this.over(event, false));
    window.addEventListener("drop", (event) => this.take(event.dataTransfer?.files || []));
    byId("file").addEventListener("change", (event) => this.take(event.target.files));
    byId("uri").addEventListener("input", () => this.later());
    byId("analyzers").addEventListener("change", () => {
      this.tellChosen();
      this.later();
    });
    byId("new").addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit();
    });
    this.drop = drop;
  }

  async loadAnalyzers() {
    const { analyzers } = await request("v1/analyzers");
    byId("analyzers").replaceChildren(...analyzers.map((one) => h("label", { class: `chip ${one.name}`, title: one.summary },
      h("input", { type: "checkbox", name: "analyzer", value: one.name, checked: DEFAULT.has(one.name) }), h("span", {}, one.name))));
    this.summaries = new Map(analyzers.map((one) => [one.name, one.summary]));
    this.tellChosen();
  }

  // What the chosen ones look for: a finger has no pointer to rest on them.
  tellChosen() {
    say(byId("chosen"), this.chosen().map((name) => `${name}: ${this.summaries.get(name)}`).join(" · "));
  }

  over(event, inside) {
    if (![...(event.dataTransfer?.types || [])].includes("Files")) return;
    event.preventDefault();
    this.drop.classList.toggle("over", inside);
  }

  take(files) {
    this.files.push(...files);
    byId("file").value = "";
    this.tellFiles();
    this.later();
  }

  tellFiles() {
    byId("files").replaceChildren(...this.files.map((file, index) => h("li", {}, h("span", { class: "what" }, file.name),
      h("span", { class: "quiet" }, bytes(file.size)),
      h("button", { type: "button", class: "text", "aria-label": `Leave ${file.name} out`, onclick: () => this.leaveOut(index) }, "✕"))));
  }

  leaveOut(index) {
    this.files.splice(index, 1);
    this.tellFiles();
    byId("file").focus();
  }

  chosen() {
    return [...byId("analyzers").querySelectorAll("input:checked")].map((box) => box.value);
  }

  // An estimate for an address, a moment after the last keystroke; what a file holds is known once it is there.
  later() {
    clearTimeout(this.typing);
    this.asking?.abort();
    say(byId("estimate"), "");
    show(byId("new-problem"), false);
    this.typing = setTimeout(() => this.estimate().catch(() => {}), 600);
  }

  async estimate() {
    const uri = byId("uri").value.trim();
    if (!uri || this.files.length || !this.chosen().length) return;
    this.asking = new AbortController();
    const json = { media: [uri], analyzers: this.chosen() };
    const found = await request("v1/estimates", { method: "POST", json, signal: this.asking.signal });
    const cost = found.cost_usd === null ? "at a price not known yet" : `for about ${money(found.cost_usd)}`;
    say(byId("estimate"), `About ${duration(found.seconds)} ${cost}.`);
  }

  async submit() {
    const problem = byId("new-problem");
    show(problem, false);
    const uri = byId("uri").value.trim();
    if (!uri && !this.files.length) return this.refuse("Drop a file, or give an address.", byId("uri"));
    if (!this.chosen().length) return this.refuse("Choose at least one thing to look for.", byId("analyzers").querySelector("input"));
    byId("submit").disabled = true;
    try {
      const media = [...(await this.uploadAll()), ...(uri ? [uri] : [])];
      const headers = { "Idempotency-Key": this.key ||= crypto.randomUUID?.() ?? String(Math.random()) };
      const view = await request("v1/analyses", { method: "POST", json: { media, analyzers: this.chosen(), labels: this.labels() }, headers });
      this.clear();
      this.onSubmitted(view);
    } catch (error) {
      this.key = null;
      this.refuse(error.message.replace(/^media\[\d+\] = /, ""), byId("uri")); // how the API's callers know it
    } finally {
      byId("submit").disabled = false;
      show(byId("upload"), false);
    }
  }

  // Each file in its parts, one after the other; one that is there already is not sent twice.
  async uploadAll() {
    const total = this.files.reduce((sum, file) => sum + file.size, 0);
    let before = 0;
    const ids = [];
    show(byId("upload"), this.files.length > 0);
    for (const file of this.files) {
      file.upload ||= await upload(file, (sent) => { byId("upload").value = (before + sent) / Math.max(1, total); });
      before += file.size;
      ids.push(file.upload);
    }
    return ids;
  }

  // An upload's address says nothing to people: the analysis is called after its first file.
  labels() {
    return this.files.length ? { name: this.files[0].name.slice(0, 255) } : {};
  }

  refuse(text, field) {
    say(byId("new-problem"), text);
    show(byId("new-problem"), true);
    field?.focus();
  }

  clear() {
    this.files = [];
    this.key = null;
    byId("uri").value = "";
    say(byId("estimate"), "");
    this.tellFiles();
  }
}
