/** What went wrong with a call, in the server's words where it answered. */

export class ApiError extends Error {
  /** 0 where there is none: no answer came, or it came over the WebSocket. */
  readonly status: number;
  readonly code: string;
  /** The faults that the message does not tell. */
  readonly faults: readonly string[];

  constructor(status: number, code: string, message: string, faults: readonly string[] = []) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.code = code;
    this.faults = faults.filter((fault) => !message.includes(fault));
  }
}

/** The error of a response that is not ok. `text` is its body. */
export function errorOf(status: number, text: string): ApiError {
  return readError(status, parsed(text)) ?? new ApiError(status, "unknown", `The server answered with ${status}.`);
}

/** The error in a message of OpenAI's form, or of Hugging Face's, which is a text; null if there is none. */
export function readError(status: number, message: unknown): ApiError | null {
  const error = fieldOf(message, "error");
  if (typeof error === "string") return new ApiError(status, String(fieldOf(message, "code") ?? "unknown"), error);
  const text = fieldOf(error, "message");
  if (typeof text !== "string") return null;
  const faults = fieldOf(error, "faults");
  return new ApiError(
    status,
    String(fieldOf(error, "code") ?? "unknown"),
    text,
    Array.isArray(faults) ? faults.map(String) : [],
  );
}

const noAnswerCode = "no_answer";

export const noAnswer = (): ApiError => new ApiError(0, noAnswerCode, "The server does not answer.");

/** The body of a response. A connection that breaks in the middle of it gave no answer either. */
export async function bodyOf<Body>(reading: Promise<Body>): Promise<Body> {
  try {
    return await reading;
  } catch {
    throw noAnswer();
  }
}

export const isNoAnswer = (error: unknown): boolean => error instanceof ApiError && error.code === noAnswerCode;

/** The model of an error that says it does not exist, if it is one of `known`: then it was deleted. */
export function deletedModel({ code, message }: ApiError, known: ReadonlySet<string>): string | null {
  if (code !== "model_not_found" && code !== "adapter_not_found") return null;
  const name = /`([^`]+)` does not exist/.exec(message)?.[1] ?? "";
  return known.has(name) ? name : null;
}

export function fieldOf(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? Reflect.get(value, name) : undefined;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
