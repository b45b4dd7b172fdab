/** A form for any model: numbers for each input by its shape, and the outputs of the base and an adapter as numbers, side by side. */
import { useRef, useState } from "preact/hooks";
import {
  type ModelMetadata,
  readTensor,
  shapeText,
  shownValues,
  type Tensor,
  type TensorSpec,
} from "../client/tensors.js";
import { AnswerOrder } from "../parts/answer-order.js";
import { Fault } from "../parts/fault.js";
import { TextArea } from "../parts/text-area.js";
import { noteFailure, socket } from "../session.js";

/** Values of an output that are shown. */
const mostShown = 1_000;

interface Answer {
  readonly model: string;
  readonly outputs: readonly Tensor[];
}

interface TensorFormProps {
  readonly base: string;
  readonly models: readonly string[];
  readonly metadata: ModelMetadata;
}

export function TensorForm({ base, models, metadata }: TensorFormProps) {
  const [texts, setTexts] = useState<Readonly<Record<string, string>>>({});
  const { answers, fault, ask } = useAnswers();
  // Who is no longer asked says nothing beside who is.
  const current = answers.filter(({ model }) => models.includes(model));
  return (
    <form
      class="tensors"
      onSubmit={(event) => {
        event.preventDefault();
        void ask(models, read(metadata.inputs, texts));
      }}
    >
      {metadata.inputs.map(({ name, datatype, shape }) => (
        <TextArea
          key={name}
          label={`${name}, ${datatype} ${shapeText(shape)}`}
          rows={3}
          kind="mono"
          placeholder="zeros"
          value={texts[name] ?? ""}
          onInput={(text) => setTexts({ ...texts, [name]: text })}
        />
      ))}
      <button type="submit" class="primary">
        {models.length > 1 ? "Ask both" : `Ask ${models[0]}`}
      </button>
      <Fault text={fault} />
      <div class="answers" role="status">
        {current.map(({ model, outputs }) => (
          <div key={model} class="answer-column">
            <h2>
              {model} <span class="tag">{model === base ? "base" : "adapter"}</span>
            </h2>
            {outputs.map((output) => (
              <Output key={output.name} {...output} />
            ))}
          </div>
        ))}
      </div>
    </form>
  );
}

/** What was answered last, or what was wrong with it. */
function useAnswers() {
  const [{ answers, fault }, show] = useState<{ readonly answers: readonly Answer[]; readonly fault: string | null }>({
    answers: [],
    fault: null,
  });
  const order = useRef(new AnswerOrder());
  /** `inputs`: or what is wrong with them. */
  const ask = async (models: readonly string[], inputs: readonly Tensor[] | string): Promise<void> => {
    const counts = order.current.ask();
    if (typeof inputs === "string") {
      if (counts()) show({ answers: [], fault: inputs });
      return;
    }
    try {
      const answerOf = async (model: string) => ({ model, outputs: await socket.infer({ model, inputs }) });
      const answers = await Promise.all(models.map(answerOf));
      if (counts()) show({ answers, fault: null });
    } catch (error) {
      const fault = noteFailure(error);
      if (counts()) show({ answers: [], fault });
    }
  };
  return { answers, fault, ask };
}

function Output(output: Tensor) {
  return (
    <>
      <h3>
        {output.name}, {output.datatype} {shapeText(output.shape)}
      </h3>
      <pre tabIndex={0}>{shownValues(output, mostShown)}</pre>
    </>
  );
}

/** The inputs, or what is wrong with them. */
function read(specs: readonly TensorSpec[], texts: Readonly<Record<string, string>>): readonly Tensor[] | string {
  try {
    return specs.map((spec) => readTensor(spec, texts[spec.name] ?? ""));
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
