/** The names that can be asked for: the base and its aliases, and every adapter of the store. An unknown name is an error, never the base. */

import type { AdapterRecord } from "../adapter/types.js";
import { LorikeetError } from "../base/errors.js";

/** What the catalog asks of the adapter store. */
export interface AdapterNames {
  resolve(name: string): AdapterRecord | null;
  list(): readonly AdapterRecord[];
  /** Keeps a version's files until the returned function is called. */
  hold(version: Pick<AdapterRecord, "digest" | "weightsDigest">): () => void;
}

/** A name resolved and held: release it once. */
export interface Target {
  readonly model: string;
  readonly adapter: string | null;
  /** The version's. */
  readonly digest: string | null;
  /** Of what it computes, by which memory holds it. */
  readonly weightsDigest: string | null;
  release(): void;
}

export interface BaseModel {
  /** The name it is served by, first, and its aliases. */
  readonly names: readonly [string, ...string[]];
  readonly maxContext: number;
  /** Seconds since 1970. */
  readonly createdAt: number;
}

export interface ModelCard {
  readonly id: string;
  readonly object: "model";
  readonly created: number;
  readonly owned_by: "lorikeet";
  /** What the weights are: the base's name, or the adapter's digest. */
  readonly root: string;
  /** The base, for an adapter. */
  readonly parent: string | null;
  readonly max_model_len: number;
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

  /** Begins to load the target's adapter, before its turn has come. */
  prefetch(target: Target): void {
    if (target.weightsDigest !== null) this.#prefetch(target.weightsDigest);
  }

  list(): ModelCard[] {
    return [
      ...this.#base.names.map((name) => this.#baseCard(name)),
      ...this.#adapters.list().map((record) => this.#adapterCard(record)),
    ];
  }

  /** Throws LorikeetError `model_not_found`. */
  get(model: string): ModelCard {
    if (this.#base.names.includes(model)) return this.#baseCard(model);
    const record = this.#adapters.resolve(model);
    if (!record) throw notFound(model);
    return this.#adapterCard(record);
  }

  #baseCard(name: string): ModelCard {
    return this.#card(name, this.#base.createdAt, this.#base.names[0], null);
  }

  #adapterCard(record: AdapterRecord): ModelCard {
    return this.#card(record.name, Math.floor(record.createdAt / 1000), record.digest, this.#base.names[0]);
  }

  #card(id: string, created: number, root: string, parent: string | null): ModelCard {
    return { id, object: "model", created, owned_by: "lorikeet", root, parent, max_model_len: this.#base.maxContext };
  }
}

function notFound(model: string): LorikeetError {
  return new LorikeetError("model_not_found", `The model \`${model}\` does not exist.`, { param: "model" });
}
