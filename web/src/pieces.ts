// Components of several views: bars, thumbnails, hits, search cost, drawing pad.
import { type Hit, Path, type SearchStats } from "./gen/nearness/v1/search_pb";
import { describe, payloadOf } from "./describe";
import { count, h, micros, put } from "./dom";
import { type Picture, Pictures, tinted } from "./picture";
import { chosen } from "./state";

/** Creates bars with labels; `max` is the value of a full bar. */
export function bars(rows: { label: string; value: number; text: string; best?: boolean }[], max: number): HTMLElement {
  return h(
    "ul",
    { class: "bars" },
    ...rows.map(({ label, value, text, best }) =>
      h("li", { class: best ? "best" : "" },
        h("span", { class: "bar-label" }, label),
        h("span", { class: "bar-track" },
          h("span", { class: "bar-fill", style: { width: `${Math.max(0, Math.min(1, value / max)) * 100}%` } })),
        h("span", { class: "number" }, text),
      ),
    ),
  );
}

/** Drawings are dark on white paper in every theme. */
const INK = "#101418";

/** Creates a canvas with the picture of a point. */
export function thumbnail(pictures: Pictures, id: string, size: number): HTMLCanvasElement {
  const element = h("canvas", { width: size * 2, height: size * 2, class: "thumb", "aria-hidden": "true" });
  element.style.width = element.style.height = `${size}px`;
  void pictures.wait(id).then((picture) => {
    if (picture) show(element, picture);
    else element.remove();
  });
  return element;
}

export function show(element: HTMLCanvasElement, picture: Picture): void {
  const context = element.getContext("2d") as CanvasRenderingContext2D;
  context.imageSmoothingEnabled = picture.image.width > 40;
  context.drawImage(tinted(picture, INK), 0, 0, element.width, element.height);
}

/** Creates the name, text and id of a hit. */
function named(hit: Hit, marked?: Marker): HTMLElement {
  const { name, text, id } = describe(hit.id, payloadOf(hit));
  const parts = [h("b", {}, name), text && h("small", {}, text), id && h("small", { class: "hit-id" }, id)];
  for (const part of parts.slice(0, 2)) {
    if (marked && part) void marked(part.textContent ?? "").then((ranges) => mark(part, ranges));
  }
  return h("span", { class: "hit-name" }, ...parts);
}

/** Returns the parts of a text, in bytes of UTF-8, that match the words of the query. */
export type Marker = (text: string) => Promise<[number, number][]>;

/** Marks parts of the text of an element. */
function mark(element: HTMLElement, ranges: [number, number][]): void {
  const bytes = new TextEncoder().encode(element.textContent ?? "");
  const text = (from: number, until: number): string => new TextDecoder().decode(bytes.slice(from, until));
  let at = 0;
  const pieces: (string | HTMLElement)[] = [];
  for (const [from, until] of ranges) {
    pieces.push(text(at, from), h("mark", {}, text(from, until)));
    at = until;
  }
  element.replaceChildren(...pieces, text(at, bytes.length));
}

/** Creates the list of hits. A click selects the point, also on the map. */
export function hits(list: Hit[], pictures: Pictures | null, marked?: Marker): HTMLElement {
  if (list.length === 0) return h("p", { class: "empty" }, "No hits.");
  return h(
    "ol",
    { class: "hits" },
    ...list.map((hit) =>
      h("li", { "data-id": hit.id },
        h("button", { type: "button", class: "hit", onclick: () => chosen.set(hit.id) },
          pictures && thumbnail(pictures, hit.id, 36),
          named(hit, marked),
          h("span", { class: "number" }, hit.score.toFixed(3)),
        ),
      ),
    ),
  );
}

const PATHS: Record<Path, string> = {
  [Path.UNSPECIFIED]: "",
  [Path.EXACT]: "compared with every point",
  [Path.GRAPH]: "by graph search",
  [Path.MIXED]: "partly by graph search, partly by scan",
  [Path.FILTER_SCAN]: "compared with every point that matches the filter",
  [Path.KEYWORDS]: "by the words of the query",
  [Path.FUSION]: "by meaning and words",
};

/** Creates the cost and the expected recall of a search. */
export function cost(stats: SearchStats | undefined): HTMLElement {
  if (!stats) return h("div");
  const exact = stats.path === Path.EXACT || stats.path === Path.FILTER_SCAN || stats.path === Path.KEYWORDS;
  const quality = exact
    ? "exact result"
    : stats.expectedRecall === undefined
      ? stats.recallUnmeasured ? "recall of this index not measured yet" : "recall not measured for this search"
      : `expected recall ${(stats.expectedRecall * 100).toFixed(1)} %`;
  const cells: [string, string][] = [
    ["Search", micros(stats.searchUs)],
    ["Embedding", micros(stats.embedUs)],
    ["Distances", count(stats.distancesComputed)],
    ["ef", stats.efUsed > 0 ? count(stats.efUsed) : "–"],
    ["Segments", `${stats.segmentsByGraph} graph, ${stats.segmentsByScan} scan`],
  ];
  for (const part of stats.parts) cells.push([PATHS[part.path], `${count(part.candidates)} candidates`]);
  if (stats.filterMatches !== undefined) cells.push(["Filter matches", count(stats.filterMatches)]);
  if (stats.embedderFingerprint) cells.push(["Embedder", stats.embedderFingerprint.slice(0, 10)]);
  return h(
    "div",
    { class: "cost" },
    h("p", { class: "quality" }, h("span", { class: `lamp ${exact || (stats.expectedRecall ?? 0) >= 0.95 ? "good" : "fair"}` }),
      `${quality}, ${PATHS[stats.path]}`),
    h("dl", {}, ...cells.flatMap(([name, value]) => [h("div", {}, h("dt", {}, name), h("dd", {}, value))])),
  );
}

