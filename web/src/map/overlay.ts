// The 2-D canvas over the points: labels without overlaps, pictures, lines to neighbours, the query dot, the lasso.
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

/** Marks drawn over the points. */
export interface Marks {
  /** Hits of the last search. */
  found: Found[];
  /** The chosen point and its neighbours. */
  chosen: string | null;
  neighbours: Found[];
  /** Position of the query, and its previous positions. */
  dot: [number, number, number] | null;
  trail: [number, number, number][];
  /** Corners of the lasso, pixels. */
  lasso: [number, number][];
  selected: Set<string>;
  hover: number;
}

/** Maximum number of labels besides those of hits, and of points tried for them. */
const MAX_LABELS = 90;
const MAX_ATTEMPTS = 1_500;
/** Maximum number of visible points for which pictures are shown. */
const MAX_PICTURES = 260;
/** Duration of the mark of a new point, ms. */
const NEW_POINT_MS = 6000;
const CELL = 24;
/** Height of a label in pixels, and the maximum number of heights by which the name of a hit is moved up or down. */
const LABEL_HEIGHT = 16;
const MAX_SHIFT = 7;

/** The occupied area of the canvas: in cells, which are fast to test, and exact rectangles for the names of hits. */
class OccupiedArea {
  private readonly cells = new Set<number>();
  private readonly exact: [number, number, number, number][] = [];

  /** Reserves exactly this rectangle, unless it overlaps with another exact one. */
  claim(x: number, y: number, width: number, height: number): boolean {
    const overlaps = ([left, top, wide, high]: [number, number, number, number]): boolean =>
      x < left + wide && left < x + width && y < top + high && top < y + height;
    if (this.exact.some(overlaps)) return false;
    this.exact.push([x, y, width, height]);
    return this.reserve(x, y, width, height, true);
  }

  /** Returns whether the cell of a pixel is occupied: a cheap test before a label is measured. */
  has(x: number, y: number): boolean {
    return this.cells.has(Math.floor(y / CELL) * 4096 + Math.floor(x / CELL));
  }

