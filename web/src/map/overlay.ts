// What lies over the points, on a 2-D canvas: labels that do not overlap, pictures, lines to neighbours, the moving dot, the lasso.
import { shorten } from "../describe";
import { type Layout } from "./layout";
import { type Pictures, tinted } from "../picture";
import { type Found } from "../state";

/** Colours of the theme, read from the style sheet. */
export interface Theme {
  ink: string;
  muted: string;
  ground: string;
  accent: string;
  dot: string;
}

/** What is drawn beside the points themselves. */
export interface Marks {
  /** Hits of the last answer. */
  found: Found[];
  /** The chosen point and its neighbours. */
  chosen: string | null;
  neighbours: Found[];
  /** The place of the query, and where it has been. */
  dot: [number, number, number] | null;
  trail: [number, number, number][];
  /** Corners of the lasso, pixels. */
  lasso: [number, number][];
  selected: Set<string>;
  hover: number;
}

/** Labels at most, hits apart; and how many are tried for them. */
const LABELS = 90;
const TRIES = 1_500;
/** Points on the screen up to which pictures are shown. */
const PICTURES = 260;
/** How long a new point is marked, ms. */
const FRESH = 6000;
const CELL = 24;
/** Height of a label, pixels, and how many heights the name of a hit may be moved up or down to find room. */
const LINE = 16;
const LINES = 7;

/** Places that are taken: in cells, which is quick, and by the names of hits exactly. */
class Taken {
  private readonly cells = new Set<number>();
  private readonly exact: [number, number, number, number][] = [];

  /** Takes exactly this rectangle, unless another one of its kind has a part of it. */
  claim(x: number, y: number, width: number, height: number): boolean {
    const meets = ([left, top, wide, high]: [number, number, number, number]): boolean =>
      x < left + wide && left < x + width && y < top + high && top < y + height;
    if (this.exact.some(meets)) return false;
    this.exact.push([x, y, width, height]);
    return this.take(x, y, width, height, true);
  }

  /** Whether something is at a place: cheaper than to measure what does not fit anyway. */
  has(x: number, y: number): boolean {
    return this.cells.has(Math.floor(y / CELL) * 4096 + Math.floor(x / CELL));
  }

  /** Takes a rectangle unless a part of it is taken. */
  take(x: number, y: number, width: number, height: number, force = false): boolean {
    const cells: number[] = [];
    for (let row = Math.floor(y / CELL); row <= Math.floor((y + height) / CELL); row += 1) {
      for (let column = Math.floor(x / CELL); column <= Math.floor((x + width) / CELL); column += 1) {
        const cell = row * 4096 + column;
        if (!force && this.cells.has(cell)) return false;
        cells.push(cell);
      }
    }
    cells.forEach((cell) => this.cells.add(cell));
    return true;
  }
}

export class Overlay {
  readonly canvas = document.createElement("canvas");
  private readonly context = this.canvas.getContext("2d") as CanvasRenderingContext2D;
  private readonly widths = new Map<string, number>();
  private readonly tints = new Map<string, HTMLCanvasElement>();
  private width = 1;
  private height = 1;

  resize(width: number, height: number): void {
    const ratio = Math.min(2, window.devicePixelRatio);
    [this.width, this.height] = [width, height];
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    this.context.setTransform(ratio, 0, 0, ratio, 0, 0);
  }

  /** Forgets what was made in other colours. */
  recolour(): void {
    this.tints.clear();
  }

