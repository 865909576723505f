// Collections: contents, memory, rates of change, and measured recall against speed.
import { type Collection, CollectionState } from "../gen/nearness/v1/collections_pb";
import { Metric } from "../gen/nearness/v1/common_pb";
import { explain, isCancelled, listCollections, quality, catalog } from "../api";
import { bytes, count, h, micros, put, s } from "../dom";
import { failure } from "../pieces";
import { current } from "../state";

/** Interval between updates, ms. */
const UPDATE_MS = 2000;
/** Candidate list sizes of the curve. */
const EFS = [10, 16, 24, 40, 64, 100, 160, 250];
const SAMPLES = 200;
const METRICS: Record<Metric, string> = { [Metric.UNSPECIFIED]: "", [Metric.COSINE]: "cosine", [Metric.DOT]: "dot product", [Metric.L2]: "Euclidean" };
const STATES: Record<CollectionState, string> = {
  [CollectionState.UNSPECIFIED]: "",
  [CollectionState.SERVING]: "serving",
  [CollectionState.READ_ONLY]: "read-only: the disk failed",
  [CollectionState.DAMAGED]: "damaged",
  [CollectionState.UNAVAILABLE]: "unavailable",
};

/** A measured point of the curve. */
interface Measured {
  ef: number;
  recall: number;
  low: number;
  high: number;
  micros: number;
}

/** Draws recall against searches per second (logarithmic). */
export function curve(points: Measured[], exact: number): SVGElement {
  const [width, height, left, bottom] = [560, 300, 62, 44];
  const speeds = [...points.map((one) => 1e6 / one.micros), 1e6 / exact];
  const [slow, fast] = [Math.min(...speeds) / 1.3, Math.max(...speeds) * 1.3];
  const min = Math.floor((Math.min(...points.map((one) => one.low)) - 0.005) * 50) / 50;
  const x = (recall: number): number => left + ((recall - min) / (1 - min)) * (width - left - 24);
  const y = (speed: number): number => 16 + (1 - Math.log(speed / slow) / Math.log(fast / slow)) * (height - bottom - 16);
  const parts: SVGElement[] = [];
  for (let tick = 0; tick <= 4; tick += 1) {
    const recall = min + ((1 - min) * tick) / 4;
    parts.push(s("line", { x1: x(recall), x2: x(recall), y1: 16, y2: height - bottom, class: "grid" }));
    parts.push(s("text", { x: x(recall), y: height - bottom + 18, "text-anchor": "middle" }, recall.toFixed(3)));
  }
  for (const power of [1, 10, 100, 1000, 10_000, 100_000, 1_000_000]) {
    for (const step of [1, 2, 5]) {
      const speed = power * step;
      if (speed < slow || speed > fast) continue;
      parts.push(s("line", { x1: left, x2: width - 24, y1: y(speed), y2: y(speed), class: "grid" }));
      parts.push(s("text", { x: left - 8, y: y(speed) + 4, "text-anchor": "end" }, new Intl.NumberFormat("en", { notation: "compact" }).format(speed)));
    }
  }
  const path = points.map((one, at) => `${at === 0 ? "M" : "L"}${x(one.recall).toFixed(1)},${y(1e6 / one.micros).toFixed(1)}`).join("");
  parts.push(s("path", { d: path, class: "line" }));
  for (const one of points) {
    const [px, py] = [x(one.recall), y(1e6 / one.micros)];
    parts.push(s("line", { x1: x(one.low), x2: x(Math.min(1, one.high)), y1: py, y2: py, class: "error" }));
    parts.push(s("circle", { cx: px, cy: py, r: 4.5, class: "mark" }, s("title", {}, `ef ${one.ef}: recall ${one.recall.toFixed(4)}, ${micros(one.micros)}`)));
    parts.push(s("text", { x: px - 9, y: py + 15, "text-anchor": "end", class: "name" }, `ef ${one.ef}`));
  }
  parts.push(s("circle", { cx: x(1), cy: y(1e6 / exact), r: 4.5, class: "exact" }));
  parts.push(s("text", { x: x(1) - 9, y: y(1e6 / exact) - 8, "text-anchor": "end", class: "name" }, "exact"));
  parts.push(s("text", { x: (width + left) / 2, y: height - 6, "text-anchor": "middle", class: "axis" }, "recall of the 10 nearest"));
  parts.push(s("text", { x: 14, y: (height - bottom) / 2, "text-anchor": "middle", class: "axis", transform: `rotate(-90 14 ${(height - bottom) / 2})` }, "searches per second"));
  const text = `Recall against speed: ${points.map((one) => `ef ${one.ef} ${one.recall.toFixed(3)} in ${micros(one.micros)}`).join("; ")}; exact in ${micros(exact)}`;
  return s("svg", { viewBox: `0 0 ${width} ${height}`, class: "curve", role: "img", "aria-label": text }, ...parts);
}

