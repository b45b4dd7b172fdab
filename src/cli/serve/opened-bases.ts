/** Opens the bases of a server, each with a stack of its own. What they plan to use fits the machine together; if one fails, none opens. */

import { Uploads } from "../../adapter/upload/upload.js";
import { LorikeetError } from "../../base/errors.js";
import type { Logger, Progress } from "../../base/log.js";
import { probeBlocks } from "../../engine/task/block-probe.js";
import { Adapters } from "../../gateway/adapters.js";
import { Bases, baseOf, holdersOf } from "../../gateway/bases.js";
import { isEncoderDecoder } from "../../model/task/encoder-decoder.js";
import { isTaskModel, openTaskFolder } from "../../model/task/folder.js";
import { taskWeightBytes } from "../../model/task/weight-bytes.js";
import type { DeviceChoice } from "../../runtime/device/choose.js";
import type { Metrics } from "../../server/metrics/metrics.js";
import { jobTaskOf, shownJobTasks } from "../jobs/job-tasks.js";
import { usableMemory } from "../machine.js";
import { requireFolder } from "../options/paths.js";
import { openSeq2SeqStack, type Seq2SeqStack } from "../seq2seq-stack.js";
import {
  openStack,
  planSlots,
  planStack,
  type Stack,
  type StackOptions,
  type StackPlan,
  surveyStack,
} from "../stack.js";
import {
  openTaskStack,
  planTaskStack,
  poolingFault,
  poolsVectors,
  type TaskPlan,
  type TaskStack,
} from "../task-stack.js";
import { UsageError } from "../usage.js";
import { AdapterFolder } from "./adapter-folder.js";
import { type BaseKind, shareCard } from "./card-share.js";
import { gatewayOptionsOf, imageLimitsOf, storeLimitsOf, uploadLimitsOf, validationOf } from "./mapping.js";
import { type BaseShare, type MemoryPlan, planMemory } from "./memory-plan.js";
import { noAdapters } from "./no-adapters.js";
import type { BaseSettings, ServeSettings } from "./options.js";
import { bringsAdapters } from "./own-adapters.js";

/** Of a decoder, an encoder-decoder, or a model of one graph. */
export type BaseStack = Stack | Seq2SeqStack | TaskStack;

export interface OpenedBases extends AsyncDisposable {
  readonly stacks: readonly [BaseStack, ...BaseStack[]];
  readonly bases: Bases;
  /** null: no adapters. */
  readonly folder: AdapterFolder | null;
  /** Of several bases; null for one. */
  readonly memory: MemoryPlan | null;
}

export interface OpeningParts {
  readonly settings: ServeSettings;
  readonly bases: readonly BaseSettings[];
  readonly metrics: Metrics;
  readonly logger: Logger;
  readonly progress: Progress;
}

/** A base that was looked at and not opened yet. */
type Surveyed = { readonly settings: BaseSettings } & (
  | { readonly kind: "decoder"; readonly survey: Omit<StackPlan, "kv"> }
  | { readonly kind: "task"; readonly plan: TaskPlan }
);

type Opener = (settings: BaseSettings, folder: AdapterFolder | null) => Promise<BaseStack>;

export const isTaskStack = (stack: BaseStack): stack is TaskStack => "signature" in stack.gateway;

export const isDecoderStack = (stack: BaseStack): stack is Stack => "checkpoint" in stack;

