/**
 * Receives uploaded adapters: a bounded number at once, each into a staged folder that is removed when the call ends. Chooses the format
 * by media type. The contents are checked elsewhere.
 */

import { dirname } from "node:path";
import { removeTree, storageFault } from "../../base/durable.js";
import { LorikeetError } from "../../base/errors.js";
import { valueAt } from "../../base/list.js";
import { type TarLimits, unpackTar } from "../tar/unpack.js";
import type { IntakeLimits, UploadBody } from "./intake.js";
import { unpackMultipart } from "./multipart.js";
import type { PaceLimits } from "./sender-pace.js";

export { packTar } from "../tar/pack.js";
export type { UploadBody } from "./intake.js";

export interface UploadLimits extends PaceLimits {
  readonly receivedBytes: number;
  readonly unpackedBytes: number;
  /** Entries of a tar. */
  readonly entries: number;
  /** Levels of a tar's paths. */
  readonly depth: number;
  /** Concurrent uploads; the next one throws `uploads_busy`. */
  readonly atOnce: number;
  /** Concurrent uploads of one client; the next one throws `address_busy`. 0: no limit. */
  readonly perClient: number;
}

export const uploadDefaults: UploadLimits = {
  receivedBytes: 2 ** 30,
  unpackedBytes: 2 ** 31,
  entries: 64,
  depth: 2,
  idleMs: 60_000,
  minRate: 32 * 1024,
  rateWindowMs: 10_000,
  totalMs: 15 * 60_000,
  atOnce: 2,
  perClient: 1,
};

const tarTypes = [
  "application/x-tar",
  "application/tar",
  "application/x-gtar",
  "application/gzip",
  "application/x-gzip",
  "application/octet-stream",
];
const multipartType = "multipart/form-data";

/** Creates staged folders: an AdapterStore. */
export interface StagingSource {
  stage(): Promise<string>;
}

export class Uploads {
  readonly #limits: UploadLimits;
  #running = 0;
  readonly #byClient = new Map<string, number>();

  constructor(limits: Partial<UploadLimits> = {}) {
    this.#limits = { ...uploadDefaults, ...limits };
  }

  get running(): number {
    return this.#running;
  }

  /**
   * Receives an adapter into a staged folder and passes it to `keep`, usually `store.put`. The folder is removed afterwards in any case.
   * The body is read to its end or to the first fault and never destroyed: the caller handles the rest.
   * Throws `address_busy`, `uploads_busy`, `unsupported_media_type`, `invalid_upload`, `too_large`, `timeout`, `cancelled`,
   * `digest_mismatch`, `invalid_value`, or what `keep` throws.
   */
  async receive<T>(
    upload: UploadBody,
    source: StagingSource,
    keep: (staged: string) => Promise<T>,
    signal: AbortSignal = new AbortController().signal,
  ): Promise<T> {
    const release = this.admit(upload.client);
    try {
      const unpack = unpackerOf(upload.contentType ?? null);
      const staged = await source.stage();
      try {
        await unpack(upload, staged, this.#limits, signal);
        return await keep(staged);
      } finally {
        await removeTree(staged);
      }
    } finally {
      release();
    }
  }

  /** Takes a turn of a client's; call what it returns when the upload ends. Throws `address_busy` or `uploads_busy`. */
  admit(client: string | undefined): () => void {
    const { atOnce, perClient } = this.#limits;
    const own = client === undefined ? 0 : (this.#byClient.get(client) ?? 0);
    if (perClient > 0 && own >= perClient) {
      const message = `${own} uploads from your address are in progress; at most ${perClient} are allowed at once.`;
      throw new LorikeetError("address_busy", message, {
        param: "max-uploads-per-address",
        found: own,
        allowed: perClient,
      });
    }
    if (this.#running >= atOnce) {
      const message = `${this.#running} uploads are in progress; at most ${atOnce} are allowed at once.`;
      throw new LorikeetError("uploads_busy", message, { param: "max-uploads", found: this.#running, allowed: atOnce });
    }
    this.#running++;
    if (client !== undefined) this.#byClient.set(client, own + 1);
    return () => {
      this.#running--;
      if (client === undefined) return;
      const left = valueAt(this.#byClient, client) - 1;
      if (left > 0) this.#byClient.set(client, left);
      else this.#byClient.delete(client);
    };
  }
}

/** Receives a form with `config` and `weights` into an empty folder, which is removed on failure. */
function receiveMultipart(
  upload: UploadBody,
  target: string,
  limits: IntakeLimits = uploadDefaults,
  signal: AbortSignal = new AbortController().signal,
): Promise<void> {
  return orNothing(target, unpackMultipart(upload, target, limits, signal));
}

/** Receives a tar, plain or gzip, into an empty folder, which is removed on failure. */
export function receiveTar(
  upload: UploadBody,
  target: string,
  limits: TarLimits = uploadDefaults,
  signal: AbortSignal = new AbortController().signal,
): Promise<void> {
  return orNothing(target, unpackTar(upload, target, limits, signal));
}

async function orNothing(target: string, receiving: Promise<void>): Promise<void> {
  try {
    await receiving;
  } catch (cause) {
    await removeTree(target);
    throw storageFault(cause, dirname(target));
  }
}

/** A body without a media type is read as a tar, since `curl -T` sends none. Throws `unsupported_media_type`. */
function unpackerOf(contentType: string | null): typeof receiveTar {
  const type = contentType?.split(";")[0]?.trim().toLowerCase();
  if (type === undefined || type === "" || tarTypes.includes(type)) return receiveTar;
  if (type === multipartType) return receiveMultipart;
  const allowed = [multipartType, ...tarTypes];
  throw new LorikeetError(
    "unsupported_media_type",
    `An adapter cannot be sent as ${JSON.stringify(type.slice(0, 100))}; ${allowed.join(", ")} are allowed.`,
    { param: "content-type", found: type, allowed },
  );
}
