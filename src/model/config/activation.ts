/** Reads the activation of a feed-forward layer by its names in configs. */

import { shown } from "../../base/json.js";
import type { Activation } from "../blueprint.js";
import type { ConfigFields } from "./fields.js";

const activations: ReadonlyMap<string, Activation> = new Map([
  ["silu", "silu"],
  ["swish", "silu"],
  ["gelu", "gelu"],
  ["gelu_python", "gelu"],
  ["gelu_new", "gelu_tanh"],
  ["gelu_fast", "gelu_tanh"],
  ["gelu_accurate", "gelu_tanh"],
  ["gelu_pytorch_tanh", "gelu_tanh"],
  ["gelu_python_tanh", "gelu_tanh"],
]);

/**
 * The activation under the key that the family reads. Some checkpoints have `hidden_act` instead, which the family ignores: it
 * must mean the same as the default. Faults go to `fields.faults`.
 */
export function readActivation(fields: ConfigFields, ownKey: string, absent: string): Activation {
  const key = fields.has(ownKey) ? ownKey : "hidden_act";
  const name = fields.string(key, absent);
  const activation = activations.get(name);
  const isOwn = key === ownKey || activation === activations.get(absent);
  if (activation && isOwn) return activation;
  if (activation) {
    fields.faults.unsupported(`${fields.name(key)} is ${shown(name)}, but this family reads ${ownKey}`);
    return activation;
  }
  fields.faults.unsupported(
    `${fields.name(key)} is ${shown(name)}, which is not implemented; ${[...activations.keys()].join(", ")} are`,
  );
  return "silu";
}
