/**
 * The page's connection: its key, the client and the socket made with it, and whether the server is there. Notices a restart and says what it
 * cost. Everything else on the page asks the server through here.
 */
import { computed, signal } from "@preact/signals";
import { ApiClient, readinessOf } from "./client/client.js";
import { ApiError, deletedModel, isNoAnswer } from "./client/errors.js";
import { GenerationSocket } from "./client/socket.js";
import type { ServerInfo } from "./client/types.js";
import { AnswerOrder } from "./parts/answer-order.js";
import { sendWithProgress } from "./send-upload.js";

export type Connection =
  | { readonly state: "connecting" }
  /** The server answers, but its model is not loaded yet. */
  | { readonly state: "loading" }
  /** The server shuts down: it ends what it has begun. */
  | { readonly state: "draining" }
  | { readonly state: "ready" }
  /** The server does not answer, or stopped answering. */
  | { readonly state: "lost" }
  /** It needs a key, and may have refused the last one. */
  | { readonly state: "locked"; readonly isRefused: boolean };

const keyName = "lorikeet-key";
const retryMs = 1_000;
const watchMs = 5_000;
/** A server that says nothing for so long counts as lost. */
const patienceMs = 5_000;
const baseUrl = new URL(".", location.href).href;

export const connection = signal<Connection>({ state: "connecting" });
export const server = signal<ServerInfo | null>(null);
export const canTrain = computed(() => server.value?.permissions.fine_tuning ?? false);
export const canAddAdapters = computed(() => server.value?.permissions.adapters ?? false);
/** What the reader should know about the connection, until it is dismissed. */
export const notice = signal<string | null>(null);

/** The key lives as long as the tab. */
let key = sessionStorage.getItem(keyName);
export let client = createClient();
export let socket = createSocket();
let cutOff = 0;
let timer = 0;
const probes = new AnswerOrder();

function createClient(): ApiClient {
  return new ApiClient({ baseUrl, key, sendUpload: sendWithProgress });
}

function createSocket(): GenerationSocket {
  const url = `${baseUrl.replace(/^http/, "ws")}v1/ws`;
  const onLost = (count: number): void => {
    cutOff += count;
    void connect();
  };
  return new GenerationSocket({ url, key, open: (address, protocols) => new WebSocket(address, protocols), onLost });
}

/** Tries the server until it answers and is ready, then watches it. */
export async function connect(): Promise<void> {
  clearTimeout(timer);
  const asked = client;
  const cutOffBefore = cutOff;
  const counts = probes.ask();
  const { found, next } = await probe(asked);
  // What another key was told says nothing of this one.
  if (client !== asked || !counts()) return;
  if (found) {
    if (server.value !== null && server.value.instance !== found.instance) reportRestart();
    server.value = found;
  }
  // Ready and still the same: it has only lost the connection, if that has not just broken again.
  if (next.state === "ready" && cutOff === cutOffBefore) cutOff = 0;
  if (connection.value.state !== next.state || next.state === "locked") connection.value = next;
  // Another call may have set it meanwhile.
  clearTimeout(timer);
  if (next.state !== "locked") timer = window.setTimeout(connect, next.state === "ready" ? watchMs : retryMs);
}

interface Probe {
  /** null: the server did not say. */
  readonly found: ServerInfo | null;
  readonly next: Connection;
}

async function probe(asked: ApiClient): Promise<Probe> {
  let found: ServerInfo | null = null;
  try {
    found = await asked.server(AbortSignal.timeout(patienceMs));
    return { found, next: { state: await asked.readiness(AbortSignal.timeout(patienceMs)) } };
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.status === 401) return { found, next: { state: "locked", isRefused: key !== null } };
    return { found, next: { state: isNoAnswer(error) ? "lost" : readinessOf(error) } };
  }
}

function reportRestart(): void {
  const answers = cutOff === 0 ? "" : ` ${cutOff === 1 ? "One answer was" : `${cutOff} answers were`} cut off.`;
  notice.value = `The server was restarted.${answers} Its counters start from zero, and adapters load again with their next request.`;
  cutOff = 0;
}

/** Uses a key from now on, and forgets the one before. */
export async function useKey(given: string): Promise<void> {
  key = given;
  sessionStorage.setItem(keyName, given);
  socket.close();
  client = createClient();
  socket = createSocket();
  await connect();
}

/** What a call throws, in the server's words. If the server is gone, shuts down or refuses the key, the page says so as a whole. */
export function noteFailure(error: unknown): string {
  if (!(error instanceof ApiError)) throw error;
  if (isNoAnswer(error) || error.status === 401 || error.code === "draining") void connect();
  const deleted = deletedModel(error, listedNames);
  return deleted === null ? error.message : `The adapter ${deleted} was deleted. Choose another.`;
}

/** Every name that this tab has seen in a list. */
const listedNames = new Set<string>();

/** Of a model that was listed, the page can say that it was deleted. */
export function noteListed(names: readonly string[]): void {
  for (const name of names) listedNames.add(name);
}

/** Whether this server asked for a key. */
export const needsKey = (): boolean => key !== null;
