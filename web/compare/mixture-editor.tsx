/** Turns a column into a weighted mixture of adapters of one base, and sets the weights. */
import type { WeightedAdapter } from "../client/types.js";
import { Icon } from "../parts/icon.js";
import { adaptersOf, baseOf } from "./models.js";
import { modelTarget, type Target } from "./target.js";

const mostParts = 8;
/** Of thousands, a list of choices shows the first. */
const mostOffered = 200;

interface MixtureEditorProps {
  readonly target: Target;
  readonly onTarget: (target: Target) => void;
}

export function MixtureEditor({ target, onTarget }: MixtureEditorProps) {
  const adapters = adaptersOf(baseOf(target));
  if (target.kind === "model" && !adapters.includes(target.name)) return null;
  const parts = target.kind === "mixture" ? target.parts : [];
  const mixed = target.kind === "mixture" ? parts.map(({ name }) => name) : [target.name];
  const unused = adapters.find((name) => !mixed.includes(name));
  const set = (next: readonly WeightedAdapter[]): void => {
    const [only] = next;
    onTarget(next.length === 1 && only ? modelTarget(only.name) : { kind: "mixture", parts: next });
  };
  const setPart = (index: number, change: Partial<WeightedAdapter>): void =>
    set(parts.map((part, at) => (at === index ? { ...part, ...change } : part)));
  const add = (name: string): void => {
    const before = target.kind === "mixture" ? parts : [{ name: target.name, weight: 0.5 }];
    set([...before, { name, weight: 0.5 }]);
  };
  return (
    <>
      {parts.length > 0 ? (
        <div class="mixture">
          {parts.map((part, index) => (
            <Part
              key={index}
              index={index}
              part={part}
              adapters={adapters}
              onChange={(change) => setPart(index, change)}
              onRemove={() => set(parts.filter((_, at) => at !== index))}
            />
          ))}
        </div>
      ) : null}
      {unused === undefined || parts.length >= mostParts ? null : (
        <button
          type="button"
          class="quiet mix"
          aria-label={`Mix in another adapter beside ${mixed.join(", ")}`}
          onClick={() => add(unused)}
        >
          <Icon name="plus" />
          Mix in another adapter
        </button>
      )}
    </>
  );
}

interface PartProps {
  readonly index: number;
  readonly part: WeightedAdapter;
  /** Those of the mixture's base. */
  readonly adapters: readonly string[];
  readonly onChange: (change: Partial<WeightedAdapter>) => void;
  readonly onRemove: () => void;
}

function Part({ index, part: { name, weight }, adapters, onChange, onRemove }: PartProps) {
  return (
    <div class="part">
      <select
        aria-label={`Adapter ${index + 1} of the mixture`}
        value={name}
        onChange={(event) => onChange({ name: event.currentTarget.value })}
      >
        {[...new Set([name, ...adapters.slice(0, mostOffered)])].map((each) => (
          <option key={each} value={each}>
            {each}
          </option>
        ))}
      </select>
      <input
        type="range"
        min="-1"
        max="2"
        step="0.1"
        value={weight}
        aria-label={`Weight of ${name}`}
        onInput={(event) => onChange({ weight: Number(event.currentTarget.value) })}
      />
      <output>{weight.toFixed(1)}</output>
      <button type="button" class="icon-button" aria-label={`Remove ${name} from the mixture`} onClick={onRemove}>
        <Icon name="close" />
      </button>
    </div>
  );
}
