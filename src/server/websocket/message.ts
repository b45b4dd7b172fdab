/** Parses the messages of a WebSocket client: JSON in a text message, or in a binary one with bytes after it. */
import * as v from "valibot";
import { LorikeetError } from "../../base/errors.js";
import { wellFormed } from "../../text/characters.js";
import { notJson } from "../fault.js";

const id = v.pipe(v.string(), v.minLength(1), v.maxLength(128), v.transform(wellFormed));
const cancelSchema = v.strictObject({ id, type: v.literal("cancel") });
const named = v.object({ id });

/** A request of one of the types that a socket speaks. */
export interface AskMessage<Type extends string = string> {
  readonly id: string;
  readonly type: Type;
  readonly body: Readonly<Record<string, unknown>>;
  /** What follows the JSON of a binary message; null in a text message. */
  readonly bytes: Uint8Array | null;
}

export type ParsedMessage<Type extends string> =
  | { readonly message: AskMessage<Type> | v.InferOutput<typeof cancelSchema> }
  /** With the message's id if it has a readable one. */
  | { readonly id: string | null; readonly fault: LorikeetError };

/** A parser of messages with these types, and of those that cancel one. */
export function messageParser<const Type extends string>(types: readonly Type[]) {
  const schema = v.union([
    cancelSchema,
    v.strictObject({ id, type: v.picklist(types), body: v.record(v.string(), v.unknown()) }),
  ]);
  const allowed = types.map((type) => JSON.stringify(type)).join("|");
  return (message: string | Uint8Array): ParsedMessage<Type> => {
    const parts = typeof message === "string" ? { text: message, bytes: null } : split(message);
    if (parts instanceof LorikeetError) return { id: null, fault: parts };
    let value: unknown;
    try {
      value = JSON.parse(parts.text);
    } catch {
      return { id: null, fault: new LorikeetError("invalid_value", notJson("message", parts.text)) };
    }
    const result = v.safeParse(schema, value);
    if (result.success) {
      const { output } = result;
      return { message: "body" in output ? { ...output, bytes: parts.bytes } : output };
    }
    const sender = v.safeParse(named, value);
    const fault = new LorikeetError(
      "invalid_value",
      `A message must be {"id":"...","type":${allowed},"body":{...}} or {"id":"...","type":"cancel"}, ` +
        "with an `id` of 1 to 128 characters and no other field.",
    );
    return { id: sender.success ? sender.output.id : null, fault };
  };
}

const lengthBytes = 4;
const utf8 = new TextDecoder("utf-8", { fatal: true });

/** A binary message is a uint32 in little-endian order, the length of the JSON that follows, and then bytes. */
function split(message: Uint8Array): { readonly text: string; readonly bytes: Uint8Array } | LorikeetError {
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength);
  const length = message.byteLength < lengthBytes ? 0 : view.getUint32(0, true);
  const found = message.byteLength - lengthBytes;
  if (length === 0 || length > found) {
    const clause = found < 0 ? `has ${message.byteLength} bytes` : `says ${length}, and ${found} bytes follow`;
    return new LorikeetError(
      "invalid_value",
      `A binary message must begin with the length of its JSON as a uint32 in little-endian order; this one ${clause}.`,
    );
  }
  const end = lengthBytes + length;
  try {
    return { text: utf8.decode(message.subarray(lengthBytes, end)), bytes: message.subarray(end) };
  } catch {
    return new LorikeetError("invalid_value", "The JSON of a binary message must be UTF-8.");
  }
}

/** A binary message, in parts. */
export function packed(json: object, tensors: readonly Uint8Array[]): Uint8Array[] {
  const head = Buffer.from(JSON.stringify(json));
  const length = Buffer.alloc(lengthBytes);
  length.writeUInt32LE(head.length);
  return [length, head, ...tensors];
}
