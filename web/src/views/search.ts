// Search by word, sentence, arithmetic, blank or picture, with filters, accuracy, cost, and explanations of missing points.
import { create } from "@bufbuild/protobuf";
import { type Collection } from "../gen/nearness/v1/collections_pb";
import { type Filter, FilterSchema, type FilterValue, FilterValueSchema } from "../gen/nearness/v1/filter_pb";
import { type ExplainResponse, type Query, QuerySchema, Reason, type SearchParams, SearchParamsSchema } from "../gen/nearness/v1/search_pb";
import { embedders, explain, modality, points, search, searchAll, catalog } from "../api";
import { describe, payloadOf } from "../describe";
import { count, h, put } from "../dom";
import { Facets, same, valueText } from "../facets";
import { Pictures } from "../picture";
import { cost, failure, hits, type Marker } from "../pieces";
import { activeQuery, collection, current, found, announcement } from "../state";

type ParsedInput = { query: Query; description: string } | { blank: string } | { message: string };

/** Parses a line of input. */
export function parse(text: string, of: Collection): ParsedInput {
  const line = text.trim();
  if (!line) return { message: "Enter a query." };
  if (line.includes("___")) return { blank: line };
  const terms = line.split(/\s+([+−-])\s+/);
  if (terms.length > 1) {
    const [plus, minus]: [string[], string[]] = [[], []];
    terms.forEach((term, at) => {
      if (at % 2 === 0 && term) (at > 0 && terms[at - 1] !== "+" ? minus : plus).push(term);
    });
    if (plus.length + minus.length > 1) {
      const description = `arithmetic: ${plus.join(" + ")}${minus.map((one) => ` − ${one}`).join("")}`;
      return { query: create(QuerySchema, { form: { case: "arithmetic", value: { plus, minus } } }), description };
    }
  }
  if (modality(of) !== "text") {
    return { query: create(QuerySchema, { form: { case: "id", value: line } }), description: `the stored point ${line}` };
  }
  if (!/\s/.test(line)) {
    // One term: the point with that id, or the text. A point is excluded from its own hits.
    const value = { plus: [line], minus: [] };
    return { query: create(QuerySchema, { form: { case: "arithmetic", value } }), description: `near “${line}”` };
  }
  return { query: create(QuerySchema, { form: { case: "text", value: line } }), description: "near this text" };
}

/** A condition on a field. `typed` is the value of one that a click on a value made. */
type Condition = { field: string; op: string; value: string; typed?: FilterValue };
const OPERATIONS: [string, string][] = [
  ["equals", "="], ["gte", "≥"], ["lte", "≤"], ["gt", ">"], ["lt", "<"], ["not", "≠"],
  ["exists", "exists"], ["isEmpty", "is empty"], ["isNull", "is null"],
  ["time.gte", "time ≥"], ["time.lt", "time <"],
];

/** Returns the value of a typed number: an integer beyond 2^53 with all of its digits. */
function numberForm(text: string): FilterValue["form"] {
  if (/^-?\d+$/.test(text) && !Number.isSafeInteger(Number(text))) {
    const value = BigInt(text);
    if (BigInt.asIntN(64, value) === value) return { case: "integerValue", value };
    if (BigInt.asUintN(64, value) === value) return { case: "unsignedValue", value };
  }
  return { case: "numberValue", value: Number(text) };
}

/** Returns the conjunction of all conditions. */
export function filter(conditions: Condition[]): Filter | undefined {
  const forms = conditions.filter((one) => one.field.trim()).map(({ field, op, value, typed: exact }) => {
    const text = value.trim();
    const number = text !== "" && Number.isFinite(Number(text));
    const form = text === "true" || text === "false"
      ? { case: "boolValue" as const, value: text === "true" }
      : number ? numberForm(text) : { case: "stringValue" as const, value: text };
    const typed = exact ?? create(FilterValueSchema, { form });
    const name = field.trim();
    if (op === "exists" || op === "isEmpty" || op === "isNull") return create(FilterSchema, { form: { case: op, value: { field: name } } });
    if (op.startsWith("time.")) return create(FilterSchema, { form: { case: "timeRange", value: { field: name, [op.slice("time.".length)]: text } } });
    const equals = create(FilterSchema, { form: { case: "equals", value: { field: name, value: typed } } });
    if (op === "equals") return equals;
    if (op === "not") return create(FilterSchema, { form: { case: "not", value: equals } });
    return create(FilterSchema, { form: { case: "range", value: { field: name, [op]: typed } } });
  });
  return forms.length === 0 ? undefined : create(FilterSchema, { form: { case: "and", value: { filters: forms } } });
}

