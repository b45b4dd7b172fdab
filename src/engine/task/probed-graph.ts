/** A graph that runs with trial inputs and also gives values that it does not output. */

import { hasCode } from "../../base/errors.js";
import { serializeGraph } from "../../graph/serialize.js";
import type { Graph } from "../../graph/types.js";
import { Session } from "../../runtime/session.js";
import type { Tensor } from "../../runtime/tensor.js";

/** By name. */
export type Values = ReadonlyMap<string, Tensor>;

export interface TrialRunOptions {
  readonly threads: number;
  /** Stops a run that takes too long. */
  readonly signal?: AbortSignal;
}

export class ProbedGraph implements Disposable {
  readonly #session: Session;
  readonly #inputs: ReadonlySet<string>;
  readonly #outputs: readonly string[];
  readonly #signal: AbortSignal | undefined;

  private constructor(session: Session, { inputs, outputs }: Graph, signal: AbortSignal | undefined) {
    this.#session = session;
    this.#inputs = new Set(inputs.map(({ name }) => name));
    this.#outputs = outputs.map(({ name }) => name);
    this.#signal = signal;
  }

  /** `watched`: values to give besides the outputs. Throws what ONNX Runtime throws for a graph that it cannot load. */
  static async open(
    graph: Graph,
    watched: readonly string[],
    { threads, signal }: TrialRunOptions,
  ): Promise<ProbedGraph> {
    const computed = new Map(
      graph.nodes.flatMap(({ outputs }) => outputs.map((value) => [value.name, value] as const)),
    );
    const names = new Set([...graph.outputs.map(({ name }) => name), ...watched]);
    const outputs = [...names].flatMap((name) => computed.get(name) ?? []);
    const probed = { ...graph, outputs: outputs.map((value) => ({ ...value, unknown: "type" as const })) };
    const session = await Session.create(serializeGraph(probed), { threads, optimization: 0 });
    return new ProbedGraph(session, probed, signal);
  }

  /** The watched values and the outputs, beside the inputs themselves. Inputs that the graph lacks are not read. */
  async run(inputs: Values): Promise<Values> {
    using binding = this.#session.bind();
    for (const [name, tensor] of inputs) if (this.#inputs.has(name)) binding.input(name, tensor);
    for (const name of this.#outputs) binding.outputToHost(name);
    await this.#session.run(binding, this.#signal);
    const found = binding.outputs();
    return new Map([...inputs, ...this.#outputs.map((name, index) => [name, found[index] as Tensor] as const)]);
  }

  /** null: the graph does not run with these inputs. */
  async tryRun(inputs: Values): Promise<Values | null> {
    try {
      return await this.run(inputs);
    } catch (error) {
      if (hasCode(error, "runtime_failed")) return null;
      throw error;
    }
  }

  [Symbol.dispose](): void {
    this.#session[Symbol.dispose]();
  }
}
