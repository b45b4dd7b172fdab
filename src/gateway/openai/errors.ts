/** Faults in OpenAI's form. */
import type { ErrorForm, PublicFault } from "../fault.js";

export interface OpenAiError {
  readonly error: {
    readonly message: string;
    readonly type: string;
    readonly param: string | null;
    readonly code: string;
    /** Every fault, where there were several. */
    readonly faults?: readonly string[];
  };
}

export function openAiError({ message, type, param, code, faults }: PublicFault): OpenAiError {
  return { error: { message, type, param, code, ...(faults.length > 1 ? { faults } : {}) } };
}

export const openAiErrorForm: ErrorForm = (fault) => ({ status: fault.status, body: openAiError(fault) });
