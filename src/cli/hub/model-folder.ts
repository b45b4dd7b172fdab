/** Where a model or an adapter lies that the command line names: a folder, the Hugging Face cache, or a hub that is asked for it. */

import { readdir, stat } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { LorikeetError } from "../../base/errors.js";
import { cachedNames } from "../../hub/cache.js";
import { findCached } from "../../hub/cached.js";
import { type HubEnvironment, readHubEnvironment } from "../../hub/environment.js";
import { type Pulled, pullRepository } from "../../hub/pull.js";
import { parseRepository, type Repository, shownName } from "../../hub/repository.js";
import { type RetryLimits, retryDefaults } from "../../hub/retry.js";
import type { Kind } from "../../hub/selection.js";
import { tryLockFile } from "../../runtime/file-lock.js";
import { nearest } from "../options/nearest.js";
import { requireFolder } from "../options/paths.js";
import { progressLine, tickingLine } from "../progress.js";
import type { Terminal } from "../terminal.js";
import { UsageError } from "../usage.js";
import { readVersion } from "../version.js";

/** What an option may name; `kind` null where a model or an adapter will do. */
export interface Named {
  /** As messages call it: `--model`. */
  readonly option: string;
  readonly kind: Kind | null;
  readonly signal?: AbortSignal;
}

const prefix = "hf://";

/** Whether a text names a repository and cannot be a folder. */
export const isHubAddress = (text: string): boolean => text.startsWith(prefix);

/**
 * The folder of a model: an existing folder, a snapshot in the cache, or one that is downloaded now. Throws a UsageError for what
 * is neither, and what `pullRepository` throws.
 */
export async function locate(text: string, named: Named, terminal: Terminal): Promise<string> {
  if (!isHubAddress(text)) {
    const status = await stat(text).catch(() => null);
    if (status?.isDirectory()) return text;
    if (status !== null || isPath(text)) await requireFolder(named.option, text);
  }
  const repository = requireRepository(text, named);
  const environment = readHubEnvironment(terminal.environment);
  const cached = await findCached(environment.cache, repository, named.kind);
  if (cached !== null && (cached.isWhole || environment.isOffline)) return cached.folder;
  if (environment.isOffline) throw offline(repository, environment, await hintsAt(text, environment));
  try {
    // What the cache has will do where the hub is away: then one try is enough.
    const retries = cached === null ? retryDefaults : { ...retryDefaults, maxTries: 1 };
    return (await pullNamed(repository, named, environment, terminal, retries)).folder;
  } catch (error) {
    if (!(error instanceof LorikeetError) || !error.code.startsWith("hub_")) throw error;
    if (cached !== null) return cached.folder;
    if (error.code === "hub_refused" || error.code === "hub_invalid") throw error;
    const hints = await hintsAt(text, environment);
    throw new LorikeetError(error.code, [error.message, ...hints].join(" "), { param: text, cause: error });
  }
}

/** Asks the hub, whatever the cache has, and brings what is missing or has changed. */
export async function pull(
  text: string,
  named: Named,
  terminal: Terminal,
): Promise<Pulled & { readonly name: string }> {
  const repository = requireRepository(text, named);
  const environment = readHubEnvironment(terminal.environment);
  const pulled = await pullNamed(repository, named, environment, terminal);
  return { ...pulled, name: shownName(repository) };
}

async function pullNamed(
  repository: Repository,
  { kind, signal = new AbortController().signal }: Named,
  environment: HubEnvironment,
  terminal: Terminal,
  retries: RetryLimits = retryDefaults,
): Promise<Pulled> {
  const line = tickingLine(terminal.stderr, progressLine(terminal.stderr));
  const userAgent = `lorikeet/${readVersion()}; node/${process.versions.node}`;
  const options = { environment, kind, userAgent, tryLock: tryLockFile, progress: line.report, signal, retries };
  return await pullRepository(repository, options).finally(() => line.end());
}

function requireRepository(text: string, { option, kind }: Named): Repository {
  const repository = parseRepository(isHubAddress(text) ? text.slice(prefix.length) : text);
  if (repository !== null) return repository;
  if (isHubAddress(text))
    throw new UsageError([`${option} must be ${prefix}org/name or ${prefix}org/name@revision, not ${text}.`]);
  const what = kind ?? "model or adapter";
  throw new UsageError([`${option} must be a folder, or a ${what}'s name (org/name); ${text} is neither.`]);
}

function offline(repository: Repository, { cache }: HubEnvironment, hints: readonly string[]): LorikeetError {
  const how = "run lorikeet pull while the hub can be reached, or unset HF_HUB_OFFLINE";
  const message = `${shownName(repository)} is missing from the Hugging Face cache or incomplete, and HF_HUB_OFFLINE is set: ${how}.`;
  return new LorikeetError("hub_unreachable", [message, ...hints].join(" "), { operator: `(${cache})` });
}

/** Whether a text can only be a path. */
const isPath = (text: string): boolean => /^[./~\\]|\/.*\//.test(text.replace(/@.*$/, ""));

/** What may have been meant: a folder with a similar name, or a model that the cache has. */
async function hintsAt(text: string, { cache }: HubEnvironment): Promise<string[]> {
  const beside = await readdir(dirname(text)).catch(() => []);
  const folder = nearest(basename(text), beside);
  if (folder !== null) return [`Did you mean the folder ${dirname(text)}/${folder}?`];
  const name = nearest(text.replace(/@.*$/, ""), await cachedNames(cache));
  return name === null || name === text ? [] : [`Did you mean ${name}, which is in the cache?`];
}
