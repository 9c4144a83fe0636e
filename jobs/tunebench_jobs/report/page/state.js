// What the reader looks at, as the address of the page says it.

const FILTERS = ["q", "model", "tool", "judge", "verdict", "show"];
const FIELDS = [...FILTERS, "task", "variant", "raw"];

/** Read the address: the sample browser with its filters, or nothing where the report is shown. */
export function readAddress(hash) {
  const [, rest] = hash.match(/^#samples(?:\?(.*))?$/s) ?? [];
  if (!/^#samples(\?|$)/.test(hash)) return null;
  const given = new URLSearchParams(rest ?? "");
  return Object.fromEntries(FIELDS.map((name) => [name, given.get(name) ?? ""]));
}

/** Write the address of a view; what is not set is left out. */
export function writeAddress(state) {
  const set = FIELDS.filter((name) => state[name]).map((name) => [name, state[name]]);
  return set.length > 0 ? `#samples?${new URLSearchParams(set)}` : "#samples";
}

export const clearFilters = (state) => ({ ...state, ...Object.fromEntries(FILTERS.map((name) => [name, ""])) });

export const hasFilters = (state) => FILTERS.some((name) => state[name]);