  /** Draws; true when something moves on by itself. */
  draw(
    layout: Layout,
    pixels: Float32Array,
    order: Uint32Array,
    colourOf: (at: number) => string,
    pictures: Pictures | null,
    marks: Marks,
    placeOf: (place: [number, number, number]) => [number, number] | null,
    theme: Theme,
    labels: boolean,
  ): boolean {
    const { context, width, height } = this;
    context.clearRect(0, 0, width, height);
    context.font = "500 12px system-ui, sans-serif";
    context.textBaseline = "middle";
    context.lineJoin = "round";
    const taken = new Taken();
    const seen = (at: number): boolean => {
      const [x, y] = [pixels[at * 2]!, pixels[at * 2 + 1]!];
      return x > -20 && y > -20 && x < width + 20 && y < height + 20;
    };

    let visible = 0;
    for (let at = 0; at < layout.size && visible <= PICTURES; at += 1) if (seen(at)) visible += 1;
    const near = pictures !== null && visible > 0 && visible <= PICTURES;
    if (near) this.sprites(layout, pixels, visible, seen, colourOf, pictures, taken);

    this.lines(layout, pixels, marks, theme);
    for (const id of marks.selected) {
      const at = layout.index.get(id);
      if (at !== undefined && seen(at)) this.ring(pixels[at * 2]!, pixels[at * 2 + 1]!, 5, theme.accent, 1.5);
    }
    const special = new Set<string>();
    const name = (id: string, strong: boolean): void => {
      const at = layout.index.get(id);
      if (at === undefined || special.has(id) || !seen(at)) return;
      special.add(id);
      this.ring(pixels[at * 2]!, pixels[at * 2 + 1]!, strong ? 7 : 5, strong ? theme.dot : theme.accent, strong ? 2.5 : 2);
      this.name(layout.labelAt(at), pixels[at * 2]!, pixels[at * 2 + 1]!, taken, theme);
    };
    const dot = marks.dot && placeOf(marks.dot);
    if (dot) taken.claim(dot[0] - 9, dot[1] - 9, 18, 18);
    if (marks.chosen) name(marks.chosen, true);
    if (marks.hover >= 0 && marks.hover < layout.size) name(layout.ids[marks.hover]!, false);
    marks.neighbours.forEach((one) => name(one.id, false));
    marks.found.forEach((one) => name(one.id, false));

    const moving = this.pulses(layout, pixels, seen, theme, taken);
    if (labels && !near) {
      let [many, tries] = [0, 0];
      for (let place = 0; place < order.length && many < LABELS && tries < TRIES; place += 1) {
        const at = order[place]!;
        const id = layout.ids[at];
        // The order may be of the layout before, while the ids of this one are on their way.
        if (id === undefined || !seen(at) || special.has(id) || taken.has(pixels[at * 2]! + 6, pixels[at * 2 + 1]!)) continue;
        tries += 1;
        if (this.label(layout.labelAt(at), pixels[at * 2]!, pixels[at * 2 + 1]!, taken, theme)) many += 1;
      }
    }
    this.dot(marks, placeOf, theme);
    this.lasso(marks, theme);
    return moving;
  }

  private ring(x: number, y: number, radius: number, colour: string, thick: number): void {
    const { context } = this;
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.strokeStyle = colour;
    context.lineWidth = thick;
    context.stroke();
  }

  /** A label as it is shown, and its width. */
  private measured(label: string): [string, number] {
    const text = shorten(label, 28);
    let wide = this.widths.get(text);
    if (wide === undefined) {
      wide = this.context.measureText(text).width;
      if (this.widths.size > 20_000) this.widths.clear();
      this.widths.set(text, wide);
    }
    return [text, wide];
  }

  private write(text: string, left: number, y: number, colour: string, theme: Theme): void {
    const { context } = this;
    context.lineWidth = 3;
    context.strokeStyle = theme.ground;
    context.strokeText(text, left, y);
    context.fillStyle = colour;
    context.fillText(text, left, y);
  }

  private label(label: string, x: number, y: number, taken: Taken, theme: Theme): boolean {
    const [text, wide] = this.measured(label);
    const left = x + 6 + wide > this.width - 4 ? x - 6 - wide : x + 6;
    if (!taken.take(left, y - LINE / 2, wide, LINE)) return false;
    this.write(text, left, y, theme.muted, theme);
    return true;
  }

  /** Names a point that matters, beside it or as near as there is room; nothing where all is full. */
  private name(label: string, x: number, y: number, taken: Taken, theme: Theme): void {
    const { context } = this;
    const [text, wide] = this.measured(label);
    for (let step = 0; step <= 2 * LINES; step += 1) {
      // 0, 1 down, 1 up, 2 down, ...; each on the right, then on the left.
      const shift = (step % 2 === 1 ? 1 : -1) * Math.ceil(step / 2) * LINE;
      const gap = step === 0 ? 10 : 20;
      for (const left of [x + gap, x - gap - wide]) {
        const top = y + shift - LINE / 2;
        const inside = left >= 2 && left + wide <= this.width - 2 && top >= 2 && top + LINE <= this.height - 2;
        if (!inside || !taken.claim(left, top, wide, LINE)) continue;
        if (step > 0) {
          const end = left > x ? left - 2 : left + wide + 2;
          context.beginPath();
          context.moveTo(x, y);
          context.lineTo(end, y + shift);
          context.strokeStyle = theme.muted;
          context.lineWidth = 1;
          context.stroke();
        }
        this.write(text, left, y + shift, theme.ink, theme);
        return;
      }
    }
  }

