/** The errors of a store: one sentence each, with what was found and what is allowed. */

import { LorikeetError } from "../../base/errors.js";

export function noDirectory(directory: string): LorikeetError {
  const message = `The adapters folder ${directory} does not exist or is not a folder.`;
  return new LorikeetError("invalid_value", message, { param: "directory", found: directory, allowed: "a folder" });
}

export function nothingStored(): LorikeetError {
  return new LorikeetError(
    "conflict",
    "This server has no adapters folder; the operator can set one with --adapters <folder>.",
  );
}

export function nameMissing(name: string): LorikeetError {
  const message = `The adapter "${name}" does not exist.`;
  return new LorikeetError("adapter_not_found", message, { param: "name", found: name });
}

export function nameTaken(name: string, other: string): LorikeetError {
  const message = `The name "${name}" differs from the adapter "${other}" only in case.`;
  return new LorikeetError("conflict", message, { param: "name", found: name, allowed: other });
}

export function nameExists(name: string): LorikeetError {
  const message = `The adapter "${name}" already exists, and If-None-Match: * requires a new name.`;
  return new LorikeetError("precondition_failed", message, { param: "if-none-match", found: name });
}

export function ownedByOperator(name: string, directory: string): LorikeetError {
  return new LorikeetError(
    "conflict",
    `The adapter "${name}" is a folder that the operator placed in the adapters folder; it can only be changed there.`,
    {
      param: "name",
      found: name,
      allowed: "the name of an uploaded adapter, or a new one",
      operator: `The adapters folder is ${directory}.`,
    },
  );
}

export function ownedByBase(name: string, base: string | null, folder: string): LorikeetError {
  return new LorikeetError(
    "conflict",
    `The adapter "${name}" came with the base "${base}" and cannot be replaced or deleted; upload under another name.`,
    {
      param: "name",
      found: name,
      allowed: "the name of an uploaded adapter, or a new one",
      operator: `Its folder is ${folder}.`,
    },
  );
}

/** A folder's name, and the base whose own adapter it is; null: it lies in the adapters folder. */
export interface NamedFolder {
  readonly name: string;
  readonly base: string | null;
}

/** `holder`: what has the name. "upload": an adapter in the store. */
export function folderNameTaken(folder: NamedFolder, holder: NamedFolder, kind: "upload" | "folder"): LorikeetError {
  const { name } = folder;
  const what = kind === "upload" ? "an uploaded adapter" : `a folder ${placeOf(holder)}`;
  const why =
    holder.name === name
      ? `${what} has the same name`
      : `${what} is called "${holder.name}", and names must differ in more than case`;
  return new LorikeetError("conflict", `The folder "${name}" ${placeOf(folder)} is not served: ${why}.`, {
    param: "name",
    found: name,
    allowed: "a name that is not taken",
  });
}

const placeOf = ({ base }: NamedFolder): string =>
  base === null ? "in the adapters folder" : `that came with the base "${base}"`;

export function folderUnread(name: string, cause: unknown): LorikeetError {
  return new LorikeetError("internal", `The folder of the adapter "${name}" could not be read.`, { cause });
}

export function digestMissing(digest: string): LorikeetError {
  const message = `No adapter with the digest ${digest} is stored.`;
  return new LorikeetError("adapter_not_found", message, { found: digest, allowed: "a stored digest" });
}

export function versionMissing(name: string, digest: string): LorikeetError {
  const message = `The files of "${name}" (${digest}) are missing from the store.`;
  return new LorikeetError("adapter_damaged", message, { param: name, found: "no such version", allowed: digest });
}

export function indexDamaged(path: string): LorikeetError {
  const message = `The file ${path} of the store's index is damaged; delete it.`;
  return new LorikeetError("adapter_invalid", message, { param: path, allowed: "a name and its digest" });
}

export function baseNotServed(name: string, base: string, served: readonly string[]): LorikeetError {
  const message = `The adapter "${name}" belongs to the base "${base}", which is not served here; ${served.map((each) => `"${each}"`).join(", ")} ${served.length === 1 ? "is" : "are"}.`;
  return new LorikeetError("adapter_invalid", message, { param: name, found: base, allowed: served });
}

/** A stored version whose bytes have changed. `name`: what clients know it by, if it still has one. */
export function versionDamaged(digest: string, name: string | null, cause?: unknown): LorikeetError {
  const known = name === null ? digest : `"${name}"`;
  const message = `The stored files of the adapter ${known} are damaged; upload the adapter again to repair it.`;
  return new LorikeetError("adapter_damaged", message, {
    found: "bytes that differ from those stored",
    allowed: digest,
    cause,
  });
}

/** An operator's folder that has changed since it was checked. */
export function folderChanged(name: string, cause?: unknown): LorikeetError {
  const message = `The folder of the adapter "${name}" has changed since it was read; the server reads it again, so retry shortly.`;
  return new LorikeetError("adapter_changed", message, {
    found: "other bytes",
    allowed: "the bytes that were read",
    cause,
  });
}

/** Throws `store_full` unless one more name is allowed. */
export function checkCount(names: number, maxNames: number): void {
  if (names < maxNames) return;
  const message = `The store holds ${names} adapters; at most ${maxNames} are allowed.`;
  throw new LorikeetError("store_full", message, { found: names, allowed: maxNames });
}

/** Throws `store_full` unless `more` bytes still fit. */
export function checkRoom(used: number, more: number, totalBytes: number): void {
  if (used + more <= totalBytes) return;
  const message = `The adapter has ${more} bytes and the store already holds ${used}; at most ${totalBytes} are allowed.`;
  throw new LorikeetError("store_full", message, { found: used + more, allowed: totalBytes });
}

/** Whether an adapter that was intact when it was stored now has other bytes or is missing. */
export function isDamage(cause: unknown): boolean {
  if (!(cause instanceof LorikeetError)) return false;
  return cause.code === "adapter_invalid" || cause.code === "adapter_unsupported" || cause.code === "digest_mismatch";
}
