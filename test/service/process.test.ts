/** The server as a process that is killed in the middle of an upload, and one that is asked to end while it works. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { readdir, stat } from "node:fs/promises";
import { type ClientRequest, request } from "node:http";
import { join } from "node:path";
import { after, test } from "node:test";
import { WebSocket } from "ws";
import {
  complete,
  formOf,
  frameTokens,
  only,
  post,
  put,
  remove,
  SocketClient,
  stream,
  tokensOf,
} from "../support/client.js";
import { isLong } from "../support/long.js";
import { oracleRoot } from "../support/oracle.js";
import { addressOf, killAll, type Run, start } from "../support/process.js";
import { writeRandomAdapters } from "../support/random-adapters.js";
import { adaptersFolder, bookworm } from "../support/service.js";
import { taskRoot } from "../support/task-models.js";

after(killAll);

const model = join(oracleRoot, "llama");
const greedy = { prompt: [5, 6, 7, 8], temperature: 0, ignore_eos: true, return_token_ids: true };

function serve(folder: string): Run {
  const flags = ["--served-model-name", "base", "--max-context", "64", "--threads", "1", "--log-level", "warn"];
  return start(["serve", "--model", model, "--adapters", folder, "--port", "0", ...flags]);
}

async function answer(url: string, name: string): Promise<string> {
  return String(only(await complete(url, { ...greedy, model: name, max_tokens: 16 })).token_ids);
}

async function digestOf(url: string, name: string): Promise<string> {
  const response = await fetch(`${url}/v1/adapters/${name}`);
  const { digest }: { digest: string } = JSON.parse(await response.text());
  return digest;
}

/** Names and bytes of the files below a folder. */
async function filesIn(folder: string): Promise<Map<string, number>> {
  const files = new Map<string, number>();
  for (const name of await readdir(folder, { recursive: true }).catch(() => [])) {
    const status = await stat(join(folder, name)).catch(() => null);
    if (status?.isFile()) files.set(name, status.size);
  }
  return files;
}

const sizeOf = (files: ReadonlyMap<string, number>): number => [...files.values()].reduce((sum, size) => sum + size, 0);

