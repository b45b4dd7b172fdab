/** Rotary tables that depend on the length of a text, as graph inputs. Those of other ropes are part of the graph. */
import { at } from "../base/list.js";
import type { Rope } from "../model/blueprint.js";
import { dependsOnLength, lengthRegime, type RotaryTables, rotaryTables, steppedTables } from "../model/rope.js";
import { rotaryNames } from "../model/serving/rotary.js";
import { Tensor } from "../runtime/tensor.js";

type Inputs = readonly (readonly [string, Tensor])[];

interface DependentRope {
  readonly rope: Rope;
  readonly place: number;
  readonly factor: number;
  /** Created for the first step that decodes. */
  stepped: Inputs | null;
  /** Of whole texts, by regime: prompts whose chunks alternate keep theirs. The oldest makes room. */
  readonly whole: Map<number, Inputs>;
}

const maxWhole = 4;

export class RotaryInputs {
  readonly #positions: number;
  readonly #ropes: readonly DependentRope[];

  /** Tables of so many positions. `factorOf` gives what cos and sin of each rope are multiplied by. */
  constructor(ropes: readonly Rope[], positions: number, factorOf: (rope: number) => number) {
    this.#positions = positions;
    this.#ropes = ropes.flatMap((rope, place): DependentRope[] =>
      dependsOnLength(rope) ? [{ rope, place, factor: factorOf(place), stepped: null, whole: new Map() }] : [],
    );
  }

  /** For rows that read one token each. */
  stepped(): Inputs {
    return this.#ropes.flatMap((dependent) => {
      const { rope, factor } = dependent;
      dependent.stepped ??= this.#inputs(dependent, steppedTables(rope, this.#positions, factor));
      return dependent.stepped;
    });
  }

  /** For a text of `length` tokens, or a part of it. */
  whole(length: number): Inputs {
    return this.#ropes.flatMap((dependent) => {
      const { rope, factor, whole } = dependent;
      const regime = lengthRegime(rope, length);
      const inputs = whole.get(regime) ?? this.#inputs(dependent, rotaryTables(rope, this.#positions, length, factor));
      whole.delete(regime);
      whole.set(regime, inputs);
      if (whole.size > maxWhole) whole.delete(at([...whole.keys()], 0));
      return inputs;
    });
  }

  #inputs({ rope, place }: DependentRope, { cos, sin }: RotaryTables): Inputs {
    const names = rotaryNames(place);
    const tensor = (data: Float32Array): Tensor => {
      const filled = Tensor.zeros("float32", [this.#positions, rope.rotaryDim / 2]);
      filled.data.set(data);
      return filled;
    };
    return [
      [names.cos, tensor(cos)],
      [names.sin, tensor(sin)],
    ];
  }
}
