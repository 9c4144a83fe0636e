// The list of candidates: thousands, of which only what can be seen is in the document.

import { make, setText } from "./text.js";

const ROW = 56;
const MARKS = { Accepted: "✓", Rejected: "✕" };

export class Listing {
  /** `find(place)` gives item and decision; `onSelect(index)` is told of clicks. */
  constructor(root, rows, find, onSelect) {
    Object.assign(this, { root, rows, find, places: [], index: -1 });
    root.addEventListener("scroll", () => requestAnimationFrame(() => this.draw()));
    new ResizeObserver(() => this.draw()).observe(root);
    rows.addEventListener("click", (event) => {
      const row = event.target.closest(".row");
      if (row) onSelect(Number(row.dataset.index));
    });
  }

  show(places, index) {
    this.places = places;
    this.rows.style.height = `${places.length * ROW}px`;
    this.select(index);
  }

  select(index) {
    this.index = index;
    const top = index * ROW;
    const { scrollTop, clientHeight } = this.root;
    if (index >= 0 && top < scrollTop) this.root.scrollTop = top;
    if (index >= 0 && top + ROW > scrollTop + clientHeight) this.root.scrollTop = top + ROW - clientHeight;
    this.draw();
  }

  draw() {
    const first = Math.max(0, Math.floor(this.root.scrollTop / ROW) - 4);
    const last = Math.min(this.places.length, first + Math.ceil(this.root.clientHeight / ROW) + 9);
    const shown = [];
    for (let index = first; index < last; index++) shown.push(this.build(index));
    this.rows.replaceChildren(...shown);
    const active = this.index >= first && this.index < last ? `row-${this.index}` : "";
    this.root.setAttribute("aria-activedescendant", active);
  }

  build(index) {
    const { item, decision } = this.find(this.places[index]);
    const word = decision ? decision.decision.toLowerCase() : "undecided";
    const facts = `${item.id} · ${item.language} · ${item.size} · ${item.kind}`;
    const row = make(
      "div",
      {
        class: `row ${word}${item.suggested ? " suggested" : ""}`,
        role: "option",
        id: `row-${index}`,
        "data-index": index,
        "aria-selected": String(index === this.index),
        "aria-setsize": this.places.length,
        "aria-posinset": index + 1,
      },
      make("span", { class: "mark", "aria-hidden": "true" }, MARKS[decision?.decision] ?? (item.suggested ? "•" : "")),
      setText(make("div", { class: "name" }), item.title || "(no title)"),
      setText(make("div", { class: "facts" }), facts),
      make("span", { class: "hidden" }, word),
    );
    row.style.transform = `translateY(${index * ROW}px)`;
    return row;
  }
}
