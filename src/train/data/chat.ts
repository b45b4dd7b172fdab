/** Chats into token rows through the model's template, with the loss on the assistant's turns. Knows no file. */
import { LorikeetError } from "../../base/errors.js";
import type { Tokenizer } from "../../text/types.js";
import type { ChatTurn } from "./messages.js";
import { RowFault } from "./rows.js";

export interface ChatRow {
  readonly ids: Int32Array;
  readonly trained: Uint8Array;
  readonly promptLength: number;
}

interface Draft {
  ids: readonly number[];
  readonly spans: (readonly [begin: number, end: number])[];
}

/**
 * Each trained turn stands behind the very ids that the server computes for the messages before it. Turns share a row where
 * the template goes on from one to the next; where it rewrites what was said before (as those that drop earlier reasoning
 * do), a turn gets a row of its own. Throws RowFault.
 */
export async function encodeChat(messages: readonly ChatTurn[], tokenizer: Tokenizer): Promise<ChatRow[]> {
  const drafts: Draft[] = [];
  for (const [i, turn] of messages.entries()) {
    if (!turn.trained) continue;
    const { prompt, whole } = await encodeTurn(messages.slice(0, i), turn, tokenizer);
    const last = drafts.at(-1);
    const span = [prompt.length, whole.length] as const;
    if (last && startsWith(prompt, last.ids)) {
      last.ids = whole;
      last.spans.push(span);
    } else {
      drafts.push({ ids: whole, spans: [span] });
    }
  }
  return drafts.map(finish);
}

function finish({ ids, spans }: Draft): ChatRow {
  const trained = new Uint8Array(ids.length);
  for (const [begin, end] of spans) trained.fill(1, begin, end);
  return { ids: Int32Array.from(ids), trained, promptLength: spans[0]?.[0] ?? 0 };
}

/** The ids before a turn, and those to the end of it. */
async function encodeTurn(
  before: readonly ChatTurn[],
  turn: ChatTurn,
  tokenizer: Tokenizer,
): Promise<{ prompt: number[]; whole: number[] }> {
  const promptText = render(before, true, tokenizer);
  const wholeText = render([...before, turn], false, tokenizer);
  if (!wholeText.startsWith(promptText)) {
    throw new RowFault("is a chat whose template does not put an answer behind its own generation prompt");
  }
  const prompt = await tokenizer.encode(promptText, { addSpecialTokens: false });
  const joint = await tokenizer.encode(wholeText, { addSpecialTokens: false });
  const answer = startsWith(joint, prompt)
    ? joint.slice(prompt.length)
    : await tokenizer.encode(wholeText.slice(promptText.length), { addSpecialTokens: false, continues: true });
  const after = wholeText.slice(promptText.length);
  const unsaid = after.startsWith(turn.content) ? await unsaidTokens(after.slice(turn.content.length), tokenizer) : 0;
  const said = answer.slice(0, answer.length - unsaid);
  return { prompt, whole: [...prompt, ...withoutBlankTail(said, tokenizer)] };
}

/** How many tokens a template writes behind an answer's end-of-turn token, such as the end of the text: nobody generates them. */
async function unsaidTokens(tail: string, tokenizer: Tokenizer): Promise<number> {
  const ids = await tokenizer.encode(tail, { addSpecialTokens: false, continues: true });
  const end = ids.findIndex((id) => isSpecial(id, tokenizer));
  return end < 0 ? 0 : ids.length - end - 1;
}

function render(turns: readonly ChatTurn[], addGenerationPrompt: boolean, tokenizer: Tokenizer): string {
  const messages = turns.map(({ trained: _, ...message }) => message);
  try {
    return tokenizer.renderChat(messages, { addGenerationPrompt });
  } catch (error) {
    if (error instanceof LorikeetError && error.code === "invalid_value") throw new RowFault(error.message);
    throw error;
  }
}

/** Leaves out the blanks that a template writes between an end-of-turn token and the next turn: nobody generates them. */
function withoutBlankTail(answer: readonly number[], tokenizer: Tokenizer): readonly number[] {
  let end = answer.length;
  while (end > 0 && isBlank(answer[end - 1] ?? 0, tokenizer)) end--;
  const last = answer[end - 1];
  return last !== undefined && isSpecial(last, tokenizer) ? answer.slice(0, end) : answer;
}

const isSpecial = (id: number, tokenizer: Tokenizer): boolean =>
  tokenizer.decode([id]) === "" && tokenizer.decode([id], { keepSpecialTokens: true }) !== "";

const isBlank = (id: number, tokenizer: Tokenizer): boolean =>
  !isSpecial(id, tokenizer) && tokenizer.tokenText(id).trim() === "";

const startsWith = (ids: readonly number[], prefix: readonly number[]): boolean =>
  prefix.every((id, i) => id === ids[i]);
