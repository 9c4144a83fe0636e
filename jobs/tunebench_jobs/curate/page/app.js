// The page: which candidate is shown, what keys do, and what was decided.

import { get, post } from "./api.js";
import { showDiff, stepFile } from "./diff.js";
import { isEdited, matches } from "./filter.js";
import { Listing } from "./listing.js";
import { showProgress } from "./progress.js";
import { make, plural, setText } from "./text.js";
import { showEditor, showWords } from "./words.js";

const $ = (selector) => document.querySelector(selector);
const REASONS = [
  "trivial",
  "unclear what it is for",
  "several changes in one",
  "cannot be understood alone",
  "generated or vendored",
  "reference answer is poor",
  "other",
];
const KEPT_PULLS = 8;

const state = { items: [], decisions: new Map(), wanted: {}, tools: [], shown: -1, editor: null };
const pulls = new Map();
const listing = new Listing($("#list"), $("#rows"), (place) => ({ item: state.items[place], decision: state.decisions.get(place) }), choose);

// One thing at a time: keys that come faster than the disk wait for their turn.
let work = Promise.resolve();
const queue = (job) => (work = work.then(job).catch(report));

function report(error) {
  setText($("#notice"), error.message);
  $("#notice").hidden = false;
}

const say = (words) => setText($("#said"), words);

// Showing.

async function load() {
  const answer = await get("api/candidates");
  Object.assign(state, answer, { decisions: readDecisions(answer.decisions) });
  setText($("#file"), state.file.split("/").pop());
  $("#file").title = state.file;
  if (answer.stale.length > 0) {
    report(new Error(`${plural(answer.stale.length, "decision")} do not hold any more, because the pull requests changed since: ${answer.stale.slice(0, 5).join(", ")}`));
  }
  refilter(0);
  if (state.decisions.size > 0) goUndecided(-1);
  $("#list").focus();
}

const readDecisions = (raw) => new Map(Object.entries(raw).map(([place, each]) => [Number(place), each]));

/** Take in what somebody else, or git, wrote to the file meanwhile. */
async function refresh() {
  const answer = await get("api/decisions");
  state.decisions = readDecisions(answer.decisions);
  showProgress(state);
  listing.draw();
  if (!state.editor && state.shown >= 0) showHead(pulls.get(state.shown));
}

function refilter(place) {
  const query = $("#filter").value;
  const places = [];
  state.items.forEach((item, each) => matches(query, item, state.decisions.get(each)) && places.push(each));
  const index = Math.max(0, places.indexOf(place));
  listing.show(places, places.length > 0 ? index : -1);
  $("#empty").hidden = places.length > 0;
  showProgress(state);
  show(places[index]);
}

function show(place) {
  if (place === undefined) {
    state.shown = -1;
    $("#pull").hidden = true;
    return;
  }
  const changed = place !== state.shown;
  state.shown = place;
  queue(async () => {
    if (state.shown !== place) return;
    const pull = await fetchPull(place);
    showHead(pull);
    showWords($("#words"), pull, state.decisions.get(place));
    if (changed || $("#pull").hidden) showDiff($("#diff"), pull.files);
    $("#pull").hidden = false;
    fetchNext();
  });
}

async function fetchPull(place) {
  const pull = pulls.get(place) ?? (await get(`api/candidates/${place}`));
  pulls.delete(place);
  pulls.set(place, pull);
  if (pulls.size > KEPT_PULLS) pulls.delete(pulls.keys().next().value);
  return pull;
}

function fetchNext() {
  const next = listing.places[listing.index + 1];
  // A mere convenience: what is wrong with it is told when it is shown.
  if (next !== undefined && !pulls.has(next)) fetchPull(next).catch(() => undefined);
}

