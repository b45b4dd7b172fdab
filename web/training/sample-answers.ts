/** Reads what a job's events say of its answers to a few prompts, as the training goes on. */
import { fieldOf } from "../client/errors.js";
import type { JobEvent } from "../client/fine-tuning.js";
import { formatCount } from "../parts/format.js";

export interface Sample {
  readonly prompt: string;
  readonly before: string;
  /** In the order of the steps. */
  readonly answers: readonly { readonly when: string; readonly text: string }[];
}

/** By prompt. A run that went on after a restart may have answered twice after a step: the last answer counts. */
export function samplesOf(events: readonly JobEvent[]): readonly Sample[] {
  const byStep = new Map<number, readonly unknown[]>();
  for (const { data } of events) {
    if (Array.isArray(data.samples)) byStep.set(typeof data.step === "number" ? data.step : afterAll, data.samples);
  }
  const text = (value: unknown, name: string): string => String(fieldOf(value, name) ?? "").trim();
  const found = new Map<string, Sample>();
  for (const [step, samples] of [...byStep].sort(([a], [b]) => a - b)) {
    for (const each of samples) {
      const prompt = text(each, "prompt");
      const answer = { when: step === afterAll ? "trained" : `step ${formatCount(step)}`, text: text(each, "after") };
      const { answers = [] } = found.get(prompt) ?? {};
      found.set(prompt, { prompt, before: text(each, "before"), answers: [...answers, answer] });
    }
  }
  return [...found.values()];
}

const afterAll = Number.POSITIVE_INFINITY;
