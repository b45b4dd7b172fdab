/** The tokenization use cases of a task model: tokens of texts, and texts of tokens. Runs no model. */

import { LorikeetError } from "../../base/errors.js";
import type { RowTokenizer } from "../../text/tokenizer/row-tokenizer.js";
import type { EncodedRow } from "../../text/tokenizer/rows.js";
import type { Catalog, Target } from "../catalog.js";
import { Deadline, type DeadlineTimes } from "../deadline.js";
import { asFault } from "../fault.js";
import { type GatewayObserver, type Route, summaryOf } from "../observer.js";
import type { TextTasks } from "./text-tasks.js";

export interface TokenDeps {
  /** null: the folder has none. */
  readonly tokenizer: RowTokenizer | null;
  readonly texts: TextTasks;
  readonly catalog: Catalog;
  readonly observer: GatewayObserver;
  readonly times: DeadlineTimes;
}

export interface TokenizeAsked {
  /** null: the base. All models have the base's tokenizer. */
  readonly model: string | null;
  readonly texts: readonly string[];
  readonly addsSpecialTokens: boolean;
}

export interface TokenizedText extends EncodedRow {
  /** The tokens as the vocabulary spells them. */
  readonly spellings: readonly string[];
}

export interface DecodeAsked {
  readonly model: string | null;
  readonly ids: readonly (readonly number[])[];
  /** The field of the ids, for faults. */
  readonly param: string;
  readonly keepsSpecialTokens: boolean;
}

export class TextTokens {
  readonly #deps: TokenDeps;

  constructor(deps: TokenDeps) {
    this.#deps = deps;
  }

  /** The longest text in tokens; null if it is not known. */
  get maxLength(): number | null {
    return this.#deps.tokenizer?.maxLength ?? null;
  }

  /** Parsing is part of the call, as for an answer. */
  tokenize<Asked extends TokenizeAsked>(
    read: () => Asked,
    client: AbortSignal,
    connection: object,
  ): Promise<{ readonly asked: Asked; readonly rows: readonly TokenizedText[] }> {
    return this.#counted("tokenize", read, client, async (asked, tokenizer, signal) => {
      const request = { ...asked, truncate: false, isBounded: false, connection };
      const rows = await this.#deps.texts.rows(request, signal);
      const spelled = rows.flatMap((row): TokenizedText[] =>
        "spans" in row ? [{ ...row, spellings: row.ids.map((id) => tokenizer.vocabularyText(id)) }] : [],
      );
      return { asked, rows: spelled };
    });
  }

  /** The text of each list of ids. Throws `invalid_value` for an id that is none. */
  decode(read: () => DecodeAsked, client: AbortSignal): Promise<string[]> {
    return this.#counted("detokenize", read, client, async ({ ids, param, keepsSpecialTokens }, tokenizer, signal) => {
      const texts: string[] = [];
      const unknown = ids.flat().find((id) => id >= tokenizer.vocabSize);
      if (unknown !== undefined) {
        const allowed = `0 to ${tokenizer.vocabSize - 1}`;
        const message = `\`${param}\` has the token id ${unknown}; ${allowed} are allowed.`;
        throw new LorikeetError("invalid_value", message, { param, found: unknown, allowed });
      }
      for (const list of ids) {
        if (signal.aborted) throw signal.reason;
        texts.push(tokenizer.decode(list, keepsSpecialTokens));
        await new Promise((resolve) => setImmediate(resolve));
      }
      return texts;
    });
  }

  async #counted<Asked extends { readonly model: string | null }, Result>(
    route: Route,
    read: () => Asked,
    client: AbortSignal,
    run: (asked: Asked, tokenizer: RowTokenizer, signal: AbortSignal) => Promise<Result>,
  ): Promise<Result> {
    const { catalog, observer, times, tokenizer } = this.#deps;
    const startedAt = performance.now();
    const deadline = new Deadline(times, client);
    let target: Target | null = null;
    let fault: LorikeetError | null = null;
    try {
      const asked = read();
      target = catalog.resolve(asked.model);
      if (!tokenizer)
        throw new LorikeetError("tokenizer_missing", "The model has no tokenizer.json, so it has no tokens.");
      return await run(asked, tokenizer, deadline.signal);
    } catch (error) {
      fault = asFault(deadline.signal.aborted ? deadline.signal.reason : error);
      throw fault;
    } finally {
      deadline.release();
      target?.release();
      observer.ended?.(summaryOf(route, startedAt, target, fault, null));
    }
  }
}
