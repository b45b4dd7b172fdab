/** Pulls a repository into the cache: lists it, selects files, downloads missing ones, and completes the snapshot. */

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Semaphore } from "../base/async.js";
import { assert, hasCode, type LorikeetError } from "../base/errors.js";
import type { Progress } from "../base/log.js";
import type { TryLock } from "../base/try-lock.js";
import { RepositoryCache } from "./cache.js";
import { HubConnection } from "./connection.js";
import { fullDisk, requireSpace } from "./disk-space.js";
import type { HubEnvironment } from "./environment.js";
import { hubFault } from "./faults.js";
import { describeFile, fetchListing, type HubFile, type ListedFile, type Listing } from "./listing.js";
import { type Kind, type Repository, shownName } from "./repository.js";
import { type RetryLimits, retryDefaults, withRetries } from "./retry.js";
import {
  adapterConfig,
  hasCheckpoint,
  kindOf,
  modelConfig,
  type OnnxChoice,
  onnxNames,
  selectFiles,
  selectOnnx,
  shardsOf,
  singleWeights,
  tokenizerFile,
  wantedFile,
  weightsIndex,
} from "./selection.js";
import { fetchBlob } from "./transfer.js";

export interface PullOptions {
  readonly environment: HubEnvironment;
  /** Null accepts either kind. */
  readonly kind: Kind | null;
  readonly onnx: OnnxChoice;
  readonly userAgent: string;
  readonly tryLock: TryLock;
  readonly progress: Progress;
  readonly signal: AbortSignal;
  readonly retries?: RetryLimits;
}

export interface Pulled {
  readonly kind: Kind;
  readonly commit: string;
  /** The snapshot's folder. */
  readonly folder: string;
  readonly files: readonly HubFile[];
  /** Names of the files that this pull downloaded. */
  readonly fetched: readonly string[];
  /** Bytes received over the network for them. */
  readonly receivedBytes: number;
}

const filesAtOnce = 4;
/** For the first request: without a network, the error should come within seconds. */
const maxListingTries = 4;
/** Of a JSON file that is read to choose the others. */
const maxJsonBytes = 64 * 2 ** 20;
const maxFiles = 4096;
const checkpointNames = [singleWeights, weightsIndex];

/** Throws a LorikeetError that says what to do, or the signal's reason. */
export async function pullRepository(repository: Repository, options: PullOptions): Promise<Pulled> {
  const { environment } = options;
  if (environment.isOffline) {
    throw hubFault(
      "hub_unreachable",
      `HF_HUB_OFFLINE is set, so ${shownName(repository)} cannot be downloaded: unset it.`,
    );
  }
  const pull = new Pull(repository, options, await environment.readToken());
  try {
    return await pull.run();
  } catch (error) {
    if (hasCode(error, "hub_unreachable")) throw unreachable(error, pull.hasBegun);
    throw fullDisk(error, environment.cache, shownName(repository));
  }
}

function unreachable(cause: LorikeetError, hasBegun: boolean): LorikeetError {
  const message = hasBegun
    ? `The download failed: ${cause.message} The partial download is kept; rerun the command to resume.`
    : `The download could not begin: ${cause.message}`;
  return hubFault("hub_unreachable", message, { cause });
}

class Pull {
  readonly #repository: Repository;
  readonly #options: PullOptions;
  readonly #cache: RepositoryCache;
  readonly #connection: HubConnection;
  readonly #controller = new AbortController();
  readonly #signal: AbortSignal;
  readonly #retries: RetryLimits;
  readonly #done = new Map<string, number>();
  #total = 0;
  #received = 0;

