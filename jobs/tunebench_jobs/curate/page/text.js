// Words of strangers: only ever text nodes, never markup.

// Characters that cannot be seen, that a terminal obeys, or that turn text round. Tab and line feed
// are layout; joiners are spelling in many languages and in emoji.
const SIGNS =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/gu;

/** Make an element; strings among the children become text. */
export function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") node.className = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== false && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** Put text into an element, with its hidden characters shown by their numbers. */
export function setText(node, text) {
  node.textContent = "";
  let end = 0;
  for (const match of text.matchAll(SIGNS)) {
    node.append(text.slice(end, match.index));
    const number = match[0].codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
    node.append(make("span", { class: "sign" }, `U+${number}`));
    end = match.index + match[0].length;
  }
  node.append(text.slice(end));
  return node;
}

/** Show at most `limit` characters, and the rest on demand. */
export function setLongText(node, text, limit) {
  setText(node, text.slice(0, limit));
  if (text.length > limit) {
    const left = (text.length - limit).toLocaleString("en");
    const grow = () => setLongText(node, text, limit * 10);
    node.append(make("button", { type: "button", class: "more", onclick: grow }, `${left} more characters`));
  }
  return node;
}

export function plural(count, word) {
  return `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;
}