async function poll(holds: () => Promise<boolean>, what: string): Promise<void> {
  const end = performance.now() + 60_000;
  while (!(await holds())) {
    assert.ok(performance.now() < end, `waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

interface Upload {
  readonly bytes: Buffer;
  readonly request: ClientRequest;
  readonly answered: Promise<number | null>;
}

/** A PUT of which nothing is sent yet. */
async function upload(url: string, name: string, folder: string): Promise<Upload> {
  const form = new Response(await formOf(folder));
  const bytes = Buffer.from(await form.arrayBuffer());
  const headers = { "content-type": form.headers.get("content-type") ?? "", "content-length": bytes.length };
  const put = request(`${url}/v1/adapters/${name}`, { method: "PUT", headers, agent: false });
  const answered = new Promise<number | null>((resolve) => {
    put.on("response", (response) => resolve(response.resume().statusCode ?? null)).on("error", () => resolve(null));
  });
  put.flushHeaders();
  return { bytes, request: put, answered };
}

/** What an upload has come to when the server dies. */
const instants: Record<string, (sent: Upload, scratch: string) => Promise<"old" | "new" | "either">> = {
  "after half of the bytes": async ({ bytes, request }, scratch) => {
    request.write(bytes.subarray(0, bytes.length / 2));
    await poll(async () => sizeOf(await filesIn(scratch)) > bytes.length / 4, "bytes on the disk");
    return "old";
  },
  "before the last byte": async ({ bytes, request }, scratch) => {
    request.write(bytes.subarray(0, -1));
    await poll(async () => sizeOf(await filesIn(scratch)) > bytes.length / 2, "bytes on the disk");
    return "old";
  },
  "as the last byte is sent": async ({ bytes, request }) => {
    await new Promise<void>((resolve) => request.end(bytes, () => resolve()));
    return "either";
  },
  "while it is stored": async ({ bytes, request, answered }, scratch) => {
    request.end(bytes);
    // The folder that becomes the version: the upload itself is another.
    const isDrafted = async (): Promise<boolean> => (await readdir(scratch)).length > 1;
    await Promise.race([answered, poll(isDrafted, "a draft")]);
    return "either";
  },
  "after its answer": async ({ bytes, request, answered }) => {
    request.end(bytes);
    assert.equal(await answered, 200);
    return "new";
  },
};

test("a server killed at any moment of an upload serves the old adapter or the new one after a restart, and keeps no leftovers", async () => {
  await using sources = await adaptersFolder({});
  await using folder = await adaptersFolder({});
  await writeRandomAdapters(sources.path, model, { old: { rank: 64, seed: 1 }, new: { rank: 64, seed: 2 } });
  const inside = join(folder.path, ".store");
  const scratch = join(inside, "tmp");

  let run = serve(folder.path);
  let url = await addressOf(run);
  const answers = new Map<string, string>();
  const digests = { new: "", old: "" };
  for (const kind of ["new", "old"] as const) {
    digests[kind] = (await put(url, "a", join(sources.path, kind))).digest;
    answers.set(digests[kind], await answer(url, "a"));
  }
  assert.equal(new Set([...answers.values(), await answer(url, "base")]).size, 3);
  const versionBytes = async (): Promise<number> => {
    const files = [...(await filesIn(inside))].filter(([name]) => name.startsWith("sha256-"));
    return sizeOf(new Map(files));
  };
  const whole = await versionBytes();

  for (const [instant, play] of Object.entries(instants)) {
    if (instant === "before the last byte" && !isLong) continue;
    await put(url, "a", join(sources.path, "old"));
    const sent = await upload(url, "a", join(sources.path, "new"));
    const expected = await play(sent, scratch);
    run.child.kill("SIGKILL");
    assert.equal(await run.ended, "SIGKILL");
    run = serve(folder.path);
    url = await addressOf(run);
    const digest = await digestOf(url, "a");
    const allowed = expected === "either" ? [digests.old, digests.new] : [digests[expected]];
    assert.ok(allowed.includes(digest), `${instant}: ${digest} is the ${expected} one`);
    assert.equal(await answer(url, "a"), answers.get(digest), instant);
    assert.deepEqual(await readdir(scratch), [], `${instant}: no scratch is left`);
    const kept = await versionBytes();
    assert.ok(Math.abs(kept - whole) < 1000, `${instant}: one version is kept, not ${kept} bytes`);
    assert.equal((await readdir(join(inside, "users"))).length, 1, `${instant}: nobody dead is registered`);
  }
  await remove(url, "a");
  run.child.kill("SIGTERM");
  assert.equal(await run.ended, 0, run.err);
  assert.deepEqual(await readdir(join(inside, "users")), []);
  assert.equal(await versionBytes(), 0);
});

test("SIGTERM: running requests finish over SSE, WebSocket and JSON; new ones are refused; the exit code is 0", async () => {
  const flags = ["--max-context", "512", "--threads", "1", "--dtype", "fp32", "--log-level", "warn"];
  const run = start(["serve", "--model", bookworm, "--port", "0", ...flags]);
  const url = await addressOf(run);
  const length = 400;
  const body = { ...greedy, model: "bookworm-7m", max_tokens: length };
  using socket = await SocketClient.open(url);
  using idle = await SocketClient.open(url);

  let streamed: (() => void) | undefined;
  const begun = new Promise<void>((resolve) => {
    streamed = resolve;
  });
  const overSse = async (): Promise<number[]> => {
    const chunks = stream(url, body);
    const first = await chunks.next();
    streamed?.();
    const head = first.done ? [] : first.value.choices.flatMap(({ token_ids }) => token_ids ?? []);
    return [...head, ...(await tokensOf(chunks))];
  };
  const answers = Promise.all([
    overSse(),
    new Promise<number[]>((resolve) => void socket.ask("r", body).then((frames) => resolve(frameTokens(frames)))),
    complete(url, body).then((whole) => only(whole).token_ids),
  ]);
  await begun;
  run.child.kill("SIGTERM");
  await poll(async () => (await fetch(`${url}/ready`)).status === 503, "the drain");
  const refused = await post(url, "/v1/completions", body);
  const { error }: { error: { code: string } } = JSON.parse(await refused.text());
  assert.deepEqual([refused.status, error.code, refused.headers.get("retry-after")], [503, "draining", "10"]);
  assert.equal((await fetch(`${url}/health`)).status, 200);
  const late = new WebSocket(`${url.replace("http", "ws")}/v1/ws`);
  late.on("error", () => {});
  const [, response] = await once(late, "unexpected-response");
  assert.equal(response.statusCode, 503);
  assert.equal(await idle.closed, 1001);
  assert.equal((await socket.ask("late", body)).at(-1)?.error?.code, "draining");

  const [sse, ws, json] = await answers;
  assert.equal(json?.length, length);
  assert.deepEqual([sse, ws], [json, json]);
  assert.equal(await socket.closed, 1001);
  assert.equal(await run.ended, 0, run.err);
  await assert.rejects(fetch(`${url}/health`));
});

test("a server of several bases has pool threads for each", async () => {
  const policy = join(taskRoot, "policy-mlp");
  const bases = [1, 2, 3, 4].flatMap((i) => ["--model", policy, "--served-model-name", `base-${i}`]);
  const run = start(["serve", ...bases, "--no-model-adapters", "--threads", "1", "--port", "0", "--log-level", "warn"]);
  await addressOf(run);
  assert.match(run.err, /^sharing +each base/m);
  assert.doesNotMatch(run.err, /UV_THREADPOOL_SIZE/);
});
