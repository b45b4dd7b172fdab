/** The process of the benchmark's clients: streams completions over SSE and reports when each token came. */

import { Agent, request as httpRequest, type IncomingMessage } from "node:http";
import { createInterface } from "node:readline";
import type { ClientAnswer, ClientRound, StreamRequest } from "./clients.js";

const agent = new Agent({ keepAlive: true });

process.on("message", (round: ClientRound) => {
  Promise.all(round.requests.map((one) => stream(round.port, one))).then(
    (streams) => answer({ ok: true, streams }),
    (error: unknown) => answer({ ok: false, reason: error instanceof Error ? error.message : String(error) }),
  );
});
process.once("disconnect", () => process.exit(0));
// Says that the listener above is there.
process.send?.("ready");

function answer(message: ClientAnswer): void {
  process.send?.(message);
}

async function stream(port: number, { model, prompt, maxTokens }: StreamRequest): Promise<number[]> {
  const body = { model, prompt, max_tokens: maxTokens, temperature: 0, ignore_eos: true };
  const response = await post(port, { ...body, stream: true, return_token_ids: true });
  const arrivals: number[] = [];
  for await (const line of createInterface({ input: response })) {
    if (response.statusCode !== 200) throw new Error(`the server answered ${response.statusCode}: ${line}`);
    const now = performance.now();
    for (let left = tokensOf(line); left > 0; left--) arrivals.push(now);
  }
  if (arrivals.length !== maxTokens) throw new Error(`a stream of ${maxTokens} tokens brought ${arrivals.length}`);
  return arrivals;
}

function post(port: number, body: object): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const headers = { "content-type": "application/json" };
    const request = httpRequest({ host: "127.0.0.1", port, path: "/v1/completions", method: "POST", agent, headers });
    request.once("response", resolve).once("error", reject);
    request.end(JSON.stringify(body));
  });
}

interface Chunk {
  readonly error?: { readonly message: string };
  readonly choices?: readonly { readonly token_ids?: readonly number[] }[];
}

/** New tokens of one line of the stream. */
function tokensOf(line: string): number {
  if (!line.startsWith("data: ") || line === "data: [DONE]") return 0;
  const chunk: Chunk = JSON.parse(line.slice("data: ".length));
  if (chunk.error) throw new Error(chunk.error.message);
  return chunk.choices?.[0]?.token_ids?.length ?? 0;
}
