/**
 * Unpacks an adapter's tar, plain or gzip, into a folder as it arrives. Does not read the files that it writes.
 */

import { mkdir, open, readdir, rename, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";
import { type Extract, extract } from "tar-stream";
import { removeTree } from "../../base/durable.js";
import { LorikeetError } from "../../base/errors.js";
import { configFile, isKeptFile } from "../format.js";
import { type IntakeLimits, intake, type UploadBody } from "../upload/intake.js";
import { guardTar, type TarBounds, unpackedTooLarge } from "./guard.js";
import { configTooDeep, type PathBounds, TarPaths } from "./paths.js";

export type TarLimits = IntakeLimits & TarBounds & PathBounds;

const chunkBytes = 65_536;

/**
 * Unpacks into `target`, which becomes the adapter's folder, even if the tar has that folder one level down. What lies deeper, such as
 * checkpoints of a run, is skipped. Files that a store does not keep become empty files, so that the check can name them. Throws `invalid_upload`, `too_large`, or what reading the body throws.
 */
export async function unpackTar(
  upload: UploadBody,
  target: string,
  limits: TarLimits,
  signal: AbortSignal,
): Promise<void> {
  const stop = new AbortController();
  const received = intake(upload, limits, AbortSignal.any([signal, stop.signal]));
  const { isGzip, body } = await sniff(received);
  const reader = extract();
  reader.on("error", () => {}); // reported where it is written to and read from
  const feed = (source: AsyncIterable<Buffer>): Promise<void> => feedReader(reader, guardTar(source, limits));
  const taking = takeEntries(reader, target, limits).catch((cause: unknown) => {
    stop.abort(cause);
    throw cause;
  });
  const feeding = isGzip ? pipeline(body, createGunzip({ chunkSize: chunkBytes }), feed) : feed(body);
  const results = await Promise.allSettled([taking, feeding]);
  const faults = results.filter((result) => result.status === "rejected").map((result): unknown => result.reason);
  if (faults.length > 0) throw uploadFault(faults);
  await liftFolder(target);
  const deepConfig = results[0].status === "fulfilled" ? results[0].value : null;
  if (deepConfig !== null && !(await readdir(target)).includes(configFile))
    throw configTooDeep(deepConfig, limits.depth);
}

/** Whether the bytes are gzip, and the bytes. */
async function sniff(source: AsyncGenerator<Buffer>) {
  let head = Buffer.alloc(0);
  while (head.length < 2) {
    const next = await source.next();
    if (next.done) break;
    head = Buffer.concat([head, next.value]);
  }
  async function* body(): AsyncGenerator<Buffer> {
    yield head;
    yield* source;
  }
  return { isGzip: head[0] === 0x1f && head[1] === 0x8b, body: body() };
}

/** Writes as fast as the reader accepts; stops if the reader was destroyed. */
async function feedReader(reader: Extract, source: AsyncIterable<Buffer>): Promise<void> {
  let wake = (): void => {};
  reader.on("drain", () => wake()).on("close", () => wake());
  try {
    for await (const chunk of source) {
      if (reader.destroying) return;
      const drained = new Promise<void>((resolve) => {
        wake = resolve;
      });
      if (!reader.write(chunk) && !reader.destroying) await drained;
    }
    reader.end(null);
  } catch (cause) {
    reader.destroy(asError(cause));
    throw cause;
  }
}

/** Resolves to the first config that is too deep to be taken. */
async function takeEntries(reader: Extract, target: string, limits: TarLimits): Promise<string | null> {
  const paths = new TarPaths(limits);
  let deepConfig: string | null = null;
  for await (const entry of reader) {
    const { name, type, size } = entry.header;
    const levels = paths.admit(name, type);
    if (size > limits.unpackedBytes) throw unpackedTooLarge(size, limits.unpackedBytes);
    if (levels === null) {
      if (name.endsWith(`/${configFile}`)) deepConfig ??= name;
      entry.resume();
      continue;
    }
    const path = join(target, ...levels);
    await mkdir(type === "directory" ? path : dirname(path), { recursive: true });
    if (type === "file" && isKeptFile(levels.at(-1) ?? "")) await writeEntry(entry, path);
    else {
      if (type === "file") await writeFile(path, "", { flag: "wx" });
      entry.resume();
    }
  }
  return deepConfig;
}

async function writeEntry(entry: AsyncIterable<unknown>, path: string): Promise<void> {
  const file = await open(path, "wx");
  try {
    for await (const chunk of entry) if (Buffer.isBuffer(chunk)) await file.writeFile(chunk);
  } finally {
    await file.close();
  }
}

/** If the config is one level down, that folder becomes the target. */
async function liftFolder(target: string): Promise<void> {
  const top = await readdir(target, { withFileTypes: true });
  if (top.some((entry) => entry.name === configFile)) return;
  const folders = top.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
  const found: string[] = [];
  for (const name of folders) if ((await readdir(join(target, name))).includes(configFile)) found.push(name);
  if (found.length > 1) {
    const message = `The tar holds ${found.length} adapters, in ${found.join(" and ")}; one is allowed.`;
    throw new LorikeetError("invalid_upload", message, { param: "body", found, allowed: 1 });
  }
  const inner = found[0] ?? (top.length === 1 ? folders[0] : undefined);
  if (inner === undefined) return;
  const lifted = `${target}-lifted`;
  await rename(join(target, inner), lifted);
  await removeTree(target);
  await rename(lifted, target);
}

/** The most specific fault: ours, then the disk's, else a broken tar or gzip. */
function uploadFault(faults: readonly unknown[]): unknown {
  const known = faults.find((fault) => fault instanceof LorikeetError);
  const system = faults.find((fault) => fault instanceof Error && "syscall" in fault);
  if (known ?? system) return known ?? system;
  const cause = asError(faults[0]);
  const found = cause.name === "AbortError" ? "bytes follow the end of the gzip" : cause.message;
  const message = `The upload is not a readable tar, plain or gzip (${found}).`;
  return new LorikeetError("invalid_upload", message, { param: "body", found, allowed: "a tar", cause });
}

function asError(cause: unknown): Error {
  return cause instanceof Error ? cause : new Error(String(cause));
}
