import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { LorikeetError } from "../../src/base/errors.js";
import { at, only } from "../../src/base/list.js";
import type { Rope } from "../../src/model/blueprint.js";
import { readDecoderConfig } from "../../src/model/config/read.js";
import { attentions } from "../../src/model/modules.js";
import { attentionFactor, inverseFrequencies } from "../../src/model/rope.js";
import type { DecoderConfig } from "../../src/model/types.js";
import { hasOldSpelling, isObject, type Json, oldSpelling } from "../support/old-spelling.js";

const oracle = "test/fixtures/oracle";

function read(path: string): unknown {
  return JSON.parse(readFileSync(path, "utf8"));
}

function readConfig(family: string): Json {
  const json = read(`${oracle}/${family}/config.json`);
  assert(isObject(json));
  return json;
}

/** The error of a config, which must be refused. */
function refusal(config: unknown, generation?: unknown): LorikeetError {
  try {
    readDecoderConfig(config, generation);
  } catch (error) {
    assert(error instanceof LorikeetError);
    return error;
  }
  assert.fail(`accepted: ${JSON.stringify(config)}`);
}

/** A small config that every family accepts. */
function small(family: string, more: Json = {}): Json {
  const common = { hidden_size: 128, num_attention_heads: 4, num_hidden_layers: 4, intermediate_size: 256 };
  return { model_type: family, ...common, num_key_value_heads: 2, head_dim: 32, vocab_size: 100, ...more };
}

/** Frequencies at some lengths of a text stand for the parameters of a scaling. */
const ropeFacts = (rope: Rope) => ({
  ...rope,
  attentionFactor: attentionFactor(rope),
  inverseFrequencies: Object.fromEntries(
    [1, 2049, 4097, 6144].map((length) => [length, inverseFrequencies(rope, length)]),
  ),
});

/** A config's facts as the fixtures state them: of one layer what all layers share. */
function factsOf({ family: _, embedding, ropes, layers, finalNorm, head, ...sizes }: DecoderConfig) {
  const { mixer, feedForward } = at(layers, 0);
  const attention = attentions({ layers });
  return {
    ...sizes,
    epsilon: finalNorm.epsilon,
    activation: feedForward.body.activation,
    rope: ropes[0] ?? null,
    ropes: ropes.map(ropeFacts),
    layerRopes: layers.map(({ mixer: { body } }) => (body.kind === "attention" ? body.rope : null)),
    embeddingScale: embedding.scale,
    residualScale: mixer.scale,
    logitsDivisor: 1 / head.scale,
    parallelResidual: layers.some(({ isParallel }) => isParallel),
    attentionScale: attention[0]?.scale,
    attentionSoftcap: attention[0]?.softcap,
    windows: layers.map(({ mixer: { body } }) => (body.kind === "attention" ? body.window : null)),
    finalSoftcap: head.softcap,
    tiedHead: head.tied,
  };
}

/** Every expected fact: fractions to float32's precision, which transformers computes frequencies in. */
function near(found: unknown, expected: unknown, at = "config"): void {
  if (typeof expected === "number" && typeof found === "number") {
    const tolerance = Number.isInteger(expected) ? 0 : 2e-6 * Math.abs(expected);
    assert(Math.abs(found - expected) <= tolerance, `${at}: ${found} is not ${expected}`);
  } else if (Array.isArray(expected)) {
    assert(Array.isArray(found) && found.length === expected.length, `${at}: ${JSON.stringify(found)}`);
    for (const [i, value] of expected.entries()) near(found[i], value, `${at} ${i}`);
  } else if (isObject(expected)) {
    assert(isObject(found), `${at}: ${JSON.stringify(found)}`);
    for (const [key, value] of Object.entries(expected)) near(found[key], value, `${at} ${key}`);
  } else assert.deepEqual(found, expected, at);
}

const windowsOf = (config: DecoderConfig) => attentions(config).map(({ window }) => window);

describe("a config means what it means to transformers", () => {
  // configs.json: each config as transformers 5.18's AutoConfig.for_model resolved it.
  const cases = read("test/fixtures/model/configs.json");
  assert(Array.isArray(cases));
  for (const { name, config, expected } of cases) {
    it(name, () => {
      const read = readDecoderConfig(config);
      near(factsOf(read), expected);
      assert.equal(read.family, config.model_type);
    });
  }
});

