/** Finds the modules of a DoRA adapter that change nothing. That depends on the base's weights, so it is known only once gains are folded. */

/** A module whose gains are folded, as far as it is read here. */
export interface GainedModule {
  readonly a: ArrayLike<number> | null;
  readonly b: ArrayLike<number> | null;
  /** g - 1 of each output; absent without DoRA. */
  readonly gain?: Float32Array | null;
  readonly shift?: Float32Array | null;
}

/** A new adapter's magnitudes are the norms of its weights, rounded to the type that they are saved in: bfloat16 has 8 bits. */
const rounding = 2 ** -8;

/** Warnings, as the check of products gives them for LoRA. `changesMore`: whether the adapter has more than these modules. */
export function gainWarnings(modules: Iterable<GainedModule>, changesMore: boolean): string[] {
  const all = [...modules];
  const idle = all.filter(isIdle).length;
  if (idle === 0 || changesMore) return [];
  const why = "products are zero, and their magnitudes are the norms of the base's weights";
  if (idle === all.length) return [`The adapter changes nothing: its modules' ${why}.`];
  return [`${idle} of ${all.length} modules change nothing: their ${why}.`];
}

const isIdle = ({ a, b, gain, shift }: GainedModule): boolean =>
  gain?.every((change) => Math.abs(change) <= rounding) === true && !shift && (isZero(a) || isZero(b));

const isZero = (values: ArrayLike<number> | null): boolean =>
  values === null || !Array.prototype.some.call(values, (value) => value !== 0);
