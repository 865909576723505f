// gRPC-web clients of the server. An API key is stored for this tab only.
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError, createClient, type Interceptor } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { Collections, type Collection } from "./gen/nearness/v1/collections_pb";
import { Embedders, type Embedder } from "./gen/nearness/v1/embedders_pb";
import { Map as MapService } from "./gen/nearness/v1/map_pb";
import { Points } from "./gen/nearness/v1/points_pb";
import { Quality } from "./gen/nearness/v1/quality_pb";
import { Search, SearchRequestSchema, type SearchResponse } from "./gen/nearness/v1/search_pb";
import { Store } from "./store";

const KEY = "nearness-key";

/** Reason why the user must enter a key; null if none is needed. */
export const keyPrompt = new Store<string | null>(null);

export function setKey(key: string): void {
  if (key) sessionStorage.setItem(KEY, key);
  else sessionStorage.removeItem(KEY);
}

export function hasKey(): boolean {
  return sessionStorage.getItem(KEY) !== null;
}

const authorize: Interceptor = (next) => async (request) => {
  const key = sessionStorage.getItem(KEY);
  if (key) request.header.set("authorization", `Bearer ${key}`);
  try {
    return await next(request);
  } catch (error) {
    if (ConnectError.from(error).code === Code.Unauthenticated) {
      keyPrompt.set(key ? "This key is unknown to the server." : "This server requires a key.");
    }
    throw error;
  }
};

const transport = createGrpcWebTransport({ baseUrl: location.origin, interceptors: [authorize] });

export const collections = createClient(Collections, transport);
export const embedders = createClient(Embedders, transport);
export const map = createClient(MapService, transport);
export const points = createClient(Points, transport);
export const quality = createClient(Quality, transport);
export const search = createClient(Search, transport);

/** Returns all hits of a search, from as many pages as the response limit requires. */
export async function searchAll(request: MessageInitShape<typeof SearchRequestSchema>): Promise<SearchResponse> {
  const page = create(SearchRequestSchema, request);
  const all = await search.search(page);
  while (all.nextOffset > page.offset) {
    page.offset = all.nextOffset;
    const response = await search.search(page);
    all.hits.push(...response.hits);
    all.nextOffset = response.nextOffset;
  }
  return all;
}

/** Returns the message of an error, as sent by the server. */
export function explain(error: unknown): string {
  const known = ConnectError.from(error);
  if (known.code === Code.Unknown && known.cause instanceof TypeError) return "The server cannot be reached.";
  return known.rawMessage || known.message;
}

export function isCancelled(error: unknown): boolean {
  return ConnectError.from(error).code === Code.Canceled || (error as Error)?.name === "AbortError";
}

/** All collections and embedders visible to the caller. */
export interface Catalog {
  collections: Collection[];
  embedders: Embedder[];
}

export const catalog = new Store<Catalog>({ collections: [], embedders: [] });

/** Returns all collections, page by page. */
export async function listCollections(): Promise<Collection[]> {
  const all: Collection[] = [];
  let after = "";
  do {
    const page = await collections.list({ after });
    all.push(...page.collections);
    after = page.next;
  } while (after !== "");
  return all;
}

export async function refresh(): Promise<Catalog> {
  const [list, models] = await Promise.all([listCollections(), embedders.list({})]);
  catalog.set({ collections: list, embedders: models.embedders });
  return catalog.value;
}

/** Returns the input type of a collection's embedder; null for plain vectors. */
export function modality(collection: Collection | undefined): "text" | "image" | null {
  const name = collection?.embedder?.name;
  const found = catalog.value.embedders.find((one) => one.name === name);
  return found ? (found.modality as "text" | "image") : null;
}
