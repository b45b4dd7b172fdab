/** On a real model and real adapters: sixteen mixed requests at once answer what each answers alone. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { loadAdapter } from "../../src/adapter/format.js";
import type { HostAdapter } from "../../src/adapter/types.js";
import { foldMagnitudes } from "../../src/engine/adapters/dora-gains.js";
import { type StartOptions, startEngine } from "../../src/engine/start.js";
import { type EngineEvent, type EngineRequest, greedy } from "../../src/engine/types.js";
import { openCheckpoint } from "../../src/model/checkpoint/open.js";
import { targetModules } from "../../src/model/modules.js";
import type { Checkpoint } from "../../src/model/types.js";
import { WeightNorms } from "../../src/weights/norms.js";
import { type Outcome, read } from "../support/engine-rig.js";
import { hostSource } from "../support/host-source.js";
import { onlyWhenLong } from "../support/long.js";
import { weightLengths } from "../support/magnitudes.js";
import { writeRandomAdapter } from "../support/random-adapter.js";

let folder: string;
let checkpoint: Checkpoint;
/** The base is null. */
const adapters: (HostAdapter | null)[] = [null];

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "lorikeet-exact-"));
  checkpoint = await openCheckpoint("models/bookworm-7m");
  const modules = targetModules(checkpoint.config);
  const lengths = await weightLengths(checkpoint, modules);
  const random = [
    { rank: 1, seed: 1 },
    { rank: 4, seed: 2, targets: ["q_proj", "v_proj"] },
    { rank: 24, seed: 3, targets: ["down_proj", "o_proj"] },
    { rank: 64, seed: 4 },
    { rank: 160, seed: 5, targets: ["q_proj", "down_proj"] }, // products over it are cut into two sums
  ];
  const doras = [
    { rank: 5, seed: 6, lengths },
    { rank: 48, seed: 7, targets: ["q_proj", "gate_proj", "down_proj"], lengths },
  ];
  for (const options of [...random, ...doras]) {
    await writeRandomAdapter(join(folder, `r${options.rank}`), modules, options);
  }
  const own = [...random, ...doras].map(({ rank }) => join(folder, `r${rank}`));
  await using norms = new WeightNorms(checkpoint, { threads: 1 });
  for (const path of ["adapters/plays", "adapters/sentiment", ...own]) {
    adapters.push(await foldMagnitudes(await loadAdapter(path, modules, {}), norms));
  }
});

after(() => rm(folder, { recursive: true, force: true }));

const source = hostSource(adapters);

/** Different lengths, adapters and numbers of tokens; two of each adapter but a few. */
function requests(): EngineRequest[] {
  return Array.from({ length: 16 }, (_, i) => ({
    promptIds: Array.from(
      { length: 3 + ((i * 11) % 70) },
      (_, j) => (i * 977 + j * 131 + 5) % checkpoint.config.vocabSize,
    ),
    maxTokens: 8 + ((i * 5) % 13),
    sampling: { ...greedy, logprobs: 2 },
    stopIds: [],
    adapter: adapters[i % adapters.length]?.digest ?? null,
    promptLogprobs: i % 8 === 5 ? 1 : null,
  }));
}

const cases: readonly (Pick<StartOptions, "dtype" | "int8Kind" | "headDtype"> & { name: string })[] = [
  { name: "fp32", dtype: "fp32" },
  { name: "int8 per row", dtype: "int8" },
  { name: "int8 in blocks", dtype: "int8", int8Kind: "blocks" },
  { name: "int4", dtype: "int4" },
];

/** Tokens and log-probabilities of a request, to the last bit. */
const answerOf = (outcome: Outcome | undefined): EngineEvent[] =>
  outcome?.events.filter(({ type }) => type === "token" || type === "prompt") ?? [];

for (const { name, ...precision } of cases) {
  const effort = name === "fp32" ? {} : onlyWhenLong;
  test(
    `${name}: sixteen mixed requests, joining at any time, match each one alone, token for token`,
    effort,
    async () => {
      const { engine, selfTest } = await startEngine({
        ...precision,
        checkpoint,
        threads: 2,
        spinning: false,
        maxBatch: 16,
        maxContext: 128,
        maxQueue: 64,
        maxStallMs: 5, // small chunks between steps
        maxChunk: 32,
        activeAdapterBytes: 1 << 28,
        exact: true,
        adapters: source,
        cacheDirectory: join(folder, "cache"),
      });
      try {
        assert.ok(selfTest.rowsIndependent && selfTest.chunksEqual, "the self-test found what it promises");
        const together = await Promise.all(
          requests().map(async (request, i) => {
            await new Promise((resolve) => setTimeout(resolve, 4 * i));
            return read(engine.submit(request));
          }),
        );
        for (const [i, request] of requests().entries()) {
          const alone = await read(engine.submit(request));
          assert.deepEqual(answerOf(together[i]), answerOf(alone), `request ${i}`);
        }
        engine.check();
      } finally {
        await engine.close();
      }
    },
  );
}
