/** The input of a task: a text, two texts or a picture. The base and the adapter that is chosen answer it side by side. */
import { useEffect, useLayoutEffect, useState } from "preact/hooks";
import { adapters } from "../adapters/live.js";
import { similarity } from "../client/tasks.js";
import type { AdapterCard, Example } from "../client/types.js";
import { Chips } from "../parts/chips.js";
import { blobOf, Picture } from "../parts/picture.js";
import { TextArea } from "../parts/text-area.js";
import { route } from "../route.js";
import { Answers } from "./answers.js";
import { ModelSwitch, useCards, useModels } from "./model-switch.js";
import { askedOf } from "./parameters.js";
import { PictureInput } from "./picture-input.js";
import { ask, forget, isAsking } from "./round.js";
import { change, settings, takeBrought } from "./settings.js";

const ofPictures: ReadonlySet<string> = new Set(["image-classification", "object-detection"]);

interface TaskFormProps {
  readonly base: string;
  readonly task: string;
}

export function TaskForm({ base, task }: TaskFormProps) {
  const { model: chosen, text, other } = settings.value;
  const takesPictures = ofPictures.has(task);
  const isPair = task === similarity;
  const { model, names } = useModels(base, task, chosen ?? base);
  const { cards, isRead } = useCards(model, isPair ? [] : names);
  const examples = isPair ? [] : examplesOf(cards, takesPictures);
  const models = askedOf(base, model, names);
  const missing = takesPictures ? null : missingOf(isPair, text, other);
  const askTexts = (): void => {
    const { text, other } = settings.peek();
    if (missingOf(isPair, text, other) === null) void ask(base, task, models, { text, other, picture: null });
  };
  const askSoon = useAskSoon(askTexts, !takesPictures);
  useOpening(base, task, examples[0]);
  const choose = (example: PlacedExample): void => {
    change({ model: example.adapter, text: example.text ?? "", example: takesPictures ? example.index : null });
    askSoon();
  };
  const switchTo = (name: string): void => {
    change({ model: name, example: null });
    askSoon();
  };
  // Nothing moves under the reader's pen.
  if (!isRead) return null;
  return (
    <div class={`task ${takesPictures ? "of-pictures" : "of-texts"}`}>
      <form
        class="card task-input"
        onSubmit={(event) => {
          event.preventDefault();
          askTexts();
        }}
      >
        <Examples examples={examples} onChoose={choose} />
        <ModelSwitch base={base} model={model} names={names} card={cards.get(model) ?? null} onSwitch={switchTo} />
        {chosen !== null && chosen !== model ? (
          <p class="fault">
            “{chosen}” is not served for {task} with {base}. Choose another adapter.
          </p>
        ) : null}
        {takesPictures ? (
          <PictureQuestion base={base} task={task} models={models} card={cards.get(model) ?? null} />
        ) : (
          <TextFields isPair={isPair} missing={missing} count={models.length} model={model} onAsk={askTexts} />
        )}
      </form>
      <Answers
        base={base}
        task={task}
        text={takesPictures ? "" : text}
        other={other}
        hasChoice={names.includes(base) && names.length > 1}
      />
    </div>
  );
}

/** What an address brings is asked at once, and so is what was asked when the model changes: once the form has rendered with it. */
function useAskSoon(ask: () => void, isOfTexts: boolean): () => void {
  const [isWanted, setWanted] = useState(false);
  const askSoon = (): void => {
    if (isOfTexts) setWanted(true);
  };
  useEffect(() => {
    if (takeBrought()) askSoon();
  }, [route.value]);
  useEffect(() => {
    if (!isWanted || adapters.value === null) return;
    setWanted(false);
    ask();
  }, [isWanted, adapters.value]);
  return askSoon;
}

/** Until someone chooses, the form begins with an example, and so with an adapter that changes something. */
function useOpening(base: string, task: string, first: PlacedExample | undefined): void {
  const { model, text, base: shown, task: shownTask } = settings.value;
  // Not while another task is being chosen, which this form would write its example into, and before the reader can choose one.
  const isOpen = model === null && shown === base && shownTask === task;
  useLayoutEffect(() => {
    if (isOpen && first) change({ model: first.adapter, ...(text === "" ? inputOf(first) : {}) });
  }, [isOpen, first?.adapter]);
}

