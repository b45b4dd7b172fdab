/** Checkpoints of fine-tuning jobs, which are adapters of their own but belong to the adapter that the job kept. */

export interface Checkpoint {
  /** The adapter that its job kept. */
  readonly owner: string;
  readonly step: number;
}

/** What an adapter's name says; null where it is not a checkpoint. */
export function checkpointOf(name: string): Checkpoint | null {
  const [, owner, step] = /^(ft-(?:.+-)?[0-9a-f]{12})-step-(\d+)$/.exec(name) ?? [];
  return owner === undefined ? null : { owner, step: Number(step) };
}

/** The same names, checkpoints at their end. */
export const checkpointsLast = (names: readonly string[]): readonly string[] => [
  ...names.filter((name) => checkpointOf(name) === null),
  ...names.filter((name) => checkpointOf(name) !== null),
];

interface Named {
  readonly name: string;
}

/** How many checkpoints adapters have, by their names; those that a job did not keep, or that were deleted, are none's. */
export function checkpointCounts(adapters: readonly Named[]): ReadonlyMap<string, number> {
  const names = new Set(adapters.map(({ name }) => name));
  const counts = new Map<string, number>();
  for (const { name } of adapters) {
    const owner = checkpointOf(name)?.owner;
    if (owner !== undefined && names.has(owner)) counts.set(owner, (counts.get(owner) ?? 0) + 1);
  }
  return counts;
}

/** Checkpoints stand below their adapter, the last step first, and only below those of `open`. Others keep their order. */
export function folded<T extends Named>(adapters: readonly T[], open: ReadonlySet<string>): readonly T[] {
  const counts = checkpointCounts(adapters);
  if (counts.size === 0) return adapters;
  const own = new Map<string, T[]>([...counts.keys()].map((name) => [name, []]));
  const rest = adapters.filter((adapter) => {
    const list = own.get(checkpointOf(adapter.name)?.owner ?? "");
    list?.push(adapter);
    return list === undefined;
  });
  const stepOf = ({ name }: Named): number => checkpointOf(name)?.step ?? 0;
  const below = ({ name }: Named): readonly T[] =>
    open.has(name) ? (own.get(name) ?? []).sort((a, b) => stepOf(b) - stepOf(a)) : [];
  return rest.flatMap((adapter) => [adapter, ...below(adapter)]);
}