/** Checks the settings of all bases against their models, and returns what opens them. Throws a UsageError or a LorikeetError that names the base. */
export async function planBases(parts: OpeningParts): Promise<() => Promise<OpenedBases>> {
  const { settings, metrics, logger } = parts;
  const brings = await Promise.all(parts.bases.map(({ model }) => bringsAdapters(model)));
  const readsOwn = !settings.noModelAdapters && brings.includes(true);
  const folder =
    settings.adapters === null && !readsOwn
      ? null
      : new AdapterFolder(
          {
            ...{ directory: settings.adapters, readsOwn, logger, limits: storeLimitsOf(settings) },
            validation: { ...validationOf(settings), observe: metrics.validated },
          },
          parts.bases.length,
        );
  const [only, ...others] = parts.bases;
  if (only && others.length === 0) {
    const open = await planOnly(only, folder, parts);
    return () => openAll([[only, open]], folder, null, parts);
  }
  if (settings.adapters !== null) await requireFolder("--adapters", settings.adapters);
  const kinds = await Promise.all(parts.bases.map((base) => naming(base, () => kindOf(base.model))));
  const forDecoders = kinds.includes("decoder") ? settings : null;
  const looked: Surveyed[] = [];
  for (const [index, base] of shareCard(parts.bases, kinds).entries()) {
    looked.push(await naming(base, () => survey(base, kinds[index] !== "decoder", forDecoders, folder, parts)));
  }
  const surveyed = withReasons(looked, parts.bases);
  refuseEqualNames(surveyed);
  checkPooling(settings, surveyed);
  checkTraining(
    settings,
    surveyed.some((each) => each.kind === "decoder" || jobTaskOf(each.plan.model.task) !== null),
  );
  const takesAdapters = folder !== null && surveyed.some(({ kind }) => kind === "task");
  const memory = memoryOf(surveyed, settings, takesAdapters ? await probeBlocks(1) : null);
  const openers = await Promise.all(
    surveyed.map(async (each, index): Promise<[BaseSettings, Opener]> => {
      const share = memory.shares[index] ?? { kvBytes: 0, cacheBytes: 0, activeBytes: 0 };
      const own = {
        ...each.settings,
        ...{ adapterCacheBytes: share.cacheBytes, activeAdapterBytes: share.activeBytes },
        kvBytes: kvBytesOf(each, share),
      };
      if (each.kind === "task") return [own, (base, shared) => openTask(base, each.plan, shared, parts)];
      const kvShare = { kvShare: share.kvBytes };
      const options = { ...stackOptionsOf(own, folder, parts), ...kvShare };
      const plan = await naming(own, async () => ({ ...each.survey, kv: planSlots(options, each.survey) }));
      return [own, (base, shared) => openStack({ ...stackOptionsOf(base, shared, parts), ...kvShare }, plan)];
    }),
  );
  return () => openAll(openers, folder, memory, parts);
}

async function planOnly(base: BaseSettings, folder: AdapterFolder | null, parts: OpeningParts): Promise<Opener> {
  if (await isTaskModel(base.model)) {
    const plan = await planTaskStack({ settings: base, pooling: base.pooling });
    checkTraining(parts.settings, jobTaskOf(plan.model.task) !== null);
    return (own, shared) => openTask(own, plan, shared, parts);
  }
  const plan = await planStack(stackOptionsOf(base, folder, parts));
  return (own, shared) => openStack(stackOptionsOf(own, shared, parts), plan);
}

async function survey(
  settings: BaseSettings,
  isTask: boolean,
  forDecoders: ServeSettings | null,
  folder: AdapterFolder | null,
  parts: OpeningParts,
): Promise<Surveyed> {
  // The server's goes to all bases, for which it need not mean anything; what a base has for itself must.
  const pooling = settings.pooling === parts.settings.pooling ? null : settings.pooling;
  return isTask
    ? { kind: "task", settings, plan: await planTaskStack({ settings, pooling, forDecoders }) }
    : { kind: "decoder", settings, survey: await surveyStack(stackOptionsOf(settings, folder, parts)) };
}

async function kindOf(model: string): Promise<BaseKind> {
  if (!(await isTaskModel(model))) return "decoder";
  const { files } = await openTaskFolder(model);
  return files.some(({ role }) => role === "encoder") ? "encoder-decoder" : "task";
}

const deviceOf = (each: Surveyed): DeviceChoice => (each.kind === "task" ? each.plan.device : each.survey.device);

