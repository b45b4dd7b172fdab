/** A model whose outputs are a convolution's own, as of segmentation: adapters change their channels, never their pixels. */

import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { HostTaskAdapter } from "../../../src/adapter/types.js";
import { probeModel, startTaskEngine } from "../../../src/engine/task/start.js";
import { trialAdapter } from "../../../src/engine/task/trial-adapters.js";
import { GraphBuilder } from "../../../src/graph/builder.js";
import { Ops } from "../../../src/graph/ops.js";
import { serializeGraph } from "../../../src/graph/serialize.js";
import { openTaskModel } from "../../../src/model/task/open.js";

const wave = (count: number, step: number) => Float32Array.from({ length: count }, (_, i) => Math.sin(1 + i * step));

function fileOf(): Uint8Array {
  const builder = new GraphBuilder("segmentation");
  const op = new Ops(builder);
  const bytes = new Uint8Array(wave(6, 0.7).buffer);
  const weight = builder.initializer("classifier.weight", "float32", [2, 3, 1, 1], { kind: "inline", bytes });
  const pixels = builder.input("pixel_values", "float32", ["batch", 3, 4, 4]);
  builder.output(op.one("Conv", [pixels, weight], "float32", ["batch", 2, 4, 4]));
  return serializeGraph(builder.build());
}

test("a convolution that gives the outputs has an adapter's channels and all of its pixels", async () => {
  const folder = await mkdtemp(join(tmpdir(), "lorikeet-dense-head-"));
  try {
    const path = join(folder, "model.onnx");
    await writeFile(path, fileOf());
    const model = await openTaskModel(path);
    const lora = trialAdapter(model.modules, 2);
    const whole = { weight: wave(9, 1.3), outFeatures: 3, bias: wave(3, 0.4) };
    const none = { rank: 0, a: null, b: null, magnitude: null, addedBias: null, bias: null };
    const head: HostTaskAdapter = { ...lora, digest: "head", modules: new Map([["classifier", { ...none, whole }]]) };
    const adapters = {
      prefetch: () => {},
      acquire: async (digest: string) => {
        return { adapter: digest === "head" ? head : lora, from: "host" as const, loadMs: 0, release: () => {} };
      },
    };
    const limits = { threads: 1, maxBatch: 4, maxQueue: 8, activeAdapterBytes: 2 ** 20 };
    const probe = await probeModel(model, { threads: 1, imageSize: [4, 4] });
    const { engine } = await startTaskEngine({ ...limits, model, adapters }, probe);
    const data = wave(48, 0.9);
    const outputOf = async (adapter: string | null) => {
      const inputs = new Map([["pixel_values", { type: "float32" as const, shape: [1, 3, 4, 4], data }]]);
      const { outputs } = await engine.submit({ inputs, adapter }).result;
      return [...outputs.values()][0] ?? assert.fail();
    };
    const [base, adapted, replaced] = await Promise.all([null, lora.digest, "head"].map(outputOf));
    assert.deepEqual([base?.shape, adapted?.shape], Array(2).fill([1, 2, 4, 4]));
    assert.notDeepEqual(adapted?.data, base?.data);
    assert.deepEqual(replaced?.shape, [1, 3, 4, 4]);
    for (const [adapter, together] of [[lora.digest, adapted] as const, ["head", replaced] as const]) {
      assert.deepEqual(await outputOf(adapter), together, `${adapter}, alone`);
    }
    const pixel = (channel: number): number =>
      [0, 1, 2].reduce(
        (sum, i) => sum + (whole.weight[channel * 3 + i] ?? 0) * (data[i * 16 + 5] ?? 0),
        whole.bias[channel] ?? 0,
      );
    for (const channel of [0, 1, 2]) {
      assert.ok(Math.abs(Number(replaced?.data[channel * 16 + 5]) - pixel(channel)) < 1e-5, `channel ${channel}`);
    }
    assert.deepEqual((await engine.outputsOf("head"))[0]?.shape, ["batch", 3, 4, 4]);
    await engine.close();
  } finally {
    await rm(folder, { recursive: true });
  }
});
