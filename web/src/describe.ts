// Names of points for people: the title and the text that a payload holds, instead of an id.

/** Payload fields that name a point, the most specific first. */
export const NAME_FIELDS = ["title", "name", "heading", "caption", "label", "class"];
/** Payload fields that hold a point's text. */
export const TEXT_FIELDS = ["text", "content", "body", "description", "abstract", "summary"];
/** Longest text shown with a hit, in characters. */
const SNIPPET = 240;

type Fields = Record<string, unknown>;

function first(payload: Fields, fields: string[]): { field: string; text: string } | null {
  for (const field of fields) {
    const value = payload[field];
    if (typeof value === "number" || (typeof value === "string" && value.trim() !== "")) return { field, text: String(value).trim() };
  }
  return null;
}

/** Cuts a text at a character boundary and marks the cut. */
export function shorten(text: string, most: number): string {
  const characters = [...text];
  return characters.length > most ? `${characters.slice(0, most - 1).join("")}…` : text;
}

/** What a person reads of a hit: a name, its text, and the id where the name is another one. */
export interface Described {
  name: string;
  text: string;
  id: string;
}

/** Describes a point by its payload; by its id where the payload has neither name nor text. */
export function describe(id: string, payload: Fields | undefined): Described {
  const named = first(payload ?? {}, NAME_FIELDS);
  const text = first(payload ?? {}, TEXT_FIELDS);
  // A class or a label alone names many points: it is shown beside the id.
  if (named?.field === "label" || named?.field === "class") {
    return { name: id, text: text ? shorten(text.text, SNIPPET) : `${named.field} ${shorten(named.text, SNIPPET)}`, id: "" };
  }
  if (named) return { name: shorten(named.text, SNIPPET), text: text ? shorten(text.text, SNIPPET) : "", id: named.text === id ? "" : id };
  if (text) return { name: id, text: text.text === id ? "" : shorten(text.text, SNIPPET), id: "" };
  return { name: id, text: "", id: "" };
}

/** The payload field that labels points on the map: the first of the known ones that most of the sampled points have. */
export function labelField(payloads: Fields[]): string | null {
  const most = (field: string): boolean => {
    const having = payloads.filter((payload) => first(payload, [field]) !== null).length;
    return having > 0 && having * 2 >= payloads.length;
  };
  return [...NAME_FIELDS, ...TEXT_FIELDS].find(most) ?? null;
}