export class SearchView {
  readonly element: HTMLElement;
  private readonly input = h("input", { type: "search", class: "wide", "aria-label": "Search for", autocomplete: "off", spellcheck: "false" });
  private readonly k = h("input", { type: "number", min: 1, max: 1000, value: 10, "aria-label": "Hits" });
  private readonly accuracy = h("select", { "aria-label": "Accuracy" },
    h("option", { value: "" }, "Default"), h("option", { value: "recall" }, "Target recall"),
    h("option", { value: "ef" }, "ef"), h("option", { value: "exact" }, "Exact"));
  private readonly amount = h("input", { type: "number", step: "any", hidden: true, "aria-label": "Target recall or ef" });
  private readonly by = h("select", { "aria-label": "Find by" },
    h("option", { value: "" }, "meaning"), h("option", { value: "hybrid" }, "meaning and words"), h("option", { value: "keywords" }, "words"));
  private readonly byLabel = h("label", {}, "Find by", this.by);
  private readonly conditions = h("div", { class: "conditions" });
  private readonly answer = h("div", { class: "answer", "aria-live": "polite" });
  private readonly hints = h("div", { class: "hints" });
  private readonly picture = h("label", { class: "button", hidden: true }, "Picture");
  private last: { query: Query; params: SearchParams; of: string } | null = null;
  private generation = 0;
  /** Runs the last search again. */
  private again: (() => Promise<void>) | null = null;
  /** The values of conditions that clicks on values made. */
  private readonly typed = new WeakMap<Element, FilterValue>();
  private readonly facets = new Facets({
    chosen: (field) => this.rows().flatMap((row) => (row.field.trim() === field && row.op === "equals" && row.typed ? [row.typed] : [])),
    toggle: (field, value) => this.toggle(field, value),
  });

  private readonly says = h("p", { class: "says" });
  private readonly found = h("div", { class: "found" });
  private readonly results = h("div", { class: "results" }, this.found, this.facets.element);
  private readonly below = h("div");

  constructor() {
    const file = h("input", { type: "file", accept: "image/png,image/jpeg,image/webp,image/bmp", class: "file" });
    file.addEventListener("change", () => file.files?.[0] && void this.image(file.files[0]));
    this.picture.append(file);
    this.accuracy.addEventListener("change", () => {
      const kind = this.accuracy.value;
      this.amount.hidden = kind === "" || kind === "exact";
      this.amount.value = kind === "recall" ? "0.95" : "64";
    });
    this.element = h(
      "div",
      { class: "view search" },
      h("h1", {}, "What is near this?"),
      h("form", { onsubmit: (event: Event) => { event.preventDefault(); void this.submit(); } },
        h("div", { class: "row" }, this.input, h("button", { class: "button primary" }, "Search"), this.picture),
        this.hints,
        h("details", {}, h("summary", {}, "Filters and accuracy"),
          h("div", { class: "options" },
            h("label", {}, "Hits", this.k),
            this.byLabel,
            h("label", {}, "Accuracy", this.accuracy),
            this.amount),
          this.conditions,
          h("button", { type: "button", class: "button small", onclick: () => this.condition() }, "Add a condition"))),
      this.answer,
    );
    this.element.addEventListener("dragover", (event) => event.preventDefault());
    this.element.addEventListener("drop", (event) => {
      event.preventDefault();
      const dropped = event.dataTransfer?.files[0];
      if (dropped) void this.image(dropped);
    });
    current.on(() => this.reset());
    catalog.on(() => this.updateHints());
    this.reset();
  }

  private reset(): void {
    this.generation += 1;
    put(this.answer);
    put(this.conditions);
    this.last = null;
    this.again = null;
    this.facets.reset();
    this.updateHints();
  }

  private updateHints(): void {
    const of = collection();
    const kind = modality(of);
    this.picture.hidden = kind !== "image";
    this.byLabel.hidden = of?.fields.length !== 1;
    if (this.byLabel.hidden) this.by.value = "";
    this.input.placeholder = kind === "text" ? "a word, a sentence, king - man + woman, the ___ cat"
      : kind === "image" ? "drop a picture here, draw a digit, or type the id of a stored one" : "type the id of a stored point";
    const examples = of?.embedder?.name === "words" ? ["alligator", "king - man + woman", "the ___ cat"]
      : kind === "text" ? ["a storm destroyed the harbour", "the ___ cat"] : [];
    this.suggest(examples);
    if (of && of.points > 0n && kind !== "text") void this.suggestStored(of);
  }

  private suggest(texts: string[]): void {
    put(this.hints, ...texts.map((text) => h("button", { type: "button", class: "chip", onclick: () => { this.input.value = text; void this.submit(); } }, text)));
  }

  /** Suggests the ids of a few stored points. */
  private async suggestStored(of: Collection): Promise<void> {
    try {
      const response = await points.scroll({ collection: of.name, limit: 3 });
      if (collection()?.name === of.name) this.suggest(response.points.map((point) => point.id));
    } catch {
      // Suggestions only. A search reports the error.
    }
  }