  private sprites(
    layout: Layout,
    pixels: Float32Array,
    visible: number,
    seen: (at: number) => boolean,
    colourOf: (at: number) => string,
    pictures: Pictures,
    taken: Taken,
  ): void {
    const side = Math.round(Math.max(22, Math.min(56, Math.sqrt((this.width * this.height) / visible) * 0.55)));
    for (let at = 0; at < layout.size; at += 1) {
      if (!seen(at)) continue;
      const id = layout.ids[at]!;
      const picture = pictures.get(id);
      if (!picture) continue;
      let image = this.tints.get(id);
      if (!image) {
        image = tinted(picture, colourOf(at));
        if (this.tints.size > 4000) this.tints.clear();
        this.tints.set(id, image);
      }
      const [x, y] = [pixels[at * 2]! - side / 2, pixels[at * 2 + 1]! - side / 2];
      this.context.drawImage(image, x, y, side, side);
      taken.take(x + side / 4, y + side / 4, side / 2, side / 2, true);
    }
  }

  private lines(layout: Layout, pixels: Float32Array, marks: Marks, theme: Theme): void {
    const from = marks.chosen === null ? undefined : layout.index.get(marks.chosen);
    if (from === undefined) return;
    const { context } = this;
    const [x, y] = [pixels[from * 2]!, pixels[from * 2 + 1]!];
    context.lineWidth = 1.25;
    for (const { id, distance } of marks.neighbours) {
      const to = layout.index.get(id);
      if (to === undefined) continue;
      const [toX, toY] = [pixels[to * 2]!, pixels[to * 2 + 1]!];
      context.strokeStyle = theme.accent;
      context.beginPath();
      context.moveTo(x, y);
      context.lineTo(toX, toY);
      context.stroke();
      if (Math.hypot(toX - x, toY - y) < 60) continue;
      context.strokeStyle = theme.ground;
      context.fillStyle = theme.ink;
      context.lineWidth = 3;
      const text = distance.toFixed(3);
      const [middleX, middleY] = [(x + toX) / 2 - 14, (y + toY) / 2];
      context.strokeText(text, middleX, middleY);
      context.fillText(text, middleX, middleY);
      context.lineWidth = 1.25;
    }
  }

  /** Rings around points that have just come. */
  private pulses(layout: Layout, pixels: Float32Array, seen: (at: number) => boolean, theme: Theme, taken: Taken): boolean {
    const now = performance.now();
    for (const [id, came] of layout.fresh) {
      const age = (now - came) / FRESH;
      if (age >= 1) {
        layout.fresh.delete(id);
        continue;
      }
      const at = layout.index.get(id);
      if (at === undefined || !seen(at)) continue;
      this.ring(pixels[at * 2]!, pixels[at * 2 + 1]!, 5 + ((age * 4) % 1) * 16, theme.dot, 2);
      if (layout.fresh.size < 30) this.name(layout.labelAt(at), pixels[at * 2]!, pixels[at * 2 + 1]!, taken, theme);
    }
    return layout.fresh.size > 0;
  }

  private dot(marks: Marks, placeOf: (place: [number, number, number]) => [number, number] | null, theme: Theme): void {
    const { context } = this;
    const trail = marks.trail.map(placeOf).filter((place) => place !== null);
    if (trail.length > 1) {
      context.beginPath();
      trail.forEach(([x, y], at) => (at === 0 ? context.moveTo(x, y) : context.lineTo(x, y)));
      context.strokeStyle = theme.dot;
      context.globalAlpha = 0.5;
      context.lineWidth = 2;
      context.stroke();
      context.globalAlpha = 1;
    }
    const place = marks.dot && placeOf(marks.dot);
    if (!place) return;
    context.beginPath();
    context.arc(place[0], place[1], 8, 0, 2 * Math.PI);
    context.fillStyle = theme.dot;
    context.fill();
    context.lineWidth = 3;
    context.strokeStyle = theme.ground;
    context.stroke();
  }

  private lasso(marks: Marks, theme: Theme): void {
    if (marks.lasso.length < 2) return;
    const { context } = this;
    context.beginPath();
    marks.lasso.forEach(([x, y], at) => (at === 0 ? context.moveTo(x, y) : context.lineTo(x, y)));
    context.closePath();
    context.setLineDash([5, 4]);
    context.lineWidth = 1.5;
    context.strokeStyle = theme.accent;
    context.stroke();
    context.globalAlpha = 0.12;
    context.fillStyle = theme.accent;
    context.fill();
    context.globalAlpha = 1;
    context.setLineDash([]);
  }
}
