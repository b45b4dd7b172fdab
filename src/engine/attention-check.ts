/**
 * Finds the longest prompt chunk that a device's attention kernel computes right. A kernel that takes another path for long chunks
 * may be wrong there on some cards, without an error: its output is compared with the CPU's.
 */
import { at } from "../base/list.js";
import { float, GraphBuilder } from "../graph/builder.js";
import { Ops } from "../graph/ops.js";
import { serializeGraph } from "../graph/serialize.js";
import { attentions } from "../model/modules.js";
import type { CacheType } from "../model/serving/target.js";
import type { DecoderConfig } from "../model/types.js";
import { cpu } from "../runtime/device/cpu.js";
import type { Device, DeviceTensor } from "../runtime/device/device.js";
import { released } from "../runtime/device/lost.js";
import { type Binding, Session } from "../runtime/session.js";
import { Tensor } from "../runtime/tensor.js";

/** Chunks that are tried, in this order: paths change with the size, so the first wrong one ends the search. */
const sizes = [2, 8, 16, 30, 32, 48, 64, 96, 128, 256, 512];
/** Tokens before the chunk. */
const pasts = [0, 40];
/** Of the outputs, which are averages of values between -1 and 1. Kernels for float16 add up in it. */
const tolerance: Readonly<Record<CacheType, number>> = { float32: 1e-3, float16: 4e-3 };

type Heads = Pick<DecoderConfig, "headCount" | "kvHeadCount" | "headDim">;

/** The longest chunk up to `limit` that is right for every kind of attention in the model; 0 if even the shortest is not. Takes turns. */
export async function longestRightChunk(
  device: Device,
  config: DecoderConfig,
  limit: number,
  type: CacheType = "float32",
): Promise<number> {
  const tried = [...sizes.filter((size) => size < limit), limit];
  const windows = [...new Set(attentions(config).map(({ window }) => window))];
  let longest = limit;
  for (const window of windows) {
    const check = new AttentionCheck(config, { window, type, tokens: limit + Math.max(...pasts) });
    longest = Math.min(longest, await check.longest(device, tried));
  }
  return longest;
}

class AttentionCheck {
  readonly #heads: Heads;
  readonly #window: number | null;
  readonly #type: CacheType;
  readonly #capacity: number;

  constructor(
    heads: Heads,
    { window, type, tokens }: { readonly window: number | null; readonly type: CacheType; readonly tokens: number },
  ) {
    this.#heads = heads;
    this.#window = window;
    this.#type = type;
    this.#capacity = Math.ceil(tokens / 8) * 8;
  }

  async longest(device: Device, tried: readonly number[]): Promise<number> {
    using reference = await this.#open(cpu, "float32");
    const checked = await device.turn(() => this.#open(device, this.#type));
    try {
      let longest = 0;
      for (const size of tried) {
        for (const past of pasts) {
          const expected = await this.#run(reference, past, size);
          const found = await device.turn(() => this.#run(checked, past, size));
          const bound = tolerance[this.#type];
          if (!expected.every((value, i) => Math.abs(value - at(found, i)) <= bound)) return longest;
        }
        longest = size;
      }
      return longest;
    } finally {
      await released(device.turn(async () => checked[Symbol.dispose]()));
    }
  }

  async #open(device: Device, type: CacheType): Promise<OpenCheck> {
    const { headCount, kvHeadCount, headDim } = this.#heads;
    const builder = new GraphBuilder("attention");
    const op = new Ops(builder);
    const cache = [1, kvHeadCount, this.#capacity, headDim];
    const tokens = (name: string, heads: number) =>
      op.cast(builder.input(name, "float32", [1, "tokens", heads * headDim]), type);
    const [out, ...presents] = builder.node(
      "GroupQueryAttention",
      [
        tokens("q", headCount),
        tokens("k", kvHeadCount),
        tokens("v", kvHeadCount),
        builder.input("past.key", type, cache),
        builder.input("past.value", type, cache),
        builder.input("lengths", "int32", [1]),
        builder.input("total", "int32", [1]),
      ],
      [
        { type, shape: [1, "tokens", headCount * headDim] },
        { type, shape: cache, name: "present.key" },
        { type, shape: cache, name: "present.value" },
      ],
      {
        num_heads: headCount,
        kv_num_heads: kvHeadCount,
        scale: float(1),
        local_window_size: this.#window ?? undefined,
      },
      "com.microsoft",
    );
    // A cast to the type that it has already is dropped.
    const widened = { type: "float32" as const, shape: [1, "tokens", headCount * headDim], name: "out" };
    for (const value of builder.node("Cast", [out ?? null], [widened], { to: 1 })) builder.output(value);
    for (const value of presents) builder.output(value);
    const session = await Session.create(serializeGraph(builder.build()), { threads: 1, spinning: false, device });
    const binding = session.bind();
    const caches: DeviceTensor[] = [];
    const dispose = (): void => {
      session[Symbol.dispose]();
      for (const tensor of caches) tensor[Symbol.dispose]();
    };
    try {
      for (const kind of ["key", "value"]) {
        const tensor = device.allocate(type, cache);
        caches.push(tensor);
        binding.input(`past.${kind}`, tensor);
        binding.output(`present.${kind}`, tensor);
      }
    } catch (error) {
      dispose();
      throw error;
    }
    return { session, binding, [Symbol.dispose]: dispose };
  }

  /** The attention of tokens [past, past + size) of one text, over keys and values of all before. */
  async #run(check: OpenCheck, past: number, size: number): Promise<Float32Array> {
    for (let first = 0; first < past; first += shortChunk) {
      await this.#chunk(check, first, Math.min(shortChunk, past - first));
    }
    return await this.#chunk(check, past, size);
  }

  async #chunk(check: OpenCheck, first: number, size: number): Promise<Float32Array> {
    const { headCount, kvHeadCount, headDim } = this.#heads;
    const { session, binding } = check;
    const bind = (name: string, heads: number, seed: number, scale: number): void => {
      const width = heads * headDim;
      const values = Float32Array.from({ length: size * width }, (_, i) => scale * noise(seed, first * width + i));
      binding.input(name, Tensor.from("float32", [1, size, width], values));
    };
    bind("q", headCount, 1, 2 / Math.sqrt(headDim));
    bind("k", kvHeadCount, 2, 2);
    bind("v", kvHeadCount, 3, 1);
    binding.input("lengths", Tensor.from("int32", [1], Int32Array.of(first + size - 1)));
    binding.input("total", Tensor.from("int32", [1], Int32Array.of(first + size)));
    const out = Tensor.zeros("float32", [1, size, headCount * headDim]);
    binding.output("out", out);
    await session.run(binding);
    return out.data;
  }
}

interface OpenCheck extends Disposable {
  readonly session: Session;
  readonly binding: Binding;
}

/** Tokens of the chunks before the one that is compared. */
const shortChunk = 8;

/** Between -1 and 1, the same on every call. */
function noise(seed: number, i: number): number {
  const mixed = Math.imul(i * 8 + seed, 0x9e3779b1);
  return (((mixed ^ (mixed >>> 15)) >>> 0) / 0xffffffff) * 2 - 1;
}