  private condition(field = "", value?: FilterValue): void {
    const row = h("div", { class: "row condition" },
      h("input", { placeholder: "field", "aria-label": "Field", class: "field", value: field }),
      h("select", { "aria-label": "Comparison", class: "op" }, ...OPERATIONS.map(([value, text]) => h("option", { value }, text))),
      h("input", { placeholder: "value", "aria-label": "Value", class: "value" }),
      h("button", { type: "button", class: "tool", "aria-label": "Remove this condition", onclick: () => row.remove() }, "×"));
    this.conditions.append(row);
    if (value === undefined) {
      row.querySelector("input")?.focus();
      return;
    }
    this.typed.set(row, value);
    const input = row.querySelector<HTMLInputElement>(".value")!;
    input.value = valueText(value);
    // A value that is edited has the type of its text.
    input.addEventListener("input", () => this.typed.delete(row));
  }

  /** Adds an equality to the filter, or removes it, and searches again. */
  private toggle(field: string, value: FilterValue): void {
    const known = [...this.conditions.querySelectorAll(".condition")].filter((row) => {
      const typed = this.typed.get(row);
      return typed && same(typed, value) && row.querySelector<HTMLInputElement>(".field")!.value.trim() === field;
    });
    if (known.length > 0) known.forEach((row) => row.remove());
    else this.condition(field, value);
    void this.again?.();
  }

  private rows(): Condition[] {
    return [...this.conditions.querySelectorAll(".condition")].map((row) => ({
      field: row.querySelector<HTMLInputElement>(".field")!.value,
      op: row.querySelector<HTMLSelectElement>(".op")!.value,
      value: row.querySelector<HTMLInputElement>(".value")!.value,
      typed: this.typed.get(row),
    }));
  }

  private params(): SearchParams {
    const amount = Number(this.amount.value);
    const accuracy: SearchParams["accuracy"] =
      this.accuracy.value === "exact" ? { case: "exact", value: true }
        : this.accuracy.value === "ef" ? { case: "ef", value: amount }
          : this.accuracy.value === "recall" ? { case: "targetRecall", value: amount } : { case: undefined };
    return create(SearchParamsSchema, { k: Math.max(1, Number(this.k.value) || 10), accuracy, fields: { payload: true }, filter: filter(this.rows()) });
  }

  private async submit(): Promise<void> {
    const of = collection();
    if (!of) return;
    const parsed = parse(this.input.value, of);
    if ("message" in parsed) put(this.answer, h("p", { class: "empty" }, parsed.message));
    else if ("blank" in parsed) await this.fill(parsed.blank);
    else if (this.by.value === "") await this.run(parsed.query, parsed.description, of);
    else await this.words(this.input.value.trim(), parsed.query, of);
  }

  /** Searches by words, or by meaning and words. */
  private async words(text: string, onMap: Query, of: Collection): Promise<void> {
    const hybrid = this.by.value === "hybrid";
    const query = create(QuerySchema, { form: { case: hybrid ? "hybrid" : "keywords", value: { text } } as Query["form"] });
    const terms = async (of_text: string) => (await search.analyze({ collection: of.name, text: of_text })).tokens;
    const wanted = terms(text).then((tokens) => new Set(tokens.map((token) => token.term)));
    const marker: Marker = async (shown) => {
      const [words, tokens] = await Promise.all([wanted, terms(shown)]);
      return tokens.filter((token) => words.has(token.term)).map((token) => [token.start, token.end]);
    };
    await this.run(query, hybrid ? "by meaning and words" : "by words", of, hybrid ? onMap : null, marker);
  }

  private async image(picture: Blob): Promise<void> {
    const of = collection();
    if (!of) return;
    if (modality(of) !== "image") {
      put(this.answer, failure("This collection does not embed pictures: select one that does."));
      return;
    }
    const value = new Uint8Array(await picture.arrayBuffer());
    await this.run(create(QuerySchema, { form: { case: "image", value } }), "near this picture", of);
  }

  private async run(query: Query, description: string, of: Collection, onMap: Query | null = query, marker?: Marker): Promise<void> {
    const generation = (this.generation += 1);
    this.again = () => this.run(query, description, of, onMap, marker);
    try {
      const params = this.params();
      const response = await searchAll({ collection: of.name, query, params });
      if (generation !== this.generation) return;
      this.last = { query, params, of: of.name };
      found.set(response.hits.map((hit) => ({ id: hit.id, distance: hit.distance })));
      activeQuery.set(onMap);
      const pictures = modality(of) === "text" ? null : new Pictures(of.name, of.embedder === undefined);
      put(this.found, hits(response.hits, pictures, marker));
      put(this.says, description);
      put(this.below, cost(response.stats), this.why());
      // The facets stay in the document, so that they keep the focus.
      if (this.results.parentElement !== this.answer) put(this.answer, this.says, this.facets.picker, this.results, this.below);
      this.facets.show(of.name, params.filter, response.hits);
      announcement.set(`${response.hits.length} found. First: ${response.hits.slice(0, 3).map((hit) => describe(hit.id, payloadOf(hit)).name).join(", ")}`);
    } catch (error) {
      if (generation === this.generation) put(this.answer, failure(explain(error)));
    }
  }

