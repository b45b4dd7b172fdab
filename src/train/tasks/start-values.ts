/** What training starts from: A at random and B zero as PEFT has them, magnitudes of the base, heads of the base or fresh ones. */

import { assert } from "../../base/errors.js";
import { at } from "../../base/list.js";
import type { Initializer } from "../../graph/types.js";
import type { TaskModule } from "../../model/task/target-modules.js";
import { type TrainedTarget, tensorNames } from "../../model/task/trained-modules.js";
import { floatsOf } from "../../model/task/weight-values.js";
import { transpose } from "../../tensor/transpose.js";
import { Draws, purposes } from "../random.js";
import type { Parameter } from "../step.js";

/** Fills the parameters of these targets. */
export async function startValues(
  targets: readonly TrainedTarget[],
  parameters: readonly Parameter[],
  seed: number,
): Promise<void> {
  const byName = new Map(parameters.map(({ name, data }) => [name, data]));
  const dataOf = (name: string): Float32Array => {
    const data = byName.get(name);
    assert(data, `${name} is a parameter`);
    return data;
  };
  for (const [i, { module, form }] of targets.entries()) {
    const names = tensorNames(module);
    const draws = new Draws(seed, purposes.initialize, i);
    if (form.kind === "lora") {
      // PEFT starts a table's A with zeros and its B at random, the other way around.
      if (module.kind === "table") fillNormal(dataOf(names.b), draws);
      else fillUniform(dataOf(names.a), fanIn(module), draws);
      if (form.dora) dataOf(names.magnitude).set(await lengthsOf(module));
    } else if (form.kind === "bias") {
    } else if (!form.isFresh) {
      dataOf(names.weight).set(await weightOf(module));
      const bias = module.uses[0]?.target.bias;
      if (form.hasBias && bias) dataOf(names.bias).set(await floatsOf(bias.values));
    } else fillUniform(dataOf(names.weight), fanIn(module) / module.groups, draws);
  }
}

/** Copies trained initializers of the base. */
export async function baseValues(
  initializers: readonly Initializer[],
  parameters: readonly Parameter[],
): Promise<void> {
  const byName = new Map(initializers.map((each) => [each.value.name, each]));
  for (const { name, data } of parameters) {
    const initializer = byName.get(name);
    assert(initializer, `${name} is an initializer`);
    data.set(await floatsOf(initializer));
  }
}

const fanIn = ({ inFeatures, kernel }: TaskModule): number => kernel.reduce((count, size) => count * size, inFeatures);

/** U(-1/sqrt(in), 1/sqrt(in)), as torch starts linear layers and convolutions. */
export function fillUniform(data: Float32Array, inputs: number, draws: Draws): void {
  const bound = 1 / Math.sqrt(inputs);
  for (let i = 0; i < data.length; i++) data[i] = bound * (2 * draws.next() - 1);
}

/** N(0, 1), by Box and Muller. */
function fillNormal(data: Float32Array, draws: Draws): void {
  for (let i = 0; i < data.length; i++) {
    data[i] = Math.sqrt(-2 * Math.log(1 - draws.next())) * Math.cos(2 * Math.PI * draws.next());
  }
}

/** A module's weight as a checkpoint has it: [out, in, ...] (tables [rows, dim]), before a normalization was folded into it. */
export async function weightOf({ kind, uses, inFeatures, outFeatures, foldedNorm }: TaskModule): Promise<Float32Array> {
  const target = uses[0]?.target;
  assert(target, "a module is used");
  const stored = await floatsOf(target.weight);
  const values = kind === "linear" && !target.outFirst ? transpose(stored, inFeatures, outFeatures) : stored;
  if (foldedNorm.kind !== "measured") return values;
  const perOutput = values.length / outFeatures;
  return values.map((value, i) => value / at(foldedNorm.factors, Math.floor(i / perOutput)));
}

/** |W| of each output, summed in float64. */
async function lengthsOf(module: TaskModule): Promise<Float32Array> {
  const weight = await weightOf(module);
  const perOutput = weight.length / module.outFeatures;
  return Float32Array.from({ length: module.outFeatures }, (_, output) => {
    const row = weight.subarray(output * perOutput, (output + 1) * perOutput);
    return Math.sqrt(row.reduce((sum, value) => sum + value * value, 0));
  });
}
