/** Binds the arguments of a macro's call to its parameters, with Jinja2's `caller`, `kwargs` and `varargs`. */

import { dictOf } from "./container-methods.js";
import { typeFault } from "./faults.js";
import type { Signature } from "./nodes.js";
import { type Arguments, Tuple, Undefined, type Value } from "./values.js";
import { readsName } from "./walk.js";

/** The extra names that a macro accepts: those that its body reads. */
export interface Extras {
  readonly caller: boolean;
  readonly kwargs: boolean;
  readonly varargs: boolean;
}

const known = new WeakMap<Signature, Extras>();

export function extrasOf(signature: Signature): Extras {
  const { parameters, body } = signature;
  const takes = (name: string): boolean => readsName(body, name) && !parameters.some((each) => each.name === name);
  const extras = known.get(signature) ?? {
    caller: readsName(body, "caller"),
    kwargs: takes("kwargs"),
    varargs: takes("varargs"),
  };
  known.set(signature, extras);
  return extras;
}

/** Values by name, without missing parameters. @throws TypeError for arguments that fit no parameter. */
export function bindMacro(
  name: string,
  { parameters }: Signature,
  extras: Extras,
  { positional, keyword }: Arguments,
): Map<string, Value> {
  const values = new Map<string, Value>();
  const left = new Map(keyword);
  for (const [place, parameter] of parameters.entries()) {
    const isPlaced = place < positional.length;
    const value = isPlaced ? positional[place] : left.get(parameter.name);
    if (!isPlaced) left.delete(parameter.name);
    if (value !== undefined) values.set(parameter.name, value);
  }
  if (extras.caller && !parameters.some((parameter) => parameter.name === "caller")) {
    const caller = left.get("caller");
    values.set("caller", caller === undefined || caller === null ? new Undefined("No caller defined") : caller);
    left.delete("caller");
  }
  if (extras.kwargs) values.set("kwargs", dictOf(left));
  else if (left.size > 0) typeFault(`macro '${name}' takes no keyword argument '${[...left.keys()][0]}'`);
  if (extras.varargs) values.set("varargs", new Tuple(positional.slice(parameters.length)));
  else if (positional.length > parameters.length) {
    typeFault(`macro '${name}' takes not more than ${parameters.length} argument(s)`);
  }
  return values;
}
