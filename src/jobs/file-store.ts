/**
 * Files of clients in a folder: each is a folder of its own that appears by one rename, with the content and what is known of it. A file
 * belongs to its owner, expires, and counts against bounds in bytes and number. Knows nothing of contents.
 */
import { createReadStream } from "node:fs";
import { copyFile, link, mkdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { hasCode, namesIn, removeTree, renameDurably, storageFault, sync, syncTree, textIn } from "../base/durable.js";
import { LorikeetError } from "../base/errors.js";
import { isObject } from "../base/json.js";
import { isId, newFileId } from "./ids.js";
import type { FilePurpose, StoredFile } from "./types.js";

export interface FileBounds {
  readonly maxFiles: number;
  /** Bytes of all files. */
  readonly maxTotalFileBytes: number;
  readonly fileTtlMs: number;
}

export const fileDefaults: FileBounds = {
  maxFiles: 1_000,
  maxTotalFileBytes: 10 * 2 ** 30,
  fileTtlMs: 30 * 24 * 3_600_000,
};

/** A file that is being received. */
export interface FileDraft {
  /** Where its content is to be written. */
  readonly content: string;
}

/** What is known of a file besides its bytes. */
export interface FileFacts {
  readonly owner: string;
  readonly filename: string;
  readonly purpose: FilePurpose;
  readonly lines: number;
  /** Milliseconds until it expires, if sooner than by the bounds. */
  readonly ttlMs: number | null;
}

const noteFile = "file.json";
const contentFile = "content";

export class FileStore {
  readonly #folder: string;
  readonly #bounds: FileBounds;
  readonly #now: () => number;
  /** Oldest first. */
  readonly #files = new Map<string, StoredFile>();
  #bytes = 0;
  #dropped = 0;

  private constructor(folder: string, bounds: FileBounds, now: () => number) {
    this.#folder = folder;
    this.#bounds = bounds;
    this.#now = now;
  }

  /** Opens a folder that this process has locked, and removes what a crash has left of drafts. */
  static async open(
    folder: string,
    bounds: Partial<FileBounds> = {},
    now: () => number = Date.now,
  ): Promise<FileStore> {
    const store = new FileStore(folder, { ...fileDefaults, ...bounds }, now);
    await removeTree(store.#drafts);
    await mkdir(store.#drafts, { recursive: true });
    const found: StoredFile[] = [];
    for (const name of await namesIn(folder)) {
      const file = isId(name) ? readNote(await textIn(join(folder, name, noteFile))) : null;
      if (file) found.push(file);
    }
    for (const file of found.sort((a, b) => a.createdAt - b.createdAt)) store.#add(file);
    await store.sweep();
    return store;
  }

  /** A place for a new file. Throws LorikeetError `store_full` if `bytes` more would not fit. */
  async draft(bytes = 0): Promise<FileDraft> {
    await this.sweep();
    this.#requireRoom(bytes);
    const id = newFileId();
    try {
      await mkdir(join(this.#drafts, id));
    } catch (cause) {
      throw this.fault(cause);
    }
    return { content: join(this.#drafts, id, contentFile) };
  }

  /** Keeps a draft whose content is complete. Throws LorikeetError `store_full`. The draft is removed in any case. */
  async keep(draft: FileDraft, { ttlMs, ...facts }: FileFacts): Promise<StoredFile> {
    const from = join(draft.content, "..");
    try {
      const { size: bytes } = await stat(draft.content);
      this.#requireRoom(bytes);
      const id = newFileId();
      const createdAt = this.#now();
      const expiresAt = createdAt + Math.min(ttlMs ?? Number.POSITIVE_INFINITY, this.#bounds.fileTtlMs);
      const file: StoredFile = { id, ...facts, bytes, createdAt, expiresAt };
      this.#add(file); // its room is taken while it is written
      try {
        await writeFile(join(from, noteFile), `${JSON.stringify(file)}\n`);
        await syncTree(from);
        await renameDurably(from, join(this.#folder, id));
      } catch (cause) {
        this.#forget(file);
        throw this.fault(cause);
      }
      return file;
    } finally {
      await removeTree(from);
    }
  }

  async discard(draft: FileDraft): Promise<void> {
    await removeTree(join(draft.content, ".."));
  }

  /** Throws LorikeetError `file_not_found`. */
  get(owner: string, id: string, param = "file_id"): StoredFile {
    const file = this.#files.get(id);
    if (file && file.owner === owner && file.expiresAt > this.#now()) return file;
    throw new LorikeetError("file_not_found", "There is no file with this id.", { param });
  }

  /** The owner's files, oldest first. */
  list(owner: string): StoredFile[] {
    const now = this.#now();
    return [...this.#files.values()].filter((file) => file.owner === owner && file.expiresAt > now);
  }

  /** Throws LorikeetError `file_not_found`. */
  async remove(owner: string, id: string): Promise<void> {
    await this.#remove(this.get(owner, id));
  }

  /** The content, from begin to end. Throws LorikeetError `file_not_found`. */
  content(owner: string, id: string): AsyncIterable<Buffer> {
    return createReadStream(join(this.#folder, this.get(owner, id).id, contentFile));
  }

  /** Gives a file a second name outside, which keeps the bytes when the file is removed. Throws LorikeetError `file_not_found`. */
  async linkTo(owner: string, id: string, path: string, param?: string): Promise<void> {
    const from = join(this.#folder, this.get(owner, id, param).id, contentFile);
    try {
      await link(from, path).catch(async (cause: unknown) => {
        // Not every file system has links.
        if (!hasCode(cause, "EPERM", "ENOTSUP", "EXDEV", "EMLINK", "ENOSYS")) throw cause;
        await copyFile(from, path);
      });
      await sync(join(path, ".."));
    } catch (cause) {
      throw this.fault(cause);
    }
  }

  /** Removes what has expired. */
  async sweep(): Promise<void> {
    const now = this.#now();
    for (const file of [...this.#files.values()]) {
      if (file.expiresAt > now) continue;
      this.#dropped++;
      await this.#remove(file);
    }
  }

  stats(): { readonly files: number; readonly bytes: number; readonly dropped: number } {
    return { files: this.#files.size, bytes: this.#bytes, dropped: this.#dropped };
  }

  get #drafts(): string {
    return join(this.#folder, "drafts");
  }

  #add(file: StoredFile): void {
    this.#files.set(file.id, file);
    this.#bytes += file.bytes;
  }

  #forget(file: StoredFile): void {
    if (this.#files.delete(file.id)) this.#bytes -= file.bytes;
  }

  /** Its note goes with it, so what a crash leaves is not a file. */
  async #remove(file: StoredFile): Promise<void> {
    this.#forget(file);
    await removeTree(join(this.#folder, file.id, noteFile));
    await removeTree(join(this.#folder, file.id));
  }

  #requireRoom(bytes: number): void {
    const { maxFiles, maxTotalFileBytes } = this.#bounds;
    if (this.#files.size >= maxFiles) throw full("max-files", this.#files.size + 1, maxFiles, "files");
    const total = this.#bytes + bytes;
    if (total > maxTotalFileBytes) throw full("max-total-file-bytes", total, maxTotalFileBytes, "bytes of files");
  }

  /** What writing a draft threw, as a LorikeetError where it is the disk's fault. */
  fault(cause: unknown): unknown {
    return storageFault(cause, this.#folder, "fine-tuning folder");
  }
}

function full(option: string, found: number, allowed: number, what: string): LorikeetError {
  const message = `There would be ${found} ${what}; --${option} allows ${allowed}. Delete some, or wait until some expire.`;
  return new LorikeetError("store_full", message, { param: option, found, allowed });
}

/** null for a folder whose note is missing or cut off. */
function readNote(text: string | null): StoredFile | null {
  try {
    const value: unknown = JSON.parse(text ?? "null");
    return isObject(value) && isNote(value) ? value : null;
  } catch {
    return null;
  }
}

function isNote(value: object): value is StoredFile {
  return "id" in value && "owner" in value && "bytes" in value && "expiresAt" in value && "createdAt" in value;
}
