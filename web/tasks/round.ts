/** One input, and what each model answers to it. Answers are shown together, so that what stands side by side belongs to the same input. */
import { signal } from "@preact/signals";
import { readResult, similarity, type TaskResult } from "../client/tasks.js";
import { client, noteFailure } from "../session.js";

export interface Input {
  readonly text: string;
  /** The second text of a pair. */
  readonly other: string;
  readonly picture: Blob | null;
}

export type Outcome =
  | { readonly kind: "result"; readonly result: TaskResult }
  | { readonly kind: "fault"; readonly fault: string };

export interface Answer {
  readonly model: string;
  readonly outcome: Outcome;
}

export interface Round {
  readonly base: string;
  readonly task: string;
  readonly input: Input;
  readonly answers: readonly Answer[];
}

/** The last one that was answered. */
export const round = signal<Round | null>(null);
export const isAsking = signal(false);

/** Counts what was asked: only the last answers are shown. */
let asks = 0;

export async function ask(base: string, task: string, models: readonly string[], input: Input): Promise<void> {
  const count = ++asks;
  isAsking.value = true;
  const answers = await Promise.all(models.map((model) => answerOf(model, task, input)));
  if (count !== asks) return;
  isAsking.value = false;
  round.value = { base, task, input, answers };
}

export function forget(): void {
  asks++;
  isAsking.value = false;
  round.value = null;
}

async function answerOf(model: string, task: string, { text, other, picture }: Input): Promise<Answer> {
  const asked = picture ?? (task === similarity ? { source_sentence: text, sentences: [other] } : text);
  try {
    return { model, outcome: { kind: "result", result: readResult(await client.pipeline(model, task, asked), task) } };
  } catch (error) {
    return { model, outcome: { kind: "fault", fault: noteFailure(error) } };
  }
}
