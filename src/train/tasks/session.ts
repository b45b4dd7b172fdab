/** Assembles a run over a task model: targets, training step, batches, optimizer and schedule. */

import { LorikeetError } from "../../base/errors.js";
import type { Graph, Initializer } from "../../graph/types.js";
import type { TaskModel } from "../../model/task/open.js";
import type { TrainedTarget } from "../../model/task/trained-modules.js";
import type { Product } from "../files/product.js";
import { optimizerOf, type RunSession } from "../run-session.js";
import { scheduleOf, shapeOf, type TrainSettings, totalSteps, validateEvery } from "../settings.js";
import type { Parameter } from "../step.js";
import { taskModelProduct } from "./model-files.js";
import { taskAdapterProduct } from "./product.js";
import type { TaskGoal, TaskSetup } from "./setups/setup.js";
import { baseValues, startValues } from "./start-values.js";
import { type BaseModuleFacts, chooseTargets } from "./targets.js";
import { type OpenedTaskAdapter, openTaskAdapter, type TaskAdapterFacts } from "./task-adapter.js";
import type { TaskData } from "./task-data.js";
import { TaskStep } from "./task-step.js";
import { plainTaskBatches, type TaskBatch, TaskPlan, taskTrainable } from "./trainable.js";
import { tensorOf, trainedWeights } from "./trained-weights.js";

export interface TaskSessionOptions {
  readonly model: TaskModel;
  readonly graph: Graph;
  readonly base: readonly BaseModuleFacts[];
  readonly setup: TaskSetup;
  readonly data: TaskData;
  readonly goal: TaskGoal;
  readonly settings: TrainSettings;
  /** Names of modules that are saved whole; null: as the task has them. */
  readonly modulesToSave: readonly string[] | null;
  /** A PEFT folder to continue from, which sets targets, ranks and scales. */
  readonly initFrom: OpenedTaskAdapter | null;
  readonly threads: number;
}

export interface TaskSession extends RunSession<TaskBatch> {
  readonly step: TaskStep;
  readonly plan: TaskPlan;
  readonly goal: TaskGoal;
  /** Of an adapter; empty for a run that trains the model itself. */
  readonly targets: readonly TrainedTarget[];
  /** null: the model itself is trained. */
  readonly adapter: TaskAdapterFacts | null;
}

/** Throws `data_invalid` for data without rows to train on, `invalid_value` for invalid settings. */
export async function openTaskSession(options: TaskSessionOptions): Promise<TaskSession> {
  const { graph, setup, data, goal, settings, threads } = options;
  if (data.train.length === 0) {
    throw new LorikeetError("data_invalid", "The data has no row to train on.", {
      param: "--data",
      found: 0,
      allowed: 1,
    });
  }
  const { objective } = goal;
  const trained = settings.method === "full" ? modelOf(options) : adapterOf(options);
  const { targets, initializers } = trained;
  const step = new TaskStep({
    graph: { ...graph, outputs: graph.outputs.filter(({ name }) => objective.outputs.includes(name)) },
    targets,
    initializers: initializers.map(tensorOf),
    loss: objective.loss,
    threads,
  });
  try {
    await trained.start(step.parameters);
    const plan = new TaskPlan(data.train, settings);
    const steps = totalSteps(settings, plan.stepsPerEpoch);
    const schedule = scheduleOf(settings, steps);
    return {
      ...{ step, plan, goal, targets, schedule },
      adapter: trained.adapter,
      trainable: taskTrainable({
        ...{ step, objective, settings, inputs: setup.inputs },
        assessment: goal.assessment ?? null,
      }),
      unit: objective.unit ?? "rows",
      product: trained.product(step.parameters),
      optimizer: optimizerOf(settings, step.parameters, schedule),
      validation: plainTaskBatches(data.valid, settings.batchSize),
      totalSteps: steps,
      validateEvery: validateEvery(settings, steps),
      trainableParameters: step.values.length,
      [Symbol.asyncDispose]: async () => step[Symbol.dispose](),
    };
  } catch (error) {
    step[Symbol.dispose]();
    throw error;
  }
}

/** What a run trains, where it starts, and what it writes. */
interface Trained {
  readonly targets: readonly TrainedTarget[];
  readonly initializers: readonly Initializer[];
  /** null: the model itself is trained. */
  readonly adapter: TaskAdapterFacts | null;
  start(parameters: readonly Parameter[]): Promise<void>;
  product(parameters: readonly Parameter[]): Product;
}

function adapterOf({
  model,
  graph,
  base,
  setup,
  goal,
  settings,
  modulesToSave,
  initFrom,
}: TaskSessionOptions): Trained {
  const { objective, freshHead, labels } = goal;
  const shape = initFrom?.shape ?? shapeOf(settings);
  const dora = settings.useDora;
  const targets =
    initFrom?.targets.map((target) => withDropout(target, settings)) ??
    chooseTargets({
      ...{ graph, base, freshHead, shape, dora },
      outputs: objective.outputs,
      names: settings.targetModules,
      saved: modulesToSave,
      savesHeads: setup.savesHeads,
      dropout: settings.loraDropout,
    });
  if (targets.length === 0) {
    const message = "None of the model's modules can be trained; `lorikeet inspect` lists them.";
    throw new LorikeetError("model_unsupported", message, { param: "--target-modules" });
  }
  const adapter: TaskAdapterFacts = {
    ...{ shape, targets, dora, labels },
    dropout: settings.loraDropout,
    baseModelName: model.names[0],
  };
  const modules = base.map(({ module }) => module);
  const reopen = (folder: string) =>
    openTaskAdapter(
      folder,
      modules,
      base.map(({ target }) => target),
    );
  return {
    ...{ targets, adapter, initializers: [] },
    async start(parameters) {
      await startValues(targets, parameters, settings.seed);
      await initFrom?.readInto(parameters);
    },
    product: (parameters) => taskAdapterProduct(adapter, parameters, settings.saveDtype, reopen),
  };
}

/** Every weight of the base's own graph. Throws `invalid_value` for labels that its head does not have. */
function modelOf({ model, graph, base, goal: { objective, freshHead, labels } }: TaskSessionOptions): Trained {
  if (freshHead !== null) {
    const message = `--labels names ${labels?.length} labels, for which an adapter gets a fresh head; --method full trains the base's own head and its labels, which are id2label of its config.json.`;
    throw new LorikeetError("invalid_value", message, { param: "--labels" });
  }
  const initializers = trainedWeights(
    graph,
    base.map(({ module }) => module),
    objective.outputs,
  );
  return {
    ...{ targets: [], initializers, adapter: null },
    start: (parameters) => baseValues(initializers, parameters),
    product: (parameters) => taskModelProduct(model, parameters),
  };
}

/** An adapter to continue has no dropout of its own; LoRA may become DoRA. */
function withDropout({ module, form }: TrainedTarget, { loraDropout, useDora }: TrainSettings): TrainedTarget {
  return { module, form: form.kind === "lora" ? { ...form, dropout: loraDropout, dora: form.dora || useDora } : form };
}