describe("the two spellings of a config", () => {
  for (const name of readdirSync(oracle).filter(hasOldSpelling)) {
    it(`read alike: ${name}`, () => {
      const config = readConfig(name);
      const family = String(config.model_type);
      const old = oldSpelling(family, config);
      const generation = read(`${oracle}/${name}/generation_config.json`);
      for (const key of ["rope_parameters", "dtype"]) assert(!(key in old), key);
      assert.deepEqual(readDecoderConfig(old, generation), readDecoderConfig(config, generation));
    });
  }

  it("read alike with linear scaling, late windows, and rope by layer type", () => {
    const qwen = small("qwen2", {
      dtype: "bfloat16",
      use_sliding_window: true,
      sliding_window: 16,
      layer_types: ["full_attention", "full_attention", "sliding_attention", "sliding_attention"],
      rope_parameters: { rope_type: "linear", factor: 4, rope_theta: 1e6 },
    });
    const config = readDecoderConfig(qwen);
    assert.deepEqual(windowsOf(config), [null, null, 16, 16]);
    assert.deepEqual(only(config.ropes), { theta: 1e6, rotaryDim: 32, scaling: { kind: "linear", factor: 4 } });
    assert.equal(config.torchDtype, "bfloat16");
    assert.deepEqual(readDecoderConfig(oldSpelling("qwen2", qwen)), config);
    const flat = qwen.rope_parameters;
    const byType = { ...qwen, rope_parameters: { full_attention: flat, sliding_attention: flat } };
    assert.deepEqual(readDecoderConfig(byType), config);
  });

  it("may both be present if they agree", () => {
    const rope = { rope_type: "linear", factor: 2, rope_theta: 500 };
    const both = small("llama", {
      rope_parameters: rope,
      rope_scaling: { type: "linear", rope_type: "linear", factor: 2 },
      rope_theta: 500,
    });
    assert.deepEqual(readDecoderConfig(both), readDecoderConfig(small("llama", { rope_parameters: rope })));
  });

  it("are refused together if they differ", () => {
    const rope_parameters = { rope_type: "linear", factor: 2, rope_theta: 500 };
    const scaling = { rope_parameters, rope_scaling: { type: "linear", factor: 4 }, rope_theta: 500 };
    assert.match(refusal(small("llama", scaling)).message, /two different ropes/);
    const theta = refusal(small("llama", { rope_parameters, rope_theta: 501 }));
    assert.match(theta.message, /rope_parameters rope_theta is 500, but config.json rope_theta is 501/);
    const types = refusal(small("llama", { rope_scaling: { type: "linear", rope_type: "llama3", factor: 2 } }));
    assert.match(types.message, /rope_type is "llama3", but its type is "linear"/);
    const embd = refusal({ model_type: "gpt2", n_embd: 64, hidden_size: 128, n_head: 4 });
    assert.match(embd.message, /n_embd is 64, but its hidden_size is 128/);
  });
});

describe("special tokens", () => {
  const stops = (config: Json, generation?: unknown) => readDecoderConfig(small("llama", config), generation).stopIds;

  it("stop ids are the union of both files", () => {
    assert.deepEqual(stops({ eos_token_id: 7 }, { eos_token_id: [9, 3, 7] }), [3, 7, 9]);
    assert.deepEqual(stops({ eos_token_id: [5, 6] }, { eos_token_id: null }), [5, 6]);
  });
  it("the family's stop id is used only if neither file has one", () => {
    assert.deepEqual(stops({}), [2]);
    assert.deepEqual(stops({}, { eos_token_id: 9 }), [9]);
    assert.deepEqual(stops({ eos_token_id: null }), []);
  });
  it("a negative id means none", () => {
    const config = readDecoderConfig(small("llama", { pad_token_id: -1, bos_token_id: null, eos_token_id: [-1, 4] }));
    assert.deepEqual([config.padId, config.bosId, config.stopIds], [null, null, [4]]);
  });
  it("an id that is not a number is refused", () => {
    assert.match(refusal(small("llama"), { eos_token_id: "</s>" }).message, /generation_config.json eos_token_id/);
    assert.equal(refusal(small("llama"), []).code, "model_invalid");
  });
});

it("missing factors of longrope are not reported as angles too", () => {
  assert.doesNotMatch(refusal(small("llama", { rope_scaling: { type: "longrope", factor: 4 } })).message, /angles/);
});

