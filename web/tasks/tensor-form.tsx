/** A form for any model: numbers for each input by its shape, and the outputs as numbers. */
import { useState } from "preact/hooks";
import {
  type ModelMetadata,
  readTensor,
  shapeText,
  shownValues,
  type Tensor,
  type TensorSpec,
} from "../client/tensors.js";
import { noteFailure, socket } from "../session.js";

/** Values of an output that are shown. */
const mostShown = 1_000;

export function TensorForm({ model, metadata }: { readonly model: string; readonly metadata: ModelMetadata }) {
  const [texts, setTexts] = useState<Readonly<Record<string, string>>>({});
  const [answered, setAnswered] = useState<{ readonly model: string; readonly outputs: readonly Tensor[] } | null>(
    null,
  );
  const [fault, setFault] = useState<string | null>(null);
  const ask = async (): Promise<void> => {
    const inputs = read(metadata.inputs, texts);
    if (typeof inputs === "string") return setFault(inputs);
    try {
      setAnswered({ model, outputs: await socket.infer({ model, inputs }) });
      setFault(null);
    } catch (error) {
      setAnswered(null);
      setFault(noteFailure(error));
    }
  };
  return (
    <form
      class="tensors"
      onSubmit={(event) => {
        event.preventDefault();
        void ask();
      }}
    >
      {metadata.inputs.map(({ name, datatype, shape }) => (
        <label key={name}>
          {name}, {datatype} {shapeText(shape)}
          <textarea
            rows={3}
            class="mono"
            placeholder="zeros"
            value={texts[name] ?? ""}
            onInput={({ currentTarget }) => setTexts({ ...texts, [name]: currentTarget.value })}
          />
        </label>
      ))}
      <button type="submit" class="primary">
        Ask {model}
      </button>
      {fault === null ? null : (
        <p class="fault" role="alert">
          {fault}
        </p>
      )}
      <div role="status">
        {answered?.outputs.map((output) => (
          <Output key={output.name} {...output} />
        ))}
        {answered ? <p class="muted">{answered.model}</p> : null}
      </div>
    </form>
  );
}

function Output(output: Tensor) {
  return (
    <>
      <h2>
        {output.name}, {output.datatype} {shapeText(output.shape)}
      </h2>
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
