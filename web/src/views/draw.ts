// Draw a digit: while drawing, the ten probabilities, the nearest digits, and the dot that moves across the map.
import { create } from "@bufbuild/protobuf";
import { QuerySchema } from "../gen/nearness/v1/search_pb";
import { embedders, explain, searchAll, world } from "../api";
import { h, put } from "../dom";
import { Pictures } from "../picture";
import { bars, cost, failure, hits, newest, Pad } from "../pieces";
import { asked, collection, current, drawing, found, told } from "../state";

/** Nearest digits that are shown. */
const K = 8;

export class DrawView {
  readonly element: HTMLElement;
  private readonly verdict = h("p", { class: "verdict" }, "Draw a digit.");
  private readonly chances = h("div");
  private readonly near = h("div");
  private pictures: Pictures | null = null;
  private readonly pad: Pad;
  private settled = 0;

  constructor() {
    const look = newest(() => this.look());
    this.pad = new Pad((pad) => (pad ? look() : this.forget()));
    this.element = h(
      "div",
      { class: "view draw" },
      h("h1", {}, "Draw a digit"),
      h("div", { class: "draw-top" }, this.pad.element, h("div", { class: "draw-side" }, this.verdict, this.chances)),
      h("h2", {}, "Nearest digits"),
      this.near,
    );
    this.forget();
  }

  /** The view is shown: the collection of digits is looked at. */
  shown(): void {
    if (collection()?.embedder?.name === "digits") return;
    const digits = world.value.collections.find((one) => one.embedder?.name === "digits");
    if (digits) current.set(digits.name);
  }

  private forget(): void {
    put(this.verdict, "Draw a digit, from 0 to 9.");
    put(this.chances, this.show(new Array<number>(10).fill(0)));
    put(this.near, h("p", { class: "empty" }, "What looks like it will stand here."));
    found.set([]);
    asked.set(null);
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

  private async look(): Promise<void> {
    try {
      const image = await this.pad.png();
      if (this.pad.empty) return;
      drawing.set(image);
      const said = await embedders.classify({ image });
      const chances = said.classes.map((one) => one.probability);
      const best = chances.indexOf(Math.max(...chances));
      put(this.verdict, "This is a ", h("b", { "data-digit": best }, String(best)));
      put(this.chances, this.show(chances));
      const of = collection();
      if (of?.embedder?.name !== "digits") {
        put(this.near, h("p", { class: "empty" }, "No collection of digits is chosen."));
        return;
      }
      const query = create(QuerySchema, { form: { case: "image", value: image } });
      const reply = await searchAll({ collection: of.name, query, params: { k: K, fields: { payload: true } } });
      if (this.pad.empty) return;
      if (!this.pictures || this.pictures.of !== of.name) this.pictures = new Pictures(of.name, false);
      found.set(reply.hits.map((hit) => ({ id: hit.id, distance: hit.distance })));
      asked.set(query);
      put(this.near, hits(reply.hits, this.pictures), cost(reply.stats));
      window.clearTimeout(this.settled);
      this.settled = window.setTimeout(() => told.set(`The net says ${best}, ${(chances[best]! * 100).toFixed(0)} percent`), 600);
    } catch (error) {
      put(this.near, failure(explain(error)));
    }
  }
}
