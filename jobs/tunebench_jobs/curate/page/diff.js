// The changes: blocks of lines that the browser lays out when they come into sight.

import { make, plural, setLongText, setText } from "./text.js";

const BLOCK_LINES = 100;
const LINE_PIXELS = 20;
const LINE_CHARACTERS = 2000;
// Lines to add before the first look, then per turn of the event loop, and until somebody asks.
const FIRST_LINES = 1500;
const TURN_LINES = 4000;
const ASK_LINES = 40000;

let generation = 0;

/** Show the changed files in `root`; a later call ends the work of an earlier one. */
export function showDiff(root, files) {
  const mine = ++generation;
  root.replaceChildren();
  root.scrollTo(0, 0);
  const work = addFiles(root, files);
  let added = 0;
  let limit = ASK_LINES;
  const turn = (lines) => {
    const end = added + lines;
    while (added < end && added < limit) {
      const { done, value } = work.next();
      if (done) return;
      added += value;
    }
    if (added < limit) setTimeout(() => mine === generation && turn(TURN_LINES), 0);
    else askForMore();
  };
  const askForMore = () => {
    const button = make("button", { type: "button", class: "more" }, `Show ${plural(ASK_LINES, "more line")}`);
    button.addEventListener("click", () => {
      button.remove();
      limit += ASK_LINES;
      turn(TURN_LINES);
    });
    root.append(button);
  };
  turn(FIRST_LINES);
}

/** Scroll to the file before or after the one in sight. */
export function stepFile(root, step) {
  const tops = [...root.querySelectorAll(".file")].map((file) => file.offsetTop - root.offsetTop);
  const now = root.scrollTop;
  const next = step > 0 ? tops.find((top) => top > now + 4) : tops.filter((top) => top < now - 4).pop();
  if (next !== undefined) root.scrollTo(0, next);
}

function* addFiles(root, files) {
  for (const file of files) {
    const section = make("section", { class: "file" });
    section.append(buildHeader(file));
    root.append(section);
    if (!file.patch) section.append(make("p", { class: "note quiet" }, file.is_binary ? "binary" : "no lines to show"));
    yield 1;
    yield* addLines(section, file.patch);
  }
}

function buildHeader(file) {
  const lines = file.patch.split("\n");
  const count = (sign) => lines.filter((line) => line.startsWith(sign)).length;
  const title = make("h3");
  const renamed = file.previous_path && file.previous_path !== file.path;
  title.append(setText(make("span"), renamed ? `${file.previous_path} → ${file.path}` : file.path));
  title.append(make("span", { class: "quiet" }, `  ${file.status}  +${count("+")} −${count("-")}`));
  return title;
}

function* addLines(section, patch) {
  if (!patch) return;
  const lines = patch.endsWith("\n") ? patch.slice(0, -1).split("\n") : patch.split("\n");
  let place = { before: 0, after: 0 };
  for (let start = 0; start < lines.length; start += BLOCK_LINES) {
    const part = lines.slice(start, start + BLOCK_LINES);
    const block = make("div", { class: "block" });
    block.style.containIntrinsicSize = `auto ${part.length * LINE_PIXELS}px`;
    for (const line of part) block.append(buildLine(line, place));
    section.append(block);
    yield part.length;
  }
}

const KINDS = { "+": "add", "-": "del", "\\": "meta" };

/** Build one line; `place` counts the lines of both sides on. */
function buildLine(line, place) {
  const header = line.match(/^@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@/);
  if (header) Object.assign(place, { before: Number(header[1]), after: Number(header[2]) });
  const kind = header ? "hunk" : (KINDS[line[0]] ?? "same");
  const before = kind === "del" || kind === "same" ? place.before++ : "";
  const after = kind === "add" || kind === "same" ? place.after++ : "";
  const node = make("div", { class: `l ${kind}` });
  node.dataset.n = `${String(before).padStart(5)} ${String(after).padStart(5)}`;
  return setLongText(node, line.endsWith("\r") ? line.slice(0, -1) : line, LINE_CHARACTERS);
}
