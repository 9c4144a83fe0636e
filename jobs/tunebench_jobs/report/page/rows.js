// The rows of the list: every variant's completion of every task, with its verdicts.

const ORDERS = 2;

/** Return all rows, the tasks in their order and each with the variants in theirs. */
export function buildRows(index) {
  const rows = [];
  for (let task = 0; task < index.tasks.length; task++) {
    for (let variant = 0; variant < index.variants.length; variant++) rows.push({ task, variant });
  }
  return rows;
}

/** Return a judge's two letters on a row, one for each order: M, B, T or -. */
export function readVerdicts(index, row, judge) {
  const start = (row.task * index.judges.length + judge) * ORDERS;
  return index.verdicts[row.variant].slice(start, start + ORDERS);
}

/** Return a test for the filters, but for the search, which takes the texts. */
export function buildTest(index, state) {
  const variant = index.variants.findIndex((each) => each.name === state.model);
  const tool = index.tools.indexOf(state.tool);
  const judge = index.judges.findIndex((each) => each.name === state.judge);
  const all = index.judges.map((_, number) => number);
  const looked = state.judge ? [judge] : all;
  return (row) =>
    (!state.model || row.variant === variant) &&
    (!state.tool || index.tasks[row.task].tool === tool) &&
    (!state.judge || judge >= 0) &&
    hasVerdict(looked.map((each) => readVerdicts(index, row, each)).join(""), state.verdict) &&
    showsDisagreement(index, row, looked, all, state.show);
}

function hasVerdict(letters, wanted) {
  if (!wanted) return true;
  const only = (letter) => letters.length > 0 && [...letters].every((each) => each === letter);
  const tests = {
    model: () => only("M"),
    baseline: () => only("B"),
    "some-model": () => letters.includes("M"),
    "some-baseline": () => letters.includes("B"),
    tie: () => letters.includes("T"),
    missing: () => letters.includes("-"),
  };
  return tests[wanted]?.() ?? false;
}

function showsDisagreement(index, row, looked, all, wanted) {
  if (!wanted) return true;
  const tests = {
    judges: () => judgesDisagree(index, row, looked, all),
    flips: () => orderFlips(index, row, looked),
    either: () => judgesDisagree(index, row, looked, all) || orderFlips(index, row, looked),
    agreed: () => new Set(all.map((each) => readVerdicts(index, row, each)).join("")).size === 1,
  };
  return tests[wanted]?.() ?? false;
}

/** Whether one of some judges gives another verdict than any judge, in the same order. */
export function judgesDisagree(index, row, looked, all) {
  for (let order = 0; order < ORDERS; order++) {
    const given = all.map((each) => readVerdicts(index, row, each)[order]);
    const differs = looked.some(
      (one) => given[one] !== "-" && given.some((letter) => letter !== "-" && letter !== given[one]),
    );
    if (differs) return true;
  }
  return false;
}

/** Whether one of some judges names another winner when the completions change places. */
export function orderFlips(index, row, looked) {
  return looked.some((each) => {
    const [first, second] = readVerdicts(index, row, each);
    return first !== "-" && second !== "-" && first !== second;
  });
}

/** Look for words in all texts, block by block; `tell` gets the rows that hold all of them. */
export async function searchTexts(index, blocks, query, isWanted, tell) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  const found = new Set();
  for (let number = 0; number < blocks.count; number++) {
    const block = await blocks.load(number);
    if (!isWanted()) return;
    block.low ??= block.strings.map((text) => text.toLowerCase());
    const hits = words.map((word) => block.low.map((text) => text.includes(word)));
    block.tasks.forEach((texts, offset) => {
      findInTask(index, number * index.blockTasks + offset, texts, words, hits, found);
    });
    tell(found, (number + 1) / blocks.count);
    // So that keys and scrolling are heard meanwhile.
    await new Promise((resume) => setTimeout(resume));
  }
}

function findInTask(index, place, texts, words, hits, found) {
  const { id, title, repository, language } = index.tasks[place];
  const names = `${id} ${title} ${repository} ${language}`.toLowerCase();
  const shared = [texts.user, texts.baseline.text, ...(texts.reference === null ? [] : [texts.reference])];
  const left = words.filter((word, at) => !names.includes(word) && !shared.some((each) => hits[at][each]));
  index.variants.forEach((variant, number) => {
    const own = [texts.completions[number].text, ...texts.said[number].map((said) => said?.why ?? -1)];
    const name = variant.name.toLowerCase();
    const holds = left.every((word) => name.includes(word) || own.some((each) => hits[words.indexOf(word)][each]));
    if (holds) found.add(place * index.variants.length + number);
  });
}
