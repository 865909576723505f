// Colours of points: a categorical palette, and a scale for numbers. All are distinguishable on light and dark backgrounds.

const CATEGORIES: [number, number, number][] = [
  [59, 125, 216],
  [224, 123, 57],
  [47, 158, 99],
  [209, 73, 91],
  [138, 99, 210],
  [148, 112, 80],
  [214, 107, 160],
  [112, 124, 140],
  [158, 158, 38],
  [38, 160, 178],
];
const SCALE: [number, number, number][] = [
  [94, 79, 162],
  [50, 136, 189],
  [60, 170, 130],
  [214, 170, 60],
  [224, 95, 60],
];
export const UNCOLOURED: [number, number, number] = [72, 133, 176];
const OTHER: [number, number, number] = [140, 146, 156];

export type Value = string | number | boolean | null;

/** A legend entry. */
export interface Entry {
  label: string;
  colour: string;
  count: number;
}

/** Maps the values of a field to colours. */
export interface Colouring {
  of(value: Value): [number, number, number];
  legend: Entry[];
  /** Whether the values are numbers on a scale. */
  scale: boolean;
}

export function css([red, green, blue]: [number, number, number]): string {
  return `rgb(${red}, ${green}, ${blue})`;
}

function onScale(share: number): [number, number, number] {
  const at = Math.max(0, Math.min(1, share)) * (SCALE.length - 1);
  const low = Math.min(SCALE.length - 2, Math.floor(at));
  const [a, b] = [SCALE[low]!, SCALE[low + 1]!];
  return [0, 1, 2].map((part) => Math.round(a[part]! + (b[part]! - a[part]!) * (at - low))) as [number, number, number];
}

/** Returns a colouring for the values of a field. */
export function colouring(values: Value[]): Colouring {
  const counts = new Map<Value, number>();
  for (const value of values) if (value !== null) counts.set(value, (counts.get(value) ?? 0) + 1);
  const numbers = [...counts.keys()].every((value) => typeof value === "number");
  if (numbers && counts.size > 12) {
    // By rank, so that one outlier does not use up the scale.
    const sorted = Float64Array.from(values.filter((value) => value !== null) as number[]).sort();
    const rank = (value: number): number => {
      let [low, high] = [0, sorted.length];
      while (low < high) {
        const middle = (low + high) >> 1;
        if (sorted[middle]! < value) low = middle + 1;
        else high = middle;
      }
      return low / Math.max(1, sorted.length - 1);
    };
    const short = new Intl.NumberFormat("en", { notation: "compact" });
    const legend = [0, 0.25, 0.5, 0.75, 1].map((share) => ({
      label: short.format(sorted[Math.round(share * (sorted.length - 1))]!),
      colour: css(onScale(share)),
      count: 0,
    }));
    return { of: (value) => (typeof value === "number" ? onScale(rank(value)) : OTHER), legend, scale: true };
  }
  const order = [...counts.entries()].sort((a, b) => (numbers ? Number(a[0]) - Number(b[0]) : b[1] - a[1]));
  const indices = new Map(order.map(([value], index) => [value, index]));
  const of = (value: Value): [number, number, number] => {
    const index = indices.get(value);
    return index === undefined || (index >= CATEGORIES.length && counts.size > CATEGORIES.length) ? OTHER : CATEGORIES[index]!;
  };
  const legend = order.slice(0, CATEGORIES.length).map(([value, count]) => {
    return { label: String(value), colour: css(of(value)), count };
  });
  return { of, legend, scale: false };
}
