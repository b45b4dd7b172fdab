/** The grammar of a chat's answer: forced and strict calls, what the request itself asks for, and reasoning in front of either. */
import { LorikeetError } from "../base/errors.js";
import {
  eitherForm,
  type GrammarForm,
  type GrammarSource,
  optionalForm,
  patternForm,
  sequenceForm,
  textForm,
} from "../grammar/source.js";
import type { CallFormat } from "../text/tools/format.js";
import type { HeldTool } from "../text/tools/held.js";
import type { ReasoningFormat } from "../text/tools/reasoning.js";
import type { Tool } from "../text/tools/types.js";
import type { ChatRequest, ToolInput } from "./requests.js";

export interface ChatGrammarContext {
  readonly calls: CallFormat | null;
  readonly reasoning: ReasoningFormat | null;
  /** The template of chats with tools. */
  readonly template: string;
  /** The prompt has opened reasoning, or closed it, or neither. */
  readonly reasoningState: "open" | "closed" | "neither";
}

/** null: the answer has none. Throws LorikeetError `invalid_value` for a schema that calls cannot be held to. */
export function chatGrammar(request: ChatRequest, context: ChatGrammarContext): GrammarSource | null {
  const { tools, grammar, sampling } = request;
  const { calls: format, template } = context;
  const held =
    tools !== null && format !== null && holdsCalls(request) ? heldAnswer(tools, format, template, grammar) : null;
  if (held !== null && sampling.allowedIds !== null) {
    const message = "`allowed_token_ids` must not be given with calls that a grammar holds.";
    throw new LorikeetError("invalid_value", message, { param: "allowed_token_ids" });
  }
  const answer = held ?? (grammar && formOf(grammar));
  if (answer === null) return null;
  const form = behindReasoning(answer, context);
  return form === answer && held === null ? grammar : { kind: "form", form, param: grammar?.param ?? "tools" };
}

/** Whether a grammar holds the calls of an answer: if they are forced, if a function is strict, and if a grammar holds the text beside them. */
export function holdsCalls({ tools, grammar }: ChatRequest): boolean {
  if (tools === null || tools.choice.kind === "none") return false;
  return isForced(tools.choice) || grammar !== null || tools.tools.some(({ strict }) => strict);
}

const isForced = ({ kind }: ToolInput["choice"]): boolean => kind === "required" || kind === "function";

/** Forced calls; or calls or what the request asks for; or free text and then perhaps calls. */
function heldAnswer(
  { tools, choice, parallel }: ToolInput,
  format: CallFormat,
  template: string,
  grammar: GrammarSource | null,
): GrammarForm {
  const called = choice.kind === "function" ? tools.filter(({ name }) => name === choice.name) : tools;
  const calls = format.hold({
    tools: called.map((tool) => heldTool(tool, isForced(choice))),
    parallel: parallel && choice.kind !== "function",
    template,
  });
  if (isForced(choice)) return calls;
  if (grammar !== null) return eitherForm(formOf(grammar), calls);
  const text: GrammarForm = { kind: "without", texts: format.triggers, start: format.opening };
  return sequenceForm(text, optionalForm(calls));
}

const noArguments = { type: "object", properties: {}, additionalProperties: false };
const anyArguments = { type: "object" };

/** With the choice `auto`, only strict functions are held to their schemas. */
function heldTool({ name, parameters, strict }: Tool, isForced: boolean): HeldTool {
  const where = `in the parameters of \`${name}\`:`;
  if (!strict && !isForced) return { name, schema: anyArguments, where };
  if (parameters === null) return { name, schema: noArguments, where };
  if (parameters.type !== undefined && parameters.type !== "object") {
    throw new LorikeetError("invalid_value", `\`tools\` ${where} the \`type\` must be object.`, { param: "tools" });
  }
  return { name, schema: { ...parameters, type: "object" }, where };
}

/** White space, within reason. */
const space = patternForm("\\s{0,4}");

function behindReasoning(answer: GrammarForm, { reasoning, reasoningState }: ChatGrammarContext): GrammarForm {
  if (reasoning === null || reasoningState === "closed") return answer;
  const thought = sequenceForm({ kind: "without", texts: [reasoning.end] }, textForm(reasoning.end), space, answer);
  if (reasoningState === "open") return thought;
  return eitherForm(answer, sequenceForm(space, textForm(reasoning.begin), thought));
}

const formOf = (grammar: GrammarSource): GrammarForm =>
  grammar.kind === "form" ? grammar.form : { kind: "source", source: { ...grammar, param: "" } };
