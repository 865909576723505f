// Inside the net: what every layer holds for a digit, for two side by side, and their difference.
import { type Layer } from "../gen/nearness/v1/embedders_pb";
import { embedders, explain } from "../api";
import { h, put } from "../dom";
import { bars, failure, newest, Pad } from "../pieces";
import { drawing } from "../state";

type Side = "a" | "b";
const NAMES: Record<Side, string> = { a: "First", b: "Second" };

function numbers(layer: Layer): Float32Array {
  const view = new DataView(layer.values.buffer, layer.values.byteOffset, layer.values.byteLength);
  return Float32Array.from({ length: layer.values.byteLength >> 2 }, (_, at) => view.getFloat32(at * 4, true));
}

/** Colour of a number: ink for what is above 0, the other colour for what is below. */
function paint(data: ImageData, at: number, value: number, up: number[], down: number[]): void {
  const colour = value >= 0 ? up : down;
  data.data[at * 4] = colour[0]!;
  data.data[at * 4 + 1] = colour[1]!;
  data.data[at * 4 + 2] = colour[2]!;
  data.data[at * 4 + 3] = Math.round(Math.min(1, Math.abs(value)) * 255);
}

function channels(name: string): number[] {
  const [element] = [h("canvas", { width: 1, height: 1 })];
  const context = element.getContext("2d", { willReadFrequently: true }) as CanvasRenderingContext2D;
  context.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  context.fillRect(0, 0, 1, 1);
  return [...context.getImageData(0, 0, 1, 1).data.slice(0, 3)];
}

/** The pictures of a layer, side by side. */
function tiles(values: Float32Array, layer: Layer, most: number, label: string): HTMLCanvasElement {
  const { channels: many, rows, columns } = layer;
  const across = many === 1 ? 1 : many <= 20 ? 5 : 10;
  const down = Math.ceil(many / across);
  const gap = many === 1 ? 0 : 1;
  const [width, height] = [across * (columns + gap), down * (rows + gap)];
  const element = h("canvas", { width, height, class: "tiles", role: "img", "aria-label": label });
  const context = element.getContext("2d") as CanvasRenderingContext2D;
  const data = context.createImageData(width, height);
  const [up, under] = [channels("ink"), channels("dot")];
  for (let channel = 0; channel < many; channel += 1) {
    const [left, top] = [(channel % across) * (columns + gap), Math.floor(channel / across) * (rows + gap)];
    for (let cell = 0; cell < rows * columns; cell += 1) {
      const value = values[channel * rows * columns + cell]! / most;
      paint(data, (top + Math.floor(cell / columns)) * width + left + (cell % columns), value, up, under);
    }
  }
  context.putImageData(data, 0, 0);
  return element;
}

/** Many numbers as thin bars from a middle line. */
function comb(values: Float32Array, most: number, label: string): HTMLCanvasElement {
  const width = values.length * 2;
  const element = h("canvas", { width, height: 120, class: "comb", role: "img", "aria-label": label });
  const context = element.getContext("2d") as CanvasRenderingContext2D;
  const style = getComputedStyle(document.documentElement);
  const [up, under] = ["ink", "dot"].map((name) => style.getPropertyValue(`--${name}`).trim());
  const signed = values.some((value) => value < 0);
  const [middle, scale] = signed ? [60, 58] : [118, 116];
  values.forEach((value, at) => {
    context.fillStyle = value >= 0 ? up! : under!;
    const height = (value / most) * scale;
    context.fillRect(at * 2, Math.min(middle, middle - height), 1.5, Math.max(0.75, Math.abs(height)));
  });
  return element;
}

export class NetView {
  readonly element: HTMLElement;
  private readonly pads: Record<Side, Pad>;
  private readonly layers: Record<Side, Layer[] | null> = { a: null, b: null };
  private readonly table = h("div", { class: "layers" });
  private readonly trouble = h("div");

  constructor() {
    const pad = (side: Side): Pad => {
      const look = newest(() => this.look(side));
      return new Pad((drawn) => {
        if (drawn) return look();
        this.layers[side] = null;
        this.show();
      });
    };
    this.pads = { a: pad("a"), b: pad("b") };
    this.element = h(
      "div",
      { class: "view net" },
      h("h1", {}, "Inside the net"),
      h("p", { class: "lead" }, "How the digit net comes to its answer: eleven layers, from the pixels to ten probabilities. ",
        "Draw two digits to see where they begin to differ."),
      h("div", { class: "pads" }, ...(["a", "b"] as Side[]).map((side) => h("figure", {}, h("figcaption", {}, NAMES[side]), this.pads[side].element))),
      this.trouble,
      this.table,
    );
    document.documentElement.addEventListener("themechange", () => this.show());
    this.show();
  }

  /** The view is shown: what was drawn elsewhere is the first digit. */
  shown(): void {
    if (drawing.value && this.pads.a.empty) void this.pads.a.load(new Blob([drawing.value as Uint8Array<ArrayBuffer>], { type: "image/png" }));
  }

  private async look(side: Side): Promise<void> {
    try {
      const image = await this.pads[side].png();
      if (this.pads[side].empty) return;
      this.layers[side] = (await embedders.activations({ image })).layers;
      put(this.trouble);
    } catch (error) {
      put(this.trouble, failure(explain(error)));
    }
    this.show();
  }

  private show(): void {
    const { a, b } = this.layers;
    const some = a ?? b;
    if (!some) {
      put(this.table, h("p", { class: "empty" }, "The layers will stand here once there is a digit."));
      return;
    }
    const head = h("div", { class: "layer head" }, h("span", {}, "Layer"), h("span", {}, "First"), h("span", {}, "Second"), h("span", {}, "Second − first"));
    put(this.table, head, ...some.map((layer, at) => this.row(layer, a?.[at], b?.[at])));
  }

  private row(layer: Layer, a: Layer | undefined, b: Layer | undefined): HTMLElement {
    const [first, second] = [a && numbers(a), b && numbers(b)];
    const difference = first && second && first.map((value, at) => second[at]! - value);
    let most = 1e-6;
    for (const values of [first, second]) values?.forEach((value) => (most = Math.max(most, Math.abs(value))));
    const shape = layer.rows > 1 ? `${layer.channels} × ${layer.rows} × ${layer.columns}` : `${layer.channels} numbers`;
    const cell = (values: Float32Array | undefined, which: string): HTMLElement => {
      if (!values) return h("div", { class: "cell none" }, "–");
      const label = `${layer.name}, ${which}`;
      return h("div", { class: "cell", "data-which": which }, this.drawn(layer, values, most, label));
    };
    return h("section", { class: "layer", "data-layer": layer.name },
      h("header", {}, h("h2", {}, layer.name), h("span", { class: "fine" }, shape), h("p", {}, layer.about)),
      cell(first, "first"), cell(second, "second"), cell(difference, "difference"));
  }

  private drawn(layer: Layer, values: Float32Array, most: number, label: string): HTMLElement {
    if (layer.rows > 1) return tiles(values, layer, most, label);
    if (values.length > 10) return comb(values, most, label);
    const best = Math.max(...values);
    const chances = layer.name === "probabilities";
    return bars([...values].map((value, digit) => ({
      label: String(digit),
      value: Math.abs(value),
      text: chances ? `${(value * 100).toFixed(1)} %` : value.toFixed(2),
      best: value === best,
    })), chances ? 1 : most);
  }
}
