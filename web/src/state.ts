// State shared by the views: collection, query, hits, selection.
import { type Collection } from "./gen/nearness/v1/collections_pb";
import { type Query } from "./gen/nearness/v1/search_pb";
import { catalog } from "./api";
import { Store } from "./store";

export interface Found {
  id: string;
  distance: number;
}

/** Name of the current collection. */
export const current = new Store<string>("");
/** Hits of the last search, nearest first; marked on the map. */
export const found = new Store<Found[]>([]);
/** The query that the moving dot represents. */
export const activeQuery = new Store<Query | null>(null);
/** Id of the point chosen in a list or on the map. */
export const chosen = new Store<string | null>(null);
/** Whether the map is visible. Layouts are requested only then. */
export const mapShown = new Store<boolean>(false);
/** Text for screen readers. */
export const announcement = new Store<string>("");
/** The last drawn digit, a PNG. */
export const drawing = new Store<Uint8Array | null>(null);

export function collection(): Collection | undefined {
  return catalog.value.collections.find((one) => one.name === current.value);
}
