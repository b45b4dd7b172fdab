/** The use cases as plain calls in neutral types, wired together: answers, tokens, models, adapters, counts. Knows no protocol and no HTTP. */

import { LorikeetError } from "../base/errors.js";
import { silent } from "../base/log.js";
import type { Engine, EngineLimits } from "../engine/types.js";
import { GrammarCompiler, type GrammarStats, type GrammarTokens } from "../grammar/compiler.js";
import { languagesOf } from "../text/languages.js";
import type { SourceForms, SourceSettings } from "../text/source-forms.js";
import type { Tokenizer } from "../text/types.js";
import { type BaseParts, createBaseServices } from "./base-services.js";
import type { Catalog } from "./catalog.js";
import { chatFormatsOf, markersOf } from "./chat-formats.js";
import { Completer } from "./complete.js";
import { type ModelGateway, type ModelStats, modelStats } from "./model-gateway.js";
import { type GatewayOptions, gatewayDefaults, type RequestBounds, withinQueue } from "./options.js";
import type { PromptContext } from "./prompts.js";
import { type SamplingDefaults, samplingDefaults } from "./sampling.js";
import { generation, tasksOfDecoder } from "./served-tasks.js";
import { type TaskGateway, type TaskModelParts, taskUseCases } from "./tasks/task-gateway.js";
import { Tokenization } from "./tokenize.js";

/** What the gateway needs to know about the base model. */
export interface GatewayModel {
  /** The served name first, then its aliases. */
  readonly names: readonly [string, ...string[]];
  /** Default true. A classifier has no head to generate text with. */
  readonly generates?: boolean;
  readonly vocabSize: number;
  readonly stopIds: readonly number[];
  readonly bosId: number | null;
  /** The `system_fingerprint` of answers. It changes with the weights and with options that affect answers. */
  readonly fingerprint: string;
  /** Of generation_config.json; used with `generationConfig: "model"`. */
  readonly generationDefaults: Readonly<Record<string, number | boolean>>;
  /** Of models with an encoder, which answer with texts of their own. Default: answers continue the prompts. */
  readonly source?: SourceModel;
}

/** A model whose encoder reads the prompt. */
export interface SourceModel {
  /** By Hugging Face's name, such as translation. */
  readonly task: string;
  /** Tokens of an answer to a request that gives no number; null: the endpoint's default. */
  readonly maxTokens: number | null;
  /** Of the model's files; 1: none. */
  readonly repetitionPenalty: number;
  /** Of the model's files: ends texts that reach their length; null: nothing does. */
  readonly forcedEndId: number | null;
  /** What is put in front of texts, and how long answers are, by task. */
  readonly settings: SourceSettings;
  /** What the decoder starts with: a language among them is the answer's where a request names none. */
  readonly startIds: readonly number[];
}

export interface GatewayParts extends BaseParts {
  readonly engine: Engine;
  /** null: token-id prompts only. */
  readonly tokenizer: Tokenizer | null;
  readonly model: GatewayModel;
  /** The same model as one that takes rows and gives vectors, over the same engine. Without it, it generates text only. */
  readonly rows?: TaskModelParts;
  readonly options?: Partial<GatewayOptions>;
}

export interface GatewayStats extends ModelStats {
  readonly limits: EngineLimits;
  /** Characters waiting to be tokenized. */
  readonly queuedCharacters: number;
  /** Compiled grammars in the cache, their bytes, and grammars waiting to be compiled. */
  readonly grammars: GrammarStats;
}

export interface Gateway extends ModelGateway {
  /**
   * Answers a request in neutral form. Resolves at admission; rejects with a LorikeetError. The caller reads the Answer or cancels it.
   * Requests of one `connection` share its turn; a request without one has its own.
   */
  readonly complete: Completer["complete"];
  readonly models: ModelGateway["models"] & Pick<Catalog, "nameOf">;
  readonly tokenization: Pick<Tokenization, "tokenize" | "detokenize">;
  /** What protocols need to parse requests and serialize answers. */
  readonly bounds: RequestBounds;
  readonly maxPromptCharacters: number;
  readonly tokenizer: Tokenizer | null;
  /** A classifier has no head to generate text with. */
  readonly generates: boolean;
  readonly fingerprint: string;
  /** What the same model does besides text: vectors of texts. null: nothing. */
  readonly tasks: TaskGateway | null;
  /** What a model with an encoder does, by Hugging Face's name; null for models whose answers continue the prompt. */
  readonly sourceTask: string | null;
  /** How texts become sources; null for models whose answers continue the prompt. */
  readonly sources: SourceForms | null;
  stats(): GatewayStats;
}

