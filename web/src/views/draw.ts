// Drawing a digit: live class probabilities, nearest digits, and position on the map.
import { create } from "@bufbuild/protobuf";
import { QuerySchema } from "../gen/nearness/v1/search_pb";
import { embedders, explain, searchAll, catalog } from "../api";
import { h, put } from "../dom";
import { Pictures } from "../picture";
import { bars, cost, failure, hits, coalesce, Pad } from "../pieces";
import { activeQuery, collection, current, drawing, found, announcement } from "../state";

/** Number of nearest digits shown. */
const K = 8;

export class DrawView {
  readonly element: HTMLElement;
  private readonly verdict = h("p", { class: "verdict" }, "Draw a digit.");
  private readonly probabilities = h("div");
  private readonly nearest = h("div");
  private pictures: Pictures | null = null;
  private readonly pad: Pad;
  private announceTimer = 0;

  constructor() {
    const classify = coalesce(() => this.classify());
    this.pad = new Pad((pad) => (pad ? classify() : this.reset()));
    this.element = h(
      "div",
      { class: "view draw" },
      h("h1", {}, "Draw a digit"),
      h("div", { class: "draw-top" }, this.pad.element, h("div", { class: "draw-side" }, this.verdict, this.probabilities)),
      h("h2", {}, "Nearest digits"),
      this.nearest,
    );
    this.reset();
  }

  /** Selects the collection of digits. */
  shown(): void {
    if (collection()?.embedder?.name === "digits") return;
    const digits = catalog.value.collections.find((one) => one.embedder?.name === "digits");
    if (digits) current.set(digits.name);
  }

  private reset(): void {
    put(this.verdict, "Draw a digit, from 0 to 9.");
    put(this.probabilities, this.show(new Array<number>(10).fill(0)));
    put(this.nearest, h("p", { class: "empty" }, "The nearest stored digits appear here."));
    found.set([]);
    activeQuery.set(null);
    drawing.set(null);
  }

  private show(probabilities: number[]): HTMLElement {
    const best = Math.max(...probabilities);
    return bars(probabilities.map((value, digit) => ({
      label: String(digit),
      value,
      text: `${(value * 100).toFixed(value > 0.9995 || value === 0 ? 0 : 1)} %`,
      best: value === best && value > 0,
    })), 1);
  }

  private async classify(): Promise<void> {
    try {
      const image = await this.pad.png();
      if (this.pad.empty) return;
      drawing.set(image);
      const result = await embedders.classify({ image });
      const probabilities = result.classes.map((one) => one.probability);
      const best = probabilities.indexOf(Math.max(...probabilities));
      put(this.verdict, "This is a ", h("b", { "data-digit": best }, String(best)));
      put(this.probabilities, this.show(probabilities));
      const of = collection();
      if (of?.embedder?.name !== "digits") {
        put(this.nearest, h("p", { class: "empty" }, "No collection of digits is selected."));
        return;
      }
      const query = create(QuerySchema, { form: { case: "image", value: image } });
      const response = await searchAll({ collection: of.name, query, params: { k: K, fields: { payload: true } } });
      if (this.pad.empty) return;
      if (!this.pictures || this.pictures.of !== of.name) this.pictures = new Pictures(of.name, false);
      found.set(response.hits.map((hit) => ({ id: hit.id, distance: hit.distance })));
      activeQuery.set(query);
      put(this.nearest, hits(response.hits, this.pictures), cost(response.stats));
      window.clearTimeout(this.announceTimer);
      this.announceTimer = window.setTimeout(() => announcement.set(`Predicted digit ${best}, ${(probabilities[best]! * 100).toFixed(0)} percent`), 600);
    } catch (error) {
      put(this.nearest, failure(explain(error)));
    }
  }
}
