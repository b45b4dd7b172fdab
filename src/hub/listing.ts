/** What a hub says of a repository: its commit, its files with their sizes and hashes. All of it is checked. */

import type { HubConnection } from "./connection.js";
import { hubFault } from "./faults.js";
import { isCommit, isRepositoryId, type Repository } from "./repository.js";

export interface HubFile {
  readonly name: string;
  readonly bytes: number;
  /** The name of its blob: SHA-256 of a large file, git's SHA-1 of any other. */
  readonly etag: string;
}

export interface Listing {
  readonly commit: string;
  /** Without those in folders. */
  readonly files: readonly HubFile[];
  /** Repositories that this one says it was made from. */
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
  const stated = fieldsOf(cardData).base_model;
  const baseModels = (Array.isArray(stated) ? stated : [stated]).filter((name) => typeof name === "string");
  return {
    commit: sha,
    files: siblings.flatMap((sibling) => fileOf(sibling) ?? []),
    baseModels: baseModels.filter(isRepositoryId),
  };
}

type Fields = Readonly<Record<string, unknown>>;

function fieldsOf(value: unknown): Fields {
  return typeof value === "object" && value !== null ? { ...value } : {};
}

/** null for a file whose name is not a plain one, or that has no size or hash. */
function fileOf(sibling: unknown): HubFile | null {
  const { rfilename: name, size, blobId, lfs } = fieldsOf(sibling);
  const { sha256, size: largeSize } = fieldsOf(lfs);
  const [etag, bytes] = [sha256 ?? blobId, largeSize ?? size];
  if (typeof name !== "string" || !isPlainName(name)) return null;
  if (typeof etag !== "string" || !/^([0-9a-f]{40}|[0-9a-f]{64})$/.test(etag)) return null;
  return typeof bytes === "number" && Number.isSafeInteger(bytes) && bytes >= 0 ? { name, bytes, etag } : null;
}

/** It becomes a name in a folder. */
function isPlainName(name: string): boolean {
  return name.length <= maxNameLength && /^[\w][\w. +=@-]*$/.test(name);
}
