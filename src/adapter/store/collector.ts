/**
 * Deletes versions that nobody needs: no name points at them, no process holds them. Tells other processes which ones are needed
 * here. What cannot be deleted now is tried again later.
 */

import { hasCode } from "../../base/errors.js";
import type { LockTurn } from "../../base/lock.js";
import type { Logger } from "../../base/log.js";
import type { StoreDisk } from "./disk.js";
import type { Holds } from "./holds.js";
import type { FolderScan } from "./scan.js";
import type { ServedNames } from "./served-names.js";
import type { StoredAdapters } from "./stored.js";
import type { StoreObserver } from "./types.js";

/** How long a collection waits for another process. It is not urgent: every scan tries again. */
const collectWaitMs = 500;

export interface CollectorParts {
  readonly disk: StoreDisk;
  readonly stored: StoredAdapters;
  readonly scan: FolderScan;
  readonly names: ServedNames;
  readonly holds: Holds;
  readonly observer: StoreObserver;
  readonly logger: Logger;
}

export class Collector {
  readonly #parts: CollectorParts;
  /** Held versions without a name: each is removed with its last hold. */
  #orphans: ReadonlySet<string> = new Set();
  #isDue = true;
  #background: Promise<void> = Promise.resolve();

  constructor(parts: CollectorParts) {
    this.#parts = parts;
  }

  /** Whether there may be versions left to collect. */
  get isDue(): boolean {
    return this.#isDue;
  }

  /** Takes the lock, and collects. Never rejects. */
  async run(): Promise<void> {
    const { disk, names } = this.#parts;
    if (!disk.entered) return;
    const collecting = disk.lock.run(async (turn) => {
      await names.refresh(turn);
      await this.#collect(turn);
    }, collectWaitMs);
    await collecting.catch((cause: unknown) => this.#notCollected(cause));
  }

  /** Collects under the lock, on a view that is current. Never rejects. */
  async collect(turn: LockTurn): Promise<void> {
    await this.#collect(turn).catch((cause: unknown) => this.#notCollected(cause));
  }

  /** Call it when the last hold on a version ends: a version without a name is removed in the background. */
  freed(digest: string): void {
    if (!this.#orphans.has(digest)) return;
    this.#background = this.#background.then(() => this.run());
  }

  /** Resolves when nothing runs in the background any more. */
  settled(): Promise<void> {
    return this.#background;
  }

  /** Lets other processes delete versions that this one knows to be unnamed and does not hold. If this fails, they keep them. */
  async publish(): Promise<void> {
    const { disk, stored, logger } = this.#parts;
    if (!disk.entered) return;
    try {
      await disk.users.publish({ seen: stored.seen, holds: this.#namelessHolds() });
    } catch (cause) {
      logger.debug({ err: cause }, "The versions that this process needs could not be published to other processes.");
    }
  }

  #namelessHolds(): Set<string> {
    const { disk, scan, holds } = this.#parts;
    const folders = new Set([...scan.taken.values()].map(({ record }) => record.digest));
    return new Set(holds.digests().filter((digest) => !folders.has(digest) && !disk.names.isPointedAt(digest)));
  }

  async #collect(turn: LockTurn): Promise<void> {
    const { disk, stored, holds, observer } = this.#parts;
    const { deleted, orphans } = await disk.collect(turn, (digest) => holds.has(digest));
    await stored.refreshOwn(turn);
    this.#orphans = orphans;
    this.#isDue = [...orphans].some((digest) => !holds.has(digest));
    for (const digest of deleted) observer.deleted?.(digest);
  }

  #notCollected(cause: unknown): void {
    this.#isDue = true;
    if (hasCode(cause, "conflict")) return; // another process writes
    this.#parts.logger.warn({ err: cause }, "Unused versions could not be deleted; the next scan tries again.");
  }
}
