/** The table of errors: each stable code with its HTTP status and OpenAI error type. */

interface ErrorKind {
  readonly status: number;
  readonly type:
    | "invalid_request_error"
    | "authentication_error"
    | "permission_error"
    | "rate_limit_error"
    | "server_error";
  /** Seconds a client should wait before it retries; absent where a retry does not help. */
  readonly retryAfterSeconds?: number;
}

const invalid = (status: number): ErrorKind => ({ status, type: "invalid_request_error" });

/** Every code that a user can see. docs/errors.md lists all of them; a test compares the two. */
export const errorTable = {
  invalid_value: invalid(400),
  unsupported_parameter: invalid(400),
  context_length_exceeded: invalid(400),
  prompt_too_long: invalid(400),
  chat_template_missing: invalid(400),
  chat_template_limit: invalid(400),
  tokenizer_missing: invalid(400),
  previous_response_not_found: invalid(400),
  image_invalid: invalid(400),
  invalid_config: invalid(400),
  invalid_name: invalid(400),
  invalid_upload: invalid(400),
  digest_mismatch: invalid(400),
  already_loaded: invalid(400),
  invalid_api_key: { status: 401, type: "authentication_error" },
  host_not_allowed: { status: 403, type: "permission_error" },
  origin_not_allowed: { status: 403, type: "permission_error" },
  model_not_found: invalid(404),
  adapter_not_found: invalid(404),
  route_not_found: invalid(404),
  response_not_found: invalid(404),
  file_not_found: invalid(404),
  job_not_found: invalid(404),
  method_not_allowed: invalid(405),
  conflict: invalid(409),
  precondition_failed: invalid(412),
  too_large: invalid(413),
  image_too_large: invalid(413),
  unsupported_media_type: invalid(415),
  image_unsupported: invalid(415),
  adapter_invalid: invalid(422),
  adapter_unsupported: invalid(422),
  adapter_too_large: invalid(422),
  validation_timeout: invalid(422),
  model_invalid: invalid(422),
  model_unsupported: invalid(422),
  upgrade_required: invalid(426),
  headers_too_large: invalid(431),
  timeout: invalid(408),
  cancelled: invalid(499),
  queue_full: { status: 429, type: "rate_limit_error", retryAfterSeconds: 1 },
  adapter_queue_full: { status: 429, type: "rate_limit_error", retryAfterSeconds: 1 },
  encode_queue_full: { status: 429, type: "rate_limit_error", retryAfterSeconds: 1 },
  image_queue_full: { status: 429, type: "rate_limit_error", retryAfterSeconds: 1 },
  grammar_queue_full: { status: 429, type: "rate_limit_error", retryAfterSeconds: 1 },
  address_busy: { status: 429, type: "rate_limit_error", retryAfterSeconds: 5 },
  background_full: { status: 429, type: "rate_limit_error", retryAfterSeconds: 5 },
  mixtures_busy: { status: 429, type: "rate_limit_error", retryAfterSeconds: 1 },
  training_queue_full: { status: 429, type: "rate_limit_error", retryAfterSeconds: 60 },
  uploads_busy: { status: 429, type: "rate_limit_error", retryAfterSeconds: 5 },
  validations_busy: { status: 429, type: "rate_limit_error", retryAfterSeconds: 5 },
  internal: { status: 500, type: "server_error" },
  records_damaged: { status: 500, type: "server_error" },
  adapter_damaged: { status: 500, type: "server_error" },
  runtime_failed: { status: 500, type: "server_error" },
  queue_timeout: { status: 503, type: "server_error", retryAfterSeconds: 5 },
  connections_full: { status: 503, type: "server_error", retryAfterSeconds: 5 },
  draining: { status: 503, type: "server_error", retryAfterSeconds: 10 },
  adapter_changed: { status: 503, type: "server_error", retryAfterSeconds: 5 },
  no_file_handles: { status: 503, type: "server_error", retryAfterSeconds: 5 },
  not_ready: { status: 503, type: "server_error", retryAfterSeconds: 5 },
  hub_refused: { status: 403, type: "permission_error" },
  hub_not_found: invalid(404),
  hub_invalid: { status: 502, type: "server_error" },
  hub_unreachable: { status: 503, type: "server_error" },
  store_full: { status: 507, type: "server_error" },
  data_invalid: invalid(400),
  out_of_memory: invalid(400),
  device_unavailable: invalid(400),
  device_memory: { status: 500, type: "server_error" },
  device_lost: { status: 503, type: "server_error", retryAfterSeconds: 10 },
} as const satisfies Record<string, ErrorKind>;

export type ErrorCode = keyof typeof errorTable;

export interface ErrorDetails {
  /** The parameter, flag, file or tensor at fault. */
  readonly param?: string;
  /** What was found. */
  readonly found?: unknown;
  /** What is allowed. */
  readonly allowed?: unknown;
  /** All faults, if there are several; the message holds the first or a summary. */
  readonly faults?: readonly string[];
  /** For the operator, such as a folder's path: shown on the command line and in the log, never in a response. */
  readonly operator?: string;
  readonly cause?: unknown;
}

/**
 * An error with a stable code. `message` is a whole sentence that names what was found and what is allowed. Clients can read it, so
 * paths of this machine belong in `operator`.
 */
export class LorikeetError extends Error {
  readonly code: ErrorCode;
  readonly param: string | undefined;
  readonly found: unknown;
  readonly allowed: unknown;
  readonly faults: readonly string[];
  readonly operator: string | undefined;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = "LorikeetError";
    this.code = code;
    this.param = details.param;
    this.found = details.found;
    this.allowed = details.allowed;
    this.faults = details.faults ?? [];
    this.operator = details.operator;
  }

  get status(): number {
    return errorTable[this.code].status;
  }

  get type(): ErrorKind["type"] {
    return errorTable[this.code].type;
  }

  get retryAfterSeconds(): number | undefined {
    return (errorTable[this.code] as ErrorKind).retryAfterSeconds;
  }
}

/** Whether an error has one of these codes. */
export function hasCode(error: unknown, ...codes: readonly ErrorCode[]): error is LorikeetError {
  return error instanceof LorikeetError && codes.includes(error.code);
}

/** Throws an `internal` error if an invariant does not hold. Not for bad input. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new LorikeetError("internal", `Invariant broken: ${message}`);
}