function showHead(pull) {
  if (!pull) return;
  const item = state.items[state.shown];
  const decision = state.decisions.get(state.shown);
  const meta = $("#meta");
  setText(meta, [pull.id, pull.author && `by ${pull.author}`, pull.merged_at && `merged ${pull.merged_at}`].filter(Boolean).join(" · "));
  if (/^https:\/\/[^\s]+$/.test(pull.url)) {
    meta.append(" · ", make("a", { href: pull.url, target: "_blank", rel: "noopener noreferrer" }, "open"));
  }
  setText($("#title"), decision?.edits.title ?? (pull.title || "(no title)"));
  const chips = [item.repository, item.language, item.kind, `${item.size}: ${plural(item.lines, "line")}, ${plural(item.files, "file")}`, pull.license, pull.branch];
  $("#chips").replaceChildren(...chips.filter(Boolean).map((text) => setText(make("span", { class: "chip" }), text)));
  showVerdict(decision);
}

function showVerdict(decision) {
  const box = $("#verdict");
  box.hidden = !decision;
  if (!decision) return;
  box.className = decision.decision.toLowerCase();
  const why = [decision.reason, decision.note].filter(Boolean).join(": ");
  const edits = isEdited(decision) ? " with edits" : "";
  setText(box, `${decision.decision}${edits}${decision.by && ` by ${decision.by}`}, ${decision.at.slice(0, 16).replace("T", " ")}${why && ` — ${why}`}`);
}

// Moving.

function choose(index) {
  if (!leaveEditor() || index < 0 || index >= listing.places.length) return;
  listing.select(index);
  show(listing.places[index]);
}

function findUndecided(from) {
  const { places } = listing;
  for (let step = 1; step <= places.length; step++) {
    const index = (from + step) % places.length;
    if (!state.decisions.has(places[index])) return index;
  }
  return -1;
}

function goUndecided(from = listing.index) {
  const index = findUndecided(from);
  if (index >= 0) choose(index);
  else say("Everything in this list is decided.");
}

// Deciding.

function decide(decision, more = {}) {
  queue(async () => {
    const place = state.shown;
    if (place < 0) return;
    const wish = { place, decision, base: state.decisions.get(place)?.at ?? null, ...more };
    try {
      const answer = await post("api/decide", wish);
      keep(answer);
    } catch (error) {
      await refresh().catch(() => undefined);
      throw error;
    }
    closeEditor();
    $("#notice").hidden = true;
    say(`${decision} ${state.items[place].id}`);
    const next = findUndecided(listing.index);
    refilter(next >= 0 ? listing.places[next] : place);
  });
}

function keep({ place, decision }) {
  if (decision) state.decisions.set(place, decision);
  else state.decisions.delete(place);
}

function accept() {
  // What was edited before stays so until it is edited again.
  const edits = state.decisions.get(state.shown)?.edits;
  decide("Accepted", edits ? { edits } : {});
}

function undo() {
  queue(async () => {
    const answer = await post("api/undo");
    keep(answer);
    say(`Undone: ${state.items[answer.place].id}`);
    if (!listing.places.includes(answer.place)) $("#filter").value = "";
    refilter(answer.place);
  });
}

function askReason() {
  if (state.shown < 0) return;
  $("#reject form").reset();
  $("#reject-confirm").disabled = true;
  $("#reject").returnValue = "";
  $("#reject").showModal();
  $("#reasons input").focus();
}

function buildReasons() {
  const rows = REASONS.map((reason, index) => {
    const input = make("input", { type: "radio", name: "reason", value: reason });
    return make("label", {}, input, make("kbd", {}, String(index + 1)), reason);
  });
  $("#reasons").replaceChildren(...rows);
  $("#reasons").addEventListener("change", () => ($("#reject-confirm").disabled = false));
  $("#reject").addEventListener("keydown", (event) => {
    if (event.target === $("#note")) {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("#reject form").requestSubmit($("#reject-confirm"));
      return;
    }
    const input = $("#reasons").querySelectorAll("input")[Number(event.key) - 1];
    if (!input) return;
    event.preventDefault();
    input.checked = true;
    input.focus();
    $("#reject-confirm").disabled = false;
  });
  $("#reject-cancel").addEventListener("click", () => $("#reject").close(""));
  $("#reject").addEventListener("close", () => {
    const reason = $("#reasons :checked")?.value;
    if ($("#reject").returnValue === "reject" && reason) decide("Rejected", { reason, note: $("#note").value });
  });
}

