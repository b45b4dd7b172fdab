/** Parses the messages of a WebSocket client. */
import * as v from "valibot";
import { LorikeetError } from "../../base/errors.js";
import { wellFormed } from "../../text/characters.js";
import { notJson } from "../fault.js";

const id = v.pipe(v.string(), v.minLength(1), v.maxLength(128), v.transform(wellFormed));
const schema = v.variant("type", [
  v.strictObject({ id, type: v.literal("completions"), body: v.record(v.string(), v.unknown()) }),
  v.strictObject({ id, type: v.literal("chat.completions"), body: v.record(v.string(), v.unknown()) }),
  v.strictObject({ id, type: v.literal("cancel") }),
]);
const named = v.object({ id });

export type SocketMessage = v.InferOutput<typeof schema>;

/** The message, or an error with the message's id if it has a readable one. */
export type ParsedMessage =
  | { readonly message: SocketMessage }
  | { readonly id: string | null; readonly fault: LorikeetError };

export function parseMessage(text: string): ParsedMessage {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return { id: null, fault: new LorikeetError("invalid_value", notJson("message", text)) };
  }
  const result = v.safeParse(schema, value);
  if (result.success) return { message: result.output };
  const sender = v.safeParse(named, value);
  const fault = new LorikeetError(
    "invalid_value",
    'A message must be {"id":"...","type":"completions"|"chat.completions","body":{...}} or {"id":"...","type":"cancel"}, ' +
      "with an `id` of 1 to 128 characters and no other field.",
  );
  return { id: sender.success ? sender.output.id : null, fault };
}