describe("what is not implemented is refused by name", () => {
  const rope = (type: string): Json => ({ rope_scaling: { type, factor: 4 } });
  const cases: [string, Json, RegExp][] = [
    ["longrope without factors", small("llama", rope("longrope")), /short_factor is null, but must be 16 numbers/],
    [
      "longrope with too few factors",
      small("phi3", { rope_scaling: { type: "su", short_factor: [1], long_factor: [2] } }),
      /long_factor is \[2\], but must be 16 numbers above zero/,
    ],
    [
      "longrope from one position",
      small("phi3", {
        original_max_position_embeddings: 1,
        rope_scaling: { type: "su", short_factor: Array(16).fill(1), long_factor: Array(16).fill(2) },
      }),
      /original_max_position_embeddings of a longrope is 1, but must be at least 2/,
    ],
    ["angles that overflow", small("llama", { rope_theta: 1e-300 }), /whose angles are not finite numbers/],
    ["dynamic without a factor", small("llama", { rope_scaling: { type: "dynamic" } }), /factor is missing/],
    ["an unknown rope", small("qwen2", rope("xpos")), /rope type "xpos" is not implemented/],
    ["linear in phi3, as in transformers", small("phi3", rope("linear")), /rope type "linear"/],
    ["mrope", small("qwen2", rope("mrope")), /rope type "mrope"/],
    ["mrope as default", small("qwen2", { rope_scaling: { type: "default", mrope_section: [1] } }), /mrope_section/],
    ["no rope type", small("llama", { rope_scaling: { factor: 2 } }), /rope_type is missing beside a factor/],
    ["no factor", small("llama", { rope_scaling: { type: "linear" } }), /rope_scaling factor is missing/],
    [
      "rope that differs by layer type",
      small("gemma2", {
        rope_parameters: {
          full_attention: { rope_type: "default", rope_theta: 1e6 },
          sliding_attention: { rope_type: "default", rope_theta: 1e4 },
        },
      }),
      /two different ropes/,
    ],
    [
      "layers without rope",
      small("gemma2", { rope_parameters: { full_attention: null, sliding_attention: { rope_theta: 1e4 } } }),
      /full_attention is null/,
    ],
    ["too much rotary", small("llama", { partial_rotary_factor: 1.5 }), /partial_rotary_factor is 1.5/],
    ["odd rotary", small("phi3", { head_dim: 40, partial_rotary_factor: 0.375 }), /rotating 15 of 40/],
    ["head of 36", small("llama", { head_dim: 36 }), /heads of 36/],
    ["head of 12", { model_type: "gpt2", n_embd: 48, n_head: 4 }, /heads of 12/],
    ["activation", small("llama", { hidden_act: "relu2" }), /hidden_act is "relu2"/],
    ["gemma2's old key", small("gemma2", { hidden_act: "silu" }), /hidden_act is "silu", but this family reads/],
    ["attention_bias", small("mistral", { attention_bias: true }), /attention_bias is true/],
    ["mlp_bias", small("qwen3", { mlp_bias: true }), /mlp_bias is true/],
    ["experts", small("qwen3", { num_experts: 8 }), /num_experts is 8/],
    ["gptq", small("llama", { quantization_config: { quant_method: "gptq", bits: 4 } }), /_config is "gptq"/],
    ["layer scaling", { model_type: "gpt2", scale_attn_by_inverse_layer_idx: true }, /scale_attn_by_inverse_layer_idx/],
    ["cross attention", { model_type: "gpt2", add_cross_attention: true }, /add_cross_attention/],
    ["bidirectional", small("gemma2", { use_bidirectional_attention: true }), /use_bidirectional_attention/],
    ["not causal", small("qwen2", { is_causal: false }), /is_causal is false/],
    ["logits scaling", small("llama", { logits_scaling: 8 }), /logits_scaling is 8/],
    ["softcap", small("llama", { final_logit_softcapping: 30 }), /final_logit_softcapping is 30/],
    ["window in llama", small("llama", { sliding_window: 4096 }), /sliding_window is 4096/],
    [
      "window switch",
      small("mistral", { sliding_window: 8, use_sliding_window: false }),
      /use_sliding_window is false/,
    ],
    ["layer type", small("qwen2", { layer_types: Array(4).fill("linear_attention") }), /"linear_attention"/],
    ["mixed mistral", small("mistral", { layer_types: Array(4).fill("full_attention") }), /layers are all/],
    ["other text model", { model_type: "gemma3", text_config: { model_type: "llama" } }, /model_type is "llama"/],
    ["Mamba", small("granitemoehybrid", { num_local_experts: 0, layer_types: Array(4).fill("mamba") }), /has "mamba"/],
    ["experts unless stated", small("granitemoehybrid"), /num_local_experts is missing/],
    ["heads of another size", small("gpt_neox", { head_dim: 64 }), /head_dim is 64/],
    ["layers of unknown ropes", small("smollm3", { no_rope_layers: [1, 0] }), /no_rope_layers is \[1,0\]/],
    ["parallel llama", small("llama", { use_parallel_residual: true }), /use_parallel_residual is true/],
    ["rope in gpt2", { model_type: "gpt2", rope_theta: 10000 }, /gpt2 has learned positions/],
  ];
  for (const [name, config, message] of cases) {
    it(name, () => assert.match(refusal(config).message, message));
  }

  it("harmless values of the same keys are accepted", () => {
    const harmless = { rope_interleaved: false, num_local_experts: 0, quantization_config: null, logits_scaling: 1 };
    const { kind } = readDecoderConfig(
      small("llama", { ...harmless, is_causal: true, sliding_window: null }),
    ).finalNorm;
    assert.equal(kind, "rms");
  });
});

