/** Tools as every protocol and every format of calls sees them. */

/** A function that the model may call. */
export interface Tool {
  readonly name: string;
  readonly description: string | null;
  /** The JSON Schema of its arguments; null: it takes none. */
  readonly parameters: Readonly<Record<string, unknown>> | null;
  /** Its calls are held to the schema. */
  readonly strict: boolean;
}

/** A whole call. `arguments` is the JSON text of an object, as the model wrote it. */
export interface ToolCall {
  readonly id: string;
  readonly name: string;
  readonly arguments: string;
}

/** What a piece of an answer adds to its call number `index`. Only the first delta of a call has `begin`. */
export interface CallDelta {
  readonly index: number;
  readonly begin: { readonly id: string; readonly name: string } | null;
  /** More of the JSON text. */
  readonly arguments: string;
}

/** The calls that deltas add up to, by index. */
export function joinCalls(deltas: readonly CallDelta[]): ToolCall[] {
  const calls = new Map<number, { id: string; name: string; arguments: string }>();
  for (const { index, begin, arguments: more } of deltas) {
    const call = calls.get(index);
    if (call) call.arguments += more;
    else if (begin) calls.set(index, { ...begin, arguments: more });
  }
  return [...calls.values()];
}

/** A tool as chat templates read it: OpenAI's object, with its fields in the order of OpenAI's examples. */
export function templateTool({ name, description, parameters }: Tool): object {
  return {
    type: "function",
    function: {
      name,
      ...(description === null ? {} : { description }),
      parameters: parameters ?? { type: "object", properties: {} },
    },
  };
}
