/** A session's binding between steps: only what changed is bound anew. Knows no name of an input. */
import type { Binding } from "../runtime/session.js";
import type { Tensor } from "../runtime/tensor.js";
import type { KvView } from "./kv-cache.js";

export class BoundInputs {
  readonly binding: Binding;
  readonly #last = new Map<string, Tensor>();
  #cache: KvView | null = null;

  constructor(binding: Binding) {
    this.binding = binding;
  }

  input(name: string, tensor: Tensor): void {
    if (this.#last.get(name) === tensor) return;
    this.binding.input(name, tensor);
    this.#last.set(name, tensor);
  }

  /** Binds a tensor of this step alone, and lets go of the last step's. */
  fresh(name: string, tensor: Tensor): void {
    const last = this.#last.get(name);
    this.input(name, tensor);
    last?.[Symbol.dispose]();
  }

  output(name: string, tensor: Tensor): void {
    const key = `>${name}`;
    if (this.#last.get(key) === tensor) return;
    this.binding.output(name, tensor);
    this.#last.set(key, tensor);
  }

  cache(view: KvView): void {
    if (this.#cache === view) return;
    this.#cache = view;
    for (const [name, tensor] of view.entries) {
      this.binding.input(`past.${name}`, tensor);
      this.binding.output(`present.${name}`, tensor);
    }
  }
}
