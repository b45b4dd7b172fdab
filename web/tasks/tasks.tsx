/** A base with a task: a form for its input, and its answer with each adapter that the reader switches to. */
import { useEffect, useRef, useState } from "preact/hooks";
import { adapters, refresh } from "../adapters/live.js";
import { readResult, type TaskResult } from "../client/tasks.js";
import type { BaseInfo } from "../client/types.js";
import { route } from "../route.js";
import { client, noteFailure, server } from "../session.js";
import { PictureInput } from "./picture-input.js";
import { Result } from "./results.js";

interface Answered {
  readonly model: string;
  readonly result: TaskResult;
  readonly text: string | null;
  readonly picture: Blob | null;
  readonly ms: number;
}

const ofPictures: ReadonlySet<string> = new Set(["image-classification", "object-detection"]);

export const taskBases = (): readonly BaseInfo[] => (server.value?.bases ?? []).filter(({ task }) => task !== null);

export function Tasks() {
  const bases = taskBases();
  const { parameters } = route.value;
  const linked = parameters.get("base");
  const [chosen, setChosen] = useState(linked);
  const base = bases.find(({ name }) => name === chosen) ?? bases[0];
  useEffect(() => void refresh(), []);
  if (!base) return null;
  return (
    <section aria-label="Tasks">
      <div class="toolbar">
        <h1>Tasks</h1>
        {bases.length > 1 ? (
          <div class="segments" role="group" aria-label="Base">
            {bases.map(({ name }) => (
              <button key={name} type="button" aria-pressed={name === base.name} onClick={() => setChosen(name)}>
                {name}
              </button>
            ))}
          </div>
        ) : null}
        <span class="tag">{base.task}</span>
      </div>
      <TaskForm
        key={base.name}
        base={base.name}
        task={base.task ?? ""}
        first={base.name === linked ? { model: parameters.get("model"), text: parameters.get("text") } : null}
      />
    </section>
  );
}

interface TaskFormProps {
  readonly base: string;
  readonly task: string;
  /** What an address chose. */
  readonly first: { readonly model: string | null; readonly text: string | null } | null;
}

function TaskForm({ base, task, first }: TaskFormProps) {
  const [chosen, setChosen] = useState(first?.model ?? base);
  const [text, setText] = useState(first?.text ?? "");
  const [picture, setPicture] = useState<Blob | null>(null);
  const [answered, setAnswered] = useState<Answered | null>(null);
  const [fault, setFault] = useState<string | null>(null);
  /** Counts what was asked: only the last answer is shown. */
  const asks = useRef(0);
  const takesPictures = ofPictures.has(task);
  const own = adapters.value?.filter((adapter) => adapter.base === base).map(({ name }) => name) ?? [];
  const model = adapters.value === null || own.includes(chosen) ? chosen : base;
  const ask = async (asked: string, given: Blob | null): Promise<void> => {
    const input = takesPictures ? given : text;
    if (input === null || input === "") return;
    const count = ++asks.current;
    const startedAt = performance.now();
    try {
      const result = readResult(await client.pipeline(asked, input), task);
      const ms = performance.now() - startedAt;
      if (count !== asks.current) return;
      setAnswered({ model: asked, result, text: takesPictures ? null : text, picture: given, ms });
      setFault(null);
    } catch (error) {
      const message = noteFailure(error);
      if (count === asks.current) setFault(message);
    }
  };
  const switchTo = (name: string): void => {
    setChosen(name);
    void ask(name, picture);
  };
  return (
    <div class="task">
      <form
        class="card task-input"
        onSubmit={(event) => {
          event.preventDefault();
          void ask(model, picture);
        }}
      >
        <div class="segments" role="group" aria-label="Model">
          {[base, ...own].map((name) => (
            <button key={name} type="button" aria-pressed={name === model} onClick={() => switchTo(name)}>
              {name}
            </button>
          ))}
        </div>
        {takesPictures ? (
          <PictureInput
            onPicture={(given) => {
              setPicture(given);
              if (given) void ask(model, given);
            }}
          />
        ) : (
          <label>
            Text
            <textarea rows={4} value={text} onInput={({ currentTarget }) => setText(currentTarget.value)} />
          </label>
        )}
        <button type="submit" class="primary">
          Ask {model}
        </button>
      </form>
      <div class="card task-result" aria-live="polite">
        {fault === null ? null : (
          <p class="fault" role="alert">
            {fault}
          </p>
        )}
        {answered ? (
          <>
            <Result {...answered} />
            <p class="muted">
              {answered.model}, {Math.round(answered.ms)} ms
            </p>
          </>
        ) : (
          <p class="muted">The answer appears here. Switch the model above to see what an adapter changes.</p>
        )}
      </div>
    </div>
  );
}
