/** Options of `lorikeet merge`. */

import { adapterHelp, adaptersFolder } from "../adapters/source.js";
import { engineOptions } from "../options/engine-options.js";
import { onnxFile } from "../options/onnx-file.js";
import { given, type OptionTable, open } from "../options/option.js";
import { flag, oneOf, text } from "../options/units.js";

export const mergeOptions = {
  model: engineOptions.model,
  onnxFile,
  adapter: open("Adapter", "required", {
    placeholder: "adapter",
    parse: text,
    help: `adapter to merge: ${adapterHelp}`,
  }),
  adapters: adaptersFolder,
  outputDir: open("Adapter", "required", {
    placeholder: "folder",
    parse: text,
    help: "folder to write the merged model to",
  }),
  outputDtype: given("Adapter", "same", {
    placeholder: "type",
    parse: oneOf("same", "fp32"),
    help: "type of the merged weights: same keeps each weight's type, which rounds; fp32 does not",
  }),
  overwrite: given("Run", false, { parse: flag, help: "replace the contents of --output-dir" }),
} as const satisfies OptionTable;
