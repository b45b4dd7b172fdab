/** An encoder-decoder of Marian's shape with random weights, as three graphs over the same weights, named as transformers names its modules. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { float } from "../../../src/graph/builder.js";
import type { Dim, Value } from "../../../src/graph/types.js";
import { Network } from "./network.js";

export interface TranslatorSize {
  readonly vocabulary: number;
  readonly width: number;
  readonly heads: number;
  readonly inner: number;
  readonly layers: number;
  /** Tokens of the longest text. */
  readonly positions: number;
}

/** Writes `onnx/` with the three files that optimum exports. */
export async function writeTranslator(folder: string, size: TranslatorSize, seed: number): Promise<void> {
  const weights = new Map<string, Float32Array>();
  await mkdir(join(folder, "onnx"), { recursive: true });
  for (const [name, build] of Object.entries(graphs)) {
    const net = new Network(name, seed++);
    build(new Translator(net, size, weights));
    await net.write(join(folder, "onnx", `${name}.onnx`));
  }
}

/** Keys and values of a layer: [batch, heads, length, width / heads]. */
interface Past {
  readonly key: Value;
  readonly value: Value;
}

const graphs: Readonly<Record<string, (model: Translator) => void>> = {
  encoder_model: (model) => model.encoder(),
  decoder_model: (model) => model.firstTokens(),
  decoder_with_past_model: (model) => model.nextToken(),
};

/** Adds to scores where a text must not be seen. */
const unseen = -1e9;

class Translator {
  readonly #net: Network;
  readonly #size: TranslatorSize;
  readonly #weights: Map<string, Float32Array>;

  /** `weights`: by name, those of the model's other graphs. This graph has the same, and adds its own. */
  constructor(net: Network, size: TranslatorSize, weights: Map<string, Float32Array>) {
    this.#net = net;
    this.#size = size;
    this.#weights = weights;
  }

  encoder(): void {
    const net = this.#net;
    const ids = net.input("input_ids", ["batch", "source"], "int64");
    const mask = this.#padding(net.input("attention_mask", ["batch", "source"], "int64"));
    let x = this.#embedded("model.encoder", ids, this.#range(this.#lengthOf(ids, 1), "source"));
    for (let layer = 0; layer < this.#size.layers; layer++) {
      const path = `model.encoder.layers.${layer}`;
      const own = this.#keysOf(`${path}.self_attn`, x);
      x = this.#attended(`${path}.self_attn`, x, own, mask);
      x = this.#fed(path, x);
    }
    net.output("last_hidden_state", x);
  }

  /** All tokens of a text so far, each of which sees those before it. */
  firstTokens(): void {
    const net = this.#net;
    const { op } = net;
    const ids = net.input("input_ids", ["batch", "target"], "int64");
    const [hidden, padding] = this.#source();
    const places = this.#range(this.#lengthOf(ids, 1), "target");
    const isLater = op.compare("Greater", op.unsqueeze(places, 0), op.unsqueeze(places, 1));
    const causal = op.where(isLater, op.builder.scalar("float32", unseen), op.builder.scalar("float32", 0));
    let x = this.#embedded("model.decoder", ids, places);
    for (let layer = 0; layer < this.#size.layers; layer++) {
      const path = `model.decoder.layers.${layer}`;
      const own = this.#keysOf(`${path}.self_attn`, x);
      const cross = this.#keysOf(`${path}.encoder_attn`, hidden);
      x = this.#decoded(path, x, { own, mask: causal, cross, padding });
      this.#present(layer, "decoder", own);
      this.#present(layer, "encoder", cross);
    }
    this.#logits(x);
  }