export function failure(text: string): HTMLElement {
  return h("p", { class: "failure", role: "alert" }, text);
}

/** A canvas for drawing a digit with mouse, finger, pen or keyboard. */
export class Pad {
  readonly element: HTMLElement;
  private readonly canvas = h("canvas", {
    width: 280,
    height: 280,
    class: "pad",
    tabindex: 0,
    role: "img",
    "aria-label": "Drawing area. Draw with mouse or finger; with the keyboard, arrows move the pen and the space bar puts it down or lifts it.",
  });
  private readonly context = this.canvas.getContext("2d") as CanvasRenderingContext2D;
  private pen: [number, number] = [140, 140];
  private last: [number, number] | null = null;
  private lowered = false;
  private inked = false;

  /** `changed` is called after every stroke, with null after the pad was cleared. */
  constructor(private readonly changed: (pad: Pad | null) => void) {
    const file = h("input", { type: "file", accept: "image/png,image/jpeg,image/webp,image/bmp", class: "file" });
    file.addEventListener("change", () => {
      if (file.files?.[0]) void this.load(file.files[0]);
      file.value = "";
    });
    this.element = h(
      "div",
      { class: "pad-box" },
      this.canvas,
      h("div", { class: "row" },
        h("button", { type: "button", class: "button small", onclick: () => this.clear() }, "Clear"),
        h("label", { class: "button small" }, "Open a picture", file)),
    );
    this.canvas.addEventListener("pointerdown", (event) => {
      this.canvas.setPointerCapture(event.pointerId);
      this.last = this.at(event);
      this.stroke(this.last);
    });
    this.canvas.addEventListener("pointermove", (event) => {
      if (this.last) for (const one of event.getCoalescedEvents?.() ?? [event]) this.stroke(this.at(one));
    });
    for (const end of ["pointerup", "pointercancel"]) this.canvas.addEventListener(end, () => (this.last = null));
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    this.canvas.addEventListener("dragover", (event) => event.preventDefault());
    this.canvas.addEventListener("drop", (event) => {
      event.preventDefault();
      const dropped = event.dataTransfer?.files[0];
      if (dropped) void this.load(dropped);
    });
    this.blank();
  }

  get empty(): boolean {
    return !this.inked;
  }

  private at(event: PointerEvent): [number, number] {
    const box = this.canvas.getBoundingClientRect();
    const scale = this.canvas.width / box.width;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  }

  private blank(): void {
    this.context.fillStyle = "#ffffff";
    this.context.fillRect(0, 0, 280, 280);
  }

  private stroke(to: [number, number]): void {
    const { context } = this;
    context.strokeStyle = INK;
    context.lineWidth = 20;
    context.lineCap = context.lineJoin = "round";
    context.beginPath();
    context.moveTo(...(this.last ?? to));
    context.lineTo(...to);
    context.stroke();
    this.last = to;
    this.inked = true;
    this.changed(this);
  }

  private key(event: KeyboardEvent): void {
    const moves: Record<string, [number, number]> = { ArrowLeft: [-10, 0], ArrowRight: [10, 0], ArrowUp: [0, -10], ArrowDown: [0, 10] };
    const move = moves[event.key];
    if (event.key === " ") {
      this.lowered = !this.lowered;
      this.last = this.lowered ? this.pen : null;
      if (this.lowered) this.stroke(this.pen);
    } else if (move) {
      this.pen = [0, 1].map((part) => Math.max(10, Math.min(270, this.pen[part]! + move[part]!))) as [number, number];
      if (this.lowered) this.stroke(this.pen);
    } else return;
    event.preventDefault();
  }

  clear(): void {
    this.blank();
    this.inked = this.lowered = false;
    this.last = null;
    this.changed(null);
  }

  /** Draws a picture, scaled to fit. */
  async load(picture: Blob): Promise<void> {
    try {
      const bitmap = await createImageBitmap(picture);
      const scale = Math.min(280 / bitmap.width, 280 / bitmap.height);
      const [width, height] = [bitmap.width * scale, bitmap.height * scale];
      this.blank();
      this.context.drawImage(bitmap, (280 - width) / 2, (280 - height) / 2, width, height);
      this.inked = true;
      this.changed(this);
    } catch {
      put(this.element.querySelector(".pad-note") ?? this.element.appendChild(h("p", { class: "pad-note", role: "alert" })),
        "The browser cannot read this file as a picture.");
    }
  }

  /** Returns the drawing as a PNG. */
  async png(): Promise<Uint8Array> {
    const blob = await new Promise<Blob | null>((done) => this.canvas.toBlob(done, "image/png"));
    return new Uint8Array(await (blob ?? new Blob()).arrayBuffer());
  }
}

/** Returns a function that runs `work`, one run at a time. Calls during a run cause one more run. */
export function coalesce(work: () => Promise<void>): () => void {
  let [busy, again] = [false, false];
  const run = async (): Promise<void> => {
    if (busy) {
      again = true;
      return;
    }
    busy = true;
    do {
      again = false;
      await work();
    } while (again);
    busy = false;
  };
  return () => void run();
}
