/** Reads the chunks of completions and chats into one form: pieces of text, each with its token's probabilities. */
import { fieldOf } from "./errors.js";

export interface Alternative {
  readonly text: string;
  /** 0 to 1. */
  readonly probability: number;
}

/** A piece of text: one token's, or that of several whose borders the text does not show. */
export interface AnswerPiece {
  readonly text: string;
  readonly isReasoning: boolean;
  /** null without log-probabilities. */
  readonly probability: number | null;
  /** The likeliest tokens in its place, likeliest first. */
  readonly alternatives: readonly Alternative[];
  /** Tokens of the piece. */
  readonly tokens: number;
}

interface Token extends Alternative {
  readonly alternatives: readonly Alternative[];
}

export function piecesOf(data: unknown): { readonly pieces: readonly AnswerPiece[]; readonly finish: string | null } {
  const choice = fieldOf(fieldOf(data, "choices"), "0");
  const delta = fieldOf(choice, "delta");
  const text = textOf(fieldOf(choice, "text") ?? fieldOf(delta, "content"));
  const reasoning = textOf(fieldOf(delta, "reasoning_content"));
  const finish = fieldOf(choice, "finish_reason");
  const tokens = tokensOf(fieldOf(choice, "logprobs"));
  return {
    pieces: [
      ...(reasoning === "" ? [] : split(reasoning, text === "" ? tokens : [], true)),
      ...split(text, tokens, false),
    ],
    finish: typeof finish === "string" ? finish : null,
  };
}

/** One piece for each token where the tokens' texts add up to the text, else one for all. */
function split(text: string, tokens: readonly Token[], isReasoning: boolean): AnswerPiece[] {
  if (tokens.map((token) => token.text).join("") === text) {
    return tokens.map(({ text: own, probability, alternatives }) => {
      return { text: own, isReasoning, probability, alternatives, tokens: 1 };
    });
  }
  if (text === "") return [];
  const [only] = tokens;
  const known = tokens.length === 1 && only ? only : { probability: null, alternatives: [] };
  return [
    {
      text,
      isReasoning,
      probability: known.probability,
      alternatives: known.alternatives,
      tokens: Math.max(1, tokens.length),
    },
  ];
}

function tokensOf(logprobs: unknown): Token[] {
  const content = fieldOf(logprobs, "content");
  if (Array.isArray(content)) {
    return content.map((entry) => tokenOf(fieldOf(entry, "token"), fieldOf(entry, "logprob"), chatTop(entry)));
  }
  const [tokens, scores, tops] = ["tokens", "token_logprobs", "top_logprobs"].map((name) => fieldOf(logprobs, name));
  if (!Array.isArray(tokens)) return [];
  return tokens.map((token, index) => tokenOf(token, fieldOf(scores, String(index)), completionTop(tops, index)));
}

const chatTop = (entry: unknown): [unknown, unknown][] =>
  listOf(fieldOf(entry, "top_logprobs")).map((top) => [fieldOf(top, "token"), fieldOf(top, "logprob")]);

function completionTop(tops: unknown, index: number): [unknown, unknown][] {
  const table = fieldOf(tops, String(index));
  return typeof table === "object" && table !== null ? Object.entries(table) : [];
}

function tokenOf(text: unknown, logprob: unknown, top: readonly [unknown, unknown][]): Token {
  const alternatives = top.map(([name, score]) => ({ text: textOf(name), probability: probabilityOf(score) }));
  return {
    text: textOf(text),
    probability: probabilityOf(logprob),
    alternatives: alternatives.sort((a, b) => b.probability - a.probability),
  };
}

const textOf = (value: unknown): string => (typeof value === "string" ? value : "");
const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);
const probabilityOf = (logprob: unknown): number => (typeof logprob === "number" ? Math.exp(logprob) : 0);
