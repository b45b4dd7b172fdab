/** The model names that requests may use: the base, its aliases, and every stored adapter. An unknown name is an error, never the base. */

import { notLinear } from "../adapter/cache/compose.js";
import type { Mixtures } from "../adapter/cache/mixtures.js";
import type { AdapterRecord } from "../adapter/types.js";
import { LorikeetError } from "../base/errors.js";
import { at, only } from "../base/list.js";
import { isAlias, resolveAlias } from "../jobs/names.js";
import type { WeightedAdapter } from "./requests.js";
import { tasksOfAdapter } from "./served-tasks.js";
import { unknownModel } from "./unknown-name.js";

/** The catalog's view of the adapter store. */
export interface AdapterNames {
  resolve(name: string): AdapterRecord | null;
  list(): readonly AdapterRecord[];
  /** The base of an adapter that belongs to another one; null for other names. */
  otherBaseOf?(name: string): string | null;
  /** Keeps a version's files until the returned function is called. */
  hold(version: Pick<AdapterRecord, "digest" | "weightsDigest">): () => void;
}

/** A resolved name, held until it is released once. */
export interface Target {
  readonly model: string;
  /** The names of a mixture are joined by `+`. */
  readonly adapter: string | null;
  /** The names of all adapters that answer. */
  readonly names: readonly string[];
  /** The version's digest, or the mixture's. */
  readonly digest: string | null;
  /** The digest of its weights, the key of the caches. A mixture has no other. */
  readonly weightsDigest: string | null;
  release(): void;
}

export interface BaseModel {
  /** The served name first, then its aliases. */
  readonly names: readonly [string, ...string[]];
  /** null for models that have none. */
  readonly maxContext: number | null;
  /** Tokens of the longest answer, where it does not share the context with the prompt. */
  readonly maxGenerated?: number;
  /** Milliseconds since 1970. */
  readonly createdAt: number;
  /** What it is for, by Hugging Face's names. */
  readonly tasks: readonly string[];
}

/** A model that requests may name. */
export interface Model {
  readonly name: string;
  /** Milliseconds since 1970. */
  readonly createdAt: number;
  /** What identifies the weights: the base's name, or the adapter's digest. */
  readonly root: string;
  /** The base model, for an adapter. */
  readonly parent: string | null;
  readonly maxContext: number | null;
  /** As of its base. */
  readonly maxGenerated: number | null;
  /** What it is for, by Hugging Face's names. */
  readonly tasks: readonly string[];
}

export class Catalog {
  readonly #base: BaseModel;
  readonly #adapters: AdapterNames;
  readonly #mixtures: Pick<Mixtures, "hold">;
  readonly #maxMixtures: number;
  readonly #prefetch: (weightsDigest: string) => void;

  constructor(
    base: BaseModel,
    adapters: AdapterNames,
    mixing: { readonly mixtures: Pick<Mixtures, "hold">; readonly maxMixtures: number },
    prefetch: (weightsDigest: string) => void,
  ) {
    this.#base = base;
    this.#adapters = adapters;
    this.#mixtures = mixing.mixtures;
    this.#maxMixtures = mixing.maxMixtures;
    this.#prefetch = prefetch;
  }

  /**
   * null is the base. `param` names the model in faults. Throws LorikeetError `model_not_found`; for a mixture also `invalid_value` if `asked` is not the base,
   * `adapter_unsupported` if one of its adapters is not linear, and `mixtures_busy`.
   */
  resolve(asked: string | null, mixed: readonly WeightedAdapter[] = [], param = "model"): Target {
    const model = asked ?? this.#base.names[0];
    if (this.#base.names.includes(model)) {
      if (mixed.length > 0) return this.#mix(model, mixed);
      return { model, adapter: null, names: [], digest: null, weightsDigest: null, release: () => {} };
    }
    if (mixed.length > 0) throw notTheBase(model);
    const record = this.#find(model);
    if (!record) throw this.#unknown(model, param);
    const { name, digest, weightsDigest } = record;
    const answered = isAlias(model) ? model : name;
    return {
      model: answered,
      adapter: name,
      names: [name],
      digest,
      weightsDigest,
      release: this.#adapters.hold(record),
    };
  }

