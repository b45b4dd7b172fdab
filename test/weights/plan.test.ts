import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, it } from "node:test";
import { LorikeetError } from "../../src/base/errors.js";
import { openCheckpoint } from "../../src/model/checkpoint/open.js";
import { type PlanOptions, planWeights } from "../../src/weights/plan.js";
import { families } from "../support/oracle.js";

async function planOf(family: string, options: PlanOptions) {
  const { config, tensors } = await openCheckpoint(join("test/fixtures/oracle", family));
  return planWeights(config, tensors, options);
}

describe("planWeights", () => {
  it("quantizes every linear layer and the head, and nothing else", async () => {
    const plan = await planOf("llama", { dtype: "int4" });
    for (const [name, { form }] of plan) {
      const expected = /_proj\.weight$/.test(name) ? "int4" : /norm/.test(name) ? "fp32" : null;
      if (expected) assert.equal(form, expected, name);
    }
    const formOf = (name: string) => plan.get(name)?.form;
    assert.deepEqual(["lm_head.weight", "model.embed_tokens.weight"].map(formOf), ["int8", "raw"]);
  });

  it("gives a tied head and its embeddings the same form, headDtype if set", async () => {
    assert.equal((await planOf("qwen2", { dtype: "int8" })).get("model.embed_tokens.weight")?.form, "int8");
    const exact = await planOf("qwen2", { dtype: "int4", headDtype: "fp32" });
    assert.equal(exact.get("model.embed_tokens.weight")?.form, "fp32");
  });

  for (const dtype of ["fp32", "int8", "int4"] as const) {
    it(`needs neither rows of int8 nor 16-bit tables for any family in ${dtype}, if the device lacks them`, async () => {
      for (const family of families) {
        const plan = await planOf(family, { dtype, int8Kind: "blocks", rawTables: false });
        const forms = new Set([...plan.values()].map(({ form }) => form));
        assert.ok(!forms.has("int8row") && !forms.has("raw"), `${family}: ${[...forms]}`);
        assert.ok(forms.has(dtype), family);
      }
    });
  }

  it("respects gpt2's layout and keeps its learned positions exact", async () => {
    const plan = await planOf("gpt2", { dtype: "int8", int8Kind: "rows", maxRowError: 0.01, rowLimit: 64 });
    const expected = { form: "int8row", transposed: true, maxRowError: 0.01, rowLimit: 64 };
    assert.deepEqual(plan.get("transformer.h.0.mlp.c_fc.weight"), expected);
    assert.equal(plan.get("transformer.wpe.weight")?.form, "fp32");
  });

  it("allows rows of half the range twice the error before they become blocks", async () => {
    const rows = async (options: Partial<PlanOptions>) => {
      const plan = await planOf("llama", { dtype: "int8", int8Kind: "rows", ...options });
      return plan.get("model.layers.0.mlp.up_proj.weight");
    };
    assert.deepEqual(await rows({}), { form: "int8row", maxRowError: 0.02, rowLimit: 127 });
    assert.deepEqual(await rows({ rowLimit: 64 }), { form: "int8row", maxRowError: 0.04, rowLimit: 64 });
  });

  it("packs q, k, v and gate, up, with their biases, where all have the same form", async () => {
    const overrides = new Map([["model.layers.1.mlp.up_proj", "int8" as const]]);
    const plan = await planOf("qwen2", { dtype: "int4", pack: true, overrides });
    const attention = "model.layers.0.self_attn";
    const sources = (kind: string) => ["q", "k", "v"].map((part) => `${attention}.${part}_proj.${kind}`);
    assert.deepEqual(plan.get(`${attention}.qkv_proj.weight`), { form: "int4", sources: sources("weight") });
    assert.deepEqual(plan.get(`${attention}.qkv_proj.bias`), { form: "fp32", sources: sources("bias") });
    assert(!plan.has(`${attention}.q_proj.weight`));
    assert(plan.has("model.layers.0.mlp.gate_up_proj.weight"));
    assert.equal(plan.get("model.layers.1.mlp.up_proj.weight")?.form, "int8");
    assert.equal(plan.get("model.layers.1.mlp.gate_proj.weight")?.form, "int4");
  });

  it("refuses an override without a weight, and a checkpoint that lacks a tensor", async () => {
    const { config, tensors } = await openCheckpoint("test/fixtures/oracle/llama");
    const overrides = new Map([["model.layers.9.mlp.up_proj", "int8" as const]]);
    assert.throws(() => planWeights(config, tensors, { dtype: "int4", overrides }), hasCode("invalid_value"));
    const fewer = new Map(tensors);
    fewer.delete("model.norm.weight");
    assert.throws(() => planWeights(config, fewer, { dtype: "int4" }), hasCode("model_invalid"));
  });
});

function hasCode(code: string): (error: unknown) => boolean {
  return (error) => error instanceof LorikeetError && error.code === code;
}
