/** Finds the model or adapter that the command line names: a folder, a snapshot in the Hugging Face cache, or a download. */

import { stat } from "node:fs/promises";
import { join } from "node:path";
import { LorikeetError } from "../../base/errors.js";
import { isFolder } from "../../base/files.js";
import { nearest } from "../../base/nearest.js";
import { cachedNames } from "../../hub/cache.js";
import { findCached } from "../../hub/cached.js";
import { type HubEnvironment, readHubEnvironment } from "../../hub/environment.js";
import { type Pulled, pullRepository } from "../../hub/pull.js";
import { type Kind, parseRepository, type Repository, shownName } from "../../hub/repository.js";
import { type RetryLimits, retryDefaults } from "../../hub/retry.js";
import { type OnnxChoice, wantedFile } from "../../hub/selection.js";
import { filesAmong, filesBeside, isDecoderConfig, isPart, onnxFilesOf } from "../../model/task/folder.js";
import { tryLockFile } from "../../runtime/file-lock.js";
import { hintAtPath, hintAtSiblings } from "../options/nearby.js";
import { requireFolder } from "../options/paths.js";
import { progressLine, tickingLine } from "../progress.js";
import type { Terminal } from "../terminal.js";
import { UsageError } from "../usage.js";
import { readVersion } from "../version.js";

/** What an option may name. A null `kind` accepts a model or an adapter. */
export interface Named {
  /** The option's name in messages, such as `--model`. */
  readonly option: string;
  readonly kind: Kind | null;
  /** The one ONNX file that is wanted of a model with several. */
  readonly onnxFile?: string | null;
  readonly signal?: AbortSignal;
}

const prefix = "hf://";

const onnxChoice = (file: string | null): OnnxChoice => ({
  file,
  served: (names) => names.filter(isServedPath),
  readsSafetensors: isDecoderConfig,
  beside: (names, file) => filesBeside(names.filter(isServedPath), file).map(({ label }) => label),
  isPart,
  choose: (names) => filesAmong(names.filter(isServedPath)).map(({ label }) => label),
});

/** Task models lie in the folder itself or in `onnx`. */
const isServedPath = (name: string): boolean => /^(onnx\/)?[^/]+$/.test(name);

/** Whether the text can only name a repository, not a folder. */
export const isHubAddress = (text: string): boolean => text.startsWith(prefix);

/** The path of a folder's ONNX file. Throws `model_invalid` with those that exist; `model`: what the user calls the folder. */
export async function onnxFileIn(folder: string, wanted: string, model: string): Promise<string> {
  return join(folder, wantedFile(await onnxFilesOf(folder), wanted, model));
}

/**
 * The folder of a model or adapter: an existing folder, a cached snapshot, or a snapshot downloaded now. Throws a UsageError for
 * text that is neither a folder nor a name, and what `pullRepository` throws.
 */
export async function locate(text: string, named: Named, terminal: Terminal): Promise<string> {
  if (!isHubAddress(text)) {
    const status = await stat(text).catch(() => null);
    if (status?.isDirectory()) return text;
    if (status === null && text.endsWith(".onnx")) {
      throw new UsageError([`${named.option} must be a folder or an .onnx file; ${text} does not exist.`]);
    }
    if (status !== null || isPath(text)) await requireFolder(named.option, text);
  }
  const repository = await requireRepository(text, named, terminal);
  const environment = readHubEnvironment(terminal.environment);
  const { kind, onnxFile = null } = named;
  const cached = await findCached(environment.cache, repository, kind, onnxChoice(onnxFile));
  if (cached !== null && (cached.isWhole || environment.isOffline)) return cached.folder;
  if (cached === null && !isHubAddress(text) && (await isBelowFolder(text)))
    throw await missingBelow(text, named.option);
  if (environment.isOffline) throw offline(repository, environment, await hintsAt(text, environment));
  try {
    // The cached files are usable if the hub does not answer, so one attempt is enough.
    const retries = cached === null ? retryDefaults : { ...retryDefaults, maxAttempts: 1 };
    return (await pullNamed(repository, named, environment, terminal, retries)).folder;
  } catch (error) {
    if (!(error instanceof LorikeetError) || !error.code.startsWith("hub_")) throw error;
    if (cached !== null && onnxFile === null) return cached.folder;
    const folder = isHubAddress(text) ? [] : [`There is no folder ${text}.`];
    throw await hinted(error, text, environment, folder);
  }
}

