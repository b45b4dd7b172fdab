/**
 * Trained rows of single tokens (`trainable_token_indices`): the file holds the rows, the config their ids, as a list for the embeddings or by
 * the names of tables. PEFT puts the rows in the place of the base's, and of a head that is tied to the embeddings.
 */

import { isObject } from "../../base/json.js";
import type { StoredTensor } from "../../tensor/safetensors.js";
import { formatShape, sameShape } from "../../tensor/shape.js";
import type { ModuleIndex, TokenTable } from "./base.js";
import { type Faults, quote } from "./faults.js";
import type { MatrixDtype, ModulePlan, SavedPlan, TokenPlan } from "./module-plan.js";

/** One entry of the config. */
export interface TrainedTokens {
  /** The end of the table's path; null: the table that looks the tokens of a text up. */
  readonly name: string | null;
  readonly ids: readonly number[];
}

const key = "trainable_token_indices";

/** Reports what is neither a list of token ids nor an object of such lists. Empty lists count as absent. */
export function readTrainedTokens(value: unknown, faults: Faults): readonly TrainedTokens[] {
  if (value === undefined || value === null) return [];
  const entries = isObject(value) ? Object.entries(value) : [[null, value] as const];
  return entries.flatMap(([name, ids]): TrainedTokens[] => {
    const where = name === null ? key : `${key}[${quote(name)}]`;
    if (!isTokenIds(ids)) {
      faults.invalid(`${where} is ${quote(ids)}; a list of whole numbers, none below 0, is allowed`);
      return [];
    }
    const seen = new Set<number>();
    const twice = ids.find((id) => seen.size === seen.add(id).size);
    if (twice !== undefined) faults.invalid(`${where} names the token ${twice} twice`);
    return ids.length === 0 || twice !== undefined ? [] : [{ name, ids }];
  });
}

const isTokenIds = (value: unknown): value is readonly number[] =>
  Array.isArray(value) && value.every((id) => Number.isSafeInteger(id) && id >= 0);

interface Draft {
  readonly source: string;
  readonly tensor: string;
  readonly dtype: MatrixDtype;
  readonly shape: readonly number[];
  readonly table: TokenTable;
}

/** Collects a file's tensors of such rows. */
export class TokenTensors {
  readonly #index: ModuleIndex;
  readonly #faults: Faults;
  readonly #drafts: Draft[] = [];

  constructor(index: ModuleIndex, faults: Faults) {
    this.#index = index;
    this.#faults = faults;
  }

  add(tensor: string, { shape }: StoredTensor, dtype: MatrixDtype, path: string): void {
    const table = this.#index.tokenTable({ path, tensor }, this.#faults);
    const other = table && this.#drafts.find((draft) => draft.table.path === table.path);
    if (other)
      this.#faults.invalid(`tensors ${quote(other.tensor)} and ${quote(tensor)} are both rows of ${table.path}`);
    else if (table) this.#drafts.push({ source: path, tensor, dtype, shape, table });
  }

  /** Those without a fault, by path. `modules`: what LoRA adapts; `saved`: what the adapter replaces. */
  finish(trained: readonly TrainedTokens[], modules: readonly ModulePlan[], saved: readonly SavedPlan[]): TokenPlan[] {
    const before = this.#faults.count;
    const used = new Set<TrainedTokens>();
    const plans = this.#drafts.flatMap((draft) => {
      const named = trained.filter(({ name }) =>
        name === null ? draft.table.inEmbeddings : draft.source.endsWith(name),
      );
      for (const entry of named) used.add(entry);
      const [entry] = named;
      if (!entry || named.length > 1) {
        const count = entry ? `${named.length} lists` : "no list";
        this.#faults.invalid(
          `tensor ${quote(draft.tensor)} holds rows of tokens, and ${key} has ${count} of ids for it`,
        );
        return [];
      }
      this.#checkRows(draft, entry.ids);
      const { path, inEmbeddings, head, stored } = draft.table;
      // A head with rows of its own is no longer tied.
      const isApart = this.#drafts.some(({ table }) => table.path === head);
      const { tensor: name, dtype, shape } = draft;
      const inHead = head !== null && (head === path || !isApart);
      if (inHead) this.#checkHead(head, modules);
      return [{ path, ids: entry.ids, rows: { name, dtype, shape }, inEmbeddings, inHead, stored }];
    });
    for (const { name, ids } of trained.filter((entry) => !used.has(entry))) {
      // PEFT writes the rows of a tied head once, with the embeddings.
      const isTied = plans.some((plan) => plan.inHead && plan.inEmbeddings && sameShape(plan.ids, ids));
      if (!isTied)
        this.#faults.invalid(
          `${key} names ${name === null ? "the embeddings" : quote(name)}, but the file holds no such rows`,
        );
    }
    for (const { path } of plans) this.#checkAlone(path, modules, saved);
    return this.#faults.count > before ? [] : plans.sort((left, right) => (left.path < right.path ? -1 : 1));
  }

  #checkRows({ tensor, shape, table }: Draft, ids: readonly number[]): void {
    const expected = [ids.length, table.sizes?.[1] ?? shape[1] ?? 0];
    if (!sameShape(shape, expected)) {
      this.#faults.invalid(
        `tensor ${quote(tensor)} has shape ${formatShape(shape)}; ${formatShape(expected)} is allowed, for the ${ids.length} tokens of ${key}`,
      );
    }
    const beyond = table.sizes && ids.find((id) => id >= (table.sizes?.[0] ?? 0));
    if (beyond !== undefined && beyond !== null) {
      this.#faults.invalid(
        `${key} names the token ${beyond}, and ${table.path} of this base has ${table.sizes?.[0]} tokens`,
      );
    }
  }

  /** DoRA's norms would be those of the trained rows. */
  #checkHead(head: string, modules: readonly ModulePlan[]): void {
    if (!modules.some(({ path, extra }) => path === head && extra && !extra.spec.isFoldedIntoA)) return;
    this.#faults.unsupported(
      `module ${head} is weight-decomposed (use_dora), and ${key} trains rows of its weight; take it out of target_modules, or train no rows`,
    );
  }

  #checkAlone(path: string, modules: readonly ModulePlan[], saved: readonly SavedPlan[]): void {
    const isWhole = saved.some((module) => module.path === path && module.weight);
    if (!isWhole && !modules.some((module) => module.path === path)) return;
    const what = isWhole ? "saved whole" : "adapted by LoRA";
    this.#faults.unsupported(
      `module ${path} is ${what}, and ${key} trains rows of it, which PEFT does not allow together`,
    );
  }
}
