/**
 * Trains the translator of models/phrases from English to German, and its adapter into French, on phrases that Node's own `Intl` writes. Then
 * measures both over the server, on phrases that no run has seen. `Intl` differs between versions of Node.js: these models are those of 20.20.
 *
 *     npm run build && node dist/tools/recipes/bases/phrases.js
 */
import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { shippedBases } from "../cards/bases.js";
import { writeCard } from "../cards/card.js";
import { special, trainTokenizer } from "./byte-pairs.js";
import { lorikeet } from "./lorikeet.js";
import { writeFolder } from "./network.js";
import { drawPhrases, type Language, type Phrase } from "./phrases-data.js";
import { serve } from "./server.js";
import { isOfShipped, ship } from "./shipped.js";
import { writeTranslator } from "./translator.js";

const home = "tools/recipes/out/phrases";
const name = "phrases";
const base = join(home, name);
const size = { vocabulary: 477, width: 96, heads: 4, inner: 256, layers: 2, positions: 64 } as const;

const phrases = drawPhrases(9000, 1);
const [test, valid, train] = [phrases.slice(0, 300), phrases.slice(300, 400), phrases.slice(400)];

async function writeBase(folder: string): Promise<void> {
  const ids = { pad_token_id: 2, eos_token_id: 0, bos_token_id: 0, decoder_start_token_id: 2 };
  await writeFolder(folder, {
    "config.json": {
      architectures: ["MarianMTModel"],
      ...{ model_type: "marian", is_encoder_decoder: true, vocab_size: size.vocabulary, d_model: size.width },
      ...{ encoder_layers: size.layers, decoder_layers: size.layers },
      ...{ encoder_attention_heads: size.heads, decoder_attention_heads: size.heads },
      ...{ encoder_ffn_dim: size.inner, decoder_ffn_dim: size.inner, max_position_embeddings: size.positions },
      ...{ activation_function: "swish", scale_embedding: true, dropout: 0, ...ids },
    },
    "generation_config.json": ids,
    "tokenizer_config.json": {
      ...{ eos_token: special.end, unk_token: special.unknown, pad_token: special.pad },
      ...{ model_max_length: size.positions, tokenizer_class: "PreTrainedTokenizerFast" },
    },
  });
  const tokenizer = trainTokenizer(train.flatMap(Object.values), size.vocabulary);
  await writeFile(join(folder, "tokenizer.json"), `${JSON.stringify(tokenizer)}\n`);
  await writeTranslator(folder, size, 1);
}

/** Rows from English, as `lorikeet train` reads them. */
async function writeRows(language: Language): Promise<string> {
  const folder = join(home, "data", language);
  await mkdir(folder, { recursive: true });
  for (const [split, rows] of Object.entries({ train, valid, test })) {
    const lines = rows.map((phrase) => `${JSON.stringify({ source: phrase.en, target: phrase[language] })}\n`);
    await writeFile(join(folder, `${split}.jsonl`), lines.join(""));
  }
  return folder;
}

const training = {
  ...{ "--batch-size": 48, "--gradient-accumulation-steps": 1, "--warmup-steps": 30, "--min-lr-rate": 0.02 },
  ...{ "--save-total-limit": 1, "--threads": 1 },
} as const;

const shipped = isOfShipped() ? join("models", name) : join(home, "shipped", name);
const adapter = join(shipped, "adapters", "french");

async function trainAll(): Promise<void> {
  await rm(home, { recursive: true, force: true });
  await mkdir(home, { recursive: true });
  const initial = join(home, "initial", name);
  await writeBase(initial);
  await lorikeet(["train"], {
    ...{ ...training, "--model": initial, "--data": await writeRows("de"), "--output-dir": base, "--method": "full" },
    ...{ "--max-steps": 1500, "--eval-steps": 500, "--learning-rate": 0.002 },
  });
  await ship(base, shipped);
  const run = join(home, "runs", "french");
  await lorikeet(["train"], {
    ...{ ...training, "--model": base, "--data": await writeRows("fr"), "--output-dir": run },
    ...{
      "--max-steps": 700,
      "--eval-steps": 400,
      "--learning-rate": 0.004,
      "--lora-r": 16,
      "--lora-alpha": 32,
      "--save-dtype": "bf16",
    },
  });
  await ship(run, adapter);
}

/** The share of test phrases that are translated exactly, over HTTP. */
async function exact(url: string, model: string, language: Language): Promise<number> {
  let right = 0;
  for (let start = 0; start < test.length; start += 32) {
    const answers = test.slice(start, start + 32).map(async (phrase: Phrase) => {
      const headers = { "content-type": "application/json" };
      const body = JSON.stringify({ inputs: phrase.en });
      const response = await fetch(`${url}/models/${model}`, { method: "POST", headers, body });
      const [first] = (await response.json()) as { translation_text: string }[];
      return first?.translation_text === phrase[language];
    });
    right += (await Promise.all(answers)).filter(Boolean).length;
  }
  return right / test.length;
}

const samplesOf = (language: Language) =>
  train.slice(0, 4).map((phrase) => ({ input: phrase.en, output: phrase[language] }));

if (!isOfShipped()) await trainAll();
await using server = await serve(shipped, join(home, "no-adapters"));
const { base: known, adapters } = shippedBases[name];
const [before, after] = [await exact(server.url, name, "fr"), await exact(server.url, "french", "fr")];
const french = await writeCard(adapter, adapters.french, {
  ...{ rows: test.length, base_metrics: { exact: before }, metrics: { exact: after } },
  samples: samplesOf("fr"),
});
const own = { exact: await exact(server.url, name, "de") };
const measured = { rows: test.length, base_metrics: null, metrics: own, samples: samplesOf("de") };
await writeCard(shipped, known, measured, { french });
console.log(`German: ${own.exact}. French: ${before}, with the adapter ${after}`);
