/**
 * The norms |W + s B A| that a step with magnitudes divides by, as graph inputs. They are recomputed whenever A or B has changed, by the
 * same code as for a served adapter.
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
  /** By graph input, [out]. */
  readonly tensors: ReadonlyMap<string, Tensor<"float32">>;
  readonly #modules: readonly { readonly module: LowRank; readonly norm: Float32Array }[];
  readonly #source: Pick<WeightNorms, "of">;
  readonly #values: Float32Array;
  /** The parameters of the current norms; null before the first update. */
  #seen: Float32Array | null = null;

  /** `values` holds all parameters, concatenated. */
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

  /** Updates the norms for the current parameters. Throws `invalid_value` for a layer with an output whose weights are all zero. */
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
    `--use-dora cannot train ${path}: the weights of its output ${output} have length 0. Choose other layers with --target-modules.`,
    { param: "--target-modules", found: path },
  );
}
