/** Reads an untrusted JSON object through a valibot schema and reports every fault at once. Knows no particular request; its messages never repeat text that a user sent. */
import * as v from "valibot";
import { LorikeetError } from "../base/errors.js";

/** One thing wrong with a request. `text` is a whole sentence. */
export interface Fault {
  readonly code: "invalid_value" | "unsupported_parameter";
  readonly param: string;
  readonly text: string;
}

/** Parameters that are not supported but may be sent with values that change nothing. */
export type NeutralTable = Readonly<Record<string, { readonly allowed: string; accepts(value: unknown): boolean }>>;

export type JsonObject = Readonly<Record<string, unknown>>;

export interface Door<S extends v.GenericSchema> {
  readonly schema: S;
  /** Names of the parameters that the schema reads. */
  readonly known: readonly string[];
  readonly neutral: NeutralTable;
  /** Faults between parameters, found on the raw object so that they are reported along with the rest. */
  cross?(body: JsonObject): readonly Fault[];
}

const listedFaults = 16;
/** Far more than there are. */
const maxParameters = 256;

/** Throws one LorikeetError that names every fault: `unsupported_parameter` or `invalid_value`, after the first of them. */
export function parse<S extends v.GenericSchema>(door: Door<S>, input: unknown): v.InferOutput<S> {
  if (!isObject(input)) {
    throw new LorikeetError("invalid_value", `The body must be a JSON object; found ${describe(input)}.`);
  }
  const count = Object.keys(input).length;
  if (count > maxParameters) {
    throw new LorikeetError(
      "invalid_value",
      `The body has ${count} parameters; at most ${maxParameters} are allowed.`,
      {
        param: "body",
        found: count,
        allowed: maxParameters,
      },
    );
  }
  const body = withoutNulls(input);
  const faults = [...unsupportedFaults(door, body)];
  const result = v.safeParse(door.schema, body, { abortPipeEarly: true });
  for (const issue of result.issues ?? []) faults.push(issueFault(issue));
  faults.push(...(door.cross?.(body) ?? []));
  if (result.success && faults.length === 0) return result.output;
  throw faultsError(faults);
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** null equals absent, here and in the objects directly below. */
export function withoutNulls(value: JsonObject): JsonObject {
  const kept = Object.create(null) as Record<string, unknown>;
  for (const [key, item] of Object.entries(value)) if (item !== null) kept[key] = item;
  return kept;
}

/** What a value is, without what it says: numbers and booleans as they are, the rest by kind and size. */
export function describe(value: unknown): string {
  if (value === undefined) return "nothing";
  if (value === null || typeof value === "number" || typeof value === "boolean") return String(value);
  if (typeof value === "string") return `a string of ${value.length} characters`;
  return Array.isArray(value) ? `a list of ${value.length}` : "an object";
}

export function invalid(param: string, rule: string): Fault {
  return { code: "invalid_value", param, text: `\`${param}\` ${rule}.` };
}

export function faultsError(faults: readonly Fault[]): LorikeetError {
  const first = faults[0] ?? invalid("body", "is not valid");
  const texts = faults.slice(0, listedFaults).map((fault) => fault.text);
  if (faults.length > listedFaults) texts.push(`${faults.length - listedFaults} more faults are not listed.`);
  return new LorikeetError(first.code, texts.join(" "), { param: first.param, faults: texts });
}

function* unsupportedFaults(door: Door<v.GenericSchema>, body: JsonObject): Iterable<Fault> {
  for (const [param, value] of Object.entries(body)) {
    if (door.known.includes(param)) continue;
    const neutral = Object.hasOwn(door.neutral, param) ? door.neutral[param] : undefined;
    if (neutral?.accepts(value)) continue;
    const hint = neutral ? `; only ${neutral.allowed} is accepted` : "";
    const shown = shorten(param);
    yield { code: "unsupported_parameter", param: shown, text: `The parameter \`${shown}\` is not supported${hint}.` };
  }
}

function issueFault(issue: v.BaseIssue<unknown>): Fault {
  const param = pathOf(issue);
  const code = issue.type === "strict_object" ? "unsupported_parameter" : "invalid_value";
  const rule = code === "unsupported_parameter" ? "is not supported" : issue.message;
  return { code, param, text: `\`${param}\` ${rule}; found ${describe(issue.input)}.` };
}

function pathOf(issue: v.BaseIssue<unknown>): string {
  let path = "";
  for (const { key } of issue.path ?? []) {
    if (typeof key === "number") path += `[${key}]`;
    else path += path === "" ? shorten(String(key)) : `.${shorten(String(key))}`;
  }
  return path === "" ? "body" : path;
}

/** Keys come from strangers too. */
function shorten(key: string): string {
  return key.length <= 64 ? key : `${key.slice(0, 64)}…`;
}
