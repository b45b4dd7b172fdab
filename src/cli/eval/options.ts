/** Options of `lorikeet eval`. */

import { adapterHelp, adaptersFolder } from "../adapters/source.js";
import { engineOptions } from "../options/engine-options.js";
import { onnxFile } from "../options/onnx-file.js";
import { given, type OptionTable, open, type Settings } from "../options/option.js";
import { flag, integer, text } from "../options/units.js";
import { labelTemplate, trainOptions } from "../train/options.js";

const { model, cacheDir, chatTemplate, device, allowSoftwareGpu, threads, dtype, headDtype } = engineOptions;

export const evalOptions = {
  ...{ model, onnxFile, dtype, headDtype, cacheDir, chatTemplate, device, allowSoftwareGpu, threads },
  task: trainOptions.task,
  data: trainOptions.data,
  maxLength: trainOptions.maxLength,
  labelTemplate: open("Data", "the one that the adapter was trained with", {
    placeholder: "template",
    parse: labelTemplate,
    help: "how a text and its label become a row; \\n is a line break",
  }),
  maxEvalSamples: open("Data", "all", { placeholder: "n", parse: integer(1), help: "evaluate only the first n rows" }),
  adapter: open("Adapter", "none, only the base model", {
    placeholder: "adapter",
    parse: text,
    help: `adapter to evaluate: ${adapterHelp}`,
  }),
  adapters: adaptersFolder,
  exactMatch: given("Run", true, {
    parse: flag,
    help: "also answer each prompt greedily and compare the whole answer; --no-exact-match skips this",
  }),
  maxBatch: given("Run", 8, { placeholder: "n", parse: integer(1, 256), help: "rows that run at once" }),
  details: open("Run", "off", {
    placeholder: "file",
    parse: text,
    help: "write a line of JSON for each row to this file: loss, chosen label with all scores, and answer",
  }),
  json: given("Run", false, { parse: flag, help: "print the results as JSON" }),
} as const satisfies OptionTable;

export type EvalFlags = Settings<typeof evalOptions>;
