/** The layers of modules.json after pooling, for models whose hidden states are pooled outside of a graph. */

import { serializeGraph } from "../graph/serialize.js";
import { layersGraph, type VectorPlan, vectorOutput } from "../model/task/vector-graph.js";
import { Session } from "../runtime/session.js";
import { Tensor } from "../runtime/tensor.js";

export class VectorLayers implements AsyncDisposable {
  readonly #session: Session;
  readonly #runs = new Set<Promise<void>>();
  /** Of the vectors that come out. */
  readonly size: number;

  private constructor(session: Session, size: number) {
    [this.#session, this.size] = [session, size];
  }

  /** `size`: of the pooled vectors. Throws what `layersGraph` throws. */
  static async open(plan: VectorPlan, size: number): Promise<VectorLayers> {
    const graph = layersGraph(plan, size);
    const session = await Session.create(serializeGraph(graph), { threads: 1 });
    return new VectorLayers(session, Number(graph.outputs[0]?.shape[1]));
  }

  async run(pooled: Float32Array): Promise<Float32Array> {
    const output = Tensor.zeros("float32", [1, this.size]);
    const binding = this.#session.bind();
    binding.input("pooled", Tensor.from("float32", [1, pooled.length], Float32Array.from(pooled)));
    binding.output(vectorOutput, output);
    const run = this.#session.run(binding).finally(() => this.#session.unbind(binding));
    this.#runs.add(run);
    await run.finally(() => this.#runs.delete(run));
    return output.data;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.allSettled(this.#runs);
    this.#session[Symbol.dispose]();
  }
}
