// A layout as it streams in, and as it changes while points are written elsewhere.
import { type MapPoints, MapMethod, MapProgress_Phase, type MapEnd } from "../gen/nearness/v1/map_pb";
import { type Value as Field } from "@bufbuild/protobuf/wkt";
import { type Value } from "../palette";
import { map } from "../api";

/** What is told while a layout is made. */
export interface Progress {
  text: string;
  /** 0 to 1; null when it cannot be told. */
  done: number | null;
}

const PHASES: Record<MapProgress_Phase, string> = {
  [MapProgress_Phase.UNSPECIFIED]: "working",
  [MapProgress_Phase.INDEXING]: "building the index",
  [MapProgress_Phase.NEIGHBORS]: "asking each point for its nearest",
  [MapProgress_Phase.LAYOUT]: "laying out",
  [MapProgress_Phase.MEASURING]: "measuring",
  [MapProgress_Phase.WAITING]: "waiting for another layout",
};

function plain(value: Field): Value {
  const kind = value.kind;
  return kind.case === "numberValue" || kind.case === "stringValue" || kind.case === "boolValue" ? kind.value : null;
}

function floats(bytes: Uint8Array): Float32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const values = new Float32Array(bytes.byteLength >> 2);
  for (let at = 0; at < values.length; at += 1) values[at] = view.getFloat32(at * 4, true);
  return values;
}

/** Far outside of every view. */
const GONE = 1e6;

/** Points and their places: three coordinates each, the third 0 in two dimensions; `GONE` for a point that is no more. */
export class Layout {
  ids: string[] = [];
  readonly places = { xyz: new Float32Array(0) };
  /** Values of each field, by point. */
  values: Value[][];
  total = 0n;
  readonly index = new Map<string, number>();
  /** Points that came while we watched, with the time. */
  readonly fresh = new Map<string, number>();
  end: MapEnd | null = null;

  constructor(
    readonly collection: string,
    readonly dimensions: 2 | 3,
    readonly method: MapMethod,
    readonly fields: string[],
    /** Payload field that labels the points; the id where there is none. */
    readonly label: string | null,
  ) {
    this.values = fields.map(() => []);
  }

  get size(): number {
    return this.ids.length;
  }

  /** The label of the point at a position. */
  labelAt(at: number): string {
    const value = this.label === null ? null : this.values[this.fields.indexOf(this.label)]?.[at];
    return value === null || value === undefined || value === "" ? (this.ids[at] ?? "") : String(value);
  }

  /** The label of a point; its id where it is not on the map. */
  labelOf(id: string): string {
    const at = this.index.get(id);
    return at === undefined ? id : this.labelAt(at);
  }

  private room(count: number): void {
    if (count * 3 <= this.places.xyz.length) return;
    const larger = new Float32Array(Math.max(count, Math.ceil(this.places.xyz.length / 2)) * 3).fill(GONE);
    larger.set(this.places.xyz);
    this.places.xyz = larger;
  }

  private take(points: MapPoints, offset: number): void {
    points.ids.forEach((id, at) => {
      this.ids[offset + at] = id;
      this.index.set(id, offset + at);
    });
    this.fields.forEach((_, field) => {
      const column = this.values[field]!;
      points.ids.forEach((_, at) => {
        const value = points.fields[field]?.values[at];
        column[offset + at] = value ? plain(value) : null;
      });
    });
  }

  private set(at: number, place: ArrayLike<number>, from: number): void {
    const xyz = this.places.xyz;
    xyz[at * 3] = place[from]!;
    xyz[at * 3 + 1] = place[from + 1]!;
    xyz[at * 3 + 2] = this.dimensions === 3 ? place[from + 2]! : 0;
  }

  /** The place of a point, if it has one. */
  place(id: string): [number, number, number] | null {
    const at = this.index.get(id);
    if (at === undefined) return null;
    const [x, y, z] = this.places.xyz.subarray(at * 3, at * 3 + 3);
    return x === GONE ? null : [x!, y!, z!];
  }

  /** Streams the layout; `changed` is called when points or places are there, `progress` while it is made. */
  async project(
    fresh: boolean,
    signal: AbortSignal,
    changed: (what: "points" | "places") => void,
    progress: (progress: Progress) => void,
  ): Promise<void> {
    const { collection, dimensions, method } = this;
    const request = { collection, dimensions, method, payloadFields: this.fields, fresh };
    for await (const { part } of map.computeLayout(request, { signal })) {
      if (part.case === "start") {
        this.total = part.value.total;
        this.room(part.value.points);
      } else if (part.case === "points") {
        this.room(part.value.offset + part.value.ids.length);
        this.take(part.value, part.value.offset);
        changed("points");
      } else if (part.case === "frame") {
        const places = floats(part.value.coordinates);
        const many = places.length / dimensions;
        this.room(part.value.offset + many);
        for (let at = 0; at < many; at += 1) this.set(part.value.offset + at, places, at * dimensions);
        changed("places");
      } else if (part.case === "progress") {
        const { phase, done, etaS } = part.value;
        const left = etaS > 0 ? `, ${Math.ceil(etaS)} s left` : "";
        progress({ text: `${PHASES[phase]}${left}`, done });
      } else if (part.case === "end") {
        this.end = part.value;
      }
    }
  }

  /** Follows what is written; `ready` once nothing can be missed. Ends with the signal. */
  async watch(signal: AbortSignal, ready: () => void, changed: (missed: boolean) => void): Promise<void> {
    const { collection, dimensions, method } = this;
    let told = false;
    for await (const news of map.watch({ collection, dimensions, method, payloadFields: this.fields }, { signal })) {
      if (!told) ready();
      told = true;
      const ids = news.points?.ids ?? [];
      const places = floats(news.coordinates);
      for (const id of news.gone) {
        const at = this.index.get(id);
        if (at === undefined) continue;
        this.places.xyz.fill(GONE, at * 3, at * 3 + 3);
        this.index.delete(id);
      }
      if (news.points && places.length >= ids.length * dimensions) {
        ids.forEach((id, at) => {
          const known = this.index.get(id);
          const place = known ?? this.ids.length;
          this.room(place + 1);
          const row = { ids: [id], fields: news.points!.fields.map((field) => ({ values: field.values.slice(at, at + 1) })) };
          this.take(row as MapPoints, place);
          this.set(place, places, at * dimensions);
          this.fresh.set(id, performance.now());
        });
      }
      if (ids.length > 0 || news.gone.length > 0 || news.missed) changed(news.missed);
    }
  }
}
