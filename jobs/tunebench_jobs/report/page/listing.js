// The list of comparisons: thousands, of which only what can be seen is in the document.

import { readVerdicts } from "./rows.js";
import { make, setText } from "./text.js";

const ROW = 54;
const MARKS = {
  M: ["W", "win", "the model"],
  B: ["L", "loss", "the baseline"],
  T: ["T", "tie", "a tie"],
  "-": ["?", "missing", "missing"],
};

/** Build the sign of one verdict. */
export function buildMark(letter) {
  const [sign, tone] = MARKS[letter] ?? MARKS["-"];
  return make("span", { class: `mark ${tone}`, "aria-hidden": "true" }, sign);
}

export const nameVerdict = (letter) => (MARKS[letter] ?? MARKS["-"])[2];

export class Listing {
  /** `onSelect(place)` is told of clicks. */
  constructor(root, rows, index, onSelect) {
    Object.assign(this, { root, rows, index, shown: [], judges: [], place: -1 });
    root.addEventListener("scroll", () => requestAnimationFrame(() => this.draw()));
    new ResizeObserver(() => this.draw()).observe(root);
    rows.addEventListener("click", (event) => {
      const row = event.target.closest(".row");
      if (row) onSelect(Number(row.dataset.place));
    });
  }

  show(shown, judges, place) {
    Object.assign(this, { shown, judges });
    this.rows.style.height = `${shown.length * ROW}px`;
    this.select(place);
  }

  select(place) {
    this.place = place;
    const top = place * ROW;
    const { scrollTop, clientHeight } = this.root;
    if (place >= 0 && top < scrollTop) this.root.scrollTop = top;
    if (place >= 0 && top + ROW > scrollTop + clientHeight) this.root.scrollTop = top + ROW - clientHeight;
    this.draw();
  }

  draw() {
    const first = Math.max(0, Math.floor(this.root.scrollTop / ROW) - 4);
    const last = Math.min(this.shown.length, first + Math.ceil(this.root.clientHeight / ROW) + 9);
    const built = [];
    for (let place = first; place < last; place++) built.push(this.build(place));
    this.rows.replaceChildren(...built);
    const active = this.place >= first && this.place < last ? `row-${this.place}` : "";
    if (active) this.root.setAttribute("aria-activedescendant", active);
    else this.root.removeAttribute("aria-activedescendant");
  }

  build(place) {
    const row = this.shown[place];
    const task = this.index.tasks[row.task];
    const letters = this.judges.map((judge) => readVerdicts(this.index, row, judge));
    const marks = make("span", { class: "marks" }, ...letters.map((pair) =>
      make("span", { class: "pair" }, ...[...pair].map(buildMark))));
    const words = letters.map((pair, at) =>
      `${this.index.judges[this.judges[at]].name}: ${[...pair].map(nameVerdict).join(", ")}`);
    const node = make(
      "div",
      {
        class: "row",
        role: "option",
        id: `row-${place}`,
        "data-place": place,
        "aria-selected": String(place === this.place),
        "aria-setsize": this.shown.length,
        "aria-posinset": place + 1,
      },
      make("div", { class: "head" }, setText(make("span", { class: "name" }), this.index.variants[row.variant].name), marks),
      setText(make("div", { class: "about" }), `${this.index.tools[task.tool]} · ${task.title || task.pr}`),
      setText(make("span", { class: "hidden" }), words.join("; ")),
    );
    node.style.transform = `translateY(${place * ROW}px)`;
    return node;
  }
}
