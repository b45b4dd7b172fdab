/** The option that chooses one ONNX file of a task model with several. Commands that take a model share it. */

import { open } from "./option.js";
import { text } from "./units.js";

export const onnxFile = open("Model", "model.onnx, or the files of an encoder-decoder", {
  placeholder: "name",
  parse: text,
  help: "ONNX file to use of a task model with several, such as model_fp16.onnx or onnx/model_fp16.onnx",
});
