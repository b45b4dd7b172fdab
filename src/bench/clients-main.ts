/** The process of the benchmark's clients: streams completions over SSE, reports token arrivals, and disconnects when it has enough. */

import { type ClientRequest, request as httpRequest } from "node:http";
import { last } from "../base/list.js";
import { type Arrivals, StreamWatch } from "./arrivals.js";
import type { ClientAnswer, ClientRound, StreamRequest } from "./clients.js";

process.on("message", (round: ClientRound) => {
  run(round).then(
    (streams) => answer({ ok: true, streams }),
    (error: unknown) => answer({ ok: false, reason: error instanceof Error ? error.message : String(error) }),
  );
});
process.once("disconnect", () => process.exit(0));
// Tells the parent that the listener is ready.
process.send?.("ready");

function answer(message: ClientAnswer): void {
  process.send?.(message);
}

/** Streams all requests at once until each has produced `wanted` tokens while all run. */
async function run({ port, requests, wanted }: ClientRound): Promise<readonly Arrivals[]> {
  const open: ClientRequest[] = [];
  try {
    return await new Promise((resolve, reject) => {
      const watch = new StreamWatch(requests.length, wanted, () => resolve(watch.arrivals));
      for (const [i, request] of requests.entries()) {
        open.push(stream(port, request, () => watch.note(i, performance.now()), reject));
      }
    });
  } finally {
    for (const request of open) request.destroy();
  }
}

/** Calls `token` for each token, and `failed` if the stream ends before the client disconnects. */
function stream(
  port: number,
  { model, prompt, maxTokens }: StreamRequest,
  token: () => void,
  failed: (error: Error) => void,
): ClientRequest {
  const headers = { "content-type": "application/json" };
  const request = httpRequest({
    host: "127.0.0.1",
    port,
    path: "/v1/completions",
    method: "POST",
    agent: false,
    headers,
  });
  request.on("error", failed);
  request.on("response", (response) => {
    let rest = "";
    response.setEncoding("utf8").on("error", failed);
    response.on("end", () => failed(new Error(`a stream ended before the others had their tokens: ${rest}`)));
    response.on("data", (text: string) => {
      const lines = (rest + text).split("\n");
      rest = last(lines);
      try {
        for (const line of lines.slice(0, -1)) for (let left = tokensOf(line); left > 0; left--) token();
      } catch (error) {
        failed(error instanceof Error ? error : new Error(String(error)));
      }
    });
  });
  const body = { model, prompt, max_tokens: maxTokens, temperature: 0, ignore_eos: true };
  request.end(JSON.stringify({ ...body, stream: true, return_token_ids: true }));
  return request;
}

interface Chunk {
  readonly error?: { readonly message: string };
  readonly choices?: readonly { readonly token_ids?: readonly number[] }[];
}

/** The number of new tokens in one line of the stream. */
function tokensOf(line: string): number {
  if (!line.startsWith("data: ") || line === "data: [DONE]") return 0;
  const chunk: Chunk = JSON.parse(line.slice("data: ".length));
  if (chunk.error) throw new Error(chunk.error.message);
  return chunk.choices?.[0]?.token_ids?.length ?? 0;
}
