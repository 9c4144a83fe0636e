// What the list shows: words of a query that all must match.

const FIELDS = {
  language: (item) => [item.language],
  lang: (item) => [item.language],
  size: (item) => [item.size],
  kind: (item) => [item.kind],
  repo: (item) => [item.repository],
  tool: (item) => item.tools,
};

/** Whether a query shows a candidate; `status` is undecided, accepted, rejected or edited. */
export function matches(query, item, decision) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  return words.every((word) => matchesWord(word, item, decision));
}

function matchesWord(word, item, decision) {
  const [, field, value] = word.match(/^([a-z]+):(.*)$/) ?? [];
  if (field === "is") return matchesStatus(value, item, decision);
  if (FIELDS[field]) return FIELDS[field](item).some((each) => hits(field, each.toLowerCase(), value));
  return `${item.id} ${item.title} ${item.repository}`.toLowerCase().includes(word);
}

// Sizes are short: `l` is not `xl`.
const hits = (field, have, want) => (field === "size" ? !want || have === want : have.startsWith(want));

function matchesStatus(value, item, decision) {
  if (!value) return true;
  if ("suggested".startsWith(value)) return item.suggested;
  if ("edited".startsWith(value)) return Boolean(decision && isEdited(decision));
  return (decision ? decision.decision.toLowerCase() : "undecided").startsWith(value);
}

export const isEdited = ({ edits }) => edits.title !== null || Object.keys(edits.answers).length > 0;