  private async fill(pattern: string): Promise<void> {
    const generation = (this.generation += 1);
    try {
      const response = await embedders.fillBlank({ pattern, k: Math.max(1, Number(this.k.value) || 10) });
      if (generation !== this.generation) return;
      found.set([]);
      activeQuery.set(null);
      const lists = response.blanks.map((blank) =>
        h("ol", { class: "hits" }, ...blank.words.map((word) =>
          h("li", { "data-id": word.word }, h("span", { class: "hit" }, h("span", { class: "hit-name" }, h("b", {}, word.word)),
            h("span", { class: "number" }, `${(word.score * 100).toFixed(1)} %`))))));
      put(this.answer, h("p", { class: "says" }, "most probable words for the blank, by the output layer of the model"), ...lists,
        h("p", { class: "fine" }, `embedder ${response.embedderFingerprint.slice(0, 10)}`));
    } catch (error) {
      if (generation === this.generation) put(this.answer, failure(explain(error)));
    }
  }

  /** "Why is X not here?" */
  private why(): HTMLElement {
    const id = h("input", { "aria-label": "Id of a point", placeholder: "id of a point", autocomplete: "off" });
    const response = h("div", { "aria-live": "polite" });
    const submit = async (event: Event): Promise<void> => {
      event.preventDefault();
      if (!this.last || !id.value.trim()) return;
      const { query, params, of } = this.last;
      try {
        const explanation = await search.explain({ collection: of, query, params, id: id.value.trim() });
        put(response, h("p", { class: "reason" }, reason(id.value.trim(), params.k, explanation)));
      } catch (error) {
        put(response, failure(explain(error)));
      }
    };
    return h("form", { class: "why", onsubmit: submit },
      h("div", { class: "row" }, h("span", {}, "Why is"), id, h("span", {}, "not here?"), h("button", { class: "button small" }, "Explain")), response);
  }
}

/** Returns an explanation as a sentence. */
export function reason(id: string, k: number, explanation: ExplainResponse): string {
  const at = explanation.trueRank === undefined ? "" : ` Its rank among all points is ${count(explanation.trueRank)}.`;
  const far = explanation.distance === undefined ? "" : ` Its distance is ${explanation.distance.toFixed(4)}`;
  const last = explanation.kthDistance === undefined ? "" : `, the last hit's is ${explanation.kthDistance.toFixed(4)}`;
  const measures = far && `${far}${last}.`;
  const parts = explanation.parts.map((part) => {
    const rank = part.rank === undefined ? "not a candidate" : `rank ${part.rank} of ${part.candidates}`;
    const words = part.terms.filter((term) => term.frequency > 0).map((term) => `${term.term} ${term.contribution.toFixed(3)}`);
    return ` ${part.query === "" ? "Words" : part.query}: ${part.query === "" ? "" : `${rank}, contributes ${(part.contribution ?? 0).toFixed(3)}`}${words.length > 0 ? ` (${words.join(", ")})` : ""}.`;
  }).join("");
  return verdict(id, k, explanation, at, measures) + parts;
}

function verdict(id: string, k: number, explanation: ExplainResponse, at: string, measures: string): string {
  switch (explanation.reason) {
    case Reason.HIT: return `It is here: hit number ${explanation.rank}.${measures}`;
    case Reason.UNKNOWN_POINT: return `There is no point “${id}” in this collection.`;
    case Reason.DELETED: return `“${id}” was deleted.`;
    case Reason.EXCLUDED: return `“${id}” is part of the query, so it is excluded.`;
    case Reason.BELOW_THRESHOLD: return `Its score is below the threshold.${measures}`;
    case Reason.BEATEN: return `At least ${k} points are nearer.${at}${measures}`;
    case Reason.MISSED_BY_GRAPH:
      return `It is one of the ${k} nearest, but the graph search missed it. ${explanation.efNeeded === undefined ? "Only an exact search finds it." : `A search with ef ${explanation.efNeeded} finds it.`}${measures}`;
    case Reason.NO_TERMS: return "It does not contain the words of the query.";
    case Reason.NO_VECTOR: return "It has no vector that the query can be compared with.";
    case Reason.FILTERED: return `Its payload does not match the filter.${measures}`;
    case Reason.UNSPECIFIED: return "The server gave no reason.";
  }
}
