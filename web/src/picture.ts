// Pictures of points: from an image in the payload, or from a vector that is one.
import { type Point } from "./gen/nearness/v1/common_pb";
import { points } from "./api";

/** A picture; `mask` when it is a drawing in one colour, whose alpha is the ink. */
export interface Picture {
  image: HTMLCanvasElement;
  mask: boolean;
}

const STARTS: [string, string][] = [
  ["iVBOR", "image/png"],
  ["/9j/", "image/jpeg"],
  ["UklGR", "image/webp"],
  ["Qk", "image/bmp"],
];
/** Fields of a payload that may hold a picture. */
const FIELDS = ["image", "thumbnail", "picture", "pixels"];
/** Largest side of a picture that is kept. */
const SIDE = 64;

function canvas(width: number, height: number): [HTMLCanvasElement, CanvasRenderingContext2D] {
  const element = document.createElement("canvas");
  element.width = width;
  element.height = height;
  return [element, element.getContext("2d", { willReadFrequently: true }) as CanvasRenderingContext2D];
}

/** Numbers, 0 background to `most` ink, row by row, as a mask. */
export function ofNumbers(values: ArrayLike<number>, side: number, most: number): Picture {
  const [element, context] = canvas(side, side);
  const data = context.createImageData(side, side);
  for (let at = 0; at < side * side; at += 1) {
    data.data[at * 4 + 3] = Math.max(0, Math.min(255, Math.round(((values[at] ?? 0) / most) * 255)));
  }
  context.putImageData(data, 0, 0);
  return { image: element, mask: true };
}

async function ofFile(base64: string): Promise<Picture | null> {
  const text = base64.replace(/^data:[^,]*,/, "");
  const kind = STARTS.find(([start]) => text.startsWith(start));
  if (!kind) return null;
  try {
    const binary = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const bitmap = await createImageBitmap(new Blob([binary], { type: kind[1] }));
    const scale = Math.min(1, SIDE / Math.max(bitmap.width, bitmap.height));
    const [element, context] = canvas(Math.max(1, bitmap.width * scale), Math.max(1, bitmap.height * scale));
    context.drawImage(bitmap, 0, 0, element.width, element.height);
    return masked(element, context);
  } catch {
    return null;
  }
}

/** A small grey picture becomes a mask: dark ground is nothing, light ink is ink, or the other way round. */
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
  let most = 0;
  for (const one of numbers) {
    if (one < 0 || one > 255) return null;
    most = Math.max(most, one);
  }
  return most > 0 ? ofNumbers(numbers, side, most) : null;
}

/** The pictures of a collection, asked for in groups, kept while they are of use. */
export class Pictures {
  private readonly kept = new Map<string, Picture | null>();
  private readonly wanted = new Set<string>();
  private busy = false;
  /** Called when there are new ones. */
  onload: () => void = () => {};

  constructor(
    readonly of: string,
    private readonly vectors: boolean,
  ) {}

  /** The picture of a point, if it is there; otherwise it is asked for. */
  get(id: string): Picture | null | undefined {
    const picture = this.kept.get(id);
    if (picture === undefined) this.ask(id);
    return picture;
  }

  /** The same, when it is there. */
  async wait(id: string): Promise<Picture | null> {
    for (let tries = 0; tries < 100; tries += 1) {
      const picture = this.get(id);
      if (picture !== undefined) return picture;
      await new Promise((done) => setTimeout(done, 30));
    }
    return null;
  }

  private ask(id: string): void {
    if (this.wanted.size > 500) return;
    this.wanted.add(id);
    if (this.busy) return;
    this.busy = true;
    setTimeout(() => void this.load(), 20);
  }

  private async load(): Promise<void> {
    const ids = [...this.wanted].slice(0, 200);
    ids.forEach((id) => this.wanted.delete(id));
    try {
      const fields = { payload: true, vector: this.vectors };
      const reply = await points.get({ collection: this.of, ids, fields });
      for (const point of reply.points) this.kept.set(point.id, await ofPoint(point));
      for (const id of reply.missing) this.kept.set(id, null);
      for (const id of reply.remaining) this.wanted.add(id);
    } catch {
      ids.forEach((id) => this.kept.set(id, null));
    }
    for (const id of this.kept.keys()) {
      if (this.kept.size <= 4000) break;
      this.kept.delete(id);
    }
    this.busy = false;
    this.onload();
    const [next] = this.wanted;
    if (next !== undefined) this.ask(next);
  }
}

/** A copy of a mask in a colour. */
export function tinted(picture: Picture, colour: string): HTMLCanvasElement {
  if (!picture.mask) return picture.image;
  const [element, context] = canvas(picture.image.width, picture.image.height);
  context.drawImage(picture.image, 0, 0);
  context.globalCompositeOperation = "source-in";
  context.fillStyle = colour;
  context.fillRect(0, 0, element.width, element.height);
  return element;
}
