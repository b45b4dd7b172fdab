/** The messages between the adapter worker and its thread. */

import { type ErrorCode, errorTable, LorikeetError } from "../../base/errors.js";
import type { BaseModule } from "../../model/blueprint.js";
import type { TaskTarget } from "../../model/task/adapter-targets.js";
import type { AdapterBase, CheckedAdapter, CheckOptions } from "../format.js";
import type { HostAdapter, HostTaskAdapter } from "../types.js";

export interface JobResults {
  check: CheckedAdapter;
  load: HostAdapter;
  loadTask: HostTaskAdapter;
}

export type JobKind = keyof JobResults;

/** What a job is given besides its folder. */
export type JobInput =
  | { readonly kind: "check"; readonly base: AdapterBase }
  | { readonly kind: "load"; readonly modules: readonly BaseModule[] }
  | { readonly kind: "loadTask"; readonly targets: readonly TaskTarget[] };

export type JobRequest = JobInput & {
  readonly id: number;
  readonly folder: string;
  readonly options: CheckOptions;
};

export type JobReply =
  | { readonly [K in JobKind]: { readonly id: number; readonly kind: K; readonly value: JobResults[K] } }[JobKind]
  | { readonly id: number; readonly kind: "error"; readonly error: PackedError };

/** A LorikeetError as plain data: structured clone drops an error's own fields. */
export interface PackedError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly param: string | undefined;
  readonly found: unknown;
  readonly allowed: unknown;
  readonly faults: readonly string[];
  readonly operator: string | undefined;
}

export function packError(error: unknown): PackedError {
  if (error instanceof LorikeetError && error.code in errorTable) {
    const { code, message, param, found, allowed, faults, operator } = error;
    return { code, message, param, found: plain(found), allowed: plain(allowed), faults, operator };
  }
  const message = error instanceof Error ? error.message : String(error);
  return {
    code: "internal",
    message: `The adapter worker failed: ${message}.`,
    param: undefined,
    found: undefined,
    allowed: undefined,
    faults: [],
    operator: undefined,
  };
}

export function unpackError({ code, message, param, operator, ...rest }: PackedError): LorikeetError {
  return new LorikeetError(code, message, {
    ...rest,
    ...(param === undefined ? {} : { param }),
    ...(operator === undefined ? {} : { operator }),
  });
}

function plain(value: unknown): unknown {
  try {
    return structuredClone(value);
  } catch {
    return String(value);
  }
}