/** The card of a collection. */
class Card {
  readonly element = h("article", { class: "card" });
  private readonly facts = h("dl", { class: "facts" });
  private readonly problems = h("div");
  private readonly memory = h("div", { class: "memory" });
  private readonly rates = h("p", { class: "rates" });
  private readonly segments = h("div");
  private readonly embedder = h("div");
  private readonly result = h("div");
  private readonly progress = h("progress", { max: EFS.length, value: 0, hidden: true, "aria-label": "Measuring recall" });
  private readonly button: HTMLButtonElement;
  private stop: AbortController | null = null;
  private previous: { queries: bigint; sequence: bigint; points: bigint; at: number } | null = null;

  constructor(private readonly name: string) {
    this.button = h("button", { type: "button", class: "button", onclick: () => void this.measure() }, "Measure recall against speed");
    this.element.append(
      h("header", {}, h("h2", {}, name), h("button", { type: "button", class: "button small", onclick: () => this.open() }, "Show on the map")),
      this.problems, this.facts, this.memory, this.rates,
      h("details", {}, h("summary", {}, "Segments"), this.segments),
      this.embedder,
      h("div", { class: "row" }, this.button, this.progress), this.result);
    this.element.dataset.name = name;
  }

  private open(): void {
    current.set(this.name);
    location.hash = "#/search";
  }

