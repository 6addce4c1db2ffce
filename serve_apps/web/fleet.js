// The machines and the money: what runs now and costs how much a second, and the month against its budget.

import { request } from "./api.js";
import { byId, duration, h, money, say, show } from "./dom.js";

const ALL = "all clouds"; // how the fleet names everything together
const GONE = new Set(["ended", "failed"]);

export async function refreshFleet() {
  const fleet = await request("v1/instances");
  const live = fleet.instances.filter((instance) => !GONE.has(instance.state));
  const perSecond = live.reduce((sum, instance) => sum + (instance.price_usd_per_hour || 0) / 3600, 0);
  const machines = `${live.length} ${live.length === 1 ? "machine" : "machines"}`;
  say(byId("fleet-line"), live.length ? `${machines} · ${perSecondText(perSecond)}` : "0 machines · nothing is billed");
  byId("fleet-button").classList.toggle("on", live.length > 0);
  say(byId("empty-title"), live.length ? `${machines} on, ${perSecond ? "billed by the second" : "nothing is billed"}` : "Nothing is on, nothing is billed");
  tellSpend(fleet.spending);
  tellMachines(fleet, live);
  return live.length > 0;
}

// The month (UTC) of all clouds together, against its limit where there is one.
function tellSpend(spending) {
  const month = spending?.scopes?.[ALL]?.month_usd;
  const limit = spending?.limits?.[ALL]?.per_month_usd ?? null;
  show(byId("spend"), month !== undefined);
  if (month === undefined) return;
  const spent = month > 0 && month < 0.01 ? "<$0.01" : money(month);
  const text = `${spent}${limit === null ? "" : ` of $${limit.toLocaleString()}`}`;
  if (byId("spend").dataset.text === text) return;
  byId("spend").dataset.text = text;
  const meter = { min: "0", max: String(limit), high: String(0.8 * limit), value: String(month), "aria-label": "Of the month's budget" };
  byId("spend").replaceChildren(limit === null ? "" : h("meter", meter), h("span", {}, text, h("span", { class: "long" }, " this month")));
}

function perSecondText(usd) {
  return usd ? `$${usd.toFixed(6)}/s` : "free";
}

function tellMachines(fleet, live) {
  const troubles = Object.entries(fleet.degraded || {}).map(([cloud, reason]) => h("p", { class: "problem" }, `${cloud}: ${reason}`));
  troubles.push(...(fleet.spending?.warnings || []).map((warning) => h("p", { class: "problem" }, warning)));
  const rows = live.map((instance) => h("tr", {},
    h("td", {}, h("strong", {}, instance.node_type), h("br"), h("span", { class: "quiet" }, `${instance.cloud || "no cloud yet"} · ${instance.name}`)),
    h("td", {}, instance.phase),
    h("td", { class: "number" }, instance.price_usd_per_hour === null ? "–" : perSecondText(instance.price_usd_per_hour / 3600)),
    h("td", { class: "number" }, `${money(instance.cost_usd)} in ${duration(Math.max(1, instance.billed_s))}`)));
  const head = h("thead", {}, h("tr", {}, ...["Machine", "What it does", "Price", "Billed"].map((name) => h("th", { scope: "col" }, name))));
  const nothing = h("p", { class: "quiet" }, "No machine exists. One is rented when an analysis needs it, and given back when it is idle.");
  byId("fleet").replaceChildren(...troubles, live.length ? h("table", {}, head, h("tbody", {}, ...rows)) : nothing);
}

export function wireFleet() {
  const button = byId("fleet-button");
  button.addEventListener("click", () => {
    const opened = byId("fleet").hidden;
    show(byId("fleet"), opened);
    button.setAttribute("aria-expanded", String(opened));
  });
}
