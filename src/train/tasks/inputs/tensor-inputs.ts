/** Rows of numbers as a model's inputs: observations of a policy, or pixels as the model takes them. */

import { assert, LorikeetError } from "../../../base/errors.js";
import { tableEntries } from "../../../engine/task/trial-inputs.js";
import type { Graph, Value } from "../../../graph/types.js";
import { Tensor } from "../../../runtime/tensor.js";
import { isFloat, RowFault, shown } from "../../data/rows.js";
import type { TaskInputs } from "../types.js";

/** One row of an input, by the input's name. */
export type NumberRow = ReadonlyMap<string, { readonly shape: readonly number[]; readonly data: Float32Array }>;

export class NumberReader {
  readonly #inputs: readonly Value[];
  /** Of inputs that are ids of a table: how many it has. */
  readonly #limits: ReadonlyMap<string, number>;

  /** Throws `model_unsupported` for inputs that no row of numbers fits. */
  constructor(graph: Graph) {
    const { inputs } = graph;
    const other = inputs.find(({ type }) => type !== "float32" && type !== "int64" && type !== "int32");
    if (other) {
      const message = `The model has an input ${JSON.stringify(other.name)} of type ${other.type}; float32, int64 and int32 are trained.`;
      throw new LorikeetError("model_unsupported", message, { param: "--task", found: other.type });
    }
    this.#inputs = inputs;
    this.#limits = tableEntries(graph);
  }

  /** Nested numbers; for a model of several inputs an object of these by name. Throws RowFault. */
  read(value: unknown, field: string): NumberRow {
    const [only, ...others] = this.#inputs;
    assert(only, "a model has an input");
    if (others.length === 0) return new Map([[only.name, this.#row(value, only, field)]]);
    const named =
      typeof value === "object" && value !== null && !Array.isArray(value) ? new Map(Object.entries(value)) : null;
    if (!named) {
      throw new RowFault(
        `must have an object with ${this.#inputs.map(({ name }) => name).join(", ")} as \`${field}\`, not ${shown(value)}`,
      );
    }
    return new Map(
      this.#inputs.map((input) => [input.name, this.#row(named.get(input.name), input, `${field}.${input.name}`)]),
    );
  }

  #row(value: unknown, { name, type, shape: whole }: Value, field: string) {
    const data: number[] = [];
    const shape = flatten(value, data, field);
    const expected = whole.slice(1);
    const fits =
      shape.length === expected.length && expected.every((size, i) => typeof size === "string" || size === shape[i]);
    if (!fits) {
      throw new RowFault(
        `has the shape [${shape.join(", ")}] in \`${field}\`; the model takes [${expected.join(", ")}]`,
      );
    }
    const limit = this.#limits.get(name);
    const isAllowed = (number: number): boolean =>
      Number.isInteger(number) && (limit === undefined || (number >= 0 && number < limit));
    const wrong = type === "float32" ? undefined : data.find((number) => !isAllowed(number));
    if (wrong !== undefined) {
      const allowed = limit === undefined ? "whole numbers" : `0 to ${limit - 1}`;
      throw new RowFault(`has ${wrong} in \`${field}\`; ${allowed} are allowed`);
    }
    return { shape, data: Float32Array.from(data) };
  }
}

/** Appends the numbers and returns their shape. `where`: the value's place. Throws RowFault. */
function flatten(value: unknown, into: number[], where: string): number[] {
  if (isFloat(value)) {
    into.push(value);
    return [];
  }
  if (!Array.isArray(value))
    throw new RowFault(`must have a number that float32 holds as \`${where}\`, not ${shown(value)}`);
  if (value.length === 0) throw new RowFault(`has an empty list as \`${where}\``);
  const [first = [], ...others] = value.map((item, i) => flatten(item, into, `${where}[${i}]`));
  const uneven = others.findIndex((shape) => shape.join() !== first.join());
  if (uneven >= 0) {
    throw new RowFault(
      `has the shape [${others[uneven]?.join(", ")}] in \`${where}[${uneven + 1}]\` and [${first.join(", ")}] in \`${where}[0]\``,
    );
  }
  return [value.length, ...first];
}

export function numberInputs({ inputs }: Graph): TaskInputs<NumberRow> {
  return {
    async feeds(sources, rows) {
      return new Map(inputs.map((input): [string, Tensor] => [input.name, joined(input, sources, rows)]));
    },
  };
}

function joined({ name, type }: Value, sources: readonly NumberRow[], rows: number): Tensor {
  const first = sources[0]?.get(name);
  assert(first, "a row has every input");
  const values = new Float32Array(rows * first.data.length);
  for (let row = 0; row < rows; row++) {
    const { data, shape } = sources[row]?.get(name) ?? first;
    if (shape.join() !== first.shape.join()) {
      const message = "Rows of different shapes can only be trained with --batch-size 1.";
      throw new LorikeetError("invalid_value", message, { param: "--batch-size" });
    }
    values.set(data, row * data.length);
  }
  const shape = [rows, ...first.shape];
  if (type === "float32") return Tensor.from("float32", shape, values);
  if (type === "int32") return Tensor.from("int32", shape, Int32Array.from(values));
  return Tensor.from(
    "int64",
    shape,
    BigInt64Array.from(values, (value) => BigInt(Math.round(value))),
  );
}