  show(of: Collection): void {
    const facts: [string, string][] = [
      ["Points", count(of.points)],
      ["Growing", count(of.growingPoints)],
      ["Deleted rows", count(of.deletedRows)],
      ["Segments", count(of.segments.length)],
      ["Dimension", count(of.dimension)],
      ["Distance", METRICS[of.metric]],
      ["State", STATES[of.state]],
    ];
    put(this.facts, ...facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
    put(this.problems, ...of.problems.map(failure));
    const share = of.mappedBytes === 0n ? 0 : Number(of.residentBytes) / Number(of.mappedBytes);
    put(this.memory, h("span", { class: "bar-track" }, h("span", { class: "bar-fill", style: { width: `${share * 100}%` } })),
      h("span", {}, `${bytes(of.residentBytes)} of ${bytes(of.mappedBytes)} mapped are in memory`));
    const now = performance.now();
    if (this.previous) {
      const seconds = (now - this.previous.at) / 1000;
      const rate = (change: bigint): string => (Number(change) / seconds).toFixed(1);
      const number = (text: string): HTMLElement => h("span", { class: "number" }, text);
      put(this.rates, number(rate(of.queries - this.previous.queries)), " queries, ", number(rate(of.sequence - this.previous.sequence)), " writes, ",
        number(rate(of.points - this.previous.points)), " new points per second; ", number(count(of.queries)), " queries since opening, sequence number ", number(count(of.sequence)));
    }
    this.previous = { queries: of.queries, sequence: of.sequence, points: of.points, at: now };
    put(this.segments, h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `Segments of ${this.name}` }, h("table", {},
      h("thead", {}, h("tr", {}, ...["Id", "Rows", "Deleted", "Searched by", "Vectors", "Graph"].map((text) => h("th", { scope: "col" }, text)))),
      h("tbody", {}, ...of.segments.map((one) => h("tr", {}, h("td", {}, String(one.id)), h("td", {}, count(one.rows)), h("td", {}, count(one.deletedRows)),
        h("td", {}, one.graph ? "graph" : "scan"), h("td", {}, bytes(one.vectorBytes)), h("td", {}, bytes(one.graphBytes))))))));
    this.showEmbedder(of);
  }

  private showEmbedder(of: Collection): void {
    if (this.embedder.childElementCount > 0) return;
    const net = catalog.value.embedders.find((one) => one.name === of.embedder?.name);
    if (!of.embedder) {
      put(this.embedder, h("p", { class: "fine" }, "Plain vectors: no embedder."));
      return;
    }
    let card: Record<string, unknown> = {};
    try {
      card = JSON.parse(net?.cardJson ?? "{}") as Record<string, unknown>;
    } catch {
      card = {};
    }
    const line = (value: unknown): string => (typeof value === "string" ? value : JSON.stringify(value));
    put(this.embedder, h("details", {}, h("summary", {}, `Embedder ${of.embedder.name}`),
      h("p", { class: "fine break" }, `fingerprint ${of.embedderFingerprint}`),
      h("dl", { class: "model" }, ...Object.entries(card).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", { class: "break" }, line(value)))))));
  }

  private async measure(): Promise<void> {
    if (this.stop) {
      this.stop.abort();
      return;
    }
    const stop = (this.stop = new AbortController());
    this.button.textContent = "Stop measuring";
    this.progress.hidden = false;
    const measured: Measured[] = [];
    let exact = 0;
    try {
      for (const [at, ef] of EFS.entries()) {
        this.progress.value = at;
        const request = { collection: this.name, samples: SAMPLES, k: 10, accuracy: { case: "ef" as const, value: ef }, seed: 1n };
        const report = await quality.measureRecall(request, { signal: stop.signal });
        measured.push({ ef, recall: report.recall, low: report.recallLow, high: report.recallHigh, micros: Math.max(1, Number(report.searchUs)) });
        exact = Math.max(1, Number(report.exactUs));
        put(this.result, curve(measured, exact), h("p", { class: "fine" }, `${report.samples} stored points, each excluded from its own hits and compared with an exact search. Bars: 95 % confidence interval. Times are means of concurrent searches.`));
      }
    } catch (error) {
      if (!isCancelled(error)) put(this.result, failure(explain(error)));
    }
    this.progress.hidden = true;
    this.button.textContent = "Measure recall against speed";
    this.stop = null;
  }
}

export class CollectionsView {
  readonly element: HTMLElement;
  private readonly list = h("div", { class: "cards" });
  private readonly cards = new Map<string, Card>();
  private timer = 0;

  constructor() {
    this.element = h("div", { class: "view collections" }, h("h1", {}, "Collections"), this.list);
  }

  shown(): void {
    void this.read();
  }

  hidden(): void {
    window.clearTimeout(this.timer);
  }

  private async read(): Promise<void> {
    window.clearTimeout(this.timer);
    try {
      const all = await listCollections();
      catalog.set({ ...catalog.value, collections: all });
      this.show(all);
    } catch (error) {
      put(this.list, failure(explain(error)));
      this.cards.clear();
    }
    this.timer = window.setTimeout(() => void this.read(), UPDATE_MS);
  }

  private show(all: Collection[]): void {
    const names = new Set(all.map((one) => one.name));
    const changed = all.length !== this.cards.size || all.some((one) => !this.cards.has(one.name));
    if (changed || this.list.childElementCount !== this.cards.size) {
      for (const name of this.cards.keys()) if (!names.has(name)) this.cards.delete(name);
      for (const name of names) if (!this.cards.has(name)) this.cards.set(name, new Card(name));
      put(this.list, ...all.map((one) => this.cards.get(one.name)!.element));
      if (all.length === 0) put(this.list, h("p", { class: "empty" }, "There are no collections yet."));
    }
    for (const one of all) this.cards.get(one.name)?.show(one);
  }
}