describe("an invalid config", () => {
  it("names every fault in one error", () => {
    const error = refusal(
      small("llama", {
        hidden_size: "128",
        num_hidden_layers: 0,
        rms_norm_eps: -1,
        num_key_value_heads: 3,
        tie_word_embeddings: "yes",
        rope_scaling: "linear",
      }),
    );
    assert.equal(error.code, "model_invalid");
    assert.equal(error.faults.length, 6, error.faults.join("\n"));
    for (const fault of error.faults) assert(error.message.includes(fault), fault);
  });
  it("is unsupported if one fault is", () => {
    assert.equal(refusal(small("llama", { hidden_size: -1, hidden_act: "relu" })).code, "model_unsupported");
  });
  it("cannot ask for an enormous number of layers", () => {
    assert.match(refusal(small("llama", { num_hidden_layers: 1e9 })).message, /from 1 to 4096/);
  });
  it("must have consistent windows", () => {
    const types = ["sliding_attention", "full_attention", "full_attention"];
    assert.match(refusal(small("qwen2", { layer_types: types })).message, /list of 3, but must list 4 layers/);
    const sliding = small("qwen2", { layer_types: [...types, "full_attention"] });
    assert.match(refusal(sliding).message, /no sliding window is set/);
  });
  it("must have heads that divide the width", () => {
    const { head_dim, ...config } = small("llama", { num_attention_heads: 6 });
    assert.match(refusal(config).message, /hidden_size is 128, but must be a multiple of num_attention_heads, 6/);
  });
  it("must not ask for a list of factors as long as its heads are wide", () => {
    const longrope = {
      rope_type: "longrope",
      original_max_position_embeddings: 32,
      short_factor: [1],
      long_factor: [1],
    };
    for (const head_dim of [2 ** 31 - 8, 17]) {
      const { message } = refusal(small("llama", { head_dim, rope_parameters: longrope }));
      assert.match(message, /short_factor is \[1\], but must be [\d.]+ numbers above zero/);
    }
  });
  it("must be an object", () => assert.equal(refusal([]).code, "model_invalid"));
});

describe("the architecture", () => {
  it("is refused with the list of supported ones if it is unknown", () => {
    const error = refusal({ architectures: ["MambaForCausalLM"], model_type: "mamba" });
    assert.match(error.message, /other classes are served as ONNX files/);
    assert.equal(error.code, "model_unsupported");
    assert.match(error.message, /MambaForCausalLM.*LlamaForCausalLM \(llama\).*GPT2LMHeadModel \(gpt2\)/);
  });
  it("must agree with the model type", () => {
    const error = refusal(small("qwen2", { architectures: ["LlamaForCausalLM"] }));
    assert.equal(error.code, "model_unsupported");
    assert.equal(refusal(small("llama", { architectures: ["LlamaForTokenClassification"] })).code, error.code);
  });
  it("is sufficient without a model type", () => {
    const { model_type, ...config } = small("x", { architectures: ["Qwen3ForCausalLM"] });
    assert.equal(readDecoderConfig(config).family, "qwen3");
  });
  it("is required if the model type is missing", () => assert.equal(refusal({}).code, "model_unsupported"));
});
