/**
 * One repository in the cache, in the layout of Python's `huggingface_hub`: blobs named by hash, snapshots of links to them, and
 * refs from revisions to commits.
 */

import { randomBytes } from "node:crypto";
import { readdir, readFile, readlink, rename, rm, stat, symlink, writeFile } from "node:fs/promises";
import { dirname, join, sep } from "node:path";
import { hasCode } from "../base/durable.js";
import { makeFolders } from "../base/files.js";
import { folderName, idOfFolder, isCommit, type Repository } from "./repository.js";

export class RepositoryCache {
  readonly folder: string;
  readonly #locks: string;

  constructor(root: string, repository: Repository) {
    this.folder = join(root, folderName(repository));
    this.#locks = join(root, ".locks", folderName(repository));
  }

  get blobs(): string {
    return join(this.folder, "blobs");
  }

  blob(etag: string): string {
    return join(this.blobs, etag);
  }

  /** The partial download of a blob. */
  incomplete(etag: string): string {
    return `${this.blob(etag)}.incomplete`;
  }

  lock(etag: string): string {
    return join(this.#locks, `${etag}.lock`);
  }

  snapshot(commit: string): string {
    return join(this.folder, "snapshots", commit);
  }

  /** Creates the folders that a download writes to. */
  async prepare(commit: string): Promise<void> {
    for (const folder of [this.blobs, this.#locks, this.snapshot(commit)]) await makeFolders(folder);
  }

  /** The commit that a revision pointed to at the last pull; null if the cache does not know it. */
  async commitOf(revision: string): Promise<string | null> {
    if (isCommit(revision)) return revision;
    const text = await readFile(join(this.folder, "refs", revision), "utf8").catch(() => "");
    return isCommit(text.trim()) ? text.trim() : null;
  }

  /** The names of a snapshot's files, such as `onnx/model.onnx`. A link without its blob does not count. */
  async namesIn(commit: string): Promise<string[]> {
    const folder = this.snapshot(commit);
    const paths = await readdir(folder, { recursive: true }).catch(() => []);
    const names = paths.map((path) => path.replaceAll(sep, "/"));
    const found = await Promise.all(
      names.map(async (name) => ((await sizeOf(join(folder, name))) === null ? [] : [name])),
    );
    return found.flat();
  }

  /** The size of a file that the snapshot has, or whose blob is in the cache; null if neither exists. */
  async sizeOf(commit: string, name: string, etag: string): Promise<number | null> {
    return (await sizeOf(join(this.snapshot(commit), name))) ?? (await sizeOf(this.blob(etag)));
  }

  /** The text of a file whose blob is in the cache, or that the snapshot has. */
  async read(commit: string, name: string, etag: string): Promise<string> {
    const own = join(this.snapshot(commit), name);
    return await readFile(this.blob(etag), "utf8").catch(() => readFile(own, "utf8"));
  }

  /** Size of the partial download; 0 if there is none. */
  async incompleteBytes(etag: string): Promise<number> {
    return (await sizeOf(this.incomplete(etag))) ?? 0;
  }

  /** Links a blob into a snapshot. The replacement is atomic: readers see the old file or the new one. */
  async link(commit: string, name: string, etag: string): Promise<void> {
    const up = name.split("/").map(() => "..");
    const [path, target] = [join(this.snapshot(commit), name), join("..", ...up, "blobs", etag)];
    if ((await readlink(path).catch(() => null)) === target) return;
    // A copy, or a link to a blob that another program has named after another etag of the hub.
    if ((await sizeOf(this.blob(etag))) === null && (await sizeOf(path)) !== null) return;
    await makeFolders(dirname(path));
    const draft = this.#draft();
    try {
      await symlink(target, draft);
    } catch (error) {
      if (!hasCode(error, "EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS")) throw error;
      // The file system has no symbolic links: move the blob, as `huggingface_hub` does.
      return await rename(this.blob(etag), path);
    }
    await rename(draft, path);
  }

  /** Records that the repository has no such file, for later starts and for `huggingface_hub`. */
  async noteAbsent(commit: string, name: string): Promise<void> {
    const path = this.#absent(commit, name);
    await makeFolders(dirname(path));
    await writeFile(path, "");
  }

  async isAbsent(commit: string, name: string): Promise<boolean> {
    return (await sizeOf(this.#absent(commit, name))) !== null;
  }

  async writeRef(revision: string, commit: string): Promise<void> {
    if (isCommit(revision)) return;
    const path = join(this.folder, "refs", revision);
    if ((await readFile(path, "utf8").catch(() => null)) === commit) return;
    await this.#makeRoom(revision);
    await makeFolders(dirname(path));
    const draft = this.#draft();
    await writeFile(draft, commit);
    await rename(draft, path).catch(async (error: unknown) => {
      await rm(draft, { force: true });
      throw error;
    });
  }

  /** A repository may have both a tag `a` and a branch `a/b`, but a folder cannot have both a file `a` and a folder `a`: the older one is removed. */
  async #makeRoom(revision: string): Promise<void> {
    let path = join(this.folder, "refs");
    const parts = revision.split("/");
    for (const [i, part] of parts.entries()) {
      path = join(path, part);
      const status = await stat(path).catch(() => null);
      if (status && status.isFile() !== (i === parts.length - 1)) await rm(path, { recursive: true, force: true });
      if (!status?.isDirectory()) return;
    }
  }

  #absent(commit: string, name: string): string {
    return join(this.folder, ".no_exist", commit, name);
  }

  #draft(): string {
    return join(this.folder, `.draft-${randomBytes(6).toString("hex")}`);
  }
}

/** Names of the models that have a folder in the cache. */
export async function cachedNames(root: string): Promise<string[]> {
  const folders = await readdir(root).catch(() => []);
  return folders.flatMap((name) => idOfFolder(name) ?? []);
}

async function sizeOf(path: string): Promise<number | null> {
  const status = await stat(path).catch(() => null);
  return status?.isFile() ? status.size : null;
}
