/** The Open Inference Protocol (KServe's version 2): inference requests and answers in JSON, with tensors in it or as bytes after it. */

import * as v from "valibot";
import { LorikeetError } from "../../base/errors.js";
import { isObject } from "../../base/json.js";
import type { TaskSignature, TaskTensor } from "../../engine/task/types.js";
import { flag, listOf, modelField, objectRule } from "../body/field-kinds.js";
import { type BodyFormat, describe, type Fault, Found, faultsError, invalid, parse, shorten } from "../body/parse.js";
import type { ErrorForm } from "../fault.js";
import type { InferAnswer, InferRequest } from "../tasks/inference.js";
import { joinRows } from "../tasks/rows.js";
import { bytesOfTensor, tensorOfBytes } from "./binary.js";
import { BinaryMessage } from "./message.js";
import { allowedDatatypes, datatypeOf, elementsOf, metadataOf, tensorOf, typeOf } from "./tensors.js";

/** Models with a cache have two inputs for each layer. */
const maxTensors = 1024;
const maxAxes = 16;
const nameRule = "must be a string of 1 to 512 characters";
const nameField = v.pipe(v.string(nameRule), v.minLength(1, nameRule), v.maxLength(512, nameRule));
const sizeRule = `must be a list of at most ${maxAxes} sizes, integers from 0`;
const integerFrom0 = (rule: string) => v.pipe(v.number(rule), v.safeInteger(rule), v.minValue(0, rule));

/** Parameters that clients may send and that change nothing are ignored, as by other servers; these would change the answer. */
const refused = ["shared_memory_region", "classification"];

const parametersField = <const E extends v.ObjectEntries>(entries: E) =>
  v.optional(v.looseObject(entries, "must be an object"));

const inputSchema = v.object(
  {
    name: nameField,
    shape: listOf(integerFrom0("must be an integer from 0"), 0, maxAxes, sizeRule),
    datatype: v.picklist(allowedDatatypes, `must be one of ${allowedDatatypes.join(", ")}`),
    parameters: parametersField({ binary_data_size: v.optional(integerFrom0("must be a number of bytes")) }),
    data: v.optional(v.array(v.unknown(), "must be a list of elements")),
  },
  objectRule("must be a tensor: an object with name, shape, datatype and data"),
);

const schema = v.object(
  {
    id: v.optional(v.pipe(v.string("must be a string"), v.maxLength(512, "must have at most 512 characters"))),
    model_name: v.optional(v.string("must be a string")),
    parameters: parametersField({ binary_data_output: v.optional(flag) }),
    inputs: listOf(inputSchema, 1, maxTensors, `must be a list of 1 to ${maxTensors} tensors`),
    outputs: v.optional(
      listOf(
        v.object(
          { name: nameField, parameters: parametersField({ binary_data: v.optional(flag) }) },
          objectRule("must be an object with a name"),
        ),
        0,
        maxTensors,
        `must be a list of at most ${maxTensors} objects`,
      ),
    ),
  },
  "is required",
);

type Fields = v.InferOutput<typeof schema>;

/** `model_name` is in the protocol's examples; the path decides. */
const format: BodyFormat<typeof schema> = {
  schema,
  known: ["id", "model_name", "parameters", "inputs", "outputs"],
  ignored: {},
};

interface WantedOutput {
  readonly name: string;
  readonly isBinary: boolean;
}

export interface KserveRequest extends InferRequest {
  readonly id: string | null;
  readonly wanted: readonly WantedOutput[];
}

export interface InferDefaults {
  /** Whether outputs are bytes unless the request says how it wants them. */
  readonly binaryOutputs: boolean;
}

/** `message`: parsed JSON, or a BinaryMessage. `model`: null for the base. Throws a LorikeetError with every fault. */
export function parseInfer(
  model: string | null,
  message: unknown,
  { outputs }: TaskSignature,
  { binaryOutputs }: InferDefaults = { binaryOutputs: false },
): KserveRequest {
  const isBinary = message instanceof BinaryMessage;
  const { id = null, inputs, ...fields } = parse(format, isBinary ? message.json : message);
  const faults: Fault[] = [...unsupportedIn(inputs, "inputs"), ...unsupportedIn(fields.outputs ?? [], "outputs")];
  const tensors = readTensors(inputs, isBinary ? message.tensors : [], faults);
  const known = outputs.map(({ name }) => name);
  for (const [index, { name }] of (fields.outputs ?? []).entries()) {
    if (known.includes(name)) continue;
    faults.push(invalid(`outputs[${index}].name`, `is ${quoted(name)}; ${known.join(", ")} are allowed`));
  }
  if (faults.length > 0) throw faultsError(faults);
  const all = fields.parameters?.binary_data_output ?? binaryOutputs;
  const named = fields.outputs ?? [];
  const wanted = named.length > 0 ? named : known.map((name) => ({ name, parameters: undefined }));
  return {
    model,
    id,
    inputs: [tensors],
    wanted: wanted.map(({ name, parameters }) => ({ name, isBinary: parameters?.binary_data ?? all })),
  };
}

