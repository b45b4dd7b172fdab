/** The options of `bench engine`. */

import { type BenchShape, isBenchShape } from "../bench/shapes.js";
import type { BaseDtype } from "../engine/start.js";
import { engineOptions, flagName, given, type OptionTable, type Settings } from "./options.js";
import { flag, oneOf, type Parser } from "./units.js";

/** One or more names of a choice, with commas between them, each once. */
function listOf<T extends string>(one: Parser<T>): Parser<readonly [T, ...T[]]> {
  return (text) => {
    const [first, ...rest] = [...new Set(text.split(",").map((name) => name.trim()))];
    return [one(first ?? ""), ...rest.map((name) => one(name))];
  };
}

/** One shape more than is told: the one for trying the benchmark itself. */
const shape: Parser<BenchShape> = (text) => {
  if (!isBenchShape(text)) throw new Error("must be one of 135M, 360M, 1B");
  return text;
};

const dtypes: readonly [BaseDtype, ...BaseDtype[]] = ["int4", "int8"];

const { threads, cacheDir } = engineOptions;

export const benchOptions = {
  shape: given("Model", "360M", { placeholder: "name", parse: shape, help: "the random model: 135M, 360M or 1B" }),
  dtype: given("Model", dtypes, {
    placeholder: "types",
    parse: listOf(oneOf("fp32", "int8", "int4")),
    shown: dtypes.join(","),
    help: "weights of the layers, one or more of fp32, int8 and int4; the first also serves",
  }),
  cacheDir,
  threads,
  quick: given("Engine", false, { parse: flag, help: "a few samples only: to see that it runs, not how fast" }),
} as const satisfies OptionTable;

export type BenchSettings = Settings<typeof benchOptions>;

export const benchKeys = Object.keys(benchOptions).map(flagName);
