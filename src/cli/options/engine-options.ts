/** Options for loading and running a model, shared by every command that does. */

import { deviceRequests } from "../../runtime/device/choose.js";
import { given, type OptionTable, open, type Settings, size, time } from "./option.js";
import { bytes, flag, integer, oneOf, type Parser, text } from "./units.js";

const GiB = 1024 ** 3;

/** As ONNX Runtime's MatMulNBits numbers them; those between are not offered. */
const accuracyLevel: Parser<0 | 4> = (text) => (oneOf("0", "4")(text) === "0" ? 0 : 4);

export const engineOptions = {
  model: open("Model", "required", {
    placeholder: "model",
    parse: text,
    help: "a model folder in Hugging Face layout (config.json, *.safetensors, tokenizer.json), or a model's name on the hub: org/name or org/name@revision",
  }),
  dtype: given("Model", "auto", {
    placeholder: "type",
    parse: oneOf("auto", "fp32", "fp16", "int8", "int4"),
    help: "type of the layers' weights: fp32, fp16 (on a card that computes in it), int8 or int4; auto means fp32 up to 200 M parameters, else int8",
  }),
  headDtype: given("Model", "auto", {
    placeholder: "type",
    parse: oneOf("auto", "fp32", "int8"),
    help: "type of the output head's weights: fp32 or int8; auto means int8 if the layers are int8 or int4, else their type",
  }),
  cacheDir: open("Model", "$XDG_CACHE_HOME/lorikeet or ~/.cache/lorikeet", {
    placeholder: "folder",
    parse: text,
    help: "folder for the cache of converted weights",
  }),
  chatTemplate: open("Model", "the model's own", {
    placeholder: "file",
    parse: text,
    help: "chat template (Jinja) to use instead of the model's",
  }),
  generationConfig: given("Model", "openai", {
    placeholder: "source",
    parse: oneOf("openai", "model"),
    help: "sampling defaults: openai, or model (its generation_config.json)",
  }),
  device: given("Engine", "auto", {
    placeholder: "device",
    parse: oneOf(...deviceRequests),
    help: "device that runs the model: cpu, webgpu (any vendor's card), cuda (NVIDIA, with a provider of its own), or auto: CUDA where that provider is installed, WebGPU where there is a card, else the CPU",
  }),
  allowSoftwareGpu: given("Engine", false, {
    parse: flag,
    help: "let --device webgpu run on a driver that computes on the CPU, which is slower than --device cpu",
  }),
  threads: open("Engine", "the CPUs that affinity and cgroup quota allow", {
    placeholder: "n",
    parse: integer(1, 1024),
    help: "threads for computation",
  }),
  maxBatch: given("Engine", 16, {
    placeholder: "n",
    parse: integer(1, 1024),
    help: "sequences that run at once (KV slots)",
  }),
  maxContext: open("Engine", "the model's own, or what fits --kv-bytes", {
    placeholder: "tokens",
    parse: integer(16),
    help: "maximum tokens of a sequence, prompt and completion together, or of a text for a task model",
  }),
  kvBytes: open("Engine", "half of the memory left by the weights", {
    placeholder: "size",
    parse: bytes(),
    help: "memory for the KV cache of all slots",
  }),
  activationDtype: given("Engine", "auto", {
    placeholder: "type",
    parse: oneOf("auto", "fp32", "fp16"),
    help: "type that layers and adapters compute in: fp32 or fp16, which takes a card that computes in it; auto means fp16 if the layers are fp16, else fp32",
  }),
  accuracyLevel: given("Engine", 4, {
    placeholder: "level",
    parse: accuracyLevel,
    help: "of products with int4 and int8 blocks: 4 rounds activations to int8, 0 keeps them exact, which is several times slower for many rows",
  }),
  kvCacheDtype: given("Engine", "auto", {
    placeholder: "type",
    parse: oneOf("auto", "fp32", "fp16"),
    help: "type of keys and values in the KV cache: fp32 or fp16, which takes a card that computes in it; auto means fp16 on such a card unless the layers are fp32",
  }),
  adapterCacheBytes: size("Engine", GiB, "memory for the cache of loaded adapters"),
  activeAdapterBytes: size("Engine", GiB, "memory for the adapters in use, in the type of the activations"),
  maxQueue: given("Engine", 256, {
    placeholder: "n",
    parse: integer(0, 1_000_000),
    help: "sequences that may wait for a slot; further requests get 429",
  }),
  maxAdapterQueue: open("Engine", "seven eighths of --max-queue", {
    placeholder: "n",
    parse: integer(0, 1_000_000),
    help: "sequences of one adapter, or of the base model, that may wait; further requests get 429",
  }),
  maxStallMs: given("Engine", 120, {
    placeholder: "ms",
    parse: integer(1, 60_000),
    help: "longest delay of running sequences by one chunk of a prompt",
  }),
  deviceTimeout: time(
    "Engine",
    600_000,
    "longest time that a graphics card may take for a step, a copy or the upload of the weights; then it counts as lost",
  ),
  exact: given("Engine", false, {
    parse: flag,
    help: "make int8 and int4 results independent of what else is in the batch; otherwise log-probabilities may differ by up to 0.05",
  }),
} as const satisfies OptionTable;

export type EngineSettings = Settings<typeof engineOptions>;
