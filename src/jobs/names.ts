/**
 * The two names of a fine-tuned model: `ft:<base>:<organization>:<suffix>:<id>` as OpenAI's clients know it, and the name of the adapter in
 * the store, where a colon is not allowed. Each follows from the other, so no table is kept.
 */

/** All jobs belong to one organization. */
export const organization = "lorikeet";

const alias = /^ft:(.+):[^:]*:([A-Za-z0-9_-]*):([0-9a-f]{12})(?::ckpt-step-(\d{1,9}))?$/;

/** No adapter is stored under such a name. */
export const isAlias = (name: string): boolean => name.startsWith("ft:");

interface Tuned {
  readonly base: string;
  readonly suffix: string | null;
  /** Of the job, without its prefix. */
  readonly id: string;
  /** A checkpoint's; null for the result. */
  readonly step: number | null;
}

export function aliasOf({ base, suffix, id, step }: Tuned): string {
  return `ft:${base}:${organization}:${suffix ?? ""}:${id}${step === null ? "" : `:ckpt-step-${step}`}`;
}

/** The name in the store. It is unique by the job's id. */
export function adapterNameOf({ suffix, id, step }: Omit<Tuned, "base">): string {
  return ["ft", ...(suffix ? [suffix] : []), id, ...(step === null ? [] : [`step-${step}`])].join("-");
}

/** The name in the store that an alias means for a base of these names; null for a name that is not such an alias. The organization may be any. */
export function resolveAlias(name: string, baseNames: readonly string[]): string | null {
  const [, base, suffix = "", id, step] = alias.exec(name) ?? [];
  if (base === undefined || id === undefined || !baseNames.includes(base)) return null;
  return adapterNameOf({ suffix, id, step: step === undefined ? null : Number(step) });
}
