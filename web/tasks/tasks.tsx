/** A form for each task of a base and its adapters. Which one is shown comes from the address. */
import { useEffect, useLayoutEffect } from "preact/hooks";
import { AboutBases } from "../about-bases.js";
import { adapters, listFault, refresh } from "../adapters/live.js";
import { formsOf } from "../client/tasks.js";
import type { BaseInfo } from "../client/types.js";
import { hrefOf, route } from "../route.js";
import { canAddAdapters, server } from "../session.js";
import { namesOf } from "./model-switch.js";
import { openingOf } from "./opening.js";
import { defaults } from "./parameters.js";
import { forget } from "./round.js";
import { change, settings } from "./settings.js";
import { TaskForm } from "./task-form.js";
import { TensorTask } from "./tensor-task.js";

/** A task that says nothing of what goes in and comes out. */
const bare = "tensors";
/** Nothing, or only what it was trained for, says what goes in and comes out. */
const ofTensors: ReadonlySet<string> = new Set([bare, "reinforcement-learning"]);

const formsOfBase = ({ name, tasks }: BaseInfo): readonly string[] =>
  formsOf(
    tasks,
    (adapters.value ?? []).filter(({ base }) => base === name).map((adapter) => adapter.tasks),
  );

export const basesWithForms = (): readonly BaseInfo[] =>
  (server.value?.bases ?? []).filter((base) => formsOfBase(base).length > 0);

export function Tasks() {
  const { base: wanted, task: wantedTask } = settings.value;
  useEffect(() => void refresh(), []);
  const bases = basesWithForms();
  const opening = openingOf(
    bases.flatMap((base) =>
      formsOfBase(base).map((task) => ({ base: base.name, task, names: namesOf(base.name, task) })),
    ),
  );
  const base = bases.find(({ name }) => name === (wanted ?? opening?.base)) ?? bases[0];
  const tasks = base ? formsOfBase(base) : [];
  const first = base?.name === opening?.base ? opening?.task : undefined;
  const task = tasks.find((each) => each === (wantedTask ?? first)) ?? tasks[0] ?? "";
  // Which tasks there are depends on the adapters.
  const isKnown = adapters.value !== null || listFault.value !== null;
  // The address of the view alone says nothing: what is shown is written into it, before the reader can choose something else.
  useLayoutEffect(() => {
    if (base && isKnown) change({ base: base.name, task });
  }, [route.value, isKnown, base?.name, task, wanted, wantedTask]);
  if (!base || !isKnown) return null;
  /** Another base or task takes other input. */
  const choose = (name: string, task: string | null): void => {
    forget();
    change({ ...defaults, base: name, task });
  };
  return (
    <section aria-label="Tasks" class="tasks">
      <div class="toolbar">
        <h1>Tasks</h1>
        {bases.length > 1 ? (
          <Choice
            label="Base"
            names={bases.map(({ name }) => name)}
            chosen={base.name}
            onChoose={(name) => choose(name, null)}
          />
        ) : null}
        {tasks.length > 1 ? (
          <Choice label="Task" names={tasks} chosen={task} onChoose={(name) => choose(base.name, name)} />
        ) : task === bare ? null : (
          <span class="tag">{task}</span>
        )}
      </div>
      <Intro base={base.name} names={namesOf(base.name, task)} />
      <AboutBases names={[base.name]} />
      {ofTensors.has(task) ? (
        <TensorTask key={base.name} base={base.name} task={task} />
      ) : (
        <TaskForm key={`${base.name} ${task}`} base={base.name} task={task} />
      )}
    </section>
  );
}

/** What can be compared here. `names`: the models that do the task. */
function Intro({ base, names }: { readonly base: string; readonly names: readonly string[] }) {
  const others = names.filter((name) => name !== base);
  if (others.length === 0) {
    return (
      <p class="intro">
        <b>{base}</b> has no <b>adapters</b> for this task on this server.{" "}
        {canAddAdapters.value ? (
          <>
            <a href={hrefOf("adapters")}>Add one</a> to see what it changes.
          </>
        ) : null}
      </p>
    );
  }
  if (!names.includes(base)) {
    return (
      <p class="intro">
        The <b>base</b> {base} does not do this by itself: its <b>{others.length === 1 ? "adapter" : "adapters"}</b>{" "}
        {others.length === 1 ? <>{others[0]} does.</> : "below do."}
      </p>
    );
  }
  return (
    <p class="intro">
      Each <b>adapter</b> changes how the <b>base</b> {base} answers. Both get the same input, and answer it side by
      side.
    </p>
  );
}

interface ChoiceProps {
  readonly label: string;
  readonly names: readonly string[];
  readonly chosen: string;
  readonly onChoose: (name: string) => void;
}

function Choice({ label, names, chosen, onChoose }: ChoiceProps) {
  return (
    <div class="segments" role="group" aria-label={label}>
      {names.map((name) => (
        <button
          key={name}
          type="button"
          aria-pressed={name === chosen}
          onClick={() => (name === chosen ? undefined : onChoose(name))}
        >
          {name}
        </button>
      ))}
    </div>
  );
}
