/** How a command ends badly: which exit code, and what one line says. */

import { type ErrorCode, LorikeetError } from "../base/errors.js";

/** A running server's answer that is no success, in its own words, or none at all: exit code 1. */
export class RemoteError extends Error {
  override readonly name = "RemoteError";
  readonly faults: readonly string[];

  constructor(message: string, faults: readonly string[] = []) {
    super(message);
    this.faults = faults;
  }
}

/** The command line, the environment or the configuration asks for something that cannot be: exit code 2. */
export class UsageError extends Error {
  constructor(faults: readonly string[]) {
    super(faults.join(" "));
    this.name = "UsageError";
  }
}

/** The command has said all there is to say; only the exit code is left. */
export class Quit extends Error {
  readonly exitCode: number;

  constructor(exitCode: number) {
    super(`The command ended with exit code ${exitCode}.`);
    this.name = "Quit";
    this.exitCode = exitCode;
  }
}

/** `crashed`: a service ended in good order after a fault that nobody caught. `overdue`: it did not end in time and was cut off. */
export const exitCodes = { ok: 0, failed: 1, usage: 2, crashed: 70, overdue: 75 } as const;

/** Codes that say that what was typed cannot be. */
const usageCodes: readonly ErrorCode[] = ["invalid_value", "invalid_config", "invalid_name"];

/** The exit code for a fault that ends a command. */
export function exitCodeOf(error: unknown): number {
  if (error instanceof Quit) return error.exitCode;
  if (error instanceof LorikeetError && usageCodes.includes(error.code)) return exitCodes.usage;
  return error instanceof UsageError ? exitCodes.usage : exitCodes.failed;
}

/** One line (and one more for each further fault) for a person. A bug shows its stack. */
export function describeFault(error: unknown): string {
  if (error instanceof UsageError) return oneLine(error.message);
  if (error instanceof LorikeetError || error instanceof RemoteError) {
    const more = error.faults.filter((fault) => !error.message.includes(fault));
    const where = error instanceof LorikeetError && error.operator ? ` ${error.operator}` : "";
    return [oneLine(error.message + where), ...more.map((fault) => `  - ${oneLine(fault)}`)].join("\n");
  }
  if (!(error instanceof Error)) return oneLine(String(error));
  const system = systemFault(error);
  return system ?? error.stack ?? error.message;
}

/** Faults of the operating system that a person can mend, in words. */
function systemFault(error: Error): string | null {
  const code = "code" in error ? error.code : undefined;
  const path = "path" in error && typeof error.path === "string" ? error.path : null;
  const port = "port" in error ? String(error.port) : "";
  const address = "address" in error ? String(error.address) : "";
  switch (code) {
    case "EADDRINUSE":
      return `The address ${address}:${port} is in use by another program: choose another --port, or 0 for a free one.`;
    case "EADDRNOTAVAIL":
    case "ENOTFOUND":
      return `The address ${address || "that --host names"} is not one of this machine's.`;
    case "EACCES":
      return path === null
        ? `Listening on ${address}:${port} is not allowed for this user.`
        : `${path} cannot be opened: permission denied.`;
    case "ENOENT":
      return path === null ? null : `${path} does not exist.`;
    case "ENOTDIR":
      return path === null ? null : `${path} cannot be: a part of it is a file and no folder.`;
    case "EPERM":
      return path === null ? null : `${path} cannot be written: the system does not permit it.`;
    case "ENOSPC":
      return `The disk is full${path === null ? "" : ` (${path})`}.`;
    case "EDQUOT":
      return `This user's share of the disk is full${path === null ? "" : ` (${path})`}.`;
    case "EFBIG":
      return `A file would be larger than this process may write${path === null ? "" : ` (${path})`}.`;
    case "EROFS":
      return `${path ?? "The folder"} cannot be written: its disk is read-only.`;
    default:
      return null;
  }
}

function oneLine(message: string): string {
  return message.replace(/\s*\n\s*/g, " ");
}