// Editing.

function edit() {
  queue(async () => {
    const place = state.shown;
    if (place < 0 || state.editor) return;
    const pull = await fetchPull(place);
    const check = (tool, text) => post("api/check", { place, tool, text }).catch((error) => ({ level: "invalid", problem: error.message }));
    state.editor = showEditor($("#words"), pull, state.decisions.get(place), check);
    showButtons();
    say("Ctrl Enter accepts with these edits, Esc cancels.");
  });
}

function save() {
  if (state.editor) decide("Accepted", { edits: state.editor.read() });
}

/** Close the editor; edits that would be lost must be left twice. */
function leaveEditor() {
  if (!state.editor) return true;
  if (state.editor.isDirty() && !state.editor.warned) {
    state.editor.warned = true;
    say("There are unsaved edits: once more discards them.");
    return false;
  }
  closeEditor();
  const pull = pulls.get(state.shown);
  if (pull) showWords($("#words"), pull, state.decisions.get(state.shown));
  say("");
  return true;
}

function closeEditor() {
  if (!state.editor) return;
  state.editor = null;
  showButtons();
  $("#list").focus();
}

function showButtons() {
  const editing = Boolean(state.editor);
  for (const id of ["accept", "reject", "edit", "undo"]) $(`#do-${id}`).hidden = editing;
  for (const id of ["save", "cancel"]) $(`#do-${id}`).hidden = !editing;
}

// Keys.

const scroll = (share) => $("#diff").scrollBy(0, share * $("#diff").clientHeight);
const KEYS = {
  j: () => choose(listing.index + 1),
  ArrowDown: () => choose(listing.index + 1),
  k: () => choose(listing.index - 1),
  ArrowUp: () => choose(listing.index - 1),
  n: () => goUndecided(),
  g: () => choose(0),
  Home: () => choose(0),
  G: () => choose(listing.places.length - 1),
  End: () => choose(listing.places.length - 1),
  a: accept,
  r: askReason,
  e: edit,
  u: undo,
  p: () => ($("#spread").open = !$("#spread").open),
  w: () => $("#diff").classList.toggle("wrapped"),
  " ": (event) => scroll(event.shiftKey ? -0.85 : 0.85),
  "[": () => stepFile($("#diff"), -1),
  "]": () => stepFile($("#diff"), 1),
  "/": () => $("#filter").select(),
  "?": () => $("#help").showModal(),
};

function onKey(event) {
  if (document.querySelector("dialog[open]")) return;
  if (state.editor) {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) save();
    else if (event.key === "Escape") leaveEditor();
    else if (event.key !== "Control" && event.key !== "Meta") state.editor.warned = false;
    return;
  }
  const { target } = event;
  if (target === $("#filter")) {
    if (event.key === "Escape" || event.key === "Enter") $("#list").focus();
    return;
  }
  const inText = target.closest("#diff, #words") && ["ArrowDown", "ArrowUp", "Home", "End"].includes(event.key);
  // A button or a link keeps the keys that press it.
  const pressed = target.closest("button, a, summary") && [" ", "Enter"].includes(event.key);
  if (event.ctrlKey || event.metaKey || event.altKey || inText || pressed || !Object.hasOwn(KEYS, event.key)) return;
  event.preventDefault();
  KEYS[event.key](event);
}

function start() {
  buildReasons();
  $("#diff").classList.add("wrapped");
  document.addEventListener("keydown", onKey);
  const clicks = { accept, reject: askReason, edit, undo, save, cancel: leaveEditor };
  for (const [id, act] of Object.entries(clicks)) $(`#do-${id}`).addEventListener("click", act);
  $("#open-help").addEventListener("click", () => $("#help").showModal());
  $("#filter").addEventListener("input", () => leaveEditor() && refilter(state.shown));
  for (const dialog of document.querySelectorAll("dialog")) dialog.addEventListener("close", () => $("#list").focus());
  window.addEventListener("focus", () => state.items.length > 0 && queue(refresh));
  window.addEventListener("beforeunload", (event) => state.editor?.isDirty() && event.preventDefault());
  queue(load);
}

start();
