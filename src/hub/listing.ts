/** A hub's listing of a repository: its commit, and its files with sizes and hashes. Every field is validated. */

import { isObject, type Json } from "../base/json.js";
import type { HubConnection } from "./connection.js";
import { hubFault } from "./faults.js";
import { isCommit, isRepositoryId, type Repository } from "./repository.js";

/** A file as listed. Some mirrors list names only. */
export interface ListedFile {
  readonly name: string;
  readonly bytes: number | null;
  /** The name of its blob: SHA-256 for a large file, git's SHA-1 for any other. */
  readonly etag: string | null;
}

export interface HubFile extends ListedFile {
  readonly bytes: number;
  readonly etag: string;
}

export interface Listing {
  readonly commit: string;
  /** Files at the top level and in its folders, such as `onnx/model.onnx`; those further down are left out. */
  readonly files: readonly ListedFile[];
  /** The base models that the repository declares. */
  readonly baseModels: readonly string[];
}

const maxListingBytes = 32 * 2 ** 20;
const maxNameLength = 200;

/** Throws TemporaryFault, or what `HubConnection.get` throws. */
export async function fetchListing(connection: HubConnection, repository: Repository): Promise<Listing> {
  const revision = encodeURIComponent(repository.revision);
  const path = `/api/models/${repository.id}/revision/${revision}?blobs=true`;
  const json = await connection.json(path, repository, maxListingBytes);
  const { sha, siblings, cardData } = fieldsOf(json);
  if (typeof sha !== "string" || !isCommit(sha) || !Array.isArray(siblings)) {
    throw hubFault(
      "hub_invalid",
      `The hub's list of ${repository.id} has no commit or no files: is HF_ENDPOINT right?`,
    );
  }
  if (isCommit(repository.revision) && sha !== repository.revision) {
    const message = `The hub answered with commit ${sha} of ${repository.id} instead of ${repository.revision}.`;
    throw hubFault("hub_invalid", message, { found: sha, allowed: repository.revision });
  }
  const stated = fieldsOf(cardData).base_model;
  const baseModels = (Array.isArray(stated) ? stated : [stated]).filter((name) => typeof name === "string");
  return {
    commit: sha,
    files: siblings.flatMap((sibling) => fileOf(sibling) ?? []),
    baseModels: baseModels.filter(isRepositoryId),
  };
}

/** The size and hash of a file. Asks the hub if the listing lacks them. Throws what `HubConnection.head` throws. */
export async function describeFile(
  connection: HubConnection,
  repository: Repository,
  commit: string,
  { name, bytes, etag }: ListedFile,
): Promise<HubFile> {
  if (bytes !== null && etag !== null) return { name, bytes, etag };
  const headers = await connection.head(filePath(repository, commit, name), repository);
  const hash = (headers.get("x-linked-etag") ?? headers.get("etag") ?? "").replace(/^(?:W\/)?"(.*)"$/, "$1");
  const size = headers.get("x-linked-size") ?? headers.get("content-length") ?? "";
  const file = { name, bytes: sizeIn(/^\d+$/.test(size) ? Number(size) : null), etag: hashIn(hash) };
  if (file.bytes !== null && file.etag !== null) return { name, bytes: file.bytes, etag: file.etag };
  throw hubFault("hub_invalid", `The hub gives no size and hash for ${name}, so it cannot be verified.`);
}

/** The URL path of a file at a commit. */
export function filePath({ id }: Repository, commit: string, name: string): string {
  return `/${id}/resolve/${commit}/${name.split("/").map(encodeURIComponent).join("/")}`;
}

function fieldsOf(value: unknown): Json {
  return isObject(value) ? value : {};
}

/** Null for a file in a folder's folder or with an unsafe name. */
function fileOf(sibling: unknown): ListedFile | null {
  const { rfilename: name, size, blobId, lfs } = fieldsOf(sibling);
  const { sha256, size: largeSize } = fieldsOf(lfs);
  if (typeof name !== "string" || !isPlainName(name)) return null;
  return { name, bytes: sizeIn(largeSize ?? size), etag: hashIn(sha256 ?? blobId) };
}

function sizeIn(value: unknown): number | null {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0 ? value : null;
}

function hashIn(value: unknown): string | null {
  return typeof value === "string" && /^([0-9a-f]{40}|[0-9a-f]{64})$/.test(value) ? value : null;
}

/** The name becomes a path in the cache. */
function isPlainName(name: string): boolean {
  return name.length <= maxNameLength && /^(\w[\w. +=@-]*\/)?\w[\w. +=@-]*$/.test(name);
}
