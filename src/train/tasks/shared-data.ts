/** One file of external data for several ONNX files, in which equal weights lie once. */

import { createHash } from "node:crypto";
import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import type { Graph, Initializer } from "../../graph/types.js";

/** ONNX keeps smaller tensors in the file itself. */
const leastBytes = 1024;
const alignment = 64;
const fileName = "weights.onnx_data";

export class SharedData implements AsyncDisposable {
  readonly #file: FileHandle;
  #end = 0;
  /** By the digest of its content, where a weight lies. */
  readonly #offsets = new Map<string, number>();

  private constructor(file: FileHandle) {
    this.#file = file;
  }

  /** `folder`: of the ONNX files. */
  static async create(folder: string): Promise<SharedData> {
    return new SharedData(await open(join(folder, fileName), "w"));
  }

  /** The graph with its weights in the file. */
  async move(graph: Graph): Promise<Graph> {
    const initializers: Initializer[] = [];
    for (const each of graph.initializers) initializers.push(await this.#moved(each));
    return { ...graph, initializers };
  }

  async #moved({ value, data }: Initializer): Promise<Initializer> {
    if (data.kind === "external" || data.bytes.byteLength < leastBytes) return { value, data };
    const { bytes } = data;
    const digest = createHash("sha256").update(bytes).digest("hex");
    const offset = this.#offsets.get(digest) ?? (await this.#append(bytes));
    this.#offsets.set(digest, offset);
    // A place in the folder of the ONNX file.
    return { value, data: { kind: "external", file: `/${fileName}`, offset, byteLength: bytes.byteLength } };
  }

  async #append(bytes: Uint8Array): Promise<number> {
    const offset = Math.ceil(this.#end / alignment) * alignment;
    await this.#file.appendFile(new Uint8Array(offset - this.#end));
    await this.#file.appendFile(bytes);
    this.#end = offset + bytes.byteLength;
    return offset;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.sync();
    await this.#file.close();
  }
}
