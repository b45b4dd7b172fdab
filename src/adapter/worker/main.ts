/** The adapter worker's thread: runs checks and loads, and transfers their memory. */

import { parentPort } from "node:worker_threads";
import { checkAdapter, loadAdapter, loadTaskAdapter } from "../format.js";
import type { HostAdapter, HostTaskAdapter } from "../types.js";
import { type JobReply, type JobRequest, packError } from "./messages.js";

const port = parentPort;
if (!port) throw new Error("worker-main runs in a worker thread only");

port.on("message", async (request: JobRequest) => {
  const { id } = request;
  try {
    const reply = await run(request);
    port.postMessage(reply, buffersOf(reply));
  } catch (error) {
    port.postMessage({ id, kind: "error", error: packError(error) } satisfies JobReply);
  }
});

async function run(request: JobRequest): Promise<JobReply> {
  const { id, kind, folder, options } = request;
  switch (kind) {
    case "check":
      return { id, kind, value: await checkAdapter(folder, request.base, options) };
    case "load":
      return { id, kind, value: await loadAdapter(folder, request.modules, options) };
    case "loadTask":
      return { id, kind, value: await loadTaskAdapter(folder, request.targets, options) };
  }
}

function buffersOf(reply: JobReply): ArrayBuffer[] {
  const arrays = reply.kind === "load" ? arraysOf(reply.value) : reply.kind === "loadTask" ? viewsOf(reply.value) : [];
  const buffers = arrays.flatMap((array) => (array?.buffer instanceof ArrayBuffer ? [array.buffer] : []));
  return [...new Set(buffers)];
}

type Optional = ArrayBufferView | null | undefined;

const arraysOf = ({ modules, head, embedding, tokens = [] }: HostAdapter): Optional[] => [
  ...[...modules.values()].flatMap(({ a, b, magnitude, gain, shift }) => [a, b, magnitude, gain, shift]),
  ...[head?.weight, head?.bias, embedding?.a, embedding?.b],
  ...tokens.flatMap(({ ids, tiles }) => [ids, tiles]),
];

const viewsOf = ({ modules }: HostTaskAdapter): Optional[] =>
  [...modules.values()].flatMap(({ a, b, magnitude, addedBias, bias, whole, tokens }) => [
    ...[a, b, magnitude, addedBias, bias, whole?.weight, whole?.bias, tokens?.rows],
  ]);
