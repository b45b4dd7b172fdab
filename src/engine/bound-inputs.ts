/**
 * A session's binding between steps: only what changed is bound again. Where binding a tensor of the host copies it, that is all
 * of those. Knows no input by name.
 */
import type { Bindable, DeviceTensor } from "../runtime/device/device.js";
import type { Binding } from "../runtime/session.js";
import { Tensor } from "../runtime/tensor.js";
import type { KvView } from "./kv-cache.js";

/** What takes the inputs of a step: a binding, or a list of them. */
export interface InputSink {
  input(name: string, tensor: Tensor | DeviceTensor): void;
}

export class BoundInputs {
  readonly binding: Binding;
  readonly #names: ReadonlySet<string>;
  readonly #inputs = new Map<string, Bindable & Disposable>();
  readonly #outputs = new Map<string, Bindable & Disposable>();
  readonly #copies: boolean;
  #cache: KvView | null = null;

  /**
   * `names`: of the graph's inputs; what it does not read is not bound, as adapters of the head where there is none. `copies`: a tensor of
   * the host is copied when it is bound.
   */
  constructor(binding: Binding, names: ReadonlySet<string>, copies = false) {
    this.binding = binding;
    this.#names = names;
    this.#copies = copies;
  }

  /** Whether the graph reads an input. */
  takes(name: string): boolean {
    return this.#names.has(name);
  }

  input(name: string, tensor: Bindable & Disposable): void {
    if (!this.#names.has(name)) return;
    if (this.#inputs.get(name) === tensor && !(this.#copies && tensor instanceof Tensor)) return;
    this.binding.input(name, tensor);
    this.#inputs.set(name, tensor);
  }

  /** Binds a tensor of this step alone, and disposes of the last step's. */
  fresh(name: string, tensor: Bindable & Disposable): void {
    if (!this.#names.has(name)) {
      tensor[Symbol.dispose]();
      return;
    }
    const previous = this.#inputs.get(name);
    this.input(name, tensor);
    previous?.[Symbol.dispose]();
  }

  output(name: string, tensor: Bindable & Disposable): void {
    if (this.#outputs.get(name) === tensor) return;
    this.binding.output(name, tensor);
    this.#outputs.set(name, tensor);
  }

  /** Binds the same memory as past and as present. */
  cache(view: KvView): void {
    if (this.#cache === view) return;
    this.#cache = view;
    for (const { past, present, tensor } of view) {
      this.binding.input(past, tensor);
      this.binding.output(present, tensor);
    }
  }
}
