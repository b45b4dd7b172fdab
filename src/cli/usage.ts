/** Errors that end a command: the exit code of each, and the line that it prints. */

import { type ErrorCode, LorikeetError } from "../base/errors.js";

/** A running server refused, or did not answer. The message holds its own words. */
export class RemoteError extends Error {
  override readonly name = "RemoteError";
  readonly faults: readonly string[];

  constructor(message: string, faults: readonly string[] = []) {
    super(message);
    this.faults = faults;
  }
}

/** Flags, environment variables or config file are wrong. */
export class UsageError extends Error {
  constructor(faults: readonly string[]) {
    super(faults.join(" "));
    this.name = "UsageError";
  }
}

/** The command has printed everything; only the exit code remains. */
export class Quit extends Error {
  readonly exitCode: number;

  constructor(exitCode: number) {
    super(`The command ended with exit code ${exitCode}.`);
    this.name = "Quit";
    this.exitCode = exitCode;
  }
}

/** An exit code for each kind of error, as listed in docs/errors.md. 70 and 75 are those of sysexits.h. */
export const exitCodes = {
  ok: 0,
  /** Any other failure, such as a check that found damage. */
  failed: 1,
  usage: 2,
  model: 3,
  data: 4,
  adapter: 5,
  /** The listen address is in use or not permitted. */
  address: 6,
  memory: 7,
  /** No disk space, or no permission to write. */
  storage: 8,
  /** A running server or a hub refused, or did not answer. */
  remote: 9,
  /** The device that --device names cannot run here. */
  device: 10,
  /** The device was lost while it was in use. */
  deviceLost: 11,
  /** A bug, including a service that shut down in order after an uncaught error. */
  internal: 70,
  /** A service did not shut down in time and was killed. */
  overdue: 75,
  cancelled: 130,
} as const;

type ExitKind = keyof typeof exitCodes;

const kindOfCode: Partial<Record<ErrorCode, ExitKind>> = {
  invalid_value: "usage",
  invalid_config: "usage",
  invalid_name: "usage",
  context_length_exceeded: "usage",
  prompt_too_long: "usage",
  hub_not_found: "usage",
  hub_refused: "remote",
  hub_invalid: "remote",
  hub_unreachable: "remote",
  model_invalid: "model",
  model_unsupported: "model",
  tokenizer_missing: "model",
  chat_template_missing: "model",
  data_invalid: "data",
  adapter_invalid: "adapter",
  adapter_unsupported: "adapter",
  adapter_too_large: "adapter",
  adapter_damaged: "adapter",
  digest_mismatch: "adapter",
  out_of_memory: "memory",
  device_memory: "memory",
  device_unavailable: "device",
  device_lost: "deviceLost",
  store_full: "storage",
  cancelled: "cancelled",
  internal: "internal",
};

const kindOfSystemCode: Readonly<Record<string, ExitKind>> = {
  EADDRINUSE: "address",
  EADDRNOTAVAIL: "address",
  ENOMEM: "memory",
  ENOSPC: "storage",
  EDQUOT: "storage",
  EFBIG: "storage",
  EROFS: "storage",
  EPERM: "storage",
};

/** The exit code for an error that ends a command. */
export function exitCodeOf(error: unknown): number {
  const { first } = splitSuppressed(error);
  return first instanceof Quit ? first.exitCode : exitCodes[exitKindOf(first)];
}

/** What failed first, and what failed after it while `using` declarations were disposed of. */
function splitSuppressed(error: unknown): { first: unknown; later: readonly unknown[] } {
  const later: unknown[] = [];
  let first = error;
  // Node.js 20 lacks the class, so TypeScript's helper throws a plain Error with this name.
  while (first instanceof Error && first.name === "SuppressedError" && "error" in first && "suppressed" in first) {
    later.unshift(first.error);
    first = first.suppressed;
  }
  return { first, later };
}

function exitKindOf(error: unknown): ExitKind {
  if (error instanceof UsageError) return "usage";
  if (error instanceof RemoteError) return "remote";
  if (error instanceof LorikeetError) return kindOfCode[error.code] ?? "failed";
  if (!(error instanceof Error)) return "internal";
  if (systemFault(error) === null) return "internal";
  const code = "code" in error ? String(error.code) : "";
  // Either a file could not be opened, or an address not listened on.
  if (code === "EACCES") return "path" in error ? "storage" : "address";
  return kindOfSystemCode[code] ?? "failed";
}

const maxFaultsShown = 12;

/** One line for the terminal, plus one for each of the first further faults. A bug shows its stack. */
export function describeFault(error: unknown): string {
  const { first, later } = splitSuppressed(error);
  return [describeFirst(first), ...later.map((fault) => `  - then, while closing: ${describeFirst(fault)}`)].join("\n");
}

function describeFirst(error: unknown): string {
  if (error instanceof UsageError) return oneLine(error.message);
  if (error instanceof LorikeetError || error instanceof RemoteError) {
    const more = error.faults.filter((fault) => !error.message.includes(fault));
    const where = error instanceof LorikeetError && error.operator ? ` ${error.operator}` : "";
    const shown = more.slice(0, maxFaultsShown);
    if (more.length > shown.length) shown.push(`and ${more.length - shown.length} more`);
    return [oneLine(error.message + where), ...shown.map((fault) => `  - ${oneLine(fault)}`)].join("\n");
  }
  if (!(error instanceof Error)) return oneLine(String(error));
  const system = systemFault(error);
  return system ?? error.stack ?? error.message;
}

/** Explains the errors of the operating system that a user can fix. */
function systemFault(error: Error): string | null {
  const code = "code" in error ? error.code : undefined;
  const path = "path" in error && typeof error.path === "string" ? error.path : null;
  const port = "port" in error ? String(error.port) : "";
  const address = "address" in error ? String(error.address) : "";
  switch (code) {
    case "EADDRINUSE":
      return `The address ${address}:${port} is in use by another program: choose another --port, or 0 to pick a free one.`;
    case "EADDRNOTAVAIL":
    case "ENOTFOUND":
      return `The address ${address || "that --host names"} is not an address of this machine.`;
    case "EACCES":
      return path === null
        ? `Listening on ${address}:${port} is not permitted for this user.`
        : `${path} cannot be opened: permission denied.`;
    case "ENOENT":
      return path === null ? null : `${path} does not exist.`;
    case "ENOTDIR":
      return path === null ? null : `${path} is not a valid path: one of its folders is a file.`;
    case "EPERM":
      return path === null ? null : `${path} cannot be written: the system does not allow it.`;
    case "ENOSPC":
      return `The disk is full${path === null ? "" : ` (${path})`}.`;
    case "EDQUOT":
      return `This user's share of the disk is full${path === null ? "" : ` (${path})`}.`;
    case "EFBIG":
      return `A file would exceed the size that this process may write${path === null ? "" : ` (${path})`}.`;
    case "EROFS":
      return `${path ?? "The folder"} cannot be written: the disk is read-only.`;
    default:
      return null;
  }
}

/** Data and files may bring control characters, which a terminal would obey. */
function oneLine(message: string): string {
  return message.replace(/\s*\n\s*/g, " ").replace(/\p{Cc}/gu, "\uFFFD");
}
