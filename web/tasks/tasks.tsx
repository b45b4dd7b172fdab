/** A form for each task of a base and its adapters, and its answer with each model that the reader switches to. */
import { useEffect, useRef, useState } from "preact/hooks";
import { adapters, listFault, refresh } from "../adapters/live.js";
import { formsOf, readResult, similarity, type TaskResult } from "../client/tasks.js";
import type { BaseInfo, Example } from "../client/types.js";
import { route } from "../route.js";
import { client, noteFailure, server } from "../session.js";
import { ModelSwitch, useCard, useModels } from "./model-switch.js";
import { PictureInput } from "./picture-input.js";
import { Result } from "./results.js";
import { TensorTask } from "./tensor-task.js";

interface Answered {
  readonly model: string;
  readonly result: TaskResult;
  readonly text: string | null;
  readonly picture: Blob | null;
  readonly ms: number;
}

/** Nothing, or only what it was trained for, says what goes in and comes out. */
const ofTensors: ReadonlySet<string> = new Set(["tensors", "reinforcement-learning"]);
const ofPictures: ReadonlySet<string> = new Set(["image-classification", "object-detection"]);

const formsOfBase = ({ name, tasks }: BaseInfo): readonly string[] =>
  formsOf(
    tasks,
    (adapters.value ?? []).filter(({ base }) => base === name).map((adapter) => adapter.tasks),
  );

export const basesWithForms = (): readonly BaseInfo[] =>
  (server.value?.bases ?? []).filter((base) => formsOfBase(base).length > 0);

export function Tasks() {
  const { parameters } = route.value;
  const [chosen, setChosen] = useState({ base: parameters.get("base"), task: parameters.get("task") });
  useEffect(() => void refresh(), []);
  const bases = basesWithForms();
  const base = bases.find(({ name }) => name === chosen.base) ?? bases[0];
  // Which tasks there are depends on the adapters.
  if (!base || (adapters.value === null && listFault.value === null)) return null;
  const tasks = formsOfBase(base);
  const task = tasks.find((each) => each === chosen.task) ?? tasks[0] ?? "";
  const isLinked = base.name === parameters.get("base") && task === (parameters.get("task") ?? task);
  const first = { model: isLinked ? parameters.get("model") : null, text: isLinked ? parameters.get("text") : null };
  const shared = { base: base.name, task, first };
  return (
    <section aria-label="Tasks">
      <div class="toolbar">
        <h1>Tasks</h1>
        {bases.length > 1 ? (
          <Choice
            label="Base"
            names={bases.map(({ name }) => name)}
            chosen={base.name}
            onChoose={(name) => setChosen({ base: name, task: null })}
          />
        ) : null}
        {tasks.length > 1 ? (
          <Choice
            label="Task"
            names={tasks}
            chosen={task}
            onChoose={(name) => setChosen({ base: base.name, task: name })}
          />
        ) : (
          <span class="tag">{task}</span>
        )}
      </div>
      {ofTensors.has(task) ? (
        <TensorTask key={base.name} {...shared} />
      ) : (
        <TaskForm key={`${base.name} ${task}`} {...shared} />
      )}
    </section>
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
        <button key={name} type="button" aria-pressed={name === chosen} onClick={() => onChoose(name)}>
          {name}
        </button>
      ))}
    </div>
  );
}

interface TaskFormProps {
  readonly base: string;
  readonly task: string;
  /** What an address chose. */
  readonly first: { readonly model: string | null; readonly text: string | null };
}

function TaskForm({ base, task, first }: TaskFormProps) {
  const [chosen, setChosen] = useState(first.model ?? base);
  const [text, setText] = useState(first.text ?? "");
  const [other, setOther] = useState("");
  const [picture, setPicture] = useState<Blob | null>(null);
  const [answered, setAnswered] = useState<Answered | null>(null);
  const [fault, setFault] = useState<string | null>(null);
  /** Counts what was asked: only the last answer is shown. */
  const asks = useRef(0);
  const takesPictures = ofPictures.has(task);
  const isPair = task === similarity;
  const { model, names } = useModels(base, task, chosen);
  const card = useCard(base, model);
  const ask = async (asked: string, given: Blob | null, written = text): Promise<void> => {
    const input = isPair ? { source_sentence: written, sentences: [other] } : takesPictures ? given : written;
    if (input === null || input === "" || (isPair && (written === "" || other === ""))) return;
    const count = ++asks.current;
    const startedAt = performance.now();
    try {
      const result = readResult(await client.pipeline(asked, task, input), task);
      const ms = performance.now() - startedAt;
      if (count !== asks.current) return;
      setAnswered({ model: asked, result, text: takesPictures ? null : written, picture: given, ms });
      setFault(null);
    } catch (error) {
      const message = noteFailure(error);
      if (count === asks.current) setFault(message);
    }
  };
  // Whichever changes last, the picture that is there is asked of the model that is chosen.
  useEffect(() => {
    if (picture) void ask(model, picture);
  }, [model, picture]);
  const switchTo = (name: string): void => {
    setChosen(name);
    if (!takesPictures) void ask(name, null);
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
        <ModelSwitch base={base} model={model} names={names} card={card} onSwitch={switchTo} />
        {takesPictures ? (
          <PictureInput onPicture={setPicture} />
        ) : (
          <>
            <label>
              Text
              <textarea rows={4} value={text} onInput={({ currentTarget }) => setText(currentTarget.value)} />
            </label>
            {isPair ? (
              <label>
                Another text
                <textarea rows={4} value={other} onInput={({ currentTarget }) => setOther(currentTarget.value)} />
              </label>
            ) : null}
            {card && !isPair && card.examples.length > 0 ? (
              <Examples
                examples={card.examples}
                onChoose={(example) => {
                  setText(example);
                  void ask(model, null, example);
                }}
              />
            ) : null}
          </>
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

interface ExamplesProps {
  readonly examples: readonly Example[];
  readonly onChoose: (text: string) => void;
}

/** What an adapter's author wrote to try it with. */
function Examples({ examples, onChoose }: ExamplesProps) {
  return (
    <div class="examples" role="group" aria-label="Examples">
      {examples.map(({ title, text }) => (
        <button key={text} type="button" class="quiet" onClick={() => onChoose(text)}>
          {title ?? text.slice(0, 40)}
        </button>
      ))}
    </div>
  );
}
