// A layout: streamed from the server, and updated while points are written.
import { type MapPoints, MapMethod, MapProgress_Phase, type MapEnd } from "../gen/nearness/v1/map_pb";
import { type Value as Field } from "@bufbuild/protobuf/wkt";
import { type Value } from "../palette";
import { map } from "../api";

/** Progress of a layout computation. */
export interface Progress {
  text: string;
  /** 0 to 1; null if unknown. */
  done: number | null;
}

const PHASES: Record<MapProgress_Phase, string> = {
  [MapProgress_Phase.UNSPECIFIED]: "working",
  [MapProgress_Phase.INDEXING]: "building the index",
  [MapProgress_Phase.NEIGHBORS]: "finding nearest neighbours",
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

/** Coordinate of removed points, far outside of every view. */
const REMOVED = 1e6;

/** Points and their positions: three coordinates each, the third 0 in two dimensions; `REMOVED` for removed points. */
export class Layout {
  ids: string[] = [];
  readonly positions = { xyz: new Float32Array(0) };
  /** Values of each field, by point. */
  values: Value[][];
  total = 0n;
  readonly index = new Map<string, number>();
  /** Times at which points were written since the layout is watched. */
  readonly fresh = new Map<string, number>();
  end: MapEnd | null = null;

  constructor(
    readonly collection: string,
    readonly dimensions: 2 | 3,
    readonly method: MapMethod,
    readonly fields: string[],
    /** Payload field that labels the points; null for the id. */
    readonly label: string | null,
  ) {
    this.values = fields.map(() => []);
  }

  get size(): number {
    return this.ids.length;
  }

  /** Returns the label of the point with an index. */
  labelAt(at: number): string {
    const value = this.label === null ? null : this.values[this.fields.indexOf(this.label)]?.[at];
    return value === null || value === undefined || value === "" ? (this.ids[at] ?? "") : String(value);
  }

  /** Returns the label of a point, or its id if it is not on the map. */
  labelOf(id: string): string {
    const at = this.index.get(id);
    return at === undefined ? id : this.labelAt(at);
  }

  private reserve(count: number): void {
    if (count * 3 <= this.positions.xyz.length) return;
    const larger = new Float32Array(Math.max(count, Math.ceil(this.positions.xyz.length / 2)) * 3).fill(REMOVED);
    larger.set(this.positions.xyz);
    this.positions.xyz = larger;
  }

  private store(points: MapPoints, offset: number): void {
    points.ids.forEach((id, at) => {
      this.ids[offset + at] = id;
      this.index.set(id, offset + at);
    });
    this.fields.forEach((_, field) => {
      const column = this.values[field]!;
      points.ids.forEach((_, at) => {
        const { values, integers } = points.fields[field] ?? { values: [], integers: {} };
        // The digits of an integer beyond 2^53.
        column[offset + at] = integers[at] ?? (values[at] ? plain(values[at]) : null);
      });
    });
  }

  private setPosition(at: number, source: ArrayLike<number>, from: number): void {
    const xyz = this.positions.xyz;
    xyz[at * 3] = source[from]!;
    xyz[at * 3 + 1] = source[from + 1]!;
    xyz[at * 3 + 2] = this.dimensions === 3 ? source[from + 2]! : 0;
  }

  /** Returns the position of a point, or null. */
  position(id: string): [number, number, number] | null {
    const at = this.index.get(id);
    if (at === undefined) return null;
    const [x, y, z] = this.positions.xyz.subarray(at * 3, at * 3 + 3);
    return x === REMOVED ? null : [x!, y!, z!];
  }

  /** Streams the layout. Calls `changed` after points or positions have arrived, and `progress` meanwhile. */
  async project(
    fresh: boolean,
    signal: AbortSignal,
    changed: (what: "points" | "positions") => void,
    progress: (progress: Progress) => void,
  ): Promise<void> {
    const { collection, dimensions, method } = this;
    const request = { collection, dimensions, method, payloadFields: this.fields, fresh };
    for await (const { part } of map.computeLayout(request, { signal })) {
      if (part.case === "start") {
        this.total = part.value.total;
        this.reserve(part.value.points);
      } else if (part.case === "points") {
        this.reserve(part.value.offset + part.value.ids.length);
        this.store(part.value, part.value.offset);
        changed("points");
      } else if (part.case === "frame") {
        const positions = floats(part.value.coordinates);
        const count = positions.length / dimensions;
        this.reserve(part.value.offset + count);
        for (let at = 0; at < count; at += 1) this.setPosition(part.value.offset + at, positions, at * dimensions);
        changed("positions");
      } else if (part.case === "progress") {
        const { phase, done, etaS } = part.value;
        const left = etaS > 0 ? `, ${Math.ceil(etaS)} s left` : "";
        progress({ text: `${PHASES[phase]}${left}`, done });
      } else if (part.case === "end") {
        this.end = part.value;
      }
    }
  }

  /** Applies changes of the collection until `signal` is aborted. Calls `ready` once no change can be missed. */
  async watch(signal: AbortSignal, ready: () => void, changed: (missed: boolean) => void): Promise<void> {
    const { collection, dimensions, method } = this;
    let started = false;
    for await (const changes of map.watch({ collection, dimensions, method, payloadFields: this.fields }, { signal })) {
      if (!started) ready();
      started = true;
      const ids = changes.points?.ids ?? [];
      const positions = floats(changes.coordinates);
      for (const id of changes.gone) {
        const at = this.index.get(id);
        if (at === undefined) continue;
        this.positions.xyz.fill(REMOVED, at * 3, at * 3 + 3);
        this.index.delete(id);
      }
      if (changes.points && positions.length >= ids.length * dimensions) {
        ids.forEach((id, at) => {
          const existing = this.index.get(id);
          const index = existing ?? this.ids.length;
          this.reserve(index + 1);
          const row = { ids: [id], fields: changes.points!.fields.map((field) => ({ values: field.values.slice(at, at + 1), integers: at in field.integers ? { 0: field.integers[at]! } : {} })) };
          this.store(row as MapPoints, index);
          this.setPosition(index, positions, at * dimensions);
          this.fresh.set(id, performance.now());
        });
      }
      if (ids.length > 0 || changes.gone.length > 0 || changes.missed) changed(changes.missed);
    }
  }
}
