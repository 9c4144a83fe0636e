// How far the choice has come, beside what a diverse choice of the wanted size looks like.

import { make, setText } from "./text.js";

const SIZES = ["XS", "S", "M", "L", "XL"];
const MOST_VALUES = 12;

/** Show how many candidates are accepted of how many that are wanted. */
export function showProgress(state) {
  const decided = [...state.decisions.entries()];
  const accepted = decided.filter(([, each]) => each.decision === "Accepted").map(([place]) => state.items[place]);
  const { wanted } = state;
  const left = state.items.length - decided.length;
  const total = `${accepted.length} of ${wanted.total} · ${left.toLocaleString("en")} to read`;
  document.querySelector("#total").textContent = total;
  const meter = document.querySelector("#meter");
  meter.setAttribute("aria-valuemax", wanted.total);
  meter.setAttribute("aria-valuenow", Math.min(accepted.length, wanted.total));
  meter.setAttribute("aria-valuetext", `${accepted.length} of ${wanted.total} accepted`);
  meter.firstElementChild.style.width = `${Math.min(100, (100 * accepted.length) / Math.max(1, wanted.total))}%`;
  const tools = Object.fromEntries(state.tools.map((tool) => [tool, wanted.total]));
  document.querySelector("#facets").replaceChildren(
    buildFacet("Language", wanted.language, count(accepted, (item) => [item.language])),
    buildFacet("Size", wanted.size, count(accepted, (item) => [item.size]), SIZES),
    buildFacet("Kind of change", wanted.kind, count(accepted, (item) => [item.kind])),
    buildFacet("Answers", tools, count(accepted, (item) => item.tools), state.tools),
  );
}

function count(items, values) {
  const counts = new Map();
  for (const value of items.flatMap(values)) counts.set(value, (counts.get(value) ?? 0) + 1);
  return counts;
}

function buildFacet(name, wanted, have, order) {
  const want = new Map(Object.entries(wanted));
  const values = [...new Set([...want.keys(), ...have.keys()])].filter((value) => want.get(value) || have.get(value));
  if (order) values.sort((one, two) => order.indexOf(one) - order.indexOf(two));
  else values.sort((one, two) => (want.get(two) ?? 0) - (want.get(one) ?? 0));
  const rows = values.slice(0, MOST_VALUES).map((value) => buildValue(value, have.get(value) ?? 0, want.get(value) ?? 0));
  return make("div", {}, make("h2", {}, name), make("dl", {}, ...rows));
}

function buildValue(value, have, want) {
  const fill = make("div");
  fill.style.width = `${Math.min(100, (100 * have) / Math.max(1, want))}%`;
  return make(
    "div",
    { class: have >= want ? "met" : "" },
    setText(make("dt"), value),
    make("dd", { class: "bar", "aria-hidden": "true" }, fill),
    make("dd", {}, `${have} / ${want}`),
  );
}