  /** Reserves the cells of a rectangle, unless one is occupied. */
  reserve(x: number, y: number, width: number, height: number, force = false): boolean {
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

  /** Discards the tinted pictures after the colours have changed. */
  recolour(): void {
    this.tints.clear();
  }

  /** Draws everything. Returns whether an animation is running. */
  draw(
    layout: Layout,
    pixels: Float32Array,
    order: Uint32Array,
    colourOf: (at: number) => string,
    pictures: Pictures | null,
    marks: Marks,
    toScreen: (position: [number, number, number]) => [number, number] | null,
    theme: Theme,
    labels: boolean,
  ): boolean {
    const { context, width, height } = this;
    context.clearRect(0, 0, width, height);
    context.font = "500 12px system-ui, sans-serif";
    context.textBaseline = "middle";
    context.lineJoin = "round";
    const occupied = new OccupiedArea();
    const onScreen = (at: number): boolean => {
      const [x, y] = [pixels[at * 2]!, pixels[at * 2 + 1]!];
      return x > -20 && y > -20 && x < width + 20 && y < height + 20;
    };

    let visible = 0;
    for (let at = 0; at < layout.size && visible <= MAX_PICTURES; at += 1) if (onScreen(at)) visible += 1;
    const near = pictures !== null && visible > 0 && visible <= MAX_PICTURES;
    if (near) this.sprites(layout, pixels, visible, onScreen, colourOf, pictures, occupied);

    this.lines(layout, pixels, marks, theme);
    for (const id of marks.selected) {
      const at = layout.index.get(id);
      if (at !== undefined && onScreen(at)) this.ring(pixels[at * 2]!, pixels[at * 2 + 1]!, 5, theme.accent, 1.5);
    }
    const special = new Set<string>();
    const name = (id: string, strong: boolean): void => {
      const at = layout.index.get(id);
      if (at === undefined || special.has(id) || !onScreen(at)) return;
      special.add(id);
      this.ring(pixels[at * 2]!, pixels[at * 2 + 1]!, strong ? 7 : 5, strong ? theme.dot : theme.accent, strong ? 2.5 : 2);
      this.name(layout.labelAt(at), pixels[at * 2]!, pixels[at * 2 + 1]!, occupied, theme);
    };
    const dot = marks.dot && toScreen(marks.dot);
    if (dot) occupied.claim(dot[0] - 9, dot[1] - 9, 18, 18);
    if (marks.chosen) name(marks.chosen, true);
    if (marks.hover >= 0 && marks.hover < layout.size) name(layout.ids[marks.hover]!, false);
    marks.neighbours.forEach((one) => name(one.id, false));
    marks.found.forEach((one) => name(one.id, false));

    const moving = this.pulses(layout, pixels, onScreen, theme, occupied);
    if (labels && !near) {
      let [drawn, attempts] = [0, 0];
      for (let rank = 0; rank < order.length && drawn < MAX_LABELS && attempts < MAX_ATTEMPTS; rank += 1) {
        const at = order[rank]!;
        const id = layout.ids[at];
        // `order` may belong to the previous layout until the ids of this one have arrived.
        if (id === undefined || !onScreen(at) || special.has(id) || occupied.has(pixels[at * 2]! + 6, pixels[at * 2 + 1]!)) continue;
        attempts += 1;
        if (this.label(layout.labelAt(at), pixels[at * 2]!, pixels[at * 2 + 1]!, occupied, theme)) drawn += 1;
      }
    }
    this.dot(marks, toScreen, theme);
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

  /** Returns a label as displayed, and its width. */
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

  private label(label: string, x: number, y: number, occupied: OccupiedArea, theme: Theme): boolean {
    const [text, wide] = this.measured(label);
    const left = x + 6 + wide > this.width - 4 ? x - 6 - wide : x + 6;
    if (!occupied.reserve(left, y - LABEL_HEIGHT / 2, wide, LABEL_HEIGHT)) return false;
    this.write(text, left, y, theme.muted, theme);
    return true;
  }

  /** Draws the name of a marked point at the nearest free position, or not at all if there is none. */
  private name(label: string, x: number, y: number, occupied: OccupiedArea, theme: Theme): void {
    const { context } = this;
    const [text, wide] = this.measured(label);
    for (let step = 0; step <= 2 * MAX_SHIFT; step += 1) {
      // 0, 1 down, 1 up, 2 down, ...; each on the right, then on the left.
      const shift = (step % 2 === 1 ? 1 : -1) * Math.ceil(step / 2) * LABEL_HEIGHT;
      const gap = step === 0 ? 10 : 20;
      for (const left of [x + gap, x - gap - wide]) {
        const top = y + shift - LABEL_HEIGHT / 2;
        const inside = left >= 2 && left + wide <= this.width - 2 && top >= 2 && top + LABEL_HEIGHT <= this.height - 2;
        if (!inside || !occupied.claim(left, top, wide, LABEL_HEIGHT)) continue;
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
    onScreen: (at: number) => boolean,
    colourOf: (at: number) => string,
    pictures: Pictures,
    occupied: OccupiedArea,
  ): void {
    const side = Math.round(Math.max(22, Math.min(56, Math.sqrt((this.width * this.height) / visible) * 0.55)));
    for (let at = 0; at < layout.size; at += 1) {
      if (!onScreen(at)) continue;
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
      occupied.reserve(x + side / 4, y + side / 4, side / 2, side / 2, true);
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

  /** Draws rings around new points. Returns whether there are any. */
  private pulses(layout: Layout, pixels: Float32Array, onScreen: (at: number) => boolean, theme: Theme, occupied: OccupiedArea): boolean {
    const now = performance.now();
    for (const [id, since] of layout.fresh) {
      const age = (now - since) / NEW_POINT_MS;
      if (age >= 1) {
        layout.fresh.delete(id);
        continue;
      }
      const at = layout.index.get(id);
      if (at === undefined || !onScreen(at)) continue;
      this.ring(pixels[at * 2]!, pixels[at * 2 + 1]!, 5 + ((age * 4) % 1) * 16, theme.dot, 2);
      if (layout.fresh.size < 30) this.name(layout.labelAt(at), pixels[at * 2]!, pixels[at * 2 + 1]!, occupied, theme);
    }
    return layout.fresh.size > 0;
  }

  private dot(marks: Marks, toScreen: (position: [number, number, number]) => [number, number] | null, theme: Theme): void {
    const { context } = this;
    const trail = marks.trail.map(toScreen).filter((pixel) => pixel !== null);
    if (trail.length > 1) {
      context.beginPath();
      trail.forEach(([x, y], at) => (at === 0 ? context.moveTo(x, y) : context.lineTo(x, y)));
      context.strokeStyle = theme.dot;
      context.globalAlpha = 0.5;
      context.lineWidth = 2;
      context.stroke();
      context.globalAlpha = 1;
    }
    const pixel = marks.dot && toScreen(marks.dot);
    if (!pixel) return;
    context.beginPath();
    context.arc(pixel[0], pixel[1], 8, 0, 2 * Math.PI);
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
