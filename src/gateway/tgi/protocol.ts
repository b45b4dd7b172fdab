/** The calls of LoRAX and TGI: `generate`, `generate_stream`, and the one whose body says whether it streams. */
import { only } from "../../base/list.js";
import type { Gateway } from "../gateway.js";
import type { Frame, Protocol } from "../protocol.js";
import { tgiErrorForm } from "./errors.js";
import { type GenerateRequest, generateFormat, parseGenerate } from "./generate-input.js";
import { tokenEvents, wholeOf } from "./serialize.js";

export interface TgiProtocols {
  readonly generate: Protocol<GenerateRequest>;
  readonly generateStream: Protocol<GenerateRequest>;
  /** A whole answer is a list of one, as Hugging Face's clients expect. */
  readonly either: Protocol<GenerateRequest>;
}

export function tgiProtocols({ bounds, tokenizer }: Pick<Gateway, "bounds" | "tokenizer">): TgiProtocols {
  const format = generateFormat(bounds);
  const protocol = (stream: boolean | null): Protocol<GenerateRequest> => ({
    route: "generate",
    read: (body) => parseGenerate(format, body, stream),
    async *frames(answer): AsyncGenerator<Frame, void, undefined> {
      for await (const data of tokenEvents(answer, tokenizer)) yield { type: "chunk", data };
    },
    async whole(answer) {
      const whole = wholeOf(answer, only(await answer.collect()), tokenizer);
      return stream === null ? [whole] : whole;
    },
    errorForm: tgiErrorForm,
  });
  return { generate: protocol(false), generateStream: protocol(true), either: protocol(null) };
}
