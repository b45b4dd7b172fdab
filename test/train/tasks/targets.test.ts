/** Which modules training chooses by default and by name. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { taskTargetsOf } from "../../../src/model/task/adapter-targets.js";
import { openTaskModel } from "../../../src/model/task/open.js";
import { chooseTargets } from "../../../src/train/tasks/targets.js";
import { taskRoot } from "../../support/task-models.js";

test("convolutions with groups, whose adapters cannot be merged, are trained only by name", async () => {
  const model = await openTaskModel(join(taskRoot, "efficientnet"));
  const graph = model.opened[0]?.graphs[0]?.graph ?? assert.fail();
  const targets = taskTargetsOf(model.modules);
  const base = model.modules.flatMap((module, i) => {
    const target = targets[i];
    return target && module.kind !== "bias" ? [{ module, target }] : [];
  });
  const chosen = (names: readonly string[], of = base): number[] =>
    chooseTargets({
      ...{ graph, base: of, outputs: ["logits"], names, saved: [], savesHeads: false, freshHead: null },
      ...{ shape: { rank: 8, alpha: 16, rslora: false }, dora: false, dropout: 0 },
    }).map(({ module }) => module.groups);
  const usual = chosen(["all-linear"]);
  assert.ok(usual.length > 10 && usual.every((groups) => groups === 1));
  assert.deepEqual(chosen(["blocks.0.0.conv_dw"]), [8]);
  const halves = base.map(({ module, target }) => {
    const uses = module.uses.map(({ graph: of, target: { weight, ...node } }) => {
      const value = { ...weight.value, type: "float16" as const };
      return { graph: of, target: { ...node, weight: { ...weight, value } } };
    });
    return { module: { ...module, uses }, target };
  });
  assert.throws(() => chosen(["all-linear"], halves), /weights are of type float16; training takes float32/);
});