interface PlacedExample extends Example {
  readonly adapter: string;
  /** Its place in the adapter's card. */
  readonly index: number;
}

/** What the authors of adapters wrote to try them with, each with the adapter that it was written for. */
function examplesOf(cards: ReadonlyMap<string, AdapterCard>, takesPictures: boolean): readonly PlacedExample[] {
  return [...cards.values()].flatMap(({ name: adapter, examples }) =>
    examples
      .map((example, index) => ({ ...example, adapter, index }))
      .filter(({ text, picture }) => (takesPictures ? picture : text) !== null),
  );
}

/** What a form begins with. A reader who would rather draw draws over the picture. */
const inputOf = ({ text, index }: PlacedExample): { readonly text: string } | { readonly example: number } =>
  text === null ? { example: index } : { text };

function missingOf(isPair: boolean, text: string, other: string): string | null {
  if (isPair && (text.trim() === "" || other.trim() === "")) return "Write both texts first.";
  return text.trim() === "" ? "Write a text first, or choose an example." : null;
}

interface TextFieldsProps {
  readonly isPair: boolean;
  /** What cannot be asked yet, and why; null if it can. */
  readonly missing: string | null;
  /** How many models answer. */
  readonly count: number;
  readonly model: string;
  readonly onAsk: () => void;
}

function TextFields({ isPair, missing, count, model, onAsk }: TextFieldsProps) {
  const { text, other } = settings.value;
  return (
    <>
      <TextArea label="Text" rows={isPair ? 3 : 4} value={text} onInput={(text) => change({ text })} onSend={onAsk} />
      {isPair ? (
        <>
          <TextArea label="Another text" rows={3} value={other} onInput={(other) => change({ other })} onSend={onAsk} />
          <p class="muted">The answer says how similar the model finds them: 1 for the same, 0 for unrelated.</p>
        </>
      ) : null}
      <div class="ask">
        <button
          type="submit"
          class="primary"
          disabled={missing !== null}
          aria-describedby={missing === null ? undefined : "missing"}
          aria-keyshortcuts="Control+Enter"
        >
          {isAsking.value ? "Asking…" : count > 1 ? "Ask both" : `Ask ${model}`}
        </button>
        {missing === null ? <kbd>Ctrl+Enter</kbd> : <span id="missing">{missing}</span>}
      </div>
    </>
  );
}

interface PictureQuestionProps {
  readonly base: string;
  readonly task: string;
  readonly models: readonly string[];
  /** Of the model whose example is chosen. */
  readonly card: AdapterCard | null;
}

/** A picture is asked at once, and again of each model that is chosen. */
function PictureQuestion({ base, task, models, card }: PictureQuestionProps) {
  const [picture, setPicture] = useState<Blob | null>(null);
  /** A file or an example, which the sheet shows. */
  const [shown, setShown] = useState<Blob | null>(null);
  const { example } = settings.value;
  const url = example === null ? null : (card?.examples[example]?.picture ?? null);
  useEffect(() => {
    if (picture) void ask(base, task, models, { text: "", other: "", picture });
    else forget();
  }, [picture, models.join()]);
  useEffect(() => forget, []);
  const show = (picture: Blob): void => {
    setShown(picture);
    setPicture(picture);
  };
  // Before the reader can draw: an example never takes the place of a first stroke.
  useLayoutEffect(() => {
    if (url !== null) show(blobOf(url));
  }, [url]);
  const leaveExample = (): void => {
    if (settings.peek().example !== null) change({ example: null });
  };
  return (
    <PictureInput
      shown={shown}
      isCentred={task === "image-classification"}
      onPicture={(drawn) => {
        leaveExample();
        setPicture(drawn);
      }}
      onFile={(file) => {
        leaveExample();
        show(file);
      }}
    />
  );
}

interface ExamplesProps {
  readonly examples: readonly PlacedExample[];
  readonly onChoose: (example: PlacedExample) => void;
}

function Examples({ examples, onChoose }: ExamplesProps) {
  return (
    <Chips
      chips={examples.map((example) => ({
        key: `${example.adapter} ${example.index}`,
        ...(example.text === null ? {} : { help: example.text }),
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
