// The page: report or samples, the filters, the keys and the address.

import { Blocks, loadIndex } from "./data.js";
import { showDetail, showNothing } from "./detail.js";
import { Listing } from "./listing.js";
import { buildRows, buildTest, searchTexts } from "./rows.js";
import { clearFilters, hasFilters, readAddress, writeAddress } from "./state.js";
import { make, plural, setText } from "./text.js";

const $ = (id) => document.getElementById(id);
const PICKERS = { model: "pick-model", tool: "pick-tool", judge: "pick-judge", verdict: "pick-verdict", show: "pick-show" };
const TYPING_MILLISECONDS = 200;
const THEME = "tunebench-report-theme";

let browser = null;

class Browser {
  constructor(index) {
    this.index = index;
    this.blocks = new Blocks(index.blockTasks);
    this.all = buildRows(index);
    this.state = readAddress("#samples");
    this.shown = [];
    this.turn = 0;
    this.listing = new Listing($("list"), $("rows"), index, (place) => this.open(place));
    this.fill("pick-model", index.variants.map((each) => each.name));
    this.fill("pick-tool", index.tools);
    this.fill("pick-judge", index.judges.map((each) => each.name));
    for (const [name, id] of Object.entries(PICKERS)) $(id).addEventListener("change", () => this.filter({ [name]: $(id).value }));
    let timer;
    $("query").addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(() => this.filter({ q: $("query").value.trim() }), TYPING_MILLISECONDS);
    });
    $("filters").addEventListener("submit", (event) => event.preventDefault());
    $("clear").addEventListener("click", () => this.clear());
  }

  fill(id, names) {
    $(id).append(make("option", { value: "" }, "any"), ...names.map((name) => setText(make("option", { value: name }), name)));
  }

  /** Show what an address says. */
  follow(state) {
    this.state = state;
    for (const [name, id] of Object.entries(PICKERS)) $(id).value = state[name];
    if ($("query").value.trim() !== state.q) $("query").value = state.q;
    this.list();
  }

  filter(change) {
    Object.assign(this.state, change);
    this.list();
    this.remember();
  }

  clear() {
    this.follow(clearFilters(this.state));
    this.remember();
  }

  remember() {
    history.replaceState(null, "", writeAddress(this.state));
  }

  list() {
    const test = buildTest(this.index, this.state);
    const rows = this.all.filter(test);
    const turn = ++this.turn;
    if (!this.state.q) {
      this.show(rows, "");
      return;
    }
    this.show([], "Searching…");
    const variants = this.index.variants.length;
    const isWanted = () => turn === this.turn;
    searchTexts(this.index, this.blocks, this.state.q, isWanted, (found, share) => {
      const hits = rows.filter((row) => found.has(row.task * variants + row.variant));
      // Not at every step, because the list is drawn anew each time.
      if (share === 1 || hits.length > this.shown.length) this.show(hits, share < 1 ? `searching, ${Math.round(100 * share)} %` : "");
    });
  }

  show(rows, note) {
    this.shown = rows;
    const { judges } = this.index;
    const chosen = judges.findIndex((each) => each.name === this.state.judge);
    const looked = chosen >= 0 ? [chosen] : judges.map((_, at) => at);
    const place = this.find();
    this.listing.show(rows, looked, place);
    const comparisons = rows.length * looked.length;
    const words = `${plural(rows.length, "completion")}, ${plural(comparisons, "comparison")} in both orders`;
    $("found").textContent = [words, note].filter(Boolean).join(" · ");
    $("clear").disabled = !hasFilters(this.state);
    if (place >= 0) this.load(place);
    else if (rows.length > 0) this.open(0, { stay: true });
    else if (!note) {
      this.drawn = "";
      showNothing($("detail"), "Nothing matches the filters. Clear them with x.");
    }
  }

  find() {
    const task = this.index.tasks.findIndex((each) => each.id === this.state.task);
    const variant = this.index.variants.findIndex((each) => each.name === this.state.variant);
    return this.shown.findIndex((row) => row.task === task && row.variant === variant);
  }

  /** Select a row; `stay`: on narrow screens the list stays in sight. */
  open(place, { stay = false } = {}) {
    const row = this.shown[place];
    if (!row) return;
    this.state.task = this.index.tasks[row.task].id;
    this.state.variant = this.index.variants[row.variant].name;
    if (!stay) {
      $("samples").dataset.open = "";
      this.remember();
    }
    this.listing.select(place);
    this.load(place);
  }

  async load(place) {
    const row = this.shown[place];
    const key = `${row.task}:${row.variant}:${this.state.raw}`;
    if (this.drawn === key) return;
    this.drawn = key;
    const texts = await this.blocks.find(row.task);
    if (this.drawn !== key) return;
    showDetail($("detail"), this.index, row, texts, Boolean(this.state.raw), {
      back: () => this.back(),
      previous: () => this.step(-1),
      next: () => this.step(1),
      copy: () => this.copy(),
      raw: () => this.toggleRaw(),
    });
  }

  step(by) {
    const place = Math.min(this.shown.length - 1, Math.max(0, this.listing.place + by));
    this.open(place, { stay: !("open" in $("samples").dataset) });
    this.remember();
  }

  back() {
    delete $("samples").dataset.open;
    $("list").focus();
  }

  async copy() {
    this.remember();
    try {
      await navigator.clipboard.writeText(location.href);
      $("copied").textContent = "Copied.";
    } catch {
      // Not every browser lets a file write there.
      $("copied").textContent = "The address of this page is the link.";
    }
  }

  toggleRaw() {
    this.state.raw = this.state.raw ? "" : "1";
    this.remember();
    if (this.listing.place >= 0) this.load(this.listing.place);
  }

  stepFile(by) {
    const root = $("detail");
    const tops = [...root.querySelectorAll(".file")].map((file) => file.offsetTop - root.offsetTop);
    const top = by > 0 ? tops.find((each) => each > root.scrollTop + 4) : tops.filter((each) => each < root.scrollTop - 4).pop();
    if (top !== undefined) root.scrollTo(0, top);
  }
}

