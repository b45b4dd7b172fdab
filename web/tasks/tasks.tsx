/** A base with a task: a form for its input, and its answer with each adapter that the reader switches to. */
import { useEffect, useRef, useState } from "preact/hooks";
import { refresh } from "../adapters/live.js";
import { readResult, type TaskResult } from "../client/tasks.js";
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
      {ofTensors.has(base.task ?? "") ? (
        <TensorTask key={base.name} base={base.name} first={base.name === linked ? parameters.get("model") : null} />
      ) : (
        <TaskForm
          key={base.name}
          base={base.name}
          task={base.task ?? ""}
          first={base.name === linked ? { model: parameters.get("model"), text: parameters.get("text") } : null}
        />
      )}
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
  const { model, own } = useModels(base, chosen);
  const card = useCard(base, model);
  const ask = async (asked: string, given: Blob | null, written = text): Promise<void> => {
    const input = takesPictures ? given : written;
    if (input === null || input === "") return;
    const count = ++asks.current;
    const startedAt = performance.now();
    try {
      const result = readResult(await client.pipeline(asked, input), task);
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
        <ModelSwitch base={base} model={model} own={own} card={card} onSwitch={switchTo} />
        {takesPictures ? (
          <PictureInput onPicture={setPicture} />
        ) : (
          <>
            <label>
              Text
              <textarea rows={4} value={text} onInput={({ currentTarget }) => setText(currentTarget.value)} />
            </label>
            {card && card.examples.length > 0 ? (
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