/** Asks the hub even if the model is cached, and downloads new and changed files. */
export async function pull(
  text: string,
  named: Named,
  terminal: Terminal,
): Promise<Pulled & { readonly name: string }> {
  const repository = await requireRepository(text, named, terminal, { takesFolders: false });
  const environment = readHubEnvironment(terminal.environment);
  try {
    const pulled = await pullNamed(repository, named, environment, terminal);
    return { ...pulled, name: shownName(repository) };
  } catch (error) {
    throw error instanceof LorikeetError ? await hinted(error, text, environment) : error;
  }
}

async function pullNamed(
  repository: Repository,
  { kind, onnxFile = null, signal = new AbortController().signal }: Named,
  environment: HubEnvironment,
  terminal: Terminal,
  retries: RetryLimits = retryDefaults,
): Promise<Pulled> {
  const line = tickingLine(terminal.stderr, progressLine(terminal.stderr));
  const userAgent = `lorikeet/${readVersion()}; node/${process.versions.node}`;
  const onnx = onnxChoice(onnxFile);
  const options = { environment, kind, onnx, userAgent, tryLock: tryLockFile, progress: line.report, signal, retries };
  return await pullRepository(repository, options).finally(() => line.end());
}

async function requireRepository(
  text: string,
  { option, kind }: Named,
  terminal: Terminal,
  { takesFolders } = { takesFolders: true },
): Promise<Repository> {
  const repository = parseRepository(isHubAddress(text) ? text.slice(prefix.length) : text);
  if (repository !== null) return repository;
  if (isHubAddress(text))
    throw new UsageError([`${option} must be ${prefix}org/name or ${prefix}org/name@revision, not ${text}.`]);
  const what = kind ?? "model or adapter";
  const hints = await hintsAt(text, readHubEnvironment(terminal.environment));
  const [folder, neither] = takesFolders ? ["a folder, or ", "neither"] : ["", "not one"];
  throw new UsageError([`${option} must be ${folder}a ${what}'s name (org/name); ${text} is ${neither}.`, ...hints]);
}

/** The hub's fault, with what else the text may have meant where the hub has no such name or cannot be asked. */
async function hinted(
  error: LorikeetError,
  text: string,
  environment: HubEnvironment,
  before: readonly string[] = [],
): Promise<LorikeetError> {
  if (error.code !== "hub_not_found" && error.code !== "hub_unreachable") return error;
  const words = [...before, error.message, ...(await hintsAt(text, environment))];
  return new LorikeetError(error.code, words.join(" "), { param: text, cause: error });
}

function offline(repository: Repository, { cache }: HubEnvironment, hints: readonly string[]): LorikeetError {
  const how = "run lorikeet pull while the hub can be reached, or unset HF_HUB_OFFLINE";
  const message = `${shownName(repository)} is missing or incomplete in the Hugging Face cache, and HF_HUB_OFFLINE is set: ${how}.`;
  return new LorikeetError("hub_unreachable", [message, ...hints].join(" "), { operator: `(${cache})` });
}

/** Whether the text can only be a path. */
const isPath = (text: string): boolean => /^[./~\\]|\/.*\//.test(text.replace(/@.*$/, ""));

/** Whether what stands before the slash is a folder, so that the text more likely names one in it than a repository. */
async function isBelowFolder(text: string): Promise<boolean> {
  const parent = text.includes("@") ? "" : text.slice(0, Math.max(text.indexOf("/"), 0));
  return parent !== "" && (await isFolder(parent));
}

async function missingBelow(text: string, option: string): Promise<UsageError> {
  const hint = (await hintAtPath(text, "folder")) ?? (await hintAtSiblings(text));
  const hub = `${prefix}${text} names a repository of the hub.`;
  return new UsageError([`${option} must be a folder; ${text} does not exist.`, ...(hint === null ? [] : [hint]), hub]);
}

/** Suggestions: a folder or a cached model with a similar name. */
async function hintsAt(text: string, { cache }: HubEnvironment): Promise<string[]> {
  const bare = (isHubAddress(text) ? text.slice(prefix.length) : text).replace(/@.*$/, "");
  const folder = isHubAddress(text) ? null : ((await hintAtPath(text, "folder")) ?? (await hintAtSiblings(bare)));
  if (folder !== null) return [folder];
  const names = (await cachedNames(cache)).filter((name) => name !== bare);
  const lastWord = (name: string): string => name.slice(name.indexOf("/") + 1);
  const name = nearest(bare, names) ?? names.find((other) => nearest(bare, [lastWord(other)]) !== null) ?? null;
  return name === null ? [] : [`Did you mean ${name}, which is in the cache?`];
}
