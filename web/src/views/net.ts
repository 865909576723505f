// Inside the net: the activations of every layer for one or two digits, and their difference.
import { type Layer } from "../gen/nearness/v1/embedders_pb";
import { embedders, explain } from "../api";
import { h, put } from "../dom";
import { bars, failure, coalesce, Pad } from "../pieces";
import { drawing } from "../state";

type Side = "a" | "b";
const NAMES: Record<Side, string> = { a: "First", b: "Second" };

function numbers(layer: Layer): Float32Array {
  const view = new DataView(layer.values.buffer, layer.values.byteOffset, layer.values.byteLength);
  return Float32Array.from({ length: layer.values.byteLength >> 2 }, (_, at) => view.getFloat32(at * 4, true));
}

/** Paints a value in [-1, 1]: positive in colour `up`, negative in `down`. */
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

/** Draws the channels of a layer side by side. */
function tiles(values: Float32Array, layer: Layer, max: number, label: string): HTMLCanvasElement {
  const { channels: count, rows, columns } = layer;
  const across = count === 1 ? 1 : count <= 20 ? 5 : 10;
  const gridRows = Math.ceil(count / across);
  const gap = count === 1 ? 0 : 1;
  const [width, height] = [across * (columns + gap), gridRows * (rows + gap)];
  const element = h("canvas", { width, height, class: "tiles", role: "img", "aria-label": label });
  const context = element.getContext("2d") as CanvasRenderingContext2D;
  const data = context.createImageData(width, height);
  const [up, down] = [channels("ink"), channels("dot")];
  for (let channel = 0; channel < count; channel += 1) {
    const [left, top] = [(channel % across) * (columns + gap), Math.floor(channel / across) * (rows + gap)];
    for (let cell = 0; cell < rows * columns; cell += 1) {
      const value = values[channel * rows * columns + cell]! / max;
      paint(data, (top + Math.floor(cell / columns)) * width + left + (cell % columns), value, up, down);
    }
  }
  context.putImageData(data, 0, 0);
  return element;
}

/** Draws many numbers as thin bars from a middle line. */
function comb(values: Float32Array, max: number, label: string): HTMLCanvasElement {
  const width = values.length * 2;
  const element = h("canvas", { width, height: 120, class: "comb", role: "img", "aria-label": label });
  const context = element.getContext("2d") as CanvasRenderingContext2D;
  const style = getComputedStyle(document.documentElement);
  const [up, down] = ["ink", "dot"].map((name) => style.getPropertyValue(`--${name}`).trim());
  const signed = values.some((value) => value < 0);
  const [middle, scale] = signed ? [60, 58] : [118, 116];
  values.forEach((value, at) => {
    context.fillStyle = value >= 0 ? up! : down!;
    const height = (value / max) * scale;
    context.fillRect(at * 2, Math.min(middle, middle - height), 1.5, Math.max(0.75, Math.abs(height)));
  });
  return element;
}

export class NetView {
  readonly element: HTMLElement;
  private readonly pads: Record<Side, Pad>;
  private readonly layers: Record<Side, Layer[] | null> = { a: null, b: null };
  private readonly table = h("div", { class: "layers" });
  private readonly errorBox = h("div");

  constructor() {
    const pad = (side: Side): Pad => {
      const update = coalesce(() => this.update(side));
      return new Pad((drawn) => {
        if (drawn) return update();
        this.layers[side] = null;
        this.show();
      });
    };
    this.pads = { a: pad("a"), b: pad("b") };
    this.element = h(
      "div",
      { class: "view net" },
      h("h1", {}, "Inside the net"),
      h("p", { class: "lead" }, "The computation of the digit net: eleven layers, from the pixels to ten probabilities. ",
        "Draw two digits to see where they diverge."),
      h("div", { class: "pads" }, ...(["a", "b"] as Side[]).map((side) => h("figure", {}, h("figcaption", {}, NAMES[side]), this.pads[side].element))),
      this.errorBox,
      this.table,
    );
    document.documentElement.addEventListener("themechange", () => this.show());
    this.show();
  }

  /** Loads the digit of the Draw view as the first digit. */
  shown(): void {
    if (drawing.value && this.pads.a.empty) void this.pads.a.load(new Blob([drawing.value as Uint8Array<ArrayBuffer>], { type: "image/png" }));
  }

  private async update(side: Side): Promise<void> {
    try {
      const image = await this.pads[side].png();
      if (this.pads[side].empty) return;
      this.layers[side] = (await embedders.activations({ image })).layers;
      put(this.errorBox);
    } catch (error) {
      put(this.errorBox, failure(explain(error)));
    }
    this.show();
  }

  private show(): void {
    const { a, b } = this.layers;
    const some = a ?? b;
    if (!some) {
      put(this.table, h("p", { class: "empty" }, "The layers appear here after you draw a digit."));
      return;
    }
    const head = h("div", { class: "layer head" }, h("span", {}, "Layer"), h("span", {}, "First"), h("span", {}, "Second"), h("span", {}, "Second − first"));
    put(this.table, head, ...some.map((layer, at) => this.row(layer, a?.[at], b?.[at])));
  }

  private row(layer: Layer, a: Layer | undefined, b: Layer | undefined): HTMLElement {
    const [first, second] = [a && numbers(a), b && numbers(b)];
    const difference = first && second && first.map((value, at) => second[at]! - value);
    let max = 1e-6;
    for (const values of [first, second]) values?.forEach((value) => (max = Math.max(max, Math.abs(value))));
    const shape = layer.rows > 1 ? `${layer.channels} × ${layer.rows} × ${layer.columns}` : `${layer.channels} numbers`;
    const cell = (values: Float32Array | undefined, which: string): HTMLElement => {
      if (!values) return h("div", { class: "cell none" }, "–");
      const label = `${layer.name}, ${which}`;
      return h("div", { class: "cell", "data-which": which }, this.drawn(layer, values, max, label));
    };
    return h("section", { class: "layer", "data-layer": layer.name },
      h("header", {}, h("h2", {}, layer.name), h("span", { class: "fine" }, shape), h("p", {}, layer.about)),
      cell(first, "first"), cell(second, "second"), cell(difference, "difference"));
  }

  private drawn(layer: Layer, values: Float32Array, max: number, label: string): HTMLElement {
    if (layer.rows > 1) return tiles(values, layer, max, label);
    if (values.length > 10) return comb(values, max, label);
    const best = Math.max(...values);
    const isProbability = layer.name === "probabilities";
    return bars([...values].map((value, digit) => ({
      label: String(digit),
      value: Math.abs(value),
      text: isProbability ? `${(value * 100).toFixed(1)} %` : value.toFixed(2),
      best: value === best,
    })), isProbability ? 1 : max);
  }
}
