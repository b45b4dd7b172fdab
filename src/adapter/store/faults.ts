/** What a store says when it refuses: one sentence each, with what was found and what is allowed. Decides nothing but bounds. */

import { LorikeetError } from "../../base/errors.js";

export function noDirectory(directory: string): LorikeetError {
  const message = `The adapters folder ${directory} does not exist or is not a folder.`;
  return new LorikeetError("invalid_value", message, { param: "directory", found: directory, allowed: "a folder" });
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
  const message = `The adapter "${name}" exists already, and If-None-Match: * asks for a new one.`;
  return new LorikeetError("precondition_failed", message, { param: "if-none-match", found: name });
}

export function ownedByOperator(name: string, directory: string): LorikeetError {
  return new LorikeetError(
    "conflict",
    `The adapter "${name}" is a folder that the operator put into the adapters folder; it can be changed only there.`,
    {
      param: "name",
      found: name,
      allowed: "the name of an uploaded adapter, or a new one",
      operator: `The adapters folder is ${directory}.`,
    },
  );
}

export function folderNameTaken(name: string, other: string | null): LorikeetError {
  const holder = other === null ? "an uploaded adapter" : `the folder "${other}"`;
  return new LorikeetError(
    "conflict",
    `The folder "${name}" is not served: its name is taken by ${holder}, and case does not distinguish names.`,
    { param: "name", found: name, allowed: "a name of its own" },
  );
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
  const message = `The file ${path} of the store's index is damaged; remove it by hand.`;
  return new LorikeetError("adapter_invalid", message, { param: path, allowed: "a name and its digest" });
}

/** Of a stored version whose bytes are no longer those that were stored. */
export function versionDamaged(digest: string, cause?: unknown): LorikeetError {
  const message = `The stored files of the adapter ${digest} are damaged; upload it again to mend it.`;
  return new LorikeetError("adapter_damaged", message, {
    found: "other bytes than were stored",
    allowed: digest,
    cause,
  });
}

/** Of an operator's folder that has changed since it was taken. */
export function folderChanged(name: string, cause?: unknown): LorikeetError {
  const message = `The folder of the adapter "${name}" has changed since it was read; it is read again, so try again shortly.`;
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

/** Throws `store_full` unless so many more bytes are allowed. */
export function checkRoom(used: number, more: number, totalBytes: number): void {
  if (used + more <= totalBytes) return;
  const message = `The adapter is ${more} bytes and the store holds ${used} already; at most ${totalBytes} are allowed.`;
  throw new LorikeetError("store_full", message, { found: used + more, allowed: totalBytes });
}

/** Whether reading an adapter that was sound when it was stored found other bytes, or none. */
export function isDamage(cause: unknown): boolean {
  if (!(cause instanceof LorikeetError)) return false;
  return cause.code === "adapter_invalid" || cause.code === "adapter_unsupported" || cause.code === "digest_mismatch";
}
