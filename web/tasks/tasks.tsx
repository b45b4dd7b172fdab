/** A form for each task of a base and its adapters, and its answer with each model that the reader switches to. */
import { useEffect, useRef, useState } from "preact/hooks";
import { AboutBases } from "../about-bases.js";
import { adapters, listFault, refresh } from "../adapters/live.js";
import { formsOf, readResult, similarity, type TaskResult } from "../client/tasks.js";
import type { BaseInfo, Example } from "../client/types.js";
import { Chips } from "../parts/chips.js";
import { blobOf, Picture } from "../parts/picture.js";
import { route } from "../route.js";
import { client, noteFailure, server } from "../session.js";
import { ModelSwitch, useCards, useModels } from "./model-switch.js";
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
  const first = linkedOf(isLinked ? parameters : new URLSearchParams());
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
      <p class="intro">
        A <b>base</b> model does one task, and each of its <b>adapters</b> changes how. Give both the same input to see
        what an adapter changes.
      </p>
      <AboutBases names={[base.name]} />
      {ofTensors.has(task) ? (
        <TensorTask key={base.name} {...shared} />
      ) : (
        <TaskForm key={`${base.name} ${task}`} {...shared} />
      )}
    </section>
  );
}

function linkedOf(parameters: URLSearchParams): Linked {
  const example = parameters.get("example");
  return {
    ...{ model: parameters.get("model"), text: parameters.get("text") },
    example: example === null ? null : Number(example),
  };
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

/** What an address chose. */
interface Linked {
  readonly model: string | null;
  readonly text: string | null;
  /** The place of an example in the model's card. */
  readonly example: number | null;
}

interface TaskFormProps {
  readonly base: string;
  readonly task: string;
  readonly first: Linked;
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
  const cards = useCards(model, isPair ? [] : names);
  const examples = [...cards.values()].flatMap(({ name, examples }) =>
    examples
      .filter(({ text, picture }) => !isPair && (takesPictures ? picture : text) !== null)
      .map((example) => ({ ...example, adapter: name })),
  );
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
      if (count !== asks.current) return;
      setAnswered(null);
      setFault(message);
    }
  };
  // Whichever changes last, the picture that is there is asked of the model that is chosen.
  useEffect(() => {
    if (picture) void ask(model, picture);
    else if (takesPictures) forget();
  }, [model, picture]);
  const forget = (): void => {
    asks.current++;
    setAnswered(null);
    setFault(null);
  };
  const choose = ({ text: written, picture: url }: Example): void => {
    if (url !== null) setPicture(blobOf(url));
    if (written === null) return;
    setText(written);
    void ask(model, null, written);
  };
  // What an address brings is asked at once.
  useEffect(() => {
    if (first.text !== null && adapters.value !== null) void ask(model, null, first.text);
  }, []);
  const linked = first.example === null ? undefined : cards.get(model)?.examples[first.example];
  const isLinked = useRef(false);
  useEffect(() => {
    if (!linked || isLinked.current) return;
    isLinked.current = true;
    choose(linked);
  }, [linked]);
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
        <ModelSwitch base={base} model={model} names={names} card={cards.get(model) ?? null} onSwitch={switchTo} />
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
          </>
        )}
        <Examples examples={examples} onChoose={choose} />
        <button type="submit" class="primary">
          Ask {model}
        </button>
      </form>
      {/* On a narrow screen it stays in view, and scrolls. */}
      <section class="card task-result" aria-label="Answer" aria-live="polite" tabIndex={0}>
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
        ) : fault === null ? (
          <p class="muted">The answer appears here. Switch the model to see what an adapter changes.</p>
        ) : null}
      </section>
    </div>
  );
}

interface AdapterExample extends Example {
  readonly adapter: string;
}

interface ExamplesProps {
  readonly examples: readonly AdapterExample[];
  readonly onChoose: (example: Example) => void;
}

/** What the authors of adapters wrote to try them with. */
function Examples({ examples, onChoose }: ExamplesProps) {
  return (
    <Chips
      chips={examples.map((example) => ({
        key: `${example.adapter} ${example.text ?? example.picture}`,
        content: (
          <>
            {example.picture === null ? null : <Picture url={example.picture} />}
            <b>{example.adapter}</b>
            {example.title ?? example.text ?? "A picture"}
          </>
        ),
        choose: () => onChoose(example),
      }))}
    />
  );
}
