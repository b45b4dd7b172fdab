/** What a new job trains: a base, and the task that it learns. */
import { useEffect, useRef, useState } from "preact/hooks";
import type { BaseInfo } from "../client/types.js";
import { server } from "../session.js";
import { isTrainable, readRows } from "./rows.js";
import { taskRowsOf } from "./task-rows.js";

export interface JobTarget {
  readonly bases: readonly BaseInfo[];
  readonly model: string;
  /** Of the base, its own first. */
  readonly tasks: readonly string[];
  readonly task: string;
  readonly pickModel: (model: string) => void;
  readonly pickTask: (task: string) => void;
}

/** Until the reader picks one, the first base and task that the rows fit. */
export function useJobTarget(file: File | null): JobTarget {
  const bases = (server.value?.bases ?? []).filter(({ trains }) => trains.length > 0);
  const [model, setModel] = useState(bases[0]?.name ?? "");
  const [asked, setAsked] = useState<string | null>(null);
  const isPicked = useRef(false);
  useEffect(() => {
    if (!file || isPicked.current) return;
    let isCurrent = true;
    findFitting(file, bases).then(
      (found) => {
        if (!isCurrent || found === null || isPicked.current) return;
        setModel(found.name);
        setAsked(found.task);
      },
      () => {}, // the dialog says that the file cannot be read
    );
    return () => {
      isCurrent = false;
    };
  }, [file]);
  const tasks = bases.find(({ name }) => name === model)?.trains ?? [];
  const task = tasks.find((each) => each === asked) ?? tasks[0] ?? "";
  const picking = (set: (value: string) => void) => (value: string) => {
    isPicked.current = true;
    set(value);
  };
  return { bases, model, tasks, task, pickModel: picking(setModel), pickTask: picking(setAsked) };
}

/** null: the rows fit none. */
async function findFitting(file: File, bases: readonly BaseInfo[]) {
  const tried = new Set<string>();
  for (const { name, trains } of bases) {
    for (const task of trains) {
      if (tried.has(task)) continue;
      tried.add(task);
      if (isTrainable(await readRows(file, task))) return { name, task };
    }
  }
  return null;
}

/** Asks only where there is a choice. */
export function TargetFields({ target }: { readonly target: JobTarget }) {
  const { bases, model, tasks, task, pickModel, pickTask } = target;
  return (
    <>
      {bases.length > 1 ? (
        <label>
          Base
          <select value={model} onChange={({ currentTarget }) => pickModel(currentTarget.value)}>
            {bases.map(({ name }) => (
              <option key={name}>{name}</option>
            ))}
          </select>
        </label>
      ) : (
        <p class="muted">
          The adapter is trained for the base <b>{model}</b>.
        </p>
      )}
      {tasks.length > 1 ? (
        <label>
          What it learns
          <select value={task} onChange={({ currentTarget }) => pickTask(currentTarget.value)}>
            {tasks.map((each) => (
              <option key={each} value={each}>
                {taskRowsOf(each)?.aim ?? "answers and continues texts"}
              </option>
            ))}
          </select>
        </label>
      ) : null}
    </>
  );
}