/** Show the report or the samples, as the address says. */
async function follow() {
  const state = readAddress(location.hash);
  $("report").hidden = state !== null;
  $("samples").hidden = state === null;
  document.body.dataset.view = state ? "samples" : "report";
  $(state ? "to-samples" : "to-report").setAttribute("aria-current", "page");
  $(state ? "to-report" : "to-samples").removeAttribute("aria-current");
  if (!state) {
    // The browser looked for the place while it was hidden.
    if (location.hash.length > 1) document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
    return;
  }
  scrollTo(0, 0);
  browser ??= loadIndex().then((index) => new Browser(index));
  const there = await browser;
  if (state.task) $("samples").dataset.open = "";
  there.follow(state);
}

const KEYS = {
  j: (samples) => samples.step(1),
  k: (samples) => samples.step(-1),
  ArrowDown: (samples) => samples.step(1),
  ArrowUp: (samples) => samples.step(-1),
  g: (samples) => samples.open(0),
  G: (samples) => samples.open(samples.shown.length - 1),
  x: (samples) => samples.clear(),
  f: (samples) => samples.toggleRaw(),
  "[": (samples) => samples.stepFile(-1),
  "]": (samples) => samples.stepFile(1),
};

async function press(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
  const { target, key } = event;
  if (target.matches("input, select, textarea")) {
    if (target.id === "query" && (key === "Escape" || key === "Enter")) {
      event.preventDefault();
      $("list").focus();
    }
    return;
  }
  const inSamples = !$("samples").hidden;
  if (key === "?") $("help").showModal();
  else if (key === "t") toggleTheme();
  else if (key === "s") location.hash = inSamples ? "#top" : "#samples";
  else if (key === "/") {
    event.preventDefault();
    if (!inSamples) location.hash = "#samples";
    // The field is hidden until the address was followed.
    setTimeout(() => $("query").focus());
  } else if (inSamples && browser && KEYS[key]) {
    // Arrows scroll what is read, but for the list.
    if (key.startsWith("Arrow") && $("detail").contains(target)) return;
    event.preventDefault();
    KEYS[key](await browser);
  }
}

function isDark() {
  const { theme } = document.documentElement.dataset;
  return theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function toggleTheme() {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  remember((store) => store.setItem(THEME, document.documentElement.dataset.theme));
}

/** Use what the browser keeps for this page; some keep nothing for files. */
function remember(use) {
  try {
    return use(localStorage);
  } catch {
    return null;
  }
}

const theme = remember((store) => store.getItem(THEME));
if (theme) document.documentElement.dataset.theme = theme;
$("theme").addEventListener("click", toggleTheme);
$("open-help").addEventListener("click", () => $("help").showModal());
addEventListener("hashchange", follow);
addEventListener("keydown", press);
follow();