/** Bases that `shareCard` left to the CPU say why: another one has the card, or there is none. `asked`: the same bases before. */
function withReasons(surveyed: readonly Surveyed[], asked: readonly BaseSettings[]): Surveyed[] {
  const holder = surveyed.find((each) => {
    return each.settings.device !== "cpu" && (each.kind === "decoder" || !isEncoderDecoder(each.plan.model));
  });
  const found = holder && deviceOf(holder);
  const device = { kind: "cpu", why: found?.kind === "cpu" ? found.why : "a card runs one base" } as const;
  return surveyed.map((each, index): Surveyed => {
    if (each.settings.device === asked[index]?.device) return each;
    if (each.kind === "task") return { ...each, plan: { ...each.plan, device } };
    return { ...each, survey: { ...each.survey, device } };
  });
}

function stackOptionsOf(
  base: BaseSettings,
  adapters: AdapterFolder | null,
  { settings, metrics, logger, progress }: OpeningParts,
): StackOptions {
  return {
    ...{ settings: base, servedName: base.servedModelName, adapters, logger, progress },
    gateway: gatewayOptionsOf(base),
    maxTemplateSteps: settings.maxTemplateSteps,
    pooling: base.pooling,
    uploads: uploadLimitsOf(settings),
    observerOf: metrics.engineObserverOf,
  };
}

function openTask(
  base: BaseSettings,
  plan: TaskPlan,
  adapters: AdapterFolder | null,
  { settings, metrics, logger, progress }: OpeningParts,
): Promise<TaskStack | Seq2SeqStack> {
  const options = {
    ...{ settings: base, servedName: base.servedModelName, adapters, logger, progress },
    gateway: gatewayOptionsOf(base),
    uploads: uploadLimitsOf(settings),
    images: imageLimitsOf(settings),
    pooling: base.pooling,
    maxTemplateSteps: settings.maxTemplateSteps,
    trialTimeoutMs: settings.modelTrialTimeout,
    observerOf: metrics.engineObserverOf,
  };
  return isEncoderDecoder(plan.model) ? openSeq2SeqStack(options, plan) : openTaskStack(options, plan);
}

/** Throws a UsageError where no base pools vectors of tokens. */
function checkPooling({ pooling }: ServeSettings, surveyed: readonly Surveyed[]): void {
  if (pooling === null || surveyed.some((each) => each.kind === "decoder" || poolsVectors(each.plan.model))) return;
  throw new UsageError([poolingFault(pooling, "none of the bases does")]);
}

/** Throws a UsageError unless there is a model that jobs can train. */
function checkTraining({ fineTuning }: ServeSettings, isTrainable: boolean): void {
  if (fineTuning === null || isTrainable) return;
  throw new UsageError([
    `--fine-tuning is for decoders and for task models for ${shownJobTasks}; \`lorikeet train\` trains the others.`,
  ]);
}

/** One after another: each takes the memory that it needs before the next one begins. */
async function openAll(
  openers: readonly (readonly [BaseSettings, Opener])[],
  folder: AdapterFolder | null,
  memory: MemoryPlan | null,
  parts: OpeningParts,
): Promise<OpenedBases> {
  const opened: BaseStack[] = [];
  const close = async (): Promise<void> => {
    await folder?.[Symbol.asyncDispose]();
    for (const stack of opened.splice(0).reverse()) await stack[Symbol.asyncDispose]();
  };
  try {
    for (const [base, open] of openers) {
      const opening = () => open(base, folder);
      opened.push(await (openers.length === 1 ? opening() : naming(base, opening)));
    }
    const [first, ...others] = opened;
    if (!first) throw new UsageError(["--model <model> is required (or LORIKEET_MODEL)."]);
    const stacks = [first, ...others] as const;
    return { stacks: [...stacks], bases: basesOf(stacks, folder, parts), folder, memory, [Symbol.asyncDispose]: close };
  } catch (error) {
    await close();
    throw error;
  }
}

