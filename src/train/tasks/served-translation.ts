/** An encoder-decoder and its adapter in the serving engine: greedy answers to rows, and how close they come to the targets. */

import { loadTaskAdapter } from "../../adapter/format.js";
import { Semaphore } from "../../base/async.js";
import { openGraphs, startEncoderDecoder } from "../../engine/seq2seq/start.js";
import { greedy } from "../../engine/types.js";
import type { TaskTarget } from "../../model/task/adapter-targets.js";
import type { TaskModel } from "../../model/task/open.js";
import type { Metrics } from "../trainable.js";
import type { TranslationSource } from "./inputs/translation-inputs.js";
import { Chrf } from "./metrics/chrf.js";
import type { GeneratedText } from "./objectives/generation.js";
import type { TaskExample } from "./types.js";

export interface ServedTranslationOptions {
  readonly model: TaskModel;
  readonly targets: readonly TaskTarget[];
  /** A PEFT folder; null: only the base. */
  readonly adapter: string | null;
  readonly text: GeneratedText;
  readonly rows: readonly TaskExample[];
  readonly maxBatch: number;
  readonly threads: number;
  readonly signal: AbortSignal;
  readonly progress?: (done: number, total: number) => void;
}

export interface TranslatedRows {
  /** chrF, and the share of answers that are their target. */
  readonly metrics: Metrics;
  /** The base's; null without an adapter. */
  readonly base: Metrics | null;
}

/** Throws what loading the adapter throws. */
export async function translateServed(options: ServedTranslationOptions): Promise<TranslatedRows> {
  const { model, text, maxBatch, threads, signal, progress } = options;
  const { rules, decode } = text;
  const rows = options.rows as readonly TaskExample<TranslationSource>[];
  const adapter = options.adapter === null ? null : await loadTaskAdapter(options.adapter, options.targets);
  const longest = Math.max(1, ...rows.map(({ source }) => source.source.ids.length));
  const maxTokens = text.maxTarget ?? 2 * Math.max(1, ...rows.map(({ source }) => source.decoderIds.length));
  const graphs = await openGraphs({ model, threads, maxBatch, signal });
  const { engine } = await startEncoderDecoder(
    {
      ...{ model, rules, activeAdapterBytes: 2 ** 32, maxStallMs: 1000 },
      limits: { maxBatch, maxContext: longest, maxGenerated: maxTokens, maxQueue: maxBatch, maxAdapterQueue: maxBatch },
      adapters: adapter && {
        acquire: async () => ({ adapter, from: "host", loadMs: 0, release: () => {} }),
        prefetch: () => {},
      },
    },
    graphs,
  );
  const sampling = { ...greedy, repetitionPenalty: rules.repetitionPenalty };
  const forced = rules.forcedEndId === null ? {} : { forcedEndId: rules.forcedEndId };
  const turns = new Semaphore(maxBatch);
  const runs = adapter ? 2 : 1;
  let done = 0;
  const answer = async ({ source }: TaskExample<TranslationSource>, digest: string | null): Promise<string> => {
    signal.throwIfAborted();
    progress?.(done++, runs * rows.length);
    const request = { promptIds: source.source.ids, maxTokens, sampling, stopIds: rules.endIds, ...forced };
    const ids: number[] = [];
    for await (const event of engine.submit({ ...request, adapter: digest, promptLogprobs: null })) {
      if (event.type === "finish" && event.error) throw event.error;
      if (event.type === "token") ids.push(event.id);
    }
    return decode(ids);
  };
  const measure = async (digest: string | null): Promise<Metrics> => {
    const answers = await Promise.all(rows.map((row) => turns.run(() => answer(row, digest))));
    const chrf = new Chrf();
    let exact = 0;
    for (const [row, { source }] of rows.entries()) {
      const found = answers[row] ?? "";
      chrf.add(found, source.reference);
      if (found === source.reference) exact++;
    }
    return { exact: exact / Math.max(rows.length, 1), chrf: chrf.score() };
  };
  try {
    if (adapter === null) return { metrics: await measure(null), base: null };
    return { metrics: await measure(adapter.digest), base: await measure(null) };
  } finally {
    await engine.close();
  }
}
