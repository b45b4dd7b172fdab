/** A base's view of a store that several bases share: its own adapters only. */

import type { AdapterStore } from "../../adapter/store/store.js";
import type { AdapterRecord } from "../../adapter/types.js";
import type { StorePort } from "../../gateway/adapters.js";

export class BaseAdapters implements StorePort {
  readonly #base: string;
  readonly #store: () => AdapterStore;

  /** `store` is called once requests may arrive. */
  constructor(base: string, store: () => AdapterStore) {
    this.#base = base;
    this.#store = store;
  }

  get takesUploads(): boolean {
    return this.#store().takesUploads;
  }

  resolve(name: string): AdapterRecord | null {
    const record = this.#store().resolve(name);
    return record?.base === this.#base ? record : null;
  }

  list(): AdapterRecord[] {
    return this.#store()
      .list()
      .filter(({ base }) => base === this.#base);
  }

  otherBaseOf(name: string): string | null {
    const base = this.#store().resolve(name)?.base ?? null;
    return base === this.#base ? null : base;
  }

  isNamed(weightsDigest: string): boolean {
    return this.#store().isNamed(weightsDigest);
  }

  hold(...held: Parameters<AdapterStore["hold"]>): () => void {
    return this.#store().hold(...held);
  }

  stage(): Promise<string> {
    return this.#store().stage();
  }

  stageCopy(...source: Parameters<AdapterStore["stageCopy"]>): Promise<string> {
    return this.#store().stageCopy(...source);
  }

  put(...version: Parameters<AdapterStore["put"]>): ReturnType<AdapterStore["put"]> {
    return this.#store().put(...version);
  }

  remove(name: string): ReturnType<AdapterStore["remove"]> {
    return this.#store().remove(name);
  }

  folder(digest: string): Promise<string> {
    return this.#store().folder(digest);
  }
}