/** A message whose JSON names its model; a BinaryMessage gets its outputs as bytes unless it says otherwise. Throws as `parseInfer` does. */
export function parseNamedInfer(message: unknown, signature: TaskSignature): KserveRequest {
  const isBinary = message instanceof BinaryMessage;
  const json = isBinary ? message.json : message;
  const { model, ...rest } = isObject(json) ? json : {};
  const name = v.safeParse(modelField, model ?? undefined);
  if (!name.success) throw faultsError([invalid("model", `${name.issues[0].message}; found ${describe(model)}`)]);
  const unnamed = isBinary ? new BinaryMessage(rest, message.tensors) : rest;
  return parseInfer(name.output ?? null, unnamed, signature, { binaryOutputs: isBinary });
}

function* unsupportedIn(
  tensors: readonly { readonly parameters?: object | undefined }[],
  list: string,
): Iterable<Fault> {
  for (const [index, { parameters = {} }] of tensors.entries()) {
    for (const name of refused) {
      if (!Object.hasOwn(parameters, name)) continue;
      const param = `${list}[${index}].parameters.${name}`;
      yield { code: "unsupported_parameter", param, text: `The parameter \`${param}\` is not supported.` };
    }
  }
}

/** The tensors by name: those without data in the JSON take the bytes after it, in order. */
function readTensors(
  inputs: Fields["inputs"],
  tensors: readonly Uint8Array[],
  faults: Fault[],
): ReadonlyMap<string, TaskTensor> {
  const found = new Map<string, TaskTensor>();
  const bytes = Buffer.concat(tensors);
  let offset = 0;
  for (const [index, { name, shape, datatype, data, parameters }] of inputs.entries()) {
    const at = `inputs[${index}]`;
    const type = typeOf(datatype);
    const size = parameters?.binary_data_size;
    const begin = offset;
    offset += size ?? 0;
    let tensor: TaskTensor | Found;
    if (size !== undefined && data)
      tensor = new Found("elements as JSON and a `binary_data_size`; one of the two is allowed");
    else if (size !== undefined) tensor = tensorOfBytes(type, shape, bytes.subarray(begin, offset));
    else if (data) tensor = tensorOf(type, shape, data);
    else {
      faults.push(invalid(`${at}.data`, "is required; found nothing"));
      continue;
    }
    // What a size promises beyond the message is one fault, of all tensors.
    if (tensor instanceof Found && offset <= bytes.length) faults.push(invalid(`${at}.data`, `has ${tensor.text}`));
    else if (found.has(name)) faults.push(invalid(`${at}.name`, `names ${quoted(name)} again`));
    else if (!(tensor instanceof Found)) found.set(name, tensor);
  }
  if (offset !== bytes.length) {
    faults.push(
      invalid("inputs", `has a \`binary_data_size\` of ${offset} bytes in all; ${bytes.length} bytes follow the JSON`),
    );
  }
  return found;
}

const quoted = (name: string): string => JSON.stringify(shorten(name));

/** The only version of each model. */
export const modelVersion = "1";

/** A BinaryMessage if an output is wanted as bytes, else an object. Throws `invalid_value` for rows whose outputs have different sizes, and for integers that JSON does not hold exactly. */
export function serializeInfer({ id, wanted }: KserveRequest, { model, rows }: InferAnswer): object {
  const found = joinRows(rows);
  const tensors: Uint8Array[] = [];
  const outputs = wanted.flatMap(({ name, isBinary }): object[] => {
    const tensor = found.get(name);
    if (!tensor) return [];
    const described = { name, datatype: datatypeOf(tensor.type), shape: tensor.shape };
    if (!isBinary) return [{ ...described, data: elementsOf(name, tensor) }];
    const bytes = bytesOfTensor(tensor);
    tensors.push(bytes);
    return [{ ...described, parameters: { binary_data_size: bytes.byteLength } }];
  });
  const json = { model_name: model, model_version: modelVersion, ...(id === null ? {} : { id }), outputs };
  return tensors.length === 0 ? json : new BinaryMessage(json, tensors);
}

/** What the protocol tells of a model. */
export function modelMetadata(name: string, platform: string, { inputs, outputs }: TaskSignature) {
  return {
    name,
    versions: [modelVersion],
    platform,
    inputs: inputs.map(metadataOf),
    outputs: outputs.map(metadataOf),
  };
}

/** Throws `model_not_found` for a version that a model does not have. null: none was named. */
export function checkVersion(model: string, version: string | null): void {
  if (version === null || version === modelVersion) return;
  const message = `The model \`${model}\` has no version ${quoted(version)}; its only version is ${modelVersion}.`;
  throw new LorikeetError("model_not_found", message, { param: "version", found: version, allowed: modelVersion });
}

export const kserveErrorForm: ErrorForm = ({ status, message }) => ({ status, body: { error: message } });
