/** The content blocks of a message, and their deltas in a stream. */
import { parsed } from "../body/json-value.js";

export interface TextBlock {
  readonly type: "text";
  readonly text: string;
  readonly citations: null;
}

/** Nobody signs the reasoning of a local model. */
export interface ThinkingBlock {
  readonly type: "thinking";
  readonly thinking: string;
  readonly signature: "";
}

export interface ToolUseBlock {
  readonly type: "tool_use";
  readonly id: string;
  readonly name: string;
  readonly input: unknown;
  readonly caller: { readonly type: "direct" };
}

export type ContentBlock = TextBlock | ThinkingBlock | ToolUseBlock;

export type BlockDelta =
  | { readonly type: "text_delta"; readonly text: string }
  | { readonly type: "thinking_delta"; readonly thinking: string }
  | { readonly type: "input_json_delta"; readonly partial_json: string };

export const emptyText: TextBlock = { type: "text", text: "", citations: null };
export const emptyThinking: ThinkingBlock = { type: "thinking", thinking: "", signature: "" };

export function emptyCall(id: string, name: string): ToolUseBlock {
  return { type: "tool_use", id, name, input: {}, caller: { type: "direct" } };
}

/** A block with all of its deltas. The input of a call that was cut off is empty. */
export function wholeBlock(block: ContentBlock, deltas: readonly BlockDelta[]): ContentBlock {
  const text = deltas.map(textOf).join("");
  switch (block.type) {
    case "text":
      return { ...block, text };
    case "thinking":
      return { ...block, thinking: text };
    case "tool_use":
      return { ...block, input: parsed(text) ?? {} };
  }
}

function textOf(delta: BlockDelta): string {
  switch (delta.type) {
    case "text_delta":
      return delta.text;
    case "thinking_delta":
      return delta.thinking;
    case "input_json_delta":
      return delta.partial_json;
  }
}
