// The map: the layout of the current collection with its tools, always beside what is searched and drawn.
import { type Collection } from "../gen/nearness/v1/collections_pb";
import { MapMethod } from "../gen/nearness/v1/map_pb";
import { explain, isCancelled, map, modality, points, searchAll } from "../api";
import { describe, labelField } from "../describe";
import { count, h, put } from "../dom";
import { type Colouring, colouring, css, PLAIN, type Value } from "../palette";
import { Pictures } from "../picture";
import { asked, chosen, collection, current, found, mapShown, told } from "../state";
import { Layout } from "./layout";
import { type Marks, Overlay, type Theme } from "./overlay";
import { Scene } from "./scene";

/** Neighbours that are drawn as lines. */
const NEIGHBOURS = 10;
/** How near a point must be to the pointer, pixels. */
const REACH = 14;
/** Places of the query that are remembered. */
const TRAIL = 24;

export class Stage {
  readonly element: HTMLElement;
  private readonly view = h("div", {
    class: "stage-view",
    tabindex: 0,
    role: "application",
    "aria-label": "Map of the collection. Arrows move, plus and minus zoom, 0 shows everything, N steps through the hits.",
  });
  private readonly status = h("div", { class: "stage-status", role: "status" });
  private readonly bar = h("progress", { max: 1, value: 0, hidden: true, "aria-label": "The layout is made" });
  private readonly legend = h("div", { class: "legend" });
  private readonly card = h("div", { class: "stage-card", hidden: true });
  private readonly colourBy = h("select", { "aria-label": "Colour by" });
  private readonly tools: Record<"flat" | "deep" | "labels" | "lasso", HTMLButtonElement>;
  private scene: Scene | null = null;
  private readonly overlay = new Overlay();
  private layout: Layout | null = null;
  private pictures: Pictures | null = null;
  private colours: Colouring | null = null;
  private pixels = new Float32Array(0);
  private order = new Uint32Array(0);
  private theme: Theme = { ink: "", muted: "", ground: "", accent: "", dot: "" };
  private dimensions: 2 | 3 = 2;
  private method = MapMethod.UNSPECIFIED;
  private labels = true;
  private lassoing = false;
  private scheduled = false;
  private frames = 0;
  private stop = new AbortController();
  private down: { x: number; y: number; moved: boolean } | null = null;
  private target: [number, number, number] | null = null;
  private readonly marks: Marks = {
    found: [],
    chosen: null,
    neighbours: [],
    dot: null,
    trail: [],
    lasso: [],
    selected: new Set(),
    hover: -1,
  };

