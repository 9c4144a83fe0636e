// A completion: by field where it could be read, or as it stands.

import { make, setLongText, setText } from "./text.js";

const TEXT_CHARACTERS = 20000;
const CODE_FIELDS = new Set(["existing_code", "improved_code", "changes_diagram", "relevant_line"]);
const DEEPEST = 8;
const LEVELS = {
  s: ["strict", "valid as it stands"],
  f: ["fixed", "valid after repair"],
  i: ["invalid", "cannot be read: lost, whatever a judge says"],
};

/** Build one side of a comparison; `level` is the letter of how well it can be read. */
export function buildAnswer(title, completion, level, text, isRaw) {
  const [tone, words] = LEVELS[level] ?? LEVELS.i;
  const root = make(
    "section",
    { class: "answer" },
    make("h3", {}, setText(make("span"), title), make("span", { class: `level ${tone}` }, words)),
  );
  if (completion.cut) root.append(make("p", { class: "problem" }, "Cut off at the token limit."));
  if (completion.problem !== undefined) root.append(setText(make("p", { class: "problem" }), text(completion.problem)));
  const whole = text(completion.text);
  if (!whole.trim()) root.append(make("p", { class: "empty" }, "The completion is empty."));
  else if (isRaw || !completion.fields) root.append(setLongText(make("pre", { class: "raw" }), whole, TEXT_CHARACTERS));
  else root.append(buildValue(completion.fields, "", 0));
  return root;
}

function buildValue(value, name, depth) {
  if (value === null || value === "") return make("span", { class: "quiet" }, "(nothing)");
  if (depth > DEEPEST) return setText(make("code"), JSON.stringify(value));
  if (Array.isArray(value)) return buildList(value, name, depth);
  if (typeof value === "object") return buildFields(value, depth);
  const node = CODE_FIELDS.has(name) ? make("pre", { class: "code" }) : make("div", { class: "prose" });
  return setLongText(node, String(value).trimEnd(), TEXT_CHARACTERS);
}

function buildList(values, name, depth) {
  if (values.length === 0) return make("span", { class: "quiet" }, "(none)");
  const plain = values.every((each) => typeof each !== "object");
  const list = make(plain ? "ul" : "ol", { class: "values" });
  list.append(...values.map((each) => make("li", {}, buildValue(each, name, depth + 1))));
  return list;
}

function buildFields(fields, depth) {
  const list = make("dl", { class: "fields" });
  for (const [name, value] of Object.entries(fields)) {
    list.append(
      make("div", {}, setText(make("dt"), name), make("dd", {}, buildValue(value, name, depth + 1))),
    );
  }
  return list;
}