function basesOf(
  [first, ...others]: readonly [BaseStack, ...BaseStack[]],
  folder: AdapterFolder | null,
  { settings, logger }: OpeningParts,
): Bases {
  const ofStack = (stack: BaseStack) => baseOf(stack.name, stack.gateway, folderOf(stack));
  const all = [ofStack(first), ...others.map(ofStack)] as const;
  if (others.length === 0) return new Bases(all);
  return new Bases(
    all,
    (observer) =>
      new Adapters({
        ...{ observer, logger },
        store: folder?.store ?? noAdapters().own,
        baseNames: all.map(({ name }) => name),
        holderOf: holdersOf(all),
        uploads: new Uploads(uploadLimitsOf(settings)),
        copyRoot: settings.loraPathRoot,
      }),
  );
}

/** Where its files are, also if `--model` names one of them. */
const folderOf = (stack: BaseStack): string =>
  isDecoderStack(stack) ? stack.checkpoint.directory : stack.model.folder;

/** As --kv-bytes. A decoder without it plans its cache within its share; a card has memory of its own. */
function kvBytesOf(each: Surveyed, share: BaseShare): number | null {
  if (each.kind === "task") return isEncoderDecoder(each.plan.model) ? share.kvBytes : null;
  const { kvBytes } = each.settings;
  return kvBytes === null || each.survey.device.kind !== "cpu" ? kvBytes : share.kvBytes;
}

/** `block`: as for `taskWeightBytes`. */
function memoryOf(surveyed: readonly Surveyed[], settings: ServeSettings, block: number | null): MemoryPlan {
  const needs = surveyed.map((each) => {
    const own = each.settings;
    // What all bases have is the server's; only what differs is a base's own.
    const ownSize = (name: "kvBytes" | "adapterCacheBytes" | "activeAdapterBytes"): number | null =>
      own[name] === settings[name] ? null : own[name];
    const adapters = { cacheBytes: ownSize("adapterCacheBytes"), activeBytes: ownSize("activeAdapterBytes") };
    if (each.kind === "task") {
      const kvBytes = isEncoderDecoder(each.plan.model) ? ownSize("kvBytes") : 0;
      const weightBytes = each.plan.device.kind === "cpu" ? taskWeightBytes(each.plan.model, block) : 0;
      return { weightBytes, kvBytes, ...adapters };
    }
    const onCpu = each.survey.device.kind === "cpu";
    return {
      weightBytes: onCpu ? each.survey.precision.bytes : 0,
      kvBytes: onCpu ? ownSize("kvBytes") : 0,
      ...adapters,
    };
  });
  return planMemory(usableMemory(), needs, {
    kvBytes: settings.kvBytes,
    cacheBytes: settings.adapterCacheBytes,
    activeBytes: settings.activeAdapterBytes,
  });
}

const nameOf = (each: Surveyed): string =>
  each.kind === "task" ? (each.settings.servedModelName ?? each.plan.model.names[0]) : each.survey.name;

/** Throws a UsageError for two bases with one name, which no request could tell apart. */
function refuseEqualNames(surveyed: readonly Surveyed[]): void {
  const seen = new Map<string, string>();
  const faults = surveyed.flatMap((each) => {
    const name = nameOf(each);
    const { model } = each.settings;
    const other = seen.get(name.toLowerCase());
    seen.set(name.toLowerCase(), model);
    if (other === undefined) return [];
    const which = other === model ? `${model} is given twice` : `${other} and ${model} have the same name`;
    return [`${which}: two bases would be called "${name}"; give each its own --served-model-name.`];
  });
  if (faults.length > 0) throw new UsageError(faults);
}

/** Adds the base to what its opening throws. */
async function naming<T>({ servedModelName, model }: BaseSettings, open: () => Promise<T>): Promise<T> {
  try {
    return await open();
  } catch (error) {
    const name = servedModelName === null ? model : `${servedModelName} (${model})`;
    if (error instanceof UsageError) throw new UsageError([`The base ${name} cannot be opened: ${error.message}`]);
    if (!(error instanceof LorikeetError)) throw error;
    const { code, message, param, found, allowed, faults, operator } = error;
    throw new LorikeetError(code, `The base ${name} cannot be opened: ${message}`, {
      ...{ found, allowed, faults, cause: error },
      ...(param !== undefined && { param }),
      ...(operator !== undefined && { operator }),
    });
  }
}
