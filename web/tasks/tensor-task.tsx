/** A base that says nothing of its tensors' meaning: a game where it looks like that game's policy, else a form of numbers. */
import { useEffect, useState } from "preact/hooks";
import type { ModelMetadata } from "../client/tensors.js";
import { client, connection, noteFailure } from "../session.js";
import { isPolicyOfCartPole } from "./cart-pole.js";
import { CartView } from "./cart-view.js";
import { ModelSwitch, namesOf, useCards, useModels } from "./model-switch.js";
import { askedOf } from "./parameters.js";
import { change, settings } from "./settings.js";
import { TensorForm } from "./tensor-form.js";

interface TensorTaskProps {
  readonly base: string;
  readonly task: string;
}

export function TensorTask({ base, task }: TensorTaskProps) {
  const [metadata, setMetadata] = useState<ModelMetadata | null>(null);
  const [fault, setFault] = useState<string | null>(null);
  const others = namesOf(base, task).filter((name) => name !== base);
  // Until someone chooses, the first adapter stands beside the base, so that there is something to compare.
  const { model, names } = useModels(base, task, settings.value.model ?? others[0] ?? base);
  const card = useCards(model, []).cards.get(model) ?? null;
  const isReady = connection.value.state === "ready";
  useEffect(() => {
    if (!isReady || metadata !== null) return;
    let isWanted = true;
    client.metadata(base).then(
      (read) => isWanted && setMetadata(read),
      (error: unknown) => {
        const fault = noteFailure(error);
        if (isWanted) setFault(fault);
      },
    );
    return () => {
      isWanted = false;
    };
  }, [base, isReady]);
  if (metadata === null) return fault === null ? null : <p class="fault">{fault}</p>;
  const models = askedOf(base, model, names);
  return (
    <div class="card task-input">
      <ModelSwitch base={base} model={model} names={names} card={card} onSwitch={(name) => change({ model: name })} />
      {isPolicyOfCartPole(metadata) ? (
        <CartView base={base} models={models} others={others} />
      ) : (
        <TensorForm key={base} base={base} models={models} metadata={metadata} />
      )}
    </div>
  );
}