  constructor() {
    const tool = (text: string, title: string, pressed: boolean, act: () => void): HTMLButtonElement =>
      h("button", { type: "button", class: "tool", title, "aria-pressed": String(pressed), onclick: act }, text);
    this.tools = {
      flat: tool("2-D", "Two dimensions", true, () => this.turn(2)),
      deep: tool("3-D", "Three dimensions", false, () => this.turn(3)),
      labels: tool("Labels", "Names of points", true, () => this.toggleLabels()),
      lasso: tool("Lasso", "Draw around points to select them", false, () => this.toggleLasso(!this.lassoing)),
    };
    const methods = h(
      "select",
      { "aria-label": "Layout", onchange: () => this.remake(Number(methods.value)) },
      h("option", { value: MapMethod.UNSPECIFIED }, "Best layout"),
      h("option", { value: MapMethod.TSNE }, "t-SNE"),
      h("option", { value: MapMethod.UMAP }, "UMAP"),
      h("option", { value: MapMethod.PCA }, "PCA"),
    );
    this.colourBy.addEventListener("change", () => this.recolour());
    this.element = h(
      "section",
      { class: "stage", "aria-label": "Map" },
      h(
        "div",
        { class: "tools", role: "toolbar", "aria-label": "Map tools" },
        h("span", { class: "group" }, this.tools.flat, this.tools.deep),
        methods,
        h("label", { class: "inline" }, "Colour ", this.colourBy),
        this.tools.labels,
        this.tools.lasso,
        h("span", { class: "group" },
          tool("−", "Zoom out", false, () => this.scene?.zoom(1 / 1.6)),
          tool("+", "Zoom in", false, () => this.scene?.zoom(1.6)),
          tool("Fit", "Show everything", false, () => this.scene?.reset(this.dimensions)),
        ),
      ),
      this.view,
      this.legend,
      this.card,
      h("div", { class: "stage-foot" }, this.bar, this.status),
    );
    this.element.querySelectorAll(".group:last-child .tool").forEach((one) => one.removeAttribute("aria-pressed"));
    try {
      this.scene = new Scene(2, () => this.invalidate(), this.view);
      this.view.append(this.scene.canvas, this.overlay.canvas);
      this.listen();
    } catch {
      this.view.append(h("p", { class: "empty" }, "The map needs WebGL, which this browser does not give."));
    }
    current.on(() => void this.load());
    mapShown.on((shown) => shown && !this.layout && void this.load());
    found.on((hits) => {
      this.marks.found = hits;
      this.invalidate();
    });
    chosen.on((id) => void this.choose(id));
    asked.on(() => void this.place());
    const themes = new MutationObserver(() => this.retheme());
    themes.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.retheme());
    this.retheme();
  }

  private retheme(): void {
    const style = getComputedStyle(document.documentElement);
    const read = (name: string): string => style.getPropertyValue(`--${name}`).trim();
    const theme = { ink: read("ink"), muted: read("muted"), ground: read("ground"), accent: read("accent"), dot: read("dot") };
    this.theme = theme;
    this.overlay.recolour();
    this.invalidate();
  }

  private listen(): void {
    const { view } = this;
    new ResizeObserver(() => {
      const { clientWidth, clientHeight } = view;
      this.scene?.resize(clientWidth, clientHeight);
      this.overlay.resize(clientWidth, clientHeight);
      this.draw();
    }).observe(view);
    const at = (event: PointerEvent): { x: number; y: number } => {
      const box = view.getBoundingClientRect();
      return { x: event.clientX - box.left, y: event.clientY - box.top };
    };
    view.addEventListener("pointerdown", (event) => {
      this.down = { ...at(event), moved: false };
      if (this.lassoing) {
        this.marks.lasso = [[this.down.x, this.down.y]];
        view.setPointerCapture(event.pointerId);
      }
    });
    view.addEventListener("pointermove", (event) => {
      const { x, y } = at(event);
      if (this.down && Math.hypot(x - this.down.x, y - this.down.y) > 4) this.down.moved = true;
      if (this.down && this.lassoing) {
        this.marks.lasso.push([x, y]);
        this.invalidate();
      } else if (!this.down) {
        this.hover(x, y);
      }
    });
    view.addEventListener("pointerup", (event) => {
      const { down } = this;
      this.down = null;
      if (this.lassoing) this.select();
      else if (down && !down.moved) {
        const { x, y } = at(event);
        const near = this.nearest(x, y);
        chosen.set(near < 0 ? null : this.layout!.ids[near]!);
      }
    });
    view.addEventListener("pointerleave", () => this.hover(-1e9, -1e9));
    view.addEventListener("keydown", (event) => {
      if (event.key === "+" || event.key === "=") this.scene?.zoom(1.6);
      else if (event.key === "-") this.scene?.zoom(1 / 1.6);
      else if (event.key === "0") this.scene?.reset(this.dimensions);
      else if (event.key === "Escape") chosen.set(null);
      else if (event.key === "n" || event.key === "N") this.step();
    });
  }

  /** Steps through the hits with the keyboard. */
  private step(): void {
    const ids = this.marks.found.map((one) => one.id).filter((id) => this.layout?.place(id));
    const next = ids[(ids.indexOf(chosen.value ?? "") + 1) % Math.max(1, ids.length)];
    if (next) chosen.set(next);
  }

  private nearest(x: number, y: number): number {
    let [best, distance] = [-1, REACH * REACH];
    const { pixels } = this;
    for (let point = 0; point < (this.layout?.size ?? 0); point += 1) {
      const [dx, dy] = [pixels[point * 2]! - x, pixels[point * 2 + 1]! - y];
      const here = dx * dx + dy * dy;
      if (here < distance) [best, distance] = [point, here];
    }
    return best;
  }

  private hover(x: number, y: number): void {
    const near = this.nearest(x, y);
    if (near === this.marks.hover) return;
    this.marks.hover = near;
    this.view.classList.toggle("over", near >= 0);
    this.invalidate();
  }

  private toggleLabels(): void {
    this.labels = !this.labels;
    this.tools.labels.setAttribute("aria-pressed", String(this.labels));
    this.invalidate();
  }

  private toggleLasso(on: boolean): void {
    this.lassoing = on;
    this.tools.lasso.setAttribute("aria-pressed", String(on));
    this.view.classList.toggle("lasso", on);
    if (this.scene) this.scene.movable = !on;
  }

  private turn(dimensions: 2 | 3): void {
    if (dimensions === this.dimensions) return;
    this.dimensions = dimensions;
    this.tools.flat.setAttribute("aria-pressed", String(dimensions === 2));
    this.tools.deep.setAttribute("aria-pressed", String(dimensions === 3));
    this.scene?.reset(dimensions);
    void this.load();
  }

  private remake(method: MapMethod): void {
    this.method = method;
    void this.load();
  }

  /** Payload fields by which points can be coloured, and the one that labels them, from a sample of the points. */
  private async fields(of: Collection): Promise<{ colours: string[]; label: string | null }> {
    const reply = await points.scroll({ collection: of.name, limit: 60, fields: { payload: true } });
    const kinds = new Map<string, { many: number; length: number; values: Set<unknown> }>();
    for (const point of reply.points) {
      for (const [name, value] of Object.entries(point.payload ?? {})) {
        if (value === null || typeof value === "object" || name.includes(".")) continue;
        const kind = kinds.get(name) ?? { many: 0, length: 0, values: new Set() };
        kind.many += 1;
        kind.length = Math.max(kind.length, String(value).length);
        kind.values.add(value);
        kinds.set(name, kind);
      }
    }
    const short = [...kinds].filter(([, kind]) => kind.length <= 40 && kind.many * 2 >= reply.points.length);
    // Few values first: they make the clearest colours.
    short.sort((a, b) => a[1].values.size - b[1].values.size);
    const label = labelField(reply.points.map((point) => (point.payload ?? {}) as Record<string, unknown>));
    return { colours: short.slice(0, 4).map(([name]) => name), label };
  }

  /** Shows the current collection anew. */
  private async load(): Promise<void> {
    this.stop.abort();
    const stop = (this.stop = new AbortController());
    const of = collection();
    this.layout = null;
    this.pictures = null;
    Object.assign(this.marks, { found: [], neighbours: [], chosen: null, dot: null, trail: [], hover: -1 });
    this.marks.selected.clear();
    this.target = null;
    this.card.hidden = true;
    put(this.legend);
    this.draw();
    this.element.dataset.layout = "";
    if (!of || !this.scene || !mapShown.value) return;
    if (of.points === 0n) {
      this.say("There is nothing in this collection yet.");
      return;
    }
    try {
      const { colours, label } = await this.fields(of);
      if (stop.signal.aborted) return;
      const fields = label === null || colours.includes(label) ? colours : [...colours, label];
      const layout = new Layout(of.name, this.dimensions, this.method, fields, label);
      this.layout = layout;
      this.pictures = modality(of) === "text" ? null : new Pictures(of.name, of.embedder === undefined);
      if (this.pictures) this.pictures.onload = () => this.invalidate();
      put(
        this.colourBy,
        ...colours.map((field) => h("option", { value: field }, field)),
        h("option", { value: "" }, "nothing"),
      );
      await this.follow(layout, false, stop);
    } catch (error) {
      if (!isCancelled(error)) this.say(explain(error));
    }
  }

  /** Watches, then projects, so that nothing written between is missed. */
  private async follow(layout: Layout, fresh: boolean, stop: AbortController): Promise<void> {
    let begun: () => void = () => {};
    const ready = new Promise<void>((done) => (begun = done));
    let redraw = false;
    const later = (): void => {
      if (redraw) return;
      redraw = true;
      // Many writes a second are shown together.
      setTimeout(() => {
        redraw = false;
        this.arrange();
        this.report();
      }, 100);
    };
    const watching = layout.watch(stop.signal, begun, (missed) => {
      if (missed) void this.load();
      else later();
    });
    watching.catch((error: unknown) => {
      begun();
      if (!isCancelled(error)) this.say(`The map no longer follows what is written: ${explain(error)}`);
    });
    await ready;
    this.say("asking for the layout");
    await layout.project(
      fresh,
      stop.signal,
      (what) => (what === "points" ? this.arrange() : this.replace()),
      ({ text, done }) => {
        this.bar.hidden = done === null;
        this.bar.value = done ?? 0;
        this.say(text);
      },
    );
    this.bar.hidden = true;
    this.arrange();
    this.report();
    this.element.dataset.layout = "ready";
    if (asked.value) void this.place();
  }

  private say(text: string): void {
    this.status.textContent = text;
  }

  /** What the layout is, in a line. */
  private report(): void {
    const { layout } = this;
    if (!layout?.end) return;
    const { method, seconds, neighborsKept, fromCache } = layout.end;
    const name = method === MapMethod.PCA ? "PCA" : method === MapMethod.UMAP ? "UMAP" : "t-SNE";
    const kept = neighborsKept === undefined ? "" : ` · keeps ${(neighborsKept * 100).toFixed(0)} % of the 10 nearest`;
    const of = layout.total > BigInt(layout.size) ? ` of ${count(layout.total)}` : "";
    const made = fromCache ? "" : ` in ${seconds.toFixed(1)} s`;
    this.element.dataset.points = String(layout.index.size);
    this.say(`${count(layout.index.size)}${of} points · ${name}${made}${kept}`);
  }

  /** After points have come: colours, the order of labels, room for pixels. */
  private arrange(): void {
    const { layout } = this;
    if (!layout) return;
    if (this.pixels.length < layout.places.xyz.length) this.pixels = new Float32Array(layout.places.xyz.length);
    this.recolour();
    this.replace();
  }

  private replace(): void {
    const { layout } = this;
    if (!layout) return;
    this.scene?.setPlaces(layout.places.xyz, layout.size);
    this.invalidate();
  }

  private recolour(): void {
    const { layout } = this;
    if (!layout) return;
    const column = layout.fields.indexOf(this.colourBy.value);
    const values = layout.values[column];
    const known: Value[] = values ? Array.from({ length: layout.size }, (_, at) => values[at] ?? null) : [];
    this.colours = values ? colouring(known) : null;
    const rgb = new Uint8Array((layout.places.xyz.length / 3) * 3);
    for (let at = 0; at < layout.size; at += 1) {
      const [red, green, blue] = this.colours ? this.colours.of(known[at]!) : PLAIN;
      rgb[at * 3] = red;
      rgb[at * 3 + 1] = green;
      rgb[at * 3 + 2] = blue;
    }
    this.scene?.setColours(rgb);
    this.order = Uint32Array.from({ length: layout.size }, (_, at) => at);
    // Labels of large numbers first; otherwise the order of the layout, which is a shuffle.
    if (this.colours?.scale) this.order.sort((a, b) => Number(known[b]) - Number(known[a]));
    this.overlay.recolour();
    const shown = this.colours?.legend ?? [];
    const entry = (one: { label: string; colour: string; count: number }): HTMLElement =>
      h("span", { class: "entry" }, h("i", { style: { background: one.colour } }), one.label);
    put(this.legend, ...shown.map(entry));
    this.invalidate();
  }

  private colourOf(at: number): string {
    const values = this.layout?.values[this.layout.fields.indexOf(this.colourBy.value)];
    return css(this.colours && values ? this.colours.of(values[at] ?? null) : PLAIN);
  }

  /** The chosen point: its neighbours, as lines with distances. */
  private async choose(id: string | null): Promise<void> {
    const { layout, marks } = this;
    marks.chosen = id;
    marks.neighbours = [];
    this.card.hidden = true;
    this.invalidate();
    if (id === null || !layout) return;
    const place = layout.place(id);
    if (place) this.scene?.fly(place, 6);
    try {
      const query = { form: { case: "id" as const, value: id } };
      const reply = await searchAll({ collection: layout.collection, query, params: { k: NEIGHBOURS, fields: { payload: true } } });
      if (chosen.value !== id) return;
      marks.neighbours = reply.hits.map((hit) => ({ id: hit.id, distance: hit.distance }));
      const names = reply.hits.map((hit) => describe(hit.id, hit.payload as Record<string, unknown> | undefined).name);
      const lines = marks.neighbours.map((one, at) =>
        h("li", {}, h("button", { type: "button", class: "link", title: one.id, onclick: () => chosen.set(one.id) }, names[at]),
          h("span", { class: "number" }, one.distance.toFixed(3))),
      );
      const itself = layout.labelOf(id);
      const close = h("button", { type: "button", class: "tool", "aria-label": "Close", onclick: () => chosen.set(null) }, "×");
      put(this.card, h("header", {}, h("strong", {}, itself), close), itself !== id && h("p", { class: "fine break" }, id), h("ol", {}, ...lines));
      this.card.hidden = false;
      told.set(`${itself}: nearest are ${names.slice(0, 5).join(", ")}`);
    } catch (error) {
      if (!isCancelled(error)) this.say(explain(error));
    }
    this.invalidate();
  }

  /** Where the query lies: the dot moves there. */
  private async place(): Promise<void> {
    const { layout } = this;
    const query = asked.value;
    if (!query || !layout?.end) {
      if (!query) {
        this.marks.dot = this.target = null;
        this.marks.trail = [];
        this.invalidate();
      }
      return;
    }
    try {
      const { collection: name, dimensions, method } = layout;
      const reply = await map.locateQueries({ collection: name, dimensions, method, queries: [query] });
      if (asked.value !== query || layout !== this.layout || reply.coordinates.length < dimensions * 4) return;
      const view = new DataView(reply.coordinates.buffer, reply.coordinates.byteOffset, reply.coordinates.byteLength);
      const at = (part: number): number => (part < dimensions ? view.getFloat32(part * 4, true) : 0);
      this.target = [at(0), at(1), at(2)];
      this.marks.dot ??= [...this.target];
      this.element.dataset.dot = this.target.map((part) => part.toFixed(3)).join(",");
      this.invalidate();
    } catch (error) {
      if (!isCancelled(error)) this.say(explain(error));
    }
  }

  /** Moves the dot a step; false when it is there. */
  private glide(): boolean {
    const { marks, target } = this;
    if (!target || !marks.dot) return false;
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const left = Math.hypot(...target.map((part, at) => part - marks.dot![at]!));
    if (left === 0) return false;
    const step = still || left < 0.002 ? 1 : 0.18;
    marks.trail.push([...marks.dot]);
    if (marks.trail.length > TRAIL) marks.trail.shift();
    marks.dot = marks.dot.map((part, at) => part + (target[at]! - part) * step) as [number, number, number];
    if (step === 1) marks.trail = [];
    return true;
  }

  /** The points inside the lasso. */
  private select(): void {
    const { layout, marks, pixels } = this;
    const shape = marks.lasso;
    marks.lasso = [];
    marks.selected.clear();
    if (!layout || shape.length < 3) {
      this.invalidate();
      return;
    }
    const values = layout.values[layout.fields.indexOf(this.colourBy.value)];
    const kinds = new Map<string, number>();
    for (let at = 0; at < layout.size; at += 1) {
      if (!inside(pixels[at * 2]!, pixels[at * 2 + 1]!, shape)) continue;
      marks.selected.add(layout.ids[at]!);
      if (values && !this.colours?.scale) kinds.set(String(values[at]), (kinds.get(String(values[at])) ?? 0) + 1);
    }
    const many = count(marks.selected.size);
    const top = [...kinds].sort((a, b) => b[1] - a[1]).slice(0, 6);
    const some = [...marks.selected].slice(0, 30);
    const drop = (): void => {
      marks.selected.clear();
      this.card.hidden = true;
      this.invalidate();
    };
    put(
      this.card,
      h("header", {}, h("strong", {}, `${many} selected`),
        h("button", { type: "button", class: "tool", "aria-label": "Close", onclick: drop }, "×")),
      top.length > 0 && h("p", {}, top.map(([value, one]) => `${value}: ${count(one)}`).join(" · ")),
      h("ol", {}, ...some.map((id) => h("li", {}, h("button", { type: "button", class: "link", onclick: () => chosen.set(id) }, layout.labelOf(id))))),
    );
    this.card.hidden = false;
    told.set(`${many} points selected`);
    this.toggleLasso(false);
    this.invalidate();
  }

  private invalidate(): void {
    if (this.scheduled) return;
    this.scheduled = true;
    requestAnimationFrame(() => {
      this.scheduled = false;
      this.draw();
    });
  }

  private draw(): void {
    const { scene, layout, marks } = this;
    if (!scene) return;
    const many = layout?.size ?? 0;
    const moving = this.glide();
    const special = marks.found.length + marks.neighbours.length + marks.selected.size > 0;
    scene.draw(many, special && many > 200);
    this.element.dataset.frames = String((this.frames += 1));
    if (!layout) {
      this.overlay.resize(this.view.clientWidth, this.view.clientHeight);
      return;
    }
    scene.project(layout.places.xyz, many, this.pixels);
    const one = new Float32Array(2);
    const placeOf = (place: [number, number, number]): [number, number] | null => {
      scene.project(Float32Array.from(place), 1, one);
      return Number.isNaN(one[0]) ? null : [one[0]!, one[1]!];
    };
    const { pixels, order, pictures, theme, labels } = this;
    const on = this.overlay.draw(layout, pixels, order, (at) => this.colourOf(at), pictures, marks, placeOf, theme, labels);
    if (on || moving) this.invalidate();
  }
}

function inside(x: number, y: number, shape: [number, number][]): boolean {
  let within = false;
  for (let a = 0, b = shape.length - 1; a < shape.length; b = a, a += 1) {
    const [ax, ay] = shape[a]!;
    const [bx, by] = shape[b]!;
    if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) within = !within;
  }
  return within;
}