export function createGateway(parts: GatewayParts): Gateway {
  const { engine, tokenizer, model, logger = silent } = parts;
  const options = withinQueue({ ...gatewayDefaults, ...parts.options }, engine.limits);
  const { maxContext, maxGenerated } = engine.limits;
  const lengths = { maxContext, ...(maxGenerated !== undefined && { maxGenerated }) };
  const generates = model.generates !== false;
  const tasks = model.source ? [model.source.task, generation] : tasksOfDecoder(parts.rows ?? null, generates);
  const services = createBaseServices(parts, { names: model.names, ...lengths, tasks }, options);
  const { catalog, activity, observer, encoding, holder, adapters } = services;
  const bounds = { ...options, vocabSize: model.vocabSize, ...lengths };
  const prompts = promptContext(parts, options);
  const grammars =
    tokenizer &&
    new GrammarCompiler(grammarTokens(tokenizer, markersOf(prompts.formats)), options, (outcome, seconds) =>
      observer.grammar(outcome, seconds),
    );
  const completer = new Completer({
    ...{ engine, tokenizer, grammars, catalog, activity, observer, logger, bounds, prompts, encoding },
    dropsFirstSpace: tokenizer !== null && dropsFirstSpace(tokenizer),
    refusal: generates ? null : noText(model.names[0]),
    stopIds: model.stopIds,
    forcedEndId: model.source?.forcedEndId ?? null,
    defaults: defaultsOf(options.generationConfig, model),
  });
  const shared: Omit<ModelGateway, "stats"> & Pick<Gateway, "models" | "stats"> = {
    ...{ models: catalog, holder, adapters },
    stats: () => ({
      ...modelStats(model.names[0], engine.limits, holder, adapters),
      limits: engine.limits,
      queuedCharacters: encoding.characters,
      grammars: grammars?.stats() ?? { kept: 0, keptBytes: 0, waiting: 0 },
    }),
    observe: (listener) => observer.add(listener),
    drain: (graceMs) => engine.drain(graceMs),
  };
  const { languages, maxPromptCharacters } = prompts;
  return {
    ...shared,
    complete: (reading, signal, connection) => completer.complete(reading, signal, connection),
    tokenization: new Tokenization({ tokenizer, catalog, observer, bounds, prompts, encoding }),
    ...{ generates, bounds, maxPromptCharacters, tokenizer },
    fingerprint: model.fingerprint,
    sourceTask: model.source?.task ?? null,
    sources: model.source ? { ...model.source.settings, languages, startIds: model.source.startIds } : null,
    tasks: parts.rows ? { ...shared, ...taskUseCases(parts.rows, { ...services, options, maxContext, logger }) } : null,
  };
}

/** How prompts of this model become tokens. */
function promptContext({ engine, tokenizer, model }: GatewayParts, options: GatewayOptions) {
  const { maxContext } = engine.limits;
  const { maxPromptCharacters, maxSequences } = options;
  return {
    ...{ tokenizer, maxSequences, maxContext },
    formats: chatFormatsOf(tokenizer, options),
    languages: model.source && tokenizer ? languagesOf(tokenizer) : null,
    maxPromptCharacters: maxPromptCharacters ?? 16 * maxContext,
    maxTruncatedCharacters: maxPromptCharacters ?? Number.POSITIVE_INFINITY,
    bosId: model.bosId,
    encodesPrompts: model.source !== undefined,
  } satisfies PromptContext;
}

/** Answers with an encoder behind them are greedy, unless the model's own file asks for sampling and is asked. Its other settings hold. */
function defaultsOf(mode: GatewayOptions["generationConfig"], model: GatewayModel): SamplingDefaults {
  const { source, generationDefaults } = model;
  const defaults = samplingDefaults(mode, generationDefaults);
  if (!source) return defaults;
  const isSampled = mode === "model" && generationDefaults.do_sample === true;
  return {
    ...defaults,
    temperature: isSampled ? defaults.temperature : 0,
    repetitionPenalty: source.repetitionPenalty,
    maxTokens: defaults.maxTokens ?? source.maxTokens,
  };
}

function noText(name: string): LorikeetError {
  const message = `The model \`${name}\` is a classifier, which generates no text; /classify answers with its labels.`;
  return new LorikeetError("model_unsupported", message, { param: "model" });
}

/** Whether a text that begins with a space is decoded without it, as by tokenizers that mark words with spaces before them. */
export function dropsFirstSpace(tokenizer: Tokenizer): boolean {
  for (let id = 0; id < tokenizer.vocabSize; id++) {
    const [first, ...rest] = tokenizer.tokenBytes(id);
    if (first === 32 && rest.length > 0) return !tokenizer.decode([id]).startsWith(" ");
  }
  return false;
}

/** Special tokens are not text, except those that calls and reasoning are spelled with. */
function grammarTokens(tokenizer: Tokenizer, markers: ReadonlySet<string>): GrammarTokens {
  const markerIds: number[] = [];
  if (markers.size > 0) {
    for (let id = 0; id < tokenizer.vocabSize; id++)
      if (markers.has(tokenizer.specialText(id) ?? "")) markerIds.push(id);
  }
  const isText = (id: number): boolean => tokenizer.specialText(id) === null || markerIds.includes(id);
  return {
    vocabSize: tokenizer.vocabSize,
    bytesOf: (id) => (isText(id) ? tokenizer.tokenBytes(id) : []),
    markerIds,
  };
}
