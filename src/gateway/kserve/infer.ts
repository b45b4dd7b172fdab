/** The Open Inference Protocol (KServe's version 2): inference requests and answers in JSON. */

import * as v from "valibot";
import type { TaskSignature, TaskTensor } from "../../engine/task/types.js";
import { listOf, objectField, objectRule } from "../body/field-kinds.js";
import { type BodyFormat, type Fault, Found, faultsError, invalid, parse, shorten } from "../body/parse.js";
import type { ErrorForm } from "../fault.js";
import type { InferAnswer, InferRequest } from "../tasks/inference.js";
import { joinRows } from "../tasks/rows.js";
import {
  allowedDatatypes,
  datatypeOf,
  elementsOf,
  metadataOf,
  type TensorMetadata,
  tensorOf,
  typeOf,
} from "./tensors.js";

const maxTensors = 64;
const maxAxes = 16;
const nameRule = "must be a string of 1 to 512 characters";
const nameField = v.pipe(v.string(nameRule), v.minLength(1, nameRule), v.maxLength(512, nameRule));
const sizeRule = `must be a list of at most ${maxAxes} sizes, integers from 0`;
const sizeField = v.pipe(v.number(sizeRule), v.safeInteger(sizeRule), v.minValue(0, sizeRule));
const parametersField = v.optional(objectField("must be an object"));

const inputSchema = v.object(
  {
    name: nameField,
    shape: listOf(sizeField, 0, maxAxes, sizeRule),
    datatype: v.picklist(allowedDatatypes, `must be one of ${allowedDatatypes.join(", ")}`),
    parameters: parametersField,
    data: v.array(v.unknown(), "must be a list of elements"),
  },
  objectRule("must be a tensor: an object with name, shape, datatype and data"),
);

const schema = v.object(
  {
    id: v.optional(v.pipe(v.string("must be a string"), v.maxLength(512, "must have at most 512 characters"))),
    parameters: parametersField,
    inputs: listOf(inputSchema, 1, maxTensors, `must be a list of 1 to ${maxTensors} tensors`),
    outputs: v.optional(
      listOf(
        v.object({ name: nameField, parameters: parametersField }, objectRule("must be an object with a name")),
        0,
        maxTensors,
        `must be a list of at most ${maxTensors} objects`,
      ),
    ),
  },
  "is required",
);

const format: BodyFormat<typeof schema> = {
  schema,
  known: ["id", "parameters", "inputs", "outputs"],
  ignored: {},
};

export interface KserveRequest extends InferRequest {
  readonly id: string | null;
  /** Names of the outputs to answer with; null: all. */
  readonly wanted: readonly string[] | null;
}

/** `model`: of the path. Throws a LorikeetError with every fault. */
export function parseInfer(model: string, body: unknown, { outputs }: TaskSignature): KserveRequest {
  const { id = null, inputs, ...fields } = parse(format, body);
  const faults: Fault[] = [];
  const tensors = new Map<string, TaskTensor>();
  for (const [index, { name, shape, datatype, data }] of inputs.entries()) {
    const type = typeOf(datatype);
    const tensor = type === null ? new Found("another datatype") : tensorOf(type, shape, data);
    if (tensor instanceof Found) faults.push(invalid(`inputs[${index}].data`, `has ${tensor.text}`));
    else if (tensors.has(name)) faults.push(invalid(`inputs[${index}].name`, `names ${quoted(name)} again`));
    else tensors.set(name, tensor);
  }
  const wanted = fields.outputs && fields.outputs.length > 0 ? fields.outputs.map(({ name }) => name) : null;
  const known = outputs.map(({ name }) => name);
  for (const [index, name] of (wanted ?? []).entries()) {
    if (known.includes(name)) continue;
    faults.push(invalid(`outputs[${index}].name`, `is ${quoted(name)}; ${known.join(", ")} are allowed`));
  }
  if (faults.length > 0) throw faultsError(faults);
  return { model, id, inputs: [tensors], wanted };
}

const quoted = (name: string): string => JSON.stringify(shorten(name));

export interface KserveAnswer {
  readonly model_name: string;
  readonly id?: string;
  readonly outputs: readonly (TensorMetadata & { readonly data: readonly (number | boolean | null)[] })[];
}

/** Throws `invalid_value` for rows whose outputs have different sizes. */
export function serializeInfer({ id, wanted }: KserveRequest, { model, rows }: InferAnswer): KserveAnswer {
  const outputs = joinRows(rows);
  const names = wanted ?? [...outputs.keys()];
  return {
    model_name: model,
    ...(id === null ? {} : { id }),
    outputs: names.flatMap((name) => {
      const tensor = outputs.get(name);
      if (!tensor) return [];
      return [{ name, datatype: datatypeOf(tensor.type), shape: tensor.shape, data: elementsOf(tensor) }];
    }),
  };
}

/** What the protocol tells of a model. */
export function modelMetadata(name: string, { inputs, outputs }: TaskSignature) {
  return {
    name,
    versions: [],
    platform: "onnx_onnxv1",
    inputs: inputs.map(metadataOf),
    outputs: outputs.map(metadataOf),
  };
}

export const kserveErrorForm: ErrorForm = ({ status, message }) => ({ status, body: { error: message } });
