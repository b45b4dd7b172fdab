/** How the probability of a token shows behind it: whether it does, its steps, and what they mean. */
import { computed } from "@preact/signals";
import { settings } from "./settings.js";

export const isShaded = computed(() => settings.value.isShaded);

const bounds = [0.1, 0.3, 0.6, 0.9];

/** `p0` is the least likely fifth of the scale, `p4` the likeliest, which has no shade. */
export const shadeOf = (probability: number): string => `p${bounds.filter((bound) => probability >= bound).length}`;

export function Legend() {
  return (
    <p class="legend shaded">
      Probability:
      {bounds.map((bound) => (
        <span key={bound} class={shadeOf(bound - 0.01)}>
          {`< ${100 * bound} %`}
        </span>
      ))}
      <span>higher</span>
    </p>
  );
}
