/** Measures the bandwidth of a card's memory: a kernel that reads one large tensor and writes another. */

import { GraphBuilder } from "../graph/builder.js";
import { serializeGraph } from "../graph/serialize.js";
import type { Device, DeviceTensor } from "../runtime/device/device.js";
import { type Binding, Session } from "../runtime/session.js";
import { Tensor } from "../runtime/tensor.js";

const width = 1024;
/** Runs between two waits, since a wait costs as much as a short run. */
const runsOfSample = 8;
const samplesOfBest = 4;

export const cardReadMethod = `y = -x over float32, bytes of x and y together; the best of ${samplesOfBest} samples of ${runsOfSample} runs`;

export class CardBandwidth {
  readonly #device: Device;
  readonly #session: Session;
  readonly #binding: Binding;
  readonly #tensors: readonly [DeviceTensor, DeviceTensor];
  readonly #bytes: number;

  private constructor(device: Device, session: Session, tensors: readonly [DeviceTensor, DeviceTensor], bytes: number) {
    this.#device = device;
    this.#session = session;
    this.#binding = session.bind();
    this.#tensors = tensors;
    this.#bytes = bytes;
    this.#binding.input("x", tensors[0]);
    this.#binding.output("y", tensors[1]);
  }

  /** `bytes` of each of the two tensors. Throws `device_memory`. */
  static async open(device: Device, bytes: number): Promise<CardBandwidth> {
    const builder = new GraphBuilder("bandwidth");
    const shape = ["rows", width] as const;
    const x = builder.input("x", "float32", shape);
    for (const y of builder.node("Neg", [x], [{ type: "float32", shape, name: "y" }])) builder.output(y);
    return await device.turn(async () => {
      const graph = serializeGraph(builder.build());
      const session = await Session.create(graph, { threads: 1, spinning: false, device });
      const rows = Math.floor(bytes / (4 * width));
      const allocate = (): DeviceTensor => device.allocate("float32", [rows, width]);
      return new CardBandwidth(device, session, [allocate(), allocate()], 2 * 4 * rows * width);
    });
  }

  /** Bytes a second. */
  async sample(): Promise<number> {
    const times: number[] = [];
    for (let i = 0; i <= samplesOfBest; i++) times.push(await this.#device.turn(() => this.#time()));
    return (this.#bytes * runsOfSample * 1000) / Math.min(...times.slice(1));
  }

  /** Milliseconds of all runs. A run returns before the card has finished: the copy of one row waits for it. */
  async #time(): Promise<number> {
    const row = Tensor.zeros("float32", [1, width]);
    const started = performance.now();
    for (let run = 0; run < runsOfSample; run++) await this.#session.run(this.#binding);
    await this.#device.download(this.#tensors[1], row);
    return performance.now() - started;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#device.turn(async () => {
      this.#session[Symbol.dispose]();
      for (const tensor of this.#tensors) tensor[Symbol.dispose]();
    });
  }
}
