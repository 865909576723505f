// The values of a payload field with the number of points of each, beside the hits of a search. A click on a value adds
// it to the filter of the search, or removes it.
import { equals } from "@bufbuild/protobuf";
import { type Filter, type FilterValue, FilterValueSchema } from "./gen/nearness/v1/filter_pb";
import { type Hit } from "./gen/nearness/v1/search_pb";
import { explain, points } from "./api";
import { count, h, put } from "./dom";
import { failure } from "./pieces";

/** Number of values to show. */
const LIMIT = 20;
/** Number of fields to suggest. */
const MAX_FIELDS = 50;

/** Returns the text of a value. A text that another value could have is quoted, as in JSON. */
export function valueText(value: FilterValue | undefined): string {
  const form = value?.form;
  if (form?.case === undefined) return "";
  if (form.case !== "stringValue") return String(form.value);
  const text = form.value;
  const plain = text.trim() === text && text !== "" && !Number.isFinite(Number(text)) && text !== "true" && text !== "false" && !text.startsWith('"');
  return plain ? text : JSON.stringify(text);
}

/** Whether two values are equal. */
export function same(a: FilterValue, b: FilterValue): boolean {
  return equals(FilterValueSchema, a, b);
}

/** Returns the paths of booleans, numbers and texts in the payloads of some hits. */
export function fieldsOf(hits: Hit[]): string[] {
  const found = new Set<string>();
  const visit = (value: unknown, path: string, depth: number): void => {
    if (found.size >= MAX_FIELDS || depth > 8) return;
    if (Array.isArray(value)) value.slice(0, 10).forEach((one) => visit(one, path, depth + 1));
    else if (value !== null && typeof value === "object") {
      for (const [name, inner] of Object.entries(value)) visit(inner, path === "" ? name : `${path}.${name}`, depth + 1);
    } else if (value !== null && value !== undefined && path !== "") found.add(path);
  };
  hits.forEach((hit) => visit(hit.payload, "", 0));
  return [...found].sort();
}

/** What the facets need of the search. */
export interface Search {
  /** Returns the values of the field in the filter. */
  chosen(field: string): FilterValue[];
  /** Adds a value to the filter or removes it, and searches again. */
  toggle(field: string, value: FilterValue): void;
}

export class Facets {
  /** The choice of the field. */
  readonly picker: HTMLElement;
  /** The values. */
  readonly element = h("aside", { class: "facets", "aria-label": "Values of the field", hidden: true });
  private readonly options = h("datalist", { id: "facet-fields" });
  private readonly field = h("input", { "aria-label": "Count the values of", placeholder: "payload field", list: "facet-fields", autocomplete: "off", spellcheck: "false" });
  private scope: { of: string; filter: Filter | undefined } | null = null;
  private generation = 0;

  constructor(private readonly search: Search) {
    this.field.addEventListener("change", () => void this.load());
    this.picker = h("div", { class: "row facet-field", hidden: true }, h("span", { "aria-hidden": "true" }, "Count the values of"), this.field, this.options);
  }

  /** Removes the choice and the values. */
  reset(): void {
    this.generation += 1;
    this.scope = null;
    this.field.value = "";
    this.picker.hidden = true;
    this.hide();
  }

  /** Counts the values again, for a search that has just run. */
  show(of: string, filter: Filter | undefined, hits: Hit[]): void {
    this.scope = { of, filter };
    this.picker.hidden = false;
    const fields = fieldsOf(hits);
    // Hits of a narrow filter may lack fields that others have.
    if (fields.length > 0) put(this.options, ...fields.map((field) => h("option", { value: field })));
    void this.load();
  }

  private hide(): void {
    this.element.hidden = true;
    put(this.element);
  }

  private async load(): Promise<void> {
    const generation = (this.generation += 1);
    const field = this.field.value.trim();
    if (!this.scope || field === "") {
      this.hide();
      return;
    }
    const { of, filter } = this.scope;
    try {
      const response = await points.facet({ collection: of, field, limit: LIMIT, filter });
      if (generation !== this.generation) return;
      const chosen = this.search.chosen(field);
      const counted = response.values.flatMap(({ value, count: n }) => (value ? [{ value, n }] : []));
      // A chosen value stays in the list, so that it can be removed.
      const absent = chosen.filter((value) => !counted.some((one) => same(one.value, value)));
      const rows = [...absent.map((value) => ({ value, n: 0n })), ...counted];
      const focused = this.element.contains(document.activeElement) ? (document.activeElement as HTMLElement).dataset.value : undefined;
      put(this.element,
        rows.length === 0 ? h("p", { class: "empty" }, "No values.")
          : h("ul", {}, ...rows.map(({ value, n }) => h("li", {}, this.button(field, value, n, chosen.some((one) => same(one, value)))))),
        response.distinct > BigInt(counted.length) && h("p", { class: "fine" }, `${count(counted.length)} of ${count(response.distinct)} values`));
      this.element.hidden = false;
      const buttons = [...this.element.querySelectorAll("button")];
      if (focused !== undefined) (buttons.find((one) => one.dataset.value === focused) ?? buttons[0] ?? this.field).focus();
    } catch (error) {
      if (generation !== this.generation) return;
      put(this.element, failure(explain(error)));
      this.element.hidden = false;
    }
  }

  private button(field: string, value: FilterValue, n: bigint, pressed: boolean): HTMLElement {
    const text = valueText(value);
    return h("button", {
      type: "button", class: "facet", "data-value": text, "aria-pressed": String(pressed),
      onclick: () => this.search.toggle(field, value),
    }, h("span", { class: "facet-value" }, text), h("span", { class: "number" }, count(n)));
  }
}