  /** One more token, after the keys and values of those before it. */
  nextToken(): void {
    const net = this.#net;
    const { op } = net;
    const ids = net.input("input_ids", ["batch", 1], "int64");
    const padding = this.#padding(net.input("encoder_attention_mask", ["batch", "source"], "int64"));
    const pasts = Array.from({ length: this.#size.layers }, (_, layer) => ({
      own: this.#past(layer, "decoder", "past"),
      cross: this.#past(layer, "encoder", "source"),
    }));
    const place = this.#lengthOf(pasts[0]?.own.key ?? ids, 2);
    let x = this.#embedded("model.decoder", ids, op.reshape(place, [1]));
    for (const [layer, { own, cross }] of pasts.entries()) {
      const path = `model.decoder.layers.${layer}`;
      const more = this.#keysOf(`${path}.self_attn`, x);
      const grown = { key: op.concat([own.key, more.key], 2), value: op.concat([own.value, more.value], 2) };
      x = this.#decoded(path, x, { own: grown, mask: null, cross, padding });
      this.#present(layer, "decoder", grown);
    }
    this.#logits(x);
  }

  #source(): [hidden: Value, padding: Value] {
    const hidden = this.#net.input("encoder_hidden_states", ["batch", "source", this.#size.width]);
    return [hidden, this.#padding(this.#net.input("encoder_attention_mask", ["batch", "source"], "int64"))];
  }

  #past(layer: number, of: string, length: Dim): Past {
    const { heads, width } = this.#size;
    const input = (name: string): Value =>
      this.#net.input(`past_key_values.${layer}.${of}.${name}`, ["batch", heads, length, width / heads]);
    return { key: input("key"), value: input("value") };
  }

  #present(layer: number, of: string, { key, value }: Past): void {
    this.#net.output(`present.${layer}.${of}.key`, key);
    this.#net.output(`present.${layer}.${of}.value`, value);
  }

  #decoded(
    path: string,
    x: Value,
    { own, mask, cross, padding }: { own: Past; mask: Value | null; cross: Past; padding: Value },
  ): Value {
    const seen = this.#attended(`${path}.self_attn`, x, own, mask);
    return this.#fed(path, this.#attended(`${path}.encoder_attn`, seen, cross, padding));
  }

  /** Embeddings of ids times the root of the width, and of their places. */
  #embedded(path: string, ids: Value, places: Value): Value {
    const { op } = this.#net;
    const { width, positions } = this.#size;
    const waves = this.#net.computed(`${path}.embed_positions.weight`, [positions, width], (i) => wave(i, width));
    const scaled = op.scale(op.gather(this.#table(), ids), Math.sqrt(width));
    return op.add(scaled, op.gather(waves, places));
  }

  /** Of the encoder, of the decoder and of its head. */
  #table(): Value {
    const { vocabulary, width } = this.#size;
    return this.#normal("model.shared.weight", [vocabulary, width], 1 / Math.sqrt(width));
  }

  #logits(x: Value): void {
    const { op } = this.#net;
    const scores = op.matMul(x, op.transpose(this.#table(), [1, 0]));
    this.#net.output("logits", op.add(scores, this.#net.filled("final_logits_bias", [this.#size.vocabulary], 0)));
  }

  #keysOf(path: string, x: Value): Past {
    return {
      key: this.#heads(this.#linear(`${path}.k_proj`, x)),
      value: this.#heads(this.#linear(`${path}.v_proj`, x)),
    };
  }

  #heads(x: Value): Value {
    const { heads, width } = this.#size;
    const [batch = 1, length = 1] = x.shape;
    return this.#net.op.transpose(this.#net.op.reshape(x, [batch, length, heads, width / heads]), [0, 2, 1, 3]);
  }

  /** `mask`: what is added to the scores, [batch or 1, 1, queries or 1, keys]. */
  #attended(path: string, x: Value, { key, value }: Past, mask: Value | null): Value {
    const { op } = this.#net;
    const { heads, width } = this.#size;
    const query = this.#heads(op.scale(this.#linear(`${path}.q_proj`, x), 1 / Math.sqrt(width / heads)));
    const scores = op.matMul(query, op.transpose(key, [0, 1, 3, 2]));
    const seen = op.matMul(op.softmax(mask ? op.add(scores, mask) : scores), value);
    const joined = op.reshape(op.transpose(seen, [0, 2, 1, 3]), x.shape);
    return this.#normalized(`${path}_layer_norm`, op.add(x, this.#linear(`${path}.out_proj`, joined)));
  }

  #fed(path: string, x: Value): Value {
    const { op } = this.#net;
    const inner = this.#linear(`${path}.fc1`, x, this.#size.inner);
    const outer = this.#linear(`${path}.fc2`, op.mul(inner, op.sigmoid(inner)));
    return this.#normalized(`${path}.final_layer_norm`, op.add(x, outer));
  }

  #normal(name: string, shape: readonly number[], deviation: number): Value {
    const known = this.#weights.get(name);
    if (known) return this.#net.computed(name, shape, (place) => known[place] ?? 0);
    const value = this.#net.normal(name, shape, deviation);
    const data = this.#net.op.builder.initializerOf(name)?.data;
    if (data?.kind === "inline") this.#weights.set(name, new Float32Array(data.bytes.slice().buffer));
    return value;
  }

  /** W is [in, out], as exporters write it. */
  #linear(path: string, x: Value, outputs = this.#size.width): Value {
    const inputs = Number(x.shape.at(-1));
    const weight = this.#normal(`${path}.weight`, [inputs, outputs], 1 / Math.sqrt(inputs));
    return this.#net.op.add(this.#net.op.matMul(x, weight), this.#net.filled(`${path}.bias`, [outputs], 0));
  }

  #normalized(path: string, x: Value): Value {
    const { width } = this.#size;
    const scale = this.#net.filled(`${path}.weight`, [width], 1);
    const bias = this.#net.filled(`${path}.bias`, [width], 0);
    const attributes = { axis: -1, epsilon: float(1e-5) };
    return this.#net.op.one("LayerNormalization", [x, scale, bias], "float32", x.shape, attributes);
  }

  #padding(mask: Value): Value {
    const { op } = this.#net;
    const kept = op.unsqueeze(op.unsqueeze(op.cast(mask, "float32"), 1), 1);
    return op.scale(op.sub(op.like(kept, 1), kept), unseen);
  }

  #lengthOf(x: Value, axis: number): Value {
    const { op } = this.#net;
    return op.gather(op.shapeOf(x), op.builder.constant("int64", [], [axis]));
  }

  #range(length: Value, name: Dim): Value {
    const { op } = this.#net;
    return op.one("Range", [op.like(length, 0), length, op.like(length, 1)], "int64", [name]);
  }
}

/** Sines in the first half of a place's numbers and cosines in the second, as Marian has them. */
function wave(index: number, width: number): number {
  const [place, column] = [Math.floor(index / width), index % width];
  const half = width / 2;
  const angle = place / 10_000 ** ((2 * (column % half)) / width);
  return column < half ? Math.sin(angle) : Math.cos(angle);
}
