// What people and models wrote about the change: description, commits and answers, to read or edit.

import { make, plural, setLongText, setText } from "./text.js";

const PROSE_CHARACTERS = 8000;
const LEVELS = {
  strict: "holds to its schema",
  fixed: "can be read after repairs",
  invalid: "breaks its schema",
  none: "no answer",
};

/** Show description, commits and answers, with the edits of a decision in their place. */
export function showWords(root, pull, decision) {
  const edited = decision?.edits.answers ?? {};
  root.replaceChildren(buildDescription(pull));
  if (pull.commits.length > 0) root.append(buildCommits(pull.commits));
  for (const [tool, answer] of Object.entries(pull.answers)) root.append(buildAnswer(tool, answer, edited[tool]));
  root.scrollTo(0, 0);
}

/** Show a field for each answer; `check(tool, text)` says what is wrong with it as it is typed. */
export function showEditor(root, pull, decision, check) {
  const edited = decision?.edits.answers ?? {};
  const title = make("textarea", { id: "edit-title", rows: "2", maxlength: "1000" });
  title.value = decision?.edits.title ?? pull.title;
  const fields = new Map();
  root.replaceChildren(
    make("section", {}, make("h3", {}, make("label", { for: "edit-title" }, "Title")), title),
  );
  for (const [tool, answer] of Object.entries(pull.answers)) {
    const text = edited[tool] ?? answer.text;
    fields.set(tool, addField(root, tool, text, check));
  }
  root.scrollTo(0, 0);
  title.focus();
  const start = readEditor(title, fields);
  return {
    read: () => readEditor(title, fields),
    isDirty: () => JSON.stringify(readEditor(title, fields)) !== JSON.stringify(start),
  };
}

function readEditor(title, fields) {
  const answers = Object.fromEntries([...fields].map(([tool, field]) => [tool, field.value]));
  return { title: title.value, answers };
}

function addField(root, tool, text, check) {
  const problem = make("p", { class: "problem", id: `problem-${tool}`, role: "status" });
  const field = make("textarea", {
    class: "answer",
    id: `edit-${tool}`,
    spellcheck: "false",
    "aria-describedby": `problem-${tool}`,
  });
  field.value = text;
  let timer;
  let asked = 0;
  const look = async () => {
    const mine = ++asked;
    const { level, problem: words } = await check(tool, field.value);
    // An answer that came late says nothing about what stands there by now.
    if (mine !== asked) return;
    problem.className = `problem ${level}`;
    setText(problem, level === "strict" ? LEVELS.strict : `${LEVELS[level]}: ${words}`);
    field.setAttribute("aria-invalid", String(level === "invalid" || level === "fixed"));
  };
  field.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(look, 150);
  });
  look();
  const heading = make("h3", {}, make("label", { for: `edit-${tool}` }, `Answer to ${tool}`));
  root.append(make("section", {}, heading, field, problem));
  return field;
}

function buildDescription(pull) {
  const text = pull.description.replaceAll("\r\n", "\n").trim();
  const prose = setLongText(make("p", { class: "prose", dir: "auto" }), text || "(none)", PROSE_CHARACTERS);
  return make("section", {}, make("h3", {}, "Description"), prose);
}

function buildCommits(commits) {
  const list = make("div", { class: "prose" });
  setLongText(list, commits.map((message) => `• ${message.trim()}`).join("\n"), PROSE_CHARACTERS);
  return make("section", {}, make("details", {}, make("summary", {}, plural(commits.length, "commit")), list));
}

function buildAnswer(tool, answer, edited) {
  const level = edited === undefined ? answer.level : "strict";
  const note = edited === undefined ? LEVELS[level] : "edited";
  const heading = make("h3", {}, `Answer to ${tool}`, make("span", { class: `level ${level}` }, note));
  const section = make("section", { id: `answer-${tool}` }, heading);
  if (level === "invalid" || level === "fixed") section.append(setText(make("p", { class: `problem ${level}` }), answer.problem ?? ""));
  const text = edited ?? answer.text;
  if (text.trim()) section.append(buildYaml(text.trimEnd()));
  return section;
}

/** Return the text of an answer with its keys marked; nothing is added, moved or left out. */
function buildYaml(text) {
  const root = make("pre", { class: "answer" });
  const shown = text.slice(0, PROSE_CHARACTERS * 4);
  for (const line of shown.split("\n")) {
    const [, indent, key, rest] = line.match(/^(\s*(?:- )*)([\w[\]-]{1,60}:)(?=\s|$)(.*)$/) ?? [];
    if (key) root.append(indent, make("span", { class: "key" }, key), setText(make("span"), rest), "\n");
    else root.append(setText(make("span"), line), "\n");
  }
  if (shown.length < text.length) root.append(make("em", {}, plural(text.length - shown.length, "more character")));
  return root;
}
