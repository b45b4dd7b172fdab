/** Layers that keep states: mixed requests that join at any time answer what each answers alone, in every precision. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { loadAdapter } from "../../src/adapter/format.js";
import { startEngine } from "../../src/engine/start.js";
import { type EngineEvent, type EngineRequest, greedy } from "../../src/engine/types.js";
import { openCheckpoint } from "../../src/model/checkpoint/open.js";
import { targetModules } from "../../src/model/modules.js";
import { writeRandomCheckpoint } from "../../src/model/random.js";
import { type Outcome, read } from "../support/engine-rig.js";
import { hostSource } from "../support/host-source.js";
import { writeRandomAdapter } from "../support/random-adapter.js";

const sizes = {
  hidden_size: 256,
  intermediate_size: 384,
  num_hidden_layers: 4,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  vocab_size: 320,
  max_position_embeddings: 256,
};
const configs = {
  lfm2: {
    ...sizes,
    model_type: "lfm2",
    block_auto_adjust_ff_dim: false,
    layer_types: ["conv", "conv", "full_attention", "conv"],
  },
  qwen3_5_text: {
    ...sizes,
    model_type: "qwen3_5_text",
    head_dim: 64,
    linear_key_head_dim: 32,
    linear_value_head_dim: 32,
    linear_num_key_heads: 4,
    linear_num_value_heads: 8,
    full_attention_interval: 2,
  },
};

const answerOf = (outcome: Outcome | undefined): EngineEvent[] =>
  outcome?.events.filter(({ type }) => type === "token" || type === "prompt") ?? [];

for (const [family, config] of Object.entries(configs)) {
  for (const dtype of ["fp32", "int8", "int4"] as const) {
    test(`${family} in ${dtype}: mixed requests, joining at any time, equal each alone, token for token`, async () => {
      const folder = await mkdtemp(join(tmpdir(), "lorikeet-states-"));
      try {
        await writeRandomCheckpoint(join(folder, "base"), config, { deviation: 0.1 });
        const checkpoint = await openCheckpoint(join(folder, "base"));
        const modules = targetModules(checkpoint.config);
        const adapters = await Promise.all(
          [3, 20].map(async (rank) => {
            await writeRandomAdapter(join(folder, `r${rank}`), modules, { rank, seed: rank });
            return loadAdapter(join(folder, `r${rank}`), modules, {});
          }),
        );
        const source = hostSource(adapters);
        const requests = Array.from(
          { length: 9 },
          (_, i): EngineRequest => ({
            promptIds: Array.from({ length: 1 + ((i * 11) % 40) }, (_, j) => (i * 97 + j * 131 + 5) % 320),
            maxTokens: 6 + ((i * 5) % 13),
            sampling: { ...greedy, logprobs: 2 },
            stopIds: [],
            adapter: adapters[(i % 3) - 1]?.digest ?? null,
            promptLogprobs: i % 4 === 3 ? 1 : null,
          }),
        );
        const { engine, selfTest } = await startEngine({
          dtype,
          checkpoint,
          threads: 2,
          spinning: false,
          maxBatch: 5,
          maxContext: 128,
          maxQueue: 64,
          maxStallMs: 5,
          maxChunk: 8, // several chunks a prompt, between steps of the others
          activeAdapterBytes: 1 << 26,
          exact: true,
          adapters: source,
          cacheDirectory: join(folder, "cache"),
        });
        try {
          assert.ok(selfTest.rowsIndependent && selfTest.chunksEqual, JSON.stringify(selfTest));
          const together = await Promise.all(
            requests.map(async (request, i) => {
              await new Promise((resolve) => setTimeout(resolve, 2 * i));
              return read(engine.submit(request));
            }),
          );
          for (const [i, request] of requests.entries()) {
            assert.deepEqual(answerOf(together[i]), answerOf(await read(engine.submit(request))), `request ${i}`);
          }
          engine.check();
        } finally {
          await engine.close();
        }
      } finally {
        await rm(folder, { recursive: true });
      }
    });
  }
}
