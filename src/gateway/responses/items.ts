/** Items of a conversation in the form of OpenAI's Responses, as they are stored and written. */

export type ItemStatus = "in_progress" | "completed" | "incomplete";

export interface InputText {
  readonly type: "input_text";
  readonly text: string;
}

export interface OutputText {
  readonly type: "output_text";
  readonly annotations: readonly [];
  /** Empty unless they were asked for. */
  readonly logprobs: Iterable<unknown>;
  readonly text: string;
}

export interface InputMessage {
  readonly id: string;
  readonly type: "message";
  readonly status: "completed";
  readonly role: "system" | "developer" | "user";
  readonly content: readonly InputText[];
}

export interface OutputMessage {
  readonly id: string;
  readonly type: "message";
  readonly status: ItemStatus;
  readonly role: "assistant";
  readonly content: readonly OutputText[];
}

export interface Reasoning {
  readonly id: string;
  readonly type: "reasoning";
  readonly status: ItemStatus;
  readonly summary: readonly [];
  readonly content: readonly { readonly type: "reasoning_text"; readonly text: string }[];
}

export interface FunctionCall {
  readonly id: string;
  readonly type: "function_call";
  readonly status: ItemStatus;
  readonly call_id: string;
  readonly name: string;
  /** The JSON text of an object. */
  readonly arguments: string;
}

export interface FunctionOutput {
  readonly id: string;
  readonly type: "function_call_output";
  readonly status: "completed";
  readonly call_id: string;
  readonly output: string;
}

/** What an answer consists of. */
export type OutputItem = OutputMessage | Reasoning | FunctionCall;
export type Item = InputMessage | FunctionOutput | OutputItem;

export function outputText(text: string): OutputText {
  return { type: "output_text", annotations: [], logprobs: [], text };
}

/** How the ids of each kind begin. */
export const idPrefixes: { readonly [Type in Item["type"]]: string } = {
  message: "msg",
  reasoning: "rs",
  function_call: "fc",
  function_call_output: "fco",
};
