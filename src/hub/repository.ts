/** Names of repositories, `org/name` or `org/name@revision`, checked by the hub's own rules. */

import { LorikeetError } from "../base/errors.js";

/** What a repository holds. */
export type Kind = "model" | "adapter";

export interface Repository {
  /** `org/name`. */
  readonly id: string;
  /** A branch, a tag or a commit. */
  readonly revision: string;
}

const defaultRevision = "main";
const segment = /^\w(?:[\w.-]{0,94}\w)?$/;
const commit = /^[0-9a-f]{40}$/;

export const isCommit = (revision: string): boolean => commit.test(revision);

/** Null for text that is not a valid repository name. Throws `invalid_value` if only the revision is invalid. */
export function parseRepository(text: string): Repository | null {
  const at = text.indexOf("@");
  const id = at < 0 ? text : text.slice(0, at);
  if (!isRepositoryId(id)) return null;
  const revision = at < 0 ? defaultRevision : text.slice(at + 1);
  if (isRevision(revision)) return { id, revision };
  const allowed = "a branch, a tag or a commit";
  throw new LorikeetError(
    "invalid_value",
    `${JSON.stringify(revision)} is not a valid revision of ${id}: after the @ comes ${allowed}.`,
    { param: "revision", found: revision, allowed },
  );
}

export function isRepositoryId(id: string): boolean {
  const segments = id.split("/");
  return segments.length === 2 && segments.every((word) => segment.test(word)) && !/--|\.\.|\.git$/.test(id);
}

/** `org/name`, with the revision unless it is the default one. */
export function shownName({ id, revision }: Repository): string {
  return revision === defaultRevision ? id : `${id}@${revision}`;
}

/** The name of a repository's folder in the cache. */
export function folderName({ id }: Repository): string {
  return `models--${id.replace("/", "--")}`;
}

/** The repository of a cache folder; null for any other folder. */
export function idOfFolder(name: string): string | null {
  const id = /^models--(.+)$/.exec(name)?.[1]?.replace("--", "/") ?? "";
  return isRepositoryId(id) ? id : null;
}

/** Follows git's rules for ref names. The revision becomes a path in the cache. */
function isRevision(text: string): boolean {
  return (
    text.length <= 200 &&
    /^[^\s\p{Cc}\\~^:?*["<>|]+$/u.test(text) &&
    text.split("/").every((part) => part !== "" && !part.startsWith(".") && !/\.$|\.\.|\.lock$|@\{/.test(part))
  );
}
