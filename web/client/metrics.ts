/** Reads Prometheus' text form, as far as Lorikeet writes it. */

export interface Sample {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** The samples of each series' name. */
export type Samples = ReadonlyMap<string, readonly Sample[]>;

export function parseMetrics(text: string): Samples {
  const samples = new Map<string, Sample[]>();
  for (const line of text.split("\n")) {
    const [, name, labels = "", value] = /^([\w:]+)(?:\{(.*)\})? (\S+)/.exec(line) ?? [];
    if (name === undefined) continue;
    const list = samples.get(name) ?? [];
    list.push({ labels: labelsOf(labels), value: Number(value) });
    samples.set(name, list);
  }
  return samples;
}

function labelsOf(text: string): Record<string, string> {
  const labels: Record<string, string> = {};
  for (const [, name = "", value = ""] of text.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) {
    labels[name] = value.replace(/\\(.)/g, (_, sign: string) => (sign === "n" ? "\n" : sign));
  }
  return labels;
}

/** The sum of the samples that have these labels, over bases and adapters. */
export function sumOf(samples: Samples, name: string, labels: Readonly<Record<string, string>> = {}): number {
  const wanted = Object.entries(labels);
  const matching = (samples.get(name) ?? []).filter((sample) =>
    wanted.every(([label, value]) => sample.labels[label] === value),
  );
  return matching.reduce((total, { value }) => total + value, 0);
}

/** Cumulative counts by upper bound, in order. */
export type Buckets = readonly { readonly bound: number; readonly count: number }[];

export function bucketsOf(samples: Samples, name: string): Buckets {
  const byBound = new Map<number, number>();
  for (const { labels, value } of samples.get(`${name}_bucket`) ?? []) {
    const bound = labels.le === "+Inf" ? Number.POSITIVE_INFINITY : Number(labels.le);
    byBound.set(bound, (byBound.get(bound) ?? 0) + value);
  }
  return [...byBound].map(([bound, count]) => ({ bound, count })).sort((a, b) => a.bound - b.bound);
}

/**
 * A quantile of what was observed between two readings, straight within its bucket, as PromQL's `histogram_quantile` has it. null if nothing was
 * observed.
 */
export function quantileBetween(earlier: Buckets, later: Buckets, quantile: number): number | null {
  const before = new Map(earlier.map(({ bound, count }) => [bound, count]));
  const counts = later.map(({ bound, count }) => ({ bound, count: count - (before.get(bound) ?? 0) }));
  const total = counts.at(-1)?.count ?? 0;
  if (total <= 0) return null;
  const rank = quantile * total;
  const at = counts.findIndex(({ count }) => count >= rank);
  const { bound = 0, count = 0 } = counts[at] ?? {};
  const { bound: lower = 0, count: below = 0 } = counts[at - 1] ?? {};
  if (bound === Number.POSITIVE_INFINITY) return lower;
  return count === below ? bound : lower + ((bound - lower) * (rank - below)) / (count - below);
}
