// The map: the layout of the current collection, with its tools.
import { type Collection } from "../gen/nearness/v1/collections_pb";
import { MapMethod } from "../gen/nearness/v1/map_pb";
import { explain, isCancelled, map, modality, points, searchAll } from "../api";
import { describe, labelField, payloadOf } from "../describe";
import { count, h, put } from "../dom";
import { type Colouring, colouring, css, UNCOLOURED, type Value } from "../palette";
import { Pictures } from "../picture";
import { activeQuery, chosen, collection, current, found, mapShown, announcement } from "../state";
import { Layout } from "./layout";
import { type Marks, Overlay, type Theme } from "./overlay";
import { Scene } from "./scene";

/** Number of neighbours drawn as lines. */
const NEIGHBOURS = 10;
/** Maximum distance of a point from the pointer, pixels. */
const PICK_RADIUS = 14;
/** Number of previous positions of the query. */
const TRAIL_LENGTH = 24;

export class Stage {
  readonly element: HTMLElement;
  private readonly view = h("div", {
    class: "stage-view",
    tabindex: 0,
    role: "application",
    "aria-label": "Map of the collection. Arrows move, plus and minus zoom, 0 shows everything, N steps through the hits.",
  });
  private readonly status = h("div", { class: "stage-status", role: "status" });
  private readonly bar = h("progress", { max: 1, value: 0, hidden: true, "aria-label": "Progress of the layout" });
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
      flat: tool("2-D", "Two dimensions", true, () => this.setDimensions(2)),
      deep: tool("3-D", "Three dimensions", false, () => this.setDimensions(3)),
      labels: tool("Labels", "Names of points", true, () => this.toggleLabels()),
      lasso: tool("Lasso", "Draw around points to select them", false, () => this.toggleLasso(!this.lassoing)),
    };
    const methods = h(
      "select",
      { "aria-label": "Layout", onchange: () => this.setMethod(Number(methods.value)) },
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
      this.view.append(h("p", { class: "empty" }, "The map requires WebGL, which this browser does not provide."));
    }
    current.on(() => void this.load());
    mapShown.on((shown) => shown && !this.layout && void this.load());
    found.on((hits) => {
      this.marks.found = hits;
      this.invalidate();
    });
    chosen.on((id) => void this.choose(id));
    activeQuery.on(() => void this.locateQuery());
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
    const ids = this.marks.found.map((one) => one.id).filter((id) => this.layout?.position(id));
    const next = ids[(ids.indexOf(chosen.value ?? "") + 1) % Math.max(1, ids.length)];
    if (next) chosen.set(next);
  }

  private nearest(x: number, y: number): number {
    let [best, distance] = [-1, PICK_RADIUS * PICK_RADIUS];
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

  private toggleLasso(enabled: boolean): void {
    this.lassoing = enabled;
    this.tools.lasso.setAttribute("aria-pressed", String(enabled));
    this.view.classList.toggle("lasso", enabled);
    if (this.scene) this.scene.movable = !enabled;
  }

  private setDimensions(dimensions: 2 | 3): void {
    if (dimensions === this.dimensions) return;
    this.dimensions = dimensions;
    this.tools.flat.setAttribute("aria-pressed", String(dimensions === 2));
    this.tools.deep.setAttribute("aria-pressed", String(dimensions === 3));
    this.scene?.reset(dimensions);
    void this.load();
  }

  private setMethod(method: MapMethod): void {
    this.method = method;
    void this.load();
  }

  /** Payload fields by which points can be coloured, and the one that labels them, from a sample of the points. */
  private async fields(of: Collection): Promise<{ colours: string[]; label: string | null }> {
    const response = await points.scroll({ collection: of.name, limit: 60, fields: { payload: true } });
    const kinds = new Map<string, { count: number; length: number; values: Set<unknown> }>();
    for (const point of response.points) {
      for (const [name, value] of Object.entries(point.payload ?? {})) {
        if (value === null || typeof value === "object" || name.includes(".")) continue;
        const kind = kinds.get(name) ?? { count: 0, length: 0, values: new Set() };
        kind.count += 1;
        kind.length = Math.max(kind.length, String(value).length);
        kind.values.add(value);
        kinds.set(name, kind);
      }
    }
    const short = [...kinds].filter(([, kind]) => kind.length <= 40 && kind.count * 2 >= response.points.length);
    // Fields with few values first: their colours are the clearest.
    short.sort((a, b) => a[1].values.size - b[1].values.size);
    const label = labelField(response.points.map((point) => (point.payload ?? {}) as Record<string, unknown>));
    return { colours: short.slice(0, 4).map(([name]) => name), label };
  }

  /** Loads the map of the current collection. */
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
      this.setStatus("This collection is empty.");
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
      if (!isCancelled(error)) this.setStatus(explain(error));
    }
  }

  /** Watches for changes, then requests the layout, so that no write is missed. */
  private async follow(layout: Layout, fresh: boolean, stop: AbortController): Promise<void> {
    let signalReady: () => void = () => {};
    const ready = new Promise<void>((done) => (signalReady = done));
    let redraw = false;
    const scheduleUpdate = (): void => {
      if (redraw) return;
      redraw = true;
      // Combines the updates of frequent writes.
      setTimeout(() => {
        redraw = false;
        this.updatePoints();
        this.report();
      }, 100);
    };
    const watching = layout.watch(stop.signal, signalReady, (missed) => {
      if (missed) void this.load();
      else scheduleUpdate();
    });
    watching.catch((error: unknown) => {
      signalReady();
      if (!isCancelled(error)) this.setStatus(`The map no longer receives changes: ${explain(error)}`);
    });
    await ready;
    this.setStatus("requesting the layout");
    await layout.project(
      fresh,
      stop.signal,
      (what) => (what === "points" ? this.updatePoints() : this.updatePositions()),
      ({ text, done }) => {
        this.bar.hidden = done === null;
        this.bar.value = done ?? 0;
        this.setStatus(text);
      },
    );
    this.bar.hidden = true;
    this.updatePoints();
    this.report();
    this.element.dataset.layout = "ready";
    if (activeQuery.value) void this.locateQuery();
  }

  private setStatus(text: string): void {
    this.status.textContent = text;
  }

  /** Shows the number of points, the method and the quality of the layout. */
  private report(): void {
    const { layout } = this;
    if (!layout?.end) return;
    const { method, seconds, neighborsKept, fromCache } = layout.end;
    const name = method === MapMethod.PCA ? "PCA" : method === MapMethod.UMAP ? "UMAP" : "t-SNE";
    const preserved = neighborsKept === undefined ? "" : ` · keeps ${(neighborsKept * 100).toFixed(0)} % of the 10 nearest`;
    const of = layout.total > BigInt(layout.size) ? ` of ${count(layout.total)}` : "";
    const duration = fromCache ? "" : ` in ${seconds.toFixed(1)} s`;
    this.element.dataset.points = String(layout.index.size);
    this.setStatus(`${count(layout.index.size)}${of} points · ${name}${duration}${preserved}`);
  }

  /** Updates colours, label order and buffers after points have arrived. */
  private updatePoints(): void {
    const { layout } = this;
    if (!layout) return;
    if (this.pixels.length < layout.positions.xyz.length) this.pixels = new Float32Array(layout.positions.xyz.length);
    this.recolour();
    this.updatePositions();
  }

  private updatePositions(): void {
    const { layout } = this;
    if (!layout) return;
    this.scene?.setPositions(layout.positions.xyz, layout.size);
    this.invalidate();
  }

  private recolour(): void {
    const { layout } = this;
    if (!layout) return;
    const column = layout.fields.indexOf(this.colourBy.value);
    const values = layout.values[column];
    const fieldValues: Value[] = values ? Array.from({ length: layout.size }, (_, at) => values[at] ?? null) : [];
    this.colours = values ? colouring(fieldValues) : null;
    const rgb = new Uint8Array((layout.positions.xyz.length / 3) * 3);
    for (let at = 0; at < layout.size; at += 1) {
      const [red, green, blue] = this.colours ? this.colours.of(fieldValues[at]!) : UNCOLOURED;
      rgb[at * 3] = red;
      rgb[at * 3 + 1] = green;
      rgb[at * 3 + 2] = blue;
    }
    this.scene?.setColours(rgb);
    this.order = Uint32Array.from({ length: layout.size }, (_, at) => at);
    // Labels of large numbers first; otherwise in the order of the layout, which is shuffled.
    if (this.colours?.scale) this.order.sort((a, b) => Number(fieldValues[b]) - Number(fieldValues[a]));
    this.overlay.recolour();
    const shown = this.colours?.legend ?? [];
    const entry = (one: { label: string; colour: string; count: number }): HTMLElement =>
      h("span", { class: "entry" }, h("i", { style: { background: one.colour } }), one.label);
    put(this.legend, ...shown.map(entry));
    this.invalidate();
  }

  private colourOf(at: number): string {
    const values = this.layout?.values[this.layout.fields.indexOf(this.colourBy.value)];
    return css(this.colours && values ? this.colours.of(values[at] ?? null) : UNCOLOURED);
  }

  /** Chooses a point and shows its neighbours as lines with distances. */
  private async choose(id: string | null): Promise<void> {
    const { layout, marks } = this;
    marks.chosen = id;
    marks.neighbours = [];
    this.card.hidden = true;
    this.invalidate();
    if (id === null || !layout) return;
    const position = layout.position(id);
    if (position) this.scene?.fly(position, 6);
    try {
      const query = { form: { case: "id" as const, value: id } };
      const response = await searchAll({ collection: layout.collection, query, params: { k: NEIGHBOURS, fields: { payload: true } } });
      if (chosen.value !== id) return;
      marks.neighbours = response.hits.map((hit) => ({ id: hit.id, distance: hit.distance }));
      const names = response.hits.map((hit) => describe(hit.id, payloadOf(hit)).name);
      const lines = marks.neighbours.map((one, at) =>
        h("li", {}, h("button", { type: "button", class: "link", title: one.id, onclick: () => chosen.set(one.id) }, names[at]),
          h("span", { class: "number" }, one.distance.toFixed(3))),
      );
      const itself = layout.labelOf(id);
      const close = h("button", { type: "button", class: "tool", "aria-label": "Close", onclick: () => chosen.set(null) }, "×");
      put(this.card, h("header", {}, h("strong", {}, itself), close), itself !== id && h("p", { class: "fine break" }, id), h("ol", {}, ...lines));
      this.card.hidden = false;
      announcement.set(`${itself}: nearest are ${names.slice(0, 5).join(", ")}`);
    } catch (error) {
      if (!isCancelled(error)) this.setStatus(explain(error));
    }
    this.invalidate();
  }

  /** Locates the query and moves the dot there. */
  private async locateQuery(): Promise<void> {
    const { layout } = this;
    const query = activeQuery.value;
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
      const response = await map.locateQueries({ collection: name, dimensions, method, queries: [query] });
      if (activeQuery.value !== query || layout !== this.layout || response.coordinates.length < dimensions * 4) return;
      const view = new DataView(response.coordinates.buffer, response.coordinates.byteOffset, response.coordinates.byteLength);
      const at = (part: number): number => (part < dimensions ? view.getFloat32(part * 4, true) : 0);
      this.target = [at(0), at(1), at(2)];
      this.marks.dot ??= [...this.target];
      this.element.dataset.dot = this.target.map((part) => part.toFixed(3)).join(",");
      this.invalidate();
    } catch (error) {
      if (!isCancelled(error)) this.setStatus(explain(error));
    }
  }

  /** Moves the dot one step. Returns false once it has arrived. */
  private glide(): boolean {
    const { marks, target } = this;
    if (!target || !marks.dot) return false;
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const left = Math.hypot(...target.map((part, at) => part - marks.dot![at]!));
    if (left === 0) return false;
    const step = still || left < 0.002 ? 1 : 0.18;
    marks.trail.push([...marks.dot]);
    if (marks.trail.length > TRAIL_LENGTH) marks.trail.shift();
    marks.dot = marks.dot.map((part, at) => part + (target[at]! - part) * step) as [number, number, number];
    if (step === 1) marks.trail = [];
    return true;
  }

  /** Selects the points inside the lasso. */
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
    const selected = count(marks.selected.size);
    const top = [...kinds].sort((a, b) => b[1] - a[1]).slice(0, 6);
    const some = [...marks.selected].slice(0, 30);
    const drop = (): void => {
      marks.selected.clear();
      this.card.hidden = true;
      this.invalidate();
    };
    put(
      this.card,
      h("header", {}, h("strong", {}, `${selected} selected`),
        h("button", { type: "button", class: "tool", "aria-label": "Close", onclick: drop }, "×")),
      top.length > 0 && h("p", {}, top.map(([value, one]) => `${value}: ${count(one)}`).join(" · ")),
      h("ol", {}, ...some.map((id) => h("li", {}, h("button", { type: "button", class: "link", onclick: () => chosen.set(id) }, layout.labelOf(id))))),
    );
    this.card.hidden = false;
    announcement.set(`${selected} points selected`);
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
    const size = layout?.size ?? 0;
    const moving = this.glide();
    const special = marks.found.length + marks.neighbours.length + marks.selected.size > 0;
    scene.draw(size, special && size > 200);
    this.element.dataset.frames = String((this.frames += 1));
    if (!layout) {
      this.overlay.resize(this.view.clientWidth, this.view.clientHeight);
      return;
    }
    scene.project(layout.positions.xyz, size, this.pixels);
    const one = new Float32Array(2);
    const toScreen = (position: [number, number, number]): [number, number] | null => {
      scene.project(Float32Array.from(position), 1, one);
      return Number.isNaN(one[0]) ? null : [one[0]!, one[1]!];
    };
    const { pixels, order, pictures, theme, labels } = this;
    const animating = this.overlay.draw(layout, pixels, order, (at) => this.colourOf(at), pictures, marks, toScreen, theme, labels);
    if (animating || moving) this.invalidate();
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