  constructor(repository: Repository, options: PullOptions, token: string | null) {
    const { environment, userAgent, retries = retryDefaults } = options;
    this.#repository = repository;
    this.#options = options;
    this.#retries = retries;
    this.#cache = new RepositoryCache(environment.cache, repository);
    this.#signal = AbortSignal.any([options.signal, this.#controller.signal]);
    this.#connection = new HubConnection({
      ...environment,
      token,
      kind: options.kind,
      userAgent,
      signal: this.#signal,
    });
  }

  /** Whether the cache holds some of the files, from this download or an earlier one. */
  get hasBegun(): boolean {
    return this.#received > 0 || this.#allDone() > 0;
  }

  async run(): Promise<Pulled> {
    this.#options.progress(`looking up ${shownName(this.#repository)}`, 0, 0);
    const retries = { ...this.#retries, maxAttempts: Math.min(this.#retries.maxAttempts, maxListingTries) };
    const listing = await withRetries(() => fetchListing(this.#connection, this.#repository), retries, this.#signal);
    const kind = kindOf(listing, this.#repository, this.#options.kind);
    await this.#cache.prepare(listing.commit);
    const fetched = new Set<string>();
    const onnx = kind === "model" ? await this.#onnx(listing, fetched) : [];
    const first = onnx.length > 0 ? selectOnnx(listing, onnx) : selectFiles(listing, this.#repository, kind);
    const index = first.find(({ name }) => name === weightsIndex);
    const shards = index === undefined ? [] : await this.#shards(listing, index, fetched);
    const files = await this.#describe(listing, [...first, ...shards]);
    await this.#fetch(listing, files, fetched);
    await this.#publish(listing, kind, files);
    const folder = this.#cache.snapshot(listing.commit);
    return { kind, commit: listing.commit, folder, files, fetched: [...fetched], receivedBytes: this.#received };
  }

  /** Names of the ONNX files that make the model; empty if its safetensors do. Where there are both, config.json decides. */
  async #onnx(listing: Listing, fetched: Set<string>): Promise<readonly string[]> {
    const { onnx } = this.#options;
    const names = onnxNames(listing.files.map(({ name }) => name));
    if (onnx.file !== null)
      return onnx.beside(names, wantedFile(onnx.served(names), onnx.file, shownName(this.#repository)));
    const chosen = onnx.choose(names);
    if (chosen.length === 0 || !hasCheckpoint(listing)) return chosen;
    const config = listing.files.filter(({ name }) => name === modelConfig);
    const files = await this.#describe(listing, config);
    for (const file of files) this.#requireReadable(file);
    await this.#fetch(listing, files, fetched);
    const texts = await Promise.all(files.map((file) => this.#cache.read(listing.commit, file.name, file.etag)));
    return onnx.readsSafetensors(parse(texts.join(""))) ? [] : chosen;
  }

  /** Downloads the index first: it says which shards the disk must have room for. */
  async #shards(listing: Listing, listed: ListedFile, fetched: Set<string>): Promise<ListedFile[]> {
    const [index] = await this.#describe(listing, [listed]);
    assert(index, "describe returns one file per file");
    this.#requireReadable(index);
    await this.#fetch(listing, [index], fetched);
    await this.#cache.link(listing.commit, index.name, index.etag);
    const text = await readFile(join(this.#cache.snapshot(listing.commit), index.name), "utf8");
    return shardsOf(parse(text), listing, this.#repository);
  }

  #requireReadable({ name, bytes }: HubFile): void {
    if (bytes <= maxJsonBytes) return;
    const message = `${name} of ${this.#repository.id} has ${bytes} bytes; ${maxJsonBytes} are allowed.`;
    throw hubFault("model_invalid", message, { found: bytes, allowed: maxJsonBytes });
  }

  async #describe({ commit }: Listing, files: readonly ListedFile[]): Promise<HubFile[]> {
    if (files.length > maxFiles) {
      const message = `${this.#repository.id} has its weights in ${files.length} files; ${maxFiles} are allowed.`;
      throw hubFault("model_invalid", message);
    }
    const turns = new Semaphore(filesAtOnce);
    const describe = (file: ListedFile) => describeFile(this.#connection, this.#repository, commit, file);
    const describeWithRetries = (file: ListedFile) => withRetries(() => describe(file), this.#retries, this.#signal);
    return await Promise.all(files.map((file) => turns.run(() => describeWithRetries(file))));
  }

  async #fetch({ commit }: Listing, files: readonly HubFile[], fetched: Set<string>): Promise<void> {
    const wanted: HubFile[] = [];
    this.#total = 0;
    this.#done.clear();
    for (const file of files) {
      const isThere = (await this.#cache.sizeOf(commit, file.name, file.etag)) === file.bytes;
      const present = isThere ? file.bytes : Math.min(file.bytes, await this.#cache.incompleteBytes(file.etag));
      this.#total += file.bytes;
      this.#done.set(file.name, present);
      if (!isThere) wanted.push(file);
    }
    await requireSpace(this.#cache.blobs, this.#total - this.#allDone(), shownName(this.#repository));
    const turns = new Semaphore(filesAtOnce);
    const transfers = wanted.map((file) => turns.run(() => this.#transfer(file, commit, fetched)));
    try {
      await Promise.all(transfers);
    } catch (error) {
      this.#controller.abort(error);
      await Promise.allSettled(transfers);
      throw error;
    }
  }

  async #transfer(file: HubFile, commit: string, fetched: Set<string>): Promise<void> {
    this.#signal.throwIfAborted();
    const name = shownName(this.#repository);
    const isFetched = await fetchBlob(file, {
      connection: this.#connection,
      cache: this.#cache,
      repository: this.#repository,
      commit,
      tryLock: this.#options.tryLock,
      retries: this.#retries,
      signal: this.#signal,
      onBytes: (done) => {
        this.#done.set(file.name, done);
        this.#options.progress(`downloading ${name}`, this.#allDone(), this.#total, "bytes");
      },
      onReceived: (bytes) => {
        this.#received += bytes;
      },
      onWait: () => this.#options.progress(`waiting for another process that is downloading ${name}`, 0, 0),
    });
    if (isFetched) fetched.add(file.name);
  }

  #allDone(): number {
    return [...this.#done.values()].reduce((sum, bytes) => sum + bytes, 0);
  }

  /** Links the files, config last, so that a snapshot with a config is complete. */
  async #publish(listing: Listing, kind: Kind, files: readonly HubFile[]): Promise<void> {
    const { commit } = listing;
    const config = kind === "model" ? modelConfig : adapterConfig;
    const order = [...files].sort((a, b) => Number(a.name === config) - Number(b.name === config));
    for (const { name, etag } of order) await this.#cache.link(commit, name, etag);
    const hasTokenizer = files.some(({ name }) => name === tokenizerFile);
    const absent = [...(hasTokenizer ? [] : [tokenizerFile]), ...(hasCheckpoint(listing) ? [] : checkpointNames)];
    for (const name of kind === "model" ? absent : []) await this.#cache.noteAbsent(commit, name);
    await this.#cache.writeRef(this.#repository.revision, commit);
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
