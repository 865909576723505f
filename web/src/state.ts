// What the views share: the collection that is looked at, what was asked, what was found.
import { type Collection } from "./gen/nearness/v1/collections_pb";
import { type Query } from "./gen/nearness/v1/search_pb";
import { world } from "./api";
import { Store } from "./store";

export interface Found {
  id: string;
  distance: number;
}

/** Name of the collection that is looked at. */
export const current = new Store<string>("");
/** What is marked on the map: the hits of the last answer, nearest first. */
export const found = new Store<Found[]>([]);
/** The query whose place is the moving dot. */
export const asked = new Store<Query | null>(null);
/** The point that was chosen, in a list or on the map. */
export const chosen = new Store<string | null>(null);
/** Whether the map is to be seen: it asks for no layout before. */
export const mapShown = new Store<boolean>(false);
/** What a screen reader is told. */
export const told = new Store<string>("");
/** The digit that was drawn last, a PNG. */
export const drawing = new Store<Uint8Array | null>(null);

export function collection(): Collection | undefined {
  return world.value.collections.find((one) => one.name === current.value);
}
