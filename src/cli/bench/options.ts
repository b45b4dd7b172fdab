/** The options of `bench engine`, `bench train` and `bench tasks`. */

import { type BenchShape, isBenchShape } from "../../bench/shapes.js";
import type { BaseDtype } from "../../engine/start.js";
import { engineOptions } from "../options/engine-options.js";
import { given, type OptionTable, open, type Settings } from "../options/option.js";
import { flag, integer, oneOf, type Parser, text } from "../options/units.js";
import { trainOptions } from "../train/options.js";

/** One or more choices separated by commas, without repeats. */
function listOf<T extends string>(one: Parser<T>): Parser<readonly [T, ...T[]]> {
  return (text) => {
    const [first, ...rest] = [...new Set(text.split(",").map((name) => name.trim()))];
    return [one(first ?? ""), ...rest.map((name) => one(name))];
  };
}

/** Accepts one more shape than it names: a tiny one for testing the benchmark itself. */
const shape: Parser<BenchShape> = (text) => {
  if (!isBenchShape(text)) throw new Error("must be one of 135M, 360M, 1B, 8B");
  return text;
};

const dtypes: readonly [BaseDtype, ...BaseDtype[]] = ["int4", "int8"];

const { device, allowSoftwareGpu, threads, cacheDir, activationDtype, accuracyLevel, kvCacheDtype } = engineOptions;

export const benchOptions = {
  shape: given("Model", "360M", {
    placeholder: "name",
    parse: shape,
    help: "size of the random model: 135M, 360M, 1B or 8B (16 GB on disk)",
  }),
  dtype: given("Model", dtypes, {
    placeholder: "types",
    parse: listOf(oneOf("fp32", "fp16", "int8", "int4")),
    shown: dtypes.join(","),
    help: "types of the layers' weights: one or more of fp32, fp16, int8 and int4; serving is measured with the first",
  }),
  cacheDir,
  device,
  allowSoftwareGpu,
  threads,
  activationDtype,
  accuracyLevel,
  kvCacheDtype,
  quick: given("Engine", false, { parse: flag, help: "take few samples: a smoke test, not a measurement" }),
} as const satisfies OptionTable;

export type BenchSettings = Settings<typeof benchOptions>;

const trainShapes: readonly BenchShape[] = ["135M"];
const frozenDtypes: readonly BaseDtype[] = ["fp32", "int8", "int4"];

export const benchTrainOptions = {
  shape: given("Model", trainShapes, {
    placeholder: "names",
    parse: listOf(shape),
    shown: trainShapes.join(","),
    help: "sizes of the random models: one or more of 135M, 360M and 1B",
  }),
  dtype: given("Model", frozenDtypes, {
    placeholder: "types",
    parse: listOf(oneOf("fp32", "int8", "int4")),
    shown: frozenDtypes.join(","),
    help: "types of the frozen weights: one or more of fp32, int8 and int4",
  }),
  cacheDir,
  threads,
  batchSize: given("Training", 4, { placeholder: "n", parse: integer(1, 4096), help: "rows per step" }),
  maxLength: given("Training", 256, {
    placeholder: "tokens",
    parse: integer(2),
    help: "tokens per row; all rows have this length",
  }),
  gradientCheckpointing: trainOptions.gradientCheckpointing,
  quick: given("Run", false, { parse: flag, help: "one step after one warmup step: a smoke test, not a measurement" }),
  profile: open("Run", "none", {
    placeholder: "prefix",
    parse: text,
    help: "write ONNX Runtime's profile of every step to files with this prefix",
  }),
} as const satisfies OptionTable;

export const benchTaskOptions = {
  device,
  allowSoftwareGpu,
  threads,
  loraR: given("Model", 8, { placeholder: "r", parse: integer(1, 256), help: "rank of the adapters" }),
  quick: given("Run", false, { parse: flag, help: "few samples of tiny models: a smoke test, not a measurement" }),
} as const satisfies OptionTable;

export type BenchTrainSettings = Settings<typeof benchTrainOptions>;
