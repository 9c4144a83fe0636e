// What this file holds beside the page: an index of all verdicts, and blocks with the texts.

/** Read compressed JSON out of a script element. */
async function unpack(node) {
  const letters = node.textContent.trim();
  const bytes = Uint8Array.fromBase64
    ? Uint8Array.fromBase64(letters)
    : Uint8Array.from(atob(letters), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}

/** Return the index. */
export const loadIndex = () => unpack(document.getElementById("index"));

/** The texts, a few tasks at a time; what was read once stays. */
export class Blocks {
  constructor(size) {
    this.size = size;
    this.nodes = document.querySelectorAll("script.block");
    this.loaded = new Map();
  }

  get count() {
    return this.nodes.length;
  }

  load(number) {
    if (!this.loaded.has(number)) this.loaded.set(number, unpack(this.nodes[number]));
    return this.loaded.get(number);
  }

  /** Return a task's texts: `text(number)` gives one of them. */
  async find(place) {
    const block = await this.load(Math.floor(place / this.size));
    return { ...block.tasks[place % this.size], text: (number) => block.strings[number] ?? "" };
  }
}
