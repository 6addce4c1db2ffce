// The page: who may in, which view the address names, and what is asked how often.

import { AnalysisView } from "./analysis.js";
import { forgetToken, hasToken, request, setToken, takeTokenFromAddress } from "./api.js";
import { byId, say, show } from "./dom.js";
import { refreshFleet, wireFleet } from "./fleet.js";
import { NewAnalysis } from "./form.js";
import { AnalysisList } from "./list.js";

const BUSY_MS = 2000;
const CALM_MS = 10_000;

let list;
let form;
let open = null;
let timer;

function start() {
  takeTokenFromAddress();
  list = new AnalysisList();
  form = new NewAnalysis((view) => { location.hash = `#/analyses/${view.id}`; });
  wireFleet();
  byId("token-form").addEventListener("submit", (event) => { event.preventDefault(); tryToken(); });
  byId("token-dialog").addEventListener("cancel", (event) => event.preventDefault());
  window.addEventListener("token-needed", askForToken);
  window.addEventListener("hashchange", route);
  document.addEventListener("visibilitychange", () => document.hidden || tick());
  hasToken() ? enter() : askForToken();
}

function askForToken() {
  forgetToken();
  clearTimeout(timer);
  if (!byId("token-dialog").open) byId("token-dialog").showModal();
}

async function tryToken() {
  setToken(byId("token").value);
  try {
    await request("v1/analyses?limit=1");
  } catch (error) {
    say(byId("token-problem"), error.status === 401 ? "This token is not valid." : error.message);
    show(byId("token-problem"), true);
    return;
  }
  byId("token").value = "";
  show(byId("token-problem"), false);
  byId("token-dialog").close();
  enter();
}

async function enter() {
  try {
    await form.loadAnalyzers();
  } catch (error) {
    tell(error);
  }
  route();
  tick();
}

function route() {
  takeTokenFromAddress();
  if (location.hash && !location.hash.startsWith("#/")) return; // the skip link's
  const place = /^#\/analyses\/(an_[0-9a-f]+)(?:\?(.*))?$/.exec(location.hash);
  const id = place?.[1] ?? null;
  if (open?.id !== id) {
    open?.close();
    open = id ? new AnalysisView(id, changed) : null;
    open?.open().catch(tell);
  }
  const at = new URLSearchParams(place?.[2] ?? "");
  if (at.has("t")) open.jump(Number(at.get("m") ?? 0), Number(at.get("t")));
  list.current = id;
  show(byId("analysis"), Boolean(id));
  show(byId("empty"), !id);
  document.body.classList.toggle("reading", Boolean(id));
  if (id) byId("view").focus({ preventScroll: true });
  else document.title = "AIMA";
  window.scrollTo(0, 0);
  tick();
}

function changed(_view, again = false) {
  if (again && open) {
    const { id } = open;
    open.close();
    open = new AnalysisView(id, changed);
    open.open().catch(tell);
  }
  tick();
}

// What the whole page shows: often while something goes on, seldom while nothing does, never in a hidden tab.
async function tick() {
  clearTimeout(timer);
  if (document.hidden || !hasToken()) return;
  let busy = false;
  try {
    const answers = await Promise.all([list.refresh(), refreshFleet()]);
    busy = answers.some(Boolean);
    show(byId("notice"), false);
  } catch (error) {
    tell(error);
  }
  clearTimeout(timer);
  if (hasToken()) timer = setTimeout(tick, busy ? BUSY_MS : CALM_MS);
}

function tell(error) {
  if (error.name === "AbortError" || error.status === 401) return;
  say(byId("notice"), error.message);
  show(byId("notice"), true);
}

start();
