// The task as the model was asked: its prompt, with the diff in it shown as one.

import { make, plural, setLongText, setText } from "./text.js";

const BLOCK_LINES = 100;
const LINE_PIXELS = 20;
const LINE_CHARACTERS = 2000;
const PROSE_CHARACTERS = 20000;
const HEADING = /^## (?:[Ff]ile: ?)?'?(.+?)'?( was deleted)?$/s;
// In a diff, each line begins with a sign, a number or a marker.
const FENCE = /^(={4,}|`{3,})/;
const HUNK = /^(@@ |__(new|old) hunk__)/;

/** Split a prompt into prose and files; the text of each part is a run of its lines. */
export function splitPrompt(text, paths) {
  const known = new Set(paths);
  const lines = text.split("\n");
  const parts = [{ name: null, lines: [] }];
  lines.forEach((line, at) => {
    const name = readHeading(lines, at, known);
    if (name !== null) parts.push({ name, lines: [] });
    else if (parts.at(-1).name !== null && FENCE.test(line)) parts.push({ name: null, lines: [line] });
    else parts.at(-1).lines.push(line);
  });
  return parts.filter((part) => part.name !== null || part.lines.some((line) => line.trim()));
}

function readHeading(lines, at, known) {
  const [, name, deleted] = lines[at].match(HEADING) ?? [];
  if (name === undefined) return null;
  if (known.has(name)) return name + (deleted ?? "");
  const next = lines.slice(at + 1, at + 4).find((line) => line.trim());
  return next !== undefined && HUNK.test(next) ? name + (deleted ?? "") : null;
}

/** Build the prompt of a task. */
export function buildPrompt(text, paths) {
  return splitPrompt(text, paths).map((part) => (part.name === null ? buildProse(part.lines) : buildFile(part)));
}

function buildProse(lines) {
  return setLongText(make("div", { class: "prose" }), lines.join("\n").trim(), PROSE_CHARACTERS);
}

function buildFile({ name, lines }) {
  const end = lines.findLastIndex((line) => line.trim()) + 1;
  const start = Math.max(0, lines.findIndex((line) => line.trim()));
  const shown = lines.slice(start, end);
  const count = (sign) => shown.filter((line) => readLine(line)[1].startsWith(sign)).length;
  const body = make("div", { class: "diff", tabindex: "0", role: "region", "aria-label": `Changes of ${name}` });
  const head = make(
    "h4",
    { class: "file-name" },
    setText(make("span"), name),
    make("span", { class: "counts" }, make("ins", {}, `+${count("+")}`), " ", make("del", {}, `−${count("-")}`)),
  );
  const place = { before: 0, after: 0 };
  for (let from = 0; from < shown.length; from += BLOCK_LINES) {
    const part = shown.slice(from, from + BLOCK_LINES);
    const block = make("div", { class: "lines" });
    block.style.containIntrinsicSize = `auto ${part.length * LINE_PIXELS}px`;
    block.append(...part.map((line) => buildLine(line, place)));
    body.append(block);
  }
  return make("section", { class: "file" }, head, body);
}

/** Return the number that stands before a line, if one does, and the rest of it. */
function readLine(line) {
  const [, number, rest] = line.match(/^(\d+) ([ +-].*)$/s) ?? [];
  return number === undefined ? ["", line] : [number, rest];
}

const LINE_KINDS = { "+": "add", "-": "del", "\\": "meta" };

function buildLine(line, place) {
  const header = line.match(/^@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@/);
  if (header) Object.assign(place, { before: Number(header[1]), after: Number(header[2]) });
  const marker = HUNK.test(line);
  const [number, rest] = readLine(line);
  const kind = marker ? "hunk" : (LINE_KINDS[rest[0]] ?? "same");
  const before = kind === "del" || kind === "same" ? place.before++ : "";
  const after = kind === "add" || kind === "same" ? place.after++ : "";
  const node = make("div", { class: `l ${kind}` });
  const pair = `${String(before).padStart(4)} ${String(after).padStart(4)}`;
  // Numbers of the prompt itself go before those that are counted here.
  node.dataset.n = number || place.numbered ? number.padStart(9) : marker ? " ".repeat(9) : pair;
  if (marker && line.startsWith("__")) place.numbered = true;
  return setLongText(node, rest.endsWith("\r") ? rest.slice(0, -1) : rest, LINE_CHARACTERS);
}

/** Build the whole prompt as it was sent. */
export function buildRaw(system, user) {
  const part = (title, text) =>
    make("section", {}, make("h4", {}, `${title} `, make("span", { class: "quiet" }, plural(text.length, "character"))),
      setLongText(make("pre", { class: "raw" }), text, PROSE_CHARACTERS));
  return [part("System", system), part("User", user)];
}
