/** The body that creates a fine-tuning job, in OpenAI's form. */
import * as v from "valibot";
import type { Json } from "../../base/json.js";
import { isObject } from "../../base/json.js";
import type { JobRequest } from "../../jobs/types.js";
import { integer, objectField } from "../body/field-kinds.js";
import { metadataField } from "../body/metadata-field.js";
import { type BodyFormat, type Fault, type IgnoredTable, invalid, parse } from "../body/parse.js";

const auto = v.literal("auto");

/** A number, or `auto`. */
function autoOr(rule: string, isAllowed: (value: number) => boolean) {
  const text = `must be "auto" or ${rule}`;
  return v.optional(v.union([auto, v.pipe(v.number(text), v.check(isAllowed, text))], text), "auto");
}

const whole = (least: number, most: number): Parameters<typeof autoOr> => [
  `an integer from ${least} to ${most}`,
  (value) => Number.isInteger(value) && value >= least && value <= most,
];

const shared = {
  n_epochs: autoOr(...whole(1, 50)),
  batch_size: autoOr(...whole(1, 256)),
  learning_rate_multiplier: autoOr("a number above 0 and up to 100", (value) => value > 0 && value <= 100),
};
const beta = autoOr("a number above 0 and up to 2", (value) => value > 0 && value <= 2);

/** An object in which a name that is not listed is a fault, so that no setting is ignored. */
const exactly = <Entries extends v.ObjectEntries>(entries: Entries) =>
  v.optional(v.pipe(objectField("must be an object"), v.strictObject(entries)));

const typeRule = 'must be "supervised" or "dpo": no other method is supported';
const method = exactly({
  type: v.optional(v.picklist(["supervised", "dpo"], typeRule)),
  supervised: exactly({ hyperparameters: exactly(shared) }),
  dpo: exactly({ hyperparameters: exactly({ ...shared, beta }) }),
});

const fileRule = "must be the id of an uploaded file";
const fileId = v.pipe(v.string(fileRule), v.regex(/^file-[A-Za-z0-9]{1,64}$/, fileRule));
const modelRule = "must be the name of a base model, a string of 1 to 512 characters";
const suffixRule =
  "must be a string of 1 to 64 letters, digits, underscores and hyphens that starts with a letter or a digit";

const taskRule = "must be the name of a task, a string of 1 to 64 characters";

const schema = v.object(
  {
    model: v.pipe(v.string(modelRule), v.minLength(1, modelRule), v.maxLength(512, modelRule)),
    task: v.optional(v.pipe(v.string(taskRule), v.minLength(1, taskRule), v.maxLength(64, taskRule))),
    training_file: fileId,
    validation_file: v.optional(fileId),
    suffix: v.optional(v.pipe(v.string(suffixRule), v.regex(/^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/, suffixRule))),
    seed: v.optional(integer(0, 2 ** 31 - 1)),
    metadata: v.optional(metadataField()),
    hyperparameters: exactly(shared),
    method,
  },
  "is required",
);

const ignored: IgnoredTable = {
  integrations: { allowed: "an empty list", accepts: (value) => Array.isArray(value) && value.length === 0 },
};

const jobFormat: BodyFormat<typeof schema> = {
  schema,
  known: [
    ...["model", "task", "training_file", "validation_file", "suffix", "seed", "metadata", "hyperparameters", "method"],
  ],
  ignored,
  cross: methodFaults,
};

/** The settings of a method that is not the one to use would be ignored. */
function* methodFaultsOf({ method, hyperparameters }: Json): Iterable<Fault> {
  if (!isObject(method)) return;
  if (method.type === undefined) yield invalid("method.type", "is required");
  for (const other of ["supervised", "dpo"]) {
    if (method[other] !== undefined && method.type !== other) {
      yield invalid(`method.${other}`, `may be given only where \`method.type\` is "${other}"`);
    }
  }
  if (hyperparameters !== undefined)
    yield invalid("hyperparameters", "may not be given beside `method`, which has its own");
}

function methodFaults(body: Json): readonly Fault[] {
  return [...methodFaultsOf(body)];
}

/** Throws one LorikeetError with every fault of the body. */
export function parseJob(body: unknown): JobRequest {
  const fields = parse(jobFormat, body);
  const { method } = fields;
  const type = method?.type ?? "supervised";
  const numbers = method === undefined ? fields.hyperparameters : method[type]?.hyperparameters;
  const numberOf = (value: number | "auto" | undefined): number | null => (typeof value === "number" ? value : null);
  return {
    model: fields.model,
    task: fields.task ?? null,
    method: type,
    hyperparameters: {
      epochs: numberOf(numbers?.n_epochs),
      batchSize: numberOf(numbers?.batch_size),
      learningRateMultiplier: numberOf(numbers?.learning_rate_multiplier),
      beta: numberOf(method?.dpo?.hyperparameters?.beta),
    },
    trainingFile: fields.training_file,
    validationFile: fields.validation_file ?? null,
    suffix: fields.suffix ?? null,
    seed: fields.seed ?? null,
    metadata: fields.metadata ?? null,
  };
}
