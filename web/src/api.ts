// The server, by gRPC-web with its own protos. The key, where one is asked for, is kept for this tab only.
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

/** Whether a key has to be typed; the text says why. */
export const keyWanted = new Store<string | null>(null);

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
      keyWanted.set(key ? "The server does not know this key." : "This server asks who you are.");
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

/** All hits of a search: also those after the page that the response limit allows. */
export async function searchAll(request: MessageInitShape<typeof SearchRequestSchema>): Promise<SearchResponse> {
  const page = create(SearchRequestSchema, request);
  const all = await search.search(page);
  while (all.nextOffset > page.offset) {
    page.offset = all.nextOffset;
    const reply = await search.search(page);
    all.hits.push(...reply.hits);
    all.nextOffset = reply.nextOffset;
  }
  return all;
}

/** What went wrong, in the server's words. */
export function explain(error: unknown): string {
  const known = ConnectError.from(error);
  if (known.code === Code.Unknown && known.cause instanceof TypeError) return "The server cannot be reached.";
  return known.rawMessage || known.message;
}

export function isCancelled(error: unknown): boolean {
  return ConnectError.from(error).code === Code.Canceled || (error as Error)?.name === "AbortError";
}

/** What the server has: all collections and embedders that this caller may see. */
export interface World {
  collections: Collection[];
  embedders: Embedder[];
}

export const world = new Store<World>({ collections: [], embedders: [] });

export async function refresh(): Promise<World> {
  const [list, nets] = await Promise.all([collections.list({}), embedders.list({})]);
  world.set({ collections: list.collections, embedders: nets.embedders });
  return world.value;
}

/** What a collection's embedder reads; null for plain vectors. */
export function modality(collection: Collection | undefined): "text" | "image" | null {
  const name = collection?.embedder?.name;
  const found = world.value.embedders.find((one) => one.name === name);
  return found ? (found.modality as "text" | "image") : null;
}
