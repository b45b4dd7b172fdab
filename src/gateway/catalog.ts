/** The model names that requests may use: the base, its aliases, and every stored adapter. An unknown name is an error, never the base. */

import type { AdapterRecord } from "../adapter/types.js";
import { LorikeetError } from "../base/errors.js";

/** The catalog's view of the adapter store. */
export interface AdapterNames {
  resolve(name: string): AdapterRecord | null;
  list(): readonly AdapterRecord[];
  /** Keeps a version's files until the returned function is called. */
  hold(version: Pick<AdapterRecord, "digest" | "weightsDigest">): () => void;
}

/** A resolved name, held until it is released once. */
export interface Target {
  readonly model: string;
  readonly adapter: string | null;
  /** The version's digest. */
  readonly digest: string | null;
  /** The digest of its weights, the key of the caches. */
  readonly weightsDigest: string | null;
  release(): void;
}

export interface BaseModel {
  /** The served name first, then its aliases. */
  readonly names: readonly [string, ...string[]];
  readonly maxContext: number;
  /** Milliseconds since 1970. */
  readonly createdAt: number;
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
  readonly maxContext: number;
}

export class Catalog {
  readonly #base: BaseModel;
  readonly #adapters: AdapterNames;
  readonly #prefetch: (weightsDigest: string) => void;

  constructor(base: BaseModel, adapters: AdapterNames, prefetch: (weightsDigest: string) => void) {
    this.#base = base;
    this.#adapters = adapters;
    this.#prefetch = prefetch;
  }

  /** null is the base. Throws LorikeetError `model_not_found`. */
  resolve(asked: string | null): Target {
    const model = asked ?? this.#base.names[0];
    if (this.#base.names.includes(model)) {
      return { model, adapter: null, digest: null, weightsDigest: null, release: () => {} };
    }
    const record = this.#adapters.resolve(model);
    if (!record) throw notFound(model);
    const { name, digest, weightsDigest } = record;
    return { model: name, adapter: name, digest, weightsDigest, release: this.#adapters.hold(record) };
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
    const record = this.#adapters.resolve(model);
    if (!record) throw notFound(model);
    return this.#adapterModel(record);
  }

  #baseModel(name: string): Model {
    const { createdAt, maxContext, names } = this.#base;
    return { name, createdAt, root: names[0], parent: null, maxContext };
  }

  #adapterModel({ name, createdAt, digest }: AdapterRecord): Model {
    const { maxContext, names } = this.#base;
    return { name, createdAt, root: digest, parent: names[0], maxContext };
  }
}

function notFound(model: string): LorikeetError {
  return new LorikeetError("model_not_found", `The model \`${model}\` does not exist.`, { param: "model" });
}
