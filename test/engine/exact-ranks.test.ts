/** A row's bits are its own at every rank: around the edges of tiles and of the blocks that kernels cut sums into, in fp32 and exact int8. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { loadAdapter } from "../../src/adapter/format.js";
import type { HostAdapter } from "../../src/adapter/types.js";
import { foldMagnitudes } from "../../src/engine/adapters/dora-gains.js";
import { startEngine } from "../../src/engine/start.js";
import { type EngineRequest, greedy } from "../../src/engine/types.js";
import { openCheckpoint } from "../../src/model/checkpoint/open.js";
import { targetModules } from "../../src/model/modules.js";
import type { Checkpoint } from "../../src/model/types.js";
import { WeightNorms } from "../../src/weights/norms.js";
import { type Outcome, read } from "../support/engine-rig.js";
import { hostSource } from "../support/host-source.js";
import { onlyWhenLong } from "../support/long.js";
import { weightLengths } from "../support/magnitudes.js";
import { writeRandomAdapter } from "../support/random-adapter.js";

const ranks = [1, 15, 16, 17, 128, 129, 255, 256, 257, 300, 512];
/** Narrow outputs are cut into the longest blocks, wide ones into the shortest. */
const targets = ["k_proj", "up_proj", "down_proj"];

let folder: string;
let checkpoint: Checkpoint;
const adapters: HostAdapter[] = [];

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "lorikeet-ranks-"));
  checkpoint = await openCheckpoint("models/bookworm-7m");
  const modules = targetModules(checkpoint.config).filter(({ path }) => /\.(1|5)\./.test(path));
  const lengths = await weightLengths(checkpoint, modules);
  await using norms = new WeightNorms(checkpoint, { threads: 1 });
  const add = async (rank: number, dora: boolean): Promise<void> => {
    const path = join(folder, `${rank}-${dora}`);
    await writeRandomAdapter(path, modules, { rank, seed: rank, targets, ...(dora ? { lengths } : {}) });
    adapters.push(await foldMagnitudes(await loadAdapter(path, targetModules(checkpoint.config), {}), norms));
  };
  for (const rank of ranks) await add(rank, false);
  await add(257, true);
});

after(() => rm(folder, { recursive: true, force: true }));

const source = hostSource(adapters);

const bits = ({ events }: Outcome) => events.filter(({ type }) => type === "token" || type === "prompt");

for (const dtype of ["fp32", "int8"] as const) {
  const effort = dtype === "int8" ? {} : onlyWhenLong;
  test(
    `${dtype}: adapters of every rank in one batch answer, bit for bit, what each answers alone`,
    effort,
    async () => {
      const { engine } = await startEngine({
        dtype,
        checkpoint,
        threads: 2,
        spinning: false,
        maxBatch: 14,
        maxContext: 64,
        maxQueue: 64,
        maxStallMs: 20,
        activeAdapterBytes: 1 << 30,
        exact: true,
        adapters: source,
        cacheDirectory: join(folder, "cache"),
      });
      try {
        const requests = [...adapters, null, null].map((adapter, i): EngineRequest => {
          const promptIds = Array.from({ length: 5 + ((i * 7) % 12) }, (_, j) => (i * 977 + j * 131 + 5) % 4096);
          return {
            promptIds,
            maxTokens: 3 + (i % 3),
            sampling: { ...greedy, logprobs: 2 },
            stopIds: [],
            adapter: adapter?.digest ?? null,
            promptLogprobs: i % 4 === 1 ? 1 : null,
          };
        });
        // Alone first: then every class of ranks is made to measure.
        const alone: Outcome[] = [];
        for (const request of requests) alone.push(await read(engine.submit(request)));
        const mixed = await Promise.all(requests.map((request) => read(engine.submit(request))));
        for (const [i, outcome] of alone.entries()) {
          const name = `rank ${adapters[i]?.rank ?? 0}`;
          assert.deepEqual(bits(mixed[i] as Outcome), bits(outcome), `${name}, among others`);
          if (i % 3 !== 2) continue;
          const request = requests[i] as EngineRequest;
          const twins = await Promise.all([request, request].map((each) => read(engine.submit(each))));
          for (const twin of twins) assert.deepEqual(bits(twin), bits(outcome), `${name}, beside its twin`);
        }
        engine.check();
      } finally {
        await engine.close();
      }
    },
  );
}
