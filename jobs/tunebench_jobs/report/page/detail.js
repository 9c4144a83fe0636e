// One comparison: what the judges said, both completions, and the task.

import { buildAnswer } from "./answer.js";
import { buildPrompt, buildRaw } from "./diff.js";
import { buildMark, nameVerdict } from "./listing.js";
import { judgesDisagree, orderFlips, readVerdicts } from "./rows.js";
import { make, setLongText, setText } from "./text.js";

const VARIANT_KINDS = { FineTuned: "fine-tuned", Untuned: "un-tuned", Control: "control" };
const ORDER_NAMES = ["model shown first", "baseline shown first"];
const REASON_CHARACTERS = 4000;

/** Show a row in `root`; `actions` are the buttons' doings. */
export function showDetail(root, index, row, texts, isRaw, actions) {
  const task = index.tasks[row.task];
  const variant = index.variants[row.variant];
  root.replaceChildren(
    buildHead(index, row, task, variant, actions),
    buildVerdicts(index, row, texts),
    buildCompletions(index, row, variant, texts, isRaw, actions),
    ...buildTask(task, texts),
  );
  root.scrollTo(0, 0);
}

/** Say that nothing is shown. */
export function showNothing(root, words) {
  root.replaceChildren(make("p", { class: "empty" }, words));
}

function buildHead(index, row, task, variant, actions) {
  const chips = [index.tools[task.tool], variant.name, VARIANT_KINDS[variant.kind] ?? variant.kind];
  if (orderFlips(index, row, index.judges.map((_, at) => at))) chips.push("order flips");
  const all = index.judges.map((_, at) => at);
  if (judgesDisagree(index, row, all, all)) chips.push("judges disagree");
  return make(
    "header",
    {},
    make("p", { class: "steps" },
      make("button", { type: "button", id: "back", onclick: actions.back }, "← List"),
      make("button", { type: "button", onclick: actions.previous, title: "Previous (k)" }, "↑ Previous"),
      make("button", { type: "button", onclick: actions.next, title: "Next (j)" }, "↓ Next"),
      make("button", { type: "button", onclick: actions.copy }, "Copy link"),
      make("span", { id: "copied", role: "status", class: "quiet" })),
    setText(make("h2", { id: "detail-title" }), task.title || task.pr),
    setText(make("p", { class: "quiet meta" }), [task.pr, task.language, task.repository].filter(Boolean).join(" · ")),
    make("p", { class: "chips" }, ...chips.map((chip) => setText(make("span", { class: "chip" }), chip))),
  );
}

function buildVerdicts(index, row, texts) {
  const body = make("tbody");
  index.judges.forEach((judge, at) => {
    const letters = readVerdicts(index, row, at);
    const cells = ORDER_NAMES.map((_, order) =>
      buildVerdict(letters[order], texts.said[row.variant][at * ORDER_NAMES.length + order], texts.text));
    body.append(make("tr", {}, setText(make("th", { scope: "row" }), judge.name), ...cells));
  });
  const head = make("tr", {}, make("th", { scope: "col" }, "judge"), ...ORDER_NAMES.map((order) => make("th", { scope: "col" }, order)));
  return make("section", {}, make("h3", {}, "Verdicts"),
    make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Verdicts" },
      make("table", { class: "verdicts" }, make("thead", {}, head), body)));
}

function buildVerdict(letter, said, text) {
  const cell = make("td", {}, make("p", { class: "winner" }, buildMark(letter), ` ${nameVerdict(letter)}`));
  if (said?.missing) cell.lastChild.append(setText(make("span", { class: "quiet" }), ` (${said.missing})`));
  if (said?.scores) {
    const [model, baseline] = said.scores;
    cell.lastChild.append(make("span", { class: "quiet" }, ` ${model} : ${baseline}`));
  }
  if (said?.why !== undefined) cell.append(setLongText(make("div", { class: "prose reason" }), text(said.why), REASON_CHARACTERS));
  return cell;
}

function buildCompletions(index, row, variant, texts, isRaw, actions) {
  const toggle = make("button", { type: "button", id: "raw", "aria-pressed": String(isRaw), "aria-keyshortcuts": "f", onclick: actions.raw },
    isRaw ? "Show by field" : "Show as they stand");
  return make("section", {},
    make("h3", { class: "with-button" }, "Completions ", toggle),
    make("div", { class: "sides" },
      buildAnswer(variant.name, texts.completions[row.variant], index.levels[row.variant][row.task], texts.text, isRaw),
      buildAnswer(`${index.baseline} (baseline)`, texts.baseline, index.baselineLevels[row.task], texts.text, isRaw)));
}

function buildTask(task, texts) {
  const user = texts.text(texts.user);
  const sections = [make("section", { id: "task" }, make("h3", {}, "Task, as the model was asked"), ...buildPrompt(user, texts.paths))];
  if (texts.reference !== null) {
    sections.push(fold("Good answer of the dataset, which nobody was shown", () =>
      [setLongText(make("pre", { class: "raw" }), texts.text(texts.reference), REASON_CHARACTERS * 5)]));
  }
  sections.push(fold("The whole prompt, as it was sent", () => buildRaw(texts.text(texts.system), user)));
  return sections;
}

/** Build a part that is made when it is opened. */
function fold(title, build) {
  const root = make("details", {}, make("summary", {}, title));
  root.addEventListener("toggle", () => root.open && root.childElementCount === 1 && root.append(...build()));
  return root;
}
