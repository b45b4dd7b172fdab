/** Turns a column into a weighted mixture of adapters of one base, and sets the weights. */
import type { WeightedAdapter } from "../client/types.js";
import { Icon } from "../parts/icon.js";
import { adaptersOf, baseOf } from "./models.js";
import { modelTarget, type Target } from "./target.js";

const mostParts = 8;

export function MixtureEditor({ target, onTarget }: { target: Target; onTarget: (target: Target) => void }) {
  const adapters = adaptersOf(baseOf(target));
  if (target.kind === "model") {
    if (!adapters.includes(target.name)) return null;
    const other = adapters.find((name) => name !== target.name);
    if (other === undefined) return null;
    const parts = [
      { name: target.name, weight: 0.5 },
      { name: other, weight: 0.5 },
    ];
    return (
      <button
        type="button"
        class="quiet mix"
        aria-label={`Mix in another adapter beside ${target.name}`}
        onClick={() => onTarget({ kind: "mixture", parts })}
      >
        <Icon name="plus" />
        Mix in another adapter
      </button>
    );
  }
  const { parts } = target;
  const set = (next: readonly WeightedAdapter[]): void => {
    const [only] = next;
    onTarget(next.length === 1 && only ? modelTarget(only.name) : { kind: "mixture", parts: next });
  };
  const setPart = (index: number, change: Partial<WeightedAdapter>): void =>
    set(parts.map((part, at) => (at === index ? { ...part, ...change } : part)));
  const unused = adapters.find((name) => parts.every((part) => part.name !== name));
  return (
    <div class="mixture">
      {parts.map(({ name, weight }, index) => (
        <div key={index} class="part">
          <select
            aria-label={`Adapter ${index + 1} of the mixture`}
            value={name}
            onChange={(event) => setPart(index, { name: event.currentTarget.value })}
          >
            {[...new Set([name, ...adapters.slice(0, 200)])].map((each) => (
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
            onInput={(event) => setPart(index, { weight: Number(event.currentTarget.value) })}
          />
          <output>{weight.toFixed(1)}</output>
          <button
            type="button"
            class="icon-button"
            aria-label={`Remove ${name} from the mixture`}
            onClick={() => set(parts.filter((_, at) => at !== index))}
          >
            <Icon name="close" />
          </button>
        </div>
      ))}
      {unused === undefined || parts.length >= mostParts ? null : (
        <button type="button" class="quiet mix" onClick={() => set([...parts, { name: unused, weight: 0.5 }])}>
          <Icon name="plus" />
          Mix in another adapter
        </button>
      )}
    </div>
  );
}
