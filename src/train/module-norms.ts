/**
 * The lengths |W + s B A| that a step with magnitudes divides by, as graph inputs: made anew whenever A or B has changed, by the
 * code that makes a served adapter's. Knows no graph.
 */

import { LorikeetError } from "../base/errors.js";
import { moduleInputs, type TrainedModule } from "../model/training/types.js";
import { Tensor } from "../runtime/tensor.js";
import type { LowRank, WeightNorms } from "../weights/norms.js";

/** A parameter of the step. */
interface Trained {
  readonly name: string;
  readonly data: Float32Array;
}

export class ModuleNorms {
  /** By the names of the graph inputs, [out]. */
  readonly tensors: ReadonlyMap<string, Tensor<"float32">>;
  readonly #modules: readonly { readonly module: LowRank; readonly norm: Float32Array }[];
  readonly #source: Pick<WeightNorms, "of">;
  readonly #values: Float32Array;
  /** The parameters that the lengths are of; null: none yet. */
  #seen: Float32Array | null = null;

  /** `values` holds all parameters, one after another. */
  constructor(
    source: Pick<WeightNorms, "of">,
    modules: ReadonlyMap<string, TrainedModule>,
    { parameters, values }: { readonly parameters: readonly Trained[]; readonly values: Float32Array },
  ) {
    this.#source = source;
    this.#values = values;
    const data = new Map(parameters.map((parameter) => [parameter.name, parameter.data]));
    const tensors = new Map<string, Tensor<"float32">>();
    const all: { module: LowRank; norm: Float32Array }[] = [];
    for (const [path, { rank, scale }] of modules) {
      const names = moduleInputs(path);
      const [a, b, magnitude] = [data.get(names.a), data.get(names.b), data.get(names.magnitude)];
      if (!a || !b || !magnitude) continue; // no gradient reaches it
      const tensor = Tensor.zeros("float32", [magnitude.length]);
      tensors.set(names.norm, tensor);
      all.push({ module: { path, rank, scale, a, b }, norm: tensor.data });
    }
    this.tensors = tensors;
    this.#modules = all;
  }

  /** Makes the lengths those of the parameters as they are now. Throws `invalid_value` for a layer with an output of no length. */
  async refresh(): Promise<void> {
    if (this.#seen && bytesOf(this.#seen).equals(bytesOf(this.#values))) return;
    this.#seen = null;
    const now = this.#values.slice();
    for (const { module, norm } of this.#modules) {
      norm.set(await this.#source.of(module));
      const empty = norm.indexOf(0);
      if (empty >= 0) throw noLength(module.path, empty);
    }
    this.#seen = now;
  }
}

const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array): Buffer =>
  Buffer.from(buffer, byteOffset, byteLength);

function noLength(path: string, output: number): LorikeetError {
  return new LorikeetError(
    "invalid_value",
    `--use-dora cannot train ${path}: the weights of its output ${output} have length 0. Name other layers with --target-modules.`,
    { param: "--target-modules", found: path },
  );
}