  /** Every adapter is held, in the turn in which its name is resolved. One adapter of weight 1 is that adapter. */
  #mix(model: string, mixed: readonly WeightedAdapter[]): Target {
    const records = mixed.map(({ name, param }) => {
      const record = this.#find(name);
      const other = record ? null : (this.#adapters.otherBaseOf?.(name) ?? null);
      if (other !== null) throw ofAnotherBase(name, other, this.#base.names[0], param);
      if (!record) throw this.#unknown(name, param);
      if (record.dora) throw notLinear(`The adapter \`${name}\``);
      return record;
    });
    const names = records.map(({ name }) => name).sort();
    const shared = { model, adapter: names.join("+"), names };
    if (mixed.length === 1 && only(mixed).weight === 1) {
      const record = only(records);
      const { digest, weightsDigest } = record;
      return { ...shared, digest, weightsDigest, release: this.#adapters.hold(record) };
    }
    const parts = records.map(({ weightsDigest }, index) => ({ weightsDigest, weight: at(mixed, index).weight }));
    const { digest, release } = this.#mixtures.hold(parts, this.#maxMixtures);
    const holds = records.map((record) => this.#adapters.hold(record));
    return {
      ...shared,
      digest,
      weightsDigest: digest,
      release: () => {
        release();
        for (const releasePart of holds) releasePart();
      },
    };
  }

  /** Starts loading the target's adapter before its turn comes. */
  prefetch(target: Target): void {
    if (target.weightsDigest !== null) this.#prefetch(target.weightsDigest);
  }

  list(): Model[] {
    return [
      ...this.#base.names.map((name) => this.#baseModel(name)),
      ...this.#adapters.list().map((record) => this.#adapterModel(record)),
    ];
  }

  /** Throws LorikeetError `model_not_found`. */
  get(model: string): Model {
    if (this.#base.names.includes(model)) return this.#baseModel(model);
    const record = this.#find(model);
    if (!record) throw this.#unknown(model);
    return isAlias(model) ? { ...this.#adapterModel(record), name: model } : this.#adapterModel(record);
  }

  /** The stored name of an adapter, by that name or an alias. Throws LorikeetError `model_not_found`, or `conflict` for the base. */
  adapterNamed(model: string): string {
    const record = this.#find(model);
    if (record) return record.name;
    if (!this.#base.names.includes(model)) throw this.#unknown(model);
    throw new LorikeetError("conflict", `\`${model}\` is a base model, not an adapter.`, { param: "model" });
  }

  has(model: string): boolean {
    return this.#base.names.includes(model) || this.#find(model) !== null;
  }

  /** The name under which an answer would be given. Throws what `resolve` throws. */
  nameOf(...asked: Parameters<Catalog["resolve"]>): string {
    const target = this.resolve(...asked);
    target.release();
    return target.model;
  }

  /** By its name in the store, or as `ft:<base>:<organization>:<suffix>:<id>`. */
  #find(model: string): AdapterRecord | null {
    return this.#adapters.resolve(resolveAlias(model, this.#base.names) ?? model);
  }

  #unknown(model: string, param?: string): LorikeetError {
    const known = [...this.#base.names, ...this.#adapters.list().map(({ name }) => name)];
    return unknownModel(model, known, param);
  }

  #baseModel(name: string): Model {
    const { createdAt, maxContext, maxGenerated = null, names, tasks } = this.#base;
    return { name, createdAt, root: names[0], parent: null, maxContext, maxGenerated, tasks };
  }

  #adapterModel(record: AdapterRecord): Model {
    const { name, createdAt, digest: root } = record;
    const { maxContext, maxGenerated = null, names, tasks: ofBase } = this.#base;
    const tasks = tasksOfAdapter(ofBase, record);
    return { name, createdAt, root, parent: names[0], maxContext, maxGenerated, tasks };
  }
}

function ofAnotherBase(name: string, other: string, base: string, param: string): LorikeetError {
  const message = `The adapter \`${name}\` belongs to the base \`${other}\`; adapters of \`${base}\` can be mixed with one another only.`;
  return new LorikeetError("invalid_value", message, { param, found: name });
}

function notTheBase(model: string): LorikeetError {
  const message = `\`model\` is the adapter \`${model}\`; where \`adapters\` are mixed it must be the base, or absent.`;
  return new LorikeetError("invalid_value", message, { param: "model" });
}
