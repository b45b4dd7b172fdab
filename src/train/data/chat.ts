/** Encodes chats with the model's template, with the loss on the assistant's turns. */

import { hasCode } from "../../base/errors.js";
import { at } from "../../base/list.js";
import { droppedByTemplate } from "../../text/tools/template-support.js";
import { type Tool, templateTool } from "../../text/tools/types.js";
import type { Tokenizer } from "../../text/types.js";
import type { ChatTurn } from "./messages.js";
import { RowFault } from "./rows.js";

export interface ChatRow {
  readonly ids: Int32Array;
  readonly trained: Uint8Array;
  readonly promptLength: number;
}

export interface ChatEncoding {
  /** Appended to each answer if the template does not end turns; null if the model has none. */
  readonly endId: number | null;
  /** Called with warnings; the same one may repeat. */
  readonly warn?: ((message: string) => void) | undefined;
}

function withoutEnding(tokenizer: Tokenizer, endId: number | null): string {
  const what = "The chat template writes no token that ends an answer";
  if (endId === null) return `${what}, and the model has none: the adapter will not learn to stop.`;
  return `${what}: the model's end token ${JSON.stringify(tokenizer.tokenText(endId))} is appended to each.`;
}

interface Draft {
  ids: readonly number[];
  readonly spans: (readonly [begin: number, end: number])[];
}

/**
 * Each trained turn follows exactly the ids that the server computes for the messages before it. Turns share a row as long as the
 * template only appends; if it rewrites earlier turns (as templates that drop earlier reasoning do), a turn gets its own row.
 * Throws RowFault.
 */
export async function encodeChat(
  messages: readonly ChatTurn[],
  tokenizer: Tokenizer,
  { endId, warn }: ChatEncoding = { endId: null },
  tools: readonly Tool[] = [],
): Promise<ChatRow[]> {
  requireSupport(messages, tools, tokenizer);
  const render = rendererOf(tokenizer, tools);
  const drafts: Draft[] = [];
  for (const [i, turn] of messages.entries()) {
    if (!turn.trained) continue;
    const { prompt, whole, isEnded } = await encodeTurn(messages.slice(0, i), turn, { tokenizer, endId, render });
    if (!isEnded) warn?.(withoutEnding(tokenizer, endId));
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
  return { ids: Int32Array.from(ids), trained, promptLength: at(spans, 0)[0] };
}

/** The ids before a turn, and up to its end. */
async function encodeTurn(
  before: readonly ChatTurn[],
  turn: ChatTurn,
  {
    tokenizer,
    endId,
    render,
  }: { readonly tokenizer: Tokenizer; readonly endId: number | null; readonly render: Render },
): Promise<{ prompt: number[]; whole: number[]; isEnded: boolean }> {
  const promptText = render(before, true);
  const wholeText = render([...before, turn], false);
  if (!wholeText.startsWith(promptText)) {
    throw new RowFault("is a chat whose template does not put answers after its own generation prompt");
  }
  const tail = tailOf(before, turn, wholeText.slice(promptText.length), render);
  const { said, ending } = await splitTail(tail, tokenizer);
  const spoken = wholeText.slice(0, wholeText.length - tail.length) + said;
  const prompt = await tokenizer.encode(promptText, { addSpecialTokens: false });
  const joint = await tokenizer.encode(spoken, { addSpecialTokens: false });
  const answer = startsWith(joint, prompt)
    ? joint.slice(prompt.length)
    : await tokenizer.encode(spoken.slice(promptText.length), { addSpecialTokens: false, continues: true });
  const whole = [...prompt, ...answer];
  if (ending === null && endId !== null && whole.at(-1) !== endId) whole.push(endId);
  requireOneEnd(whole.slice(prompt.length), [ending, endId], tokenizer);
  return { prompt, whole, isEnded: ending !== null };
}

/**
 * Content that no template inspects or changes: private-use characters, which have no case. Whatever a template writes after it, it
 * writes after any content.
 */
const probe = "\uE0F0\uE0F1\uE0F2";

/**
 * What the template writes after a turn's content, even if it changes the content; "" if that cannot be determined. Behind calls it writes
 * the same, since what it writes is the end of the turn.
 */
function tailOf(before: readonly ChatTurn[], turn: ChatTurn, answer: string, render: Render): string {
  const { toolCalls: _, ...plain } = turn;
  const probed = render([...before, { ...plain, content: probe }], false);
  const at = probed.lastIndexOf(probe);
  const tail = at < 0 ? "" : probed.slice(at + probe.length);
  return answer.endsWith(tail) ? tail : "";
}

/**
 * The part of a tail that the model generates: up to its first special token, which ends the turn. Nobody generates what follows it
 * (the end of the text, whitespace before the next turn). Without a special token: everything but trailing whitespace.
 */
async function splitTail(tail: string, tokenizer: Tokenizer): Promise<{ said: string; ending: number | null }> {
  const ids = await tokenizer.encode(tail, { addSpecialTokens: false, continues: true });
  const end = ids.findIndex((id) => isSpecial(id, tokenizer));
  const ending = ids[end];
  if (ending === undefined) return { said: tail.trimEnd(), ending: null };
  const spelled = tokenizer.tokenText(ending);
  const at = tail.indexOf(spelled);
  return { said: at < 0 ? tail : tail.slice(0, at + spelled.length), ending };
}

/** Rejects content that contains the token for the end of a turn: nothing could be generated after it. */
function requireOneEnd(answer: readonly number[], ends: readonly (number | null)[], tokenizer: Tokenizer): void {
  const inside = answer.slice(0, -1).find((id) => ends.includes(id));
  if (inside === undefined) return;
  throw new RowFault(`has text after ${JSON.stringify(tokenizer.tokenText(inside))}, which ends an answer`);
}

type Render = (turns: readonly ChatTurn[], addGenerationPrompt: boolean) => string;

function rendererOf(tokenizer: Tokenizer, tools: readonly Tool[]): Render {
  const shown = tools.length === 0 ? {} : { tools: tools.map(templateTool) };
  return (turns, addGenerationPrompt) => {
    const messages = turns.map(({ trained: _, ...message }) => message);
    try {
      return tokenizer.renderChat(messages, { addGenerationPrompt, ...shown });
    } catch (error) {
      if (hasCode(error, "invalid_value")) throw new RowFault(error.message);
      throw error;
    }
  };
}

/** The adapter would learn to call functions that it is never shown, or nothing where calls or reasoning are dropped. */
function requireSupport(turns: readonly ChatTurn[], tools: readonly Tool[], tokenizer: Tokenizer): void {
  const template = tokenizer.toolTemplate ?? tokenizer.chatTemplate;
  if (template === null) return;
  const dropped = droppedByTemplate(template, tools.length > 0, turns);
  if (dropped !== null) throw new RowFault(`is a chat whose template ${dropped.reason}`);
  const isReasoned = turns.some(({ trained, reasoning }) => trained && reasoning !== undefined);
  if (isReasoned && !template.includes("reasoning_content")) {
    throw new RowFault("is a chat whose template does not render `reasoning_content`");
  }
}

const isSpecial = (id: number, tokenizer: Tokenizer): boolean =>
  tokenizer.decode([id]) === "" && tokenizer.decode([id], { keepSpecialTokens: true }) !== "";

const startsWith = (ids: readonly number[], prefix: readonly number[]): boolean =>
  prefix.every((id, i) => id === ids[i]);
