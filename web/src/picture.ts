// Pictures of points: an image in the payload, or the vector as pixels.
import { type Point } from "./gen/nearness/v1/common_pb";
import { points } from "./api";

/** A picture; `mask` if it is a drawing in one colour, with the ink in the alpha channel. */
export interface Picture {
  image: HTMLCanvasElement;
  mask: boolean;
}

const SIGNATURES: [string, string][] = [
  ["iVBOR", "image/png"],
  ["/9j/", "image/jpeg"],
  ["UklGR", "image/webp"],
  ["Qk", "image/bmp"],
];
/** Payload fields that may hold a picture. */
const FIELDS = ["image", "thumbnail", "picture", "pixels"];
/** Maximum side of a cached picture, pixels. */
const MAX_SIDE = 64;

function canvas(width: number, height: number): [HTMLCanvasElement, CanvasRenderingContext2D] {
  const element = document.createElement("canvas");
  element.width = width;
  element.height = height;
  return [element, element.getContext("2d", { willReadFrequently: true }) as CanvasRenderingContext2D];
}

/** Returns a mask from numbers, row by row: 0 is background, `max` is full ink. */
export function ofNumbers(values: ArrayLike<number>, side: number, max: number): Picture {
  const [element, context] = canvas(side, side);
  const data = context.createImageData(side, side);
  for (let at = 0; at < side * side; at += 1) {
    data.data[at * 4 + 3] = Math.max(0, Math.min(255, Math.round(((values[at] ?? 0) / max) * 255)));
  }
  context.putImageData(data, 0, 0);
  return { image: element, mask: true };
}

async function ofFile(base64: string): Promise<Picture | null> {
  const text = base64.replace(/^data:[^,]*,/, "");
  const kind = SIGNATURES.find(([signature]) => text.startsWith(signature));
  if (!kind) return null;
  try {
    const binary = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const bitmap = await createImageBitmap(new Blob([binary], { type: kind[1] }));
    const scale = Math.min(1, MAX_SIDE / Math.max(bitmap.width, bitmap.height));
    const [element, context] = canvas(Math.max(1, bitmap.width * scale), Math.max(1, bitmap.height * scale));
    context.drawImage(bitmap, 0, 0, element.width, element.height);
    return masked(element, context);
  } catch {
    return null;
  }
}

/** Turns a grey picture into a mask (ink is the colour that the first pixel is not); returns other pictures as they are. */
function masked(element: HTMLCanvasElement, context: CanvasRenderingContext2D): Picture {
  const data = context.getImageData(0, 0, element.width, element.height);
  const pixels = data.data;
  for (let at = 0; at < pixels.length; at += 4) {
    const [red, green, blue, alpha] = [pixels[at]!, pixels[at + 1]!, pixels[at + 2]!, pixels[at + 3]!];
    if (alpha < 255 || Math.abs(red - green) > 8 || Math.abs(green - blue) > 8) return { image: element, mask: false };
  }
  const light = pixels[0]! > 127;
  for (let at = 0; at < pixels.length; at += 4) {
    pixels[at + 3] = light ? 255 - pixels[at]! : pixels[at]!;
    pixels[at] = pixels[at + 1] = pixels[at + 2] = 0;
  }
  context.putImageData(data, 0, 0);
  return { image: element, mask: true };
}

async function ofPoint(point: Point): Promise<Picture | null> {
  for (const field of FIELDS) {
    const value = point.payload?.[field];
    if (typeof value === "string") {
      const picture = await ofFile(value);
      if (picture) return picture;
    }
    if (Array.isArray(value)) {
      const side = Math.sqrt(value.length);
      if (side >= 8 && Number.isInteger(side) && value.every((one) => typeof one === "number")) {
        return ofNumbers(value as number[], side, Math.max(1, ...(value as number[])));
      }
    }
  }
  const numbers = point.vector?.form.case === "values" ? point.vector.form.value.values : [];
  const side = Math.sqrt(numbers.length);
  if (side < 8 || !Number.isInteger(side)) return null;
  let max = 0;
  for (const one of numbers) {
    if (one < 0 || one > 255) return null;
    max = Math.max(max, one);
  }
  return max > 0 ? ofNumbers(numbers, side, max) : null;
}

/** The pictures of a collection, requested in batches and cached. */
export class Pictures {
  private readonly cache = new Map<string, Picture | null>();
  private readonly pending = new Set<string>();
  private busy = false;
  /** Called after pictures have arrived. */
  onload: () => void = () => {};

  constructor(
    readonly of: string,
    private readonly vectors: boolean,
  ) {}

  /** Returns the picture of a point: null if it has none, undefined (and requested) if it is not cached. */
  get(id: string): Picture | null | undefined {
    const picture = this.cache.get(id);
    if (picture === undefined) this.request(id);
    return picture;
  }

  /** Waits for the picture of a point. */
  async wait(id: string): Promise<Picture | null> {
    for (let attempt = 0; attempt < 100; attempt += 1) {
      const picture = this.get(id);
      if (picture !== undefined) return picture;
      await new Promise((done) => setTimeout(done, 30));
    }
    return null;
  }

  private request(id: string): void {
    if (this.pending.size > 500) return;
    this.pending.add(id);
    if (this.busy) return;
    this.busy = true;
    setTimeout(() => void this.load(), 20);
  }

  private async load(): Promise<void> {
    const ids = [...this.pending].slice(0, 200);
    ids.forEach((id) => this.pending.delete(id));
    try {
      const fields = { payload: true, vector: this.vectors };
      const response = await points.get({ collection: this.of, ids, fields });
      for (const point of response.points) this.cache.set(point.id, await ofPoint(point));
      for (const id of response.missing) this.cache.set(id, null);
      for (const id of response.remaining) this.pending.add(id);
    } catch {
      ids.forEach((id) => this.cache.set(id, null));
    }
    for (const id of this.cache.keys()) {
      if (this.cache.size <= 4000) break;
      this.cache.delete(id);
    }
    this.busy = false;
    this.onload();
    const [next] = this.pending;
    if (next !== undefined) this.request(next);
  }
}

/** Returns a copy of a mask in a colour. */
export function tinted(picture: Picture, colour: string): HTMLCanvasElement {
  if (!picture.mask) return picture.image;
  const [element, context] = canvas(picture.image.width, picture.image.height);
  context.drawImage(picture.image, 0, 0);
  context.globalCompositeOperation = "source-in";
  context.fillStyle = colour;
  context.fillRect(0, 0, element.width, element.height);
  return element;
}
