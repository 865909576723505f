// Display names of points: title and text from the payload, or the id.

/** Payload fields that name a point, the most specific first. */
export const NAME_FIELDS = ["title", "name", "heading", "caption", "label", "class"];
/** Payload fields that hold a point's text. */
export const TEXT_FIELDS = ["text", "content", "body", "description", "abstract", "summary"];
/** Maximum length of the text shown with a hit, in characters. */
const MAX_TEXT = 240;

type Fields = Record<string, unknown>;

/** Keeps the digits of integers beyond 2^53, in browsers that pass the source text. */
function exact(_: string, value: unknown, context?: { source?: string }): unknown {
  const rounded = typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value);
  return rounded && /^-?\d+$/.test(context?.source ?? "") ? BigInt(context!.source!) : value;
}

/** Returns the payload of a point, with integers beyond 2^53 as `bigint`. */
export function payloadOf(point: { payload?: unknown; payloadJson: string }): Fields {
  return (point.payloadJson === "" ? point.payload ?? {} : JSON.parse(point.payloadJson, exact)) as Fields;
}

function first(payload: Fields, fields: string[]): { field: string; text: string } | null {
  for (const field of fields) {
    const value = payload[field];
    if (typeof value === "number" || typeof value === "bigint" || (typeof value === "string" && value.trim() !== "")) return { field, text: String(value).trim() };
  }
  return null;
}

/** Truncates a text at a character boundary, with an ellipsis. */
export function shorten(text: string, max: number): string {
  const characters = [...text];
  return characters.length > max ? `${characters.slice(0, max - 1).join("")}…` : text;
}

/** A point as displayed: name, text, and the id if it differs from the name. */
export interface Described {
  name: string;
  text: string;
  id: string;
}

/** Describes a point by its payload, or by its id if the payload has neither name nor text. */
export function describe(id: string, payload: Fields | undefined): Described {
  const named = first(payload ?? {}, NAME_FIELDS);
  const text = first(payload ?? {}, TEXT_FIELDS);
  // Many points share a class or a label, so it is shown beside the id.
  if (named?.field === "label" || named?.field === "class") {
    return { name: id, text: text ? shorten(text.text, MAX_TEXT) : `${named.field} ${shorten(named.text, MAX_TEXT)}`, id: "" };
  }
  if (named) return { name: shorten(named.text, MAX_TEXT), text: text ? shorten(text.text, MAX_TEXT) : "", id: named.text === id ? "" : id };
  if (text) return { name: id, text: text.text === id ? "" : shorten(text.text, MAX_TEXT), id: "" };
  return { name: id, text: "", id: "" };
}

/** Returns the payload field that labels points on the map: the first known field that at least half of the points have. */
export function labelField(payloads: Fields[]): string | null {
  const common = (field: string): boolean => {
    const count = payloads.filter((payload) => first(payload, [field]) !== null).length;
    return count > 0 && count * 2 >= payloads.length;
  };
  return [...NAME_FIELDS, ...TEXT_FIELDS].find(common) ?? null;
}
