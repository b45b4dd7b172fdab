/**
 * An adapter's identity: SHA-256 over the config keys that matter and, by module path, each matrix's canonical name, dtype,
 * shape and bytes. The order of tensors in the file, prefixes and infixes of their names do not enter.
 */

import { createHash, type Hash } from "node:crypto";
import { bytesOf } from "../../tensor/dtype.js";
import type { CanonicalConfig } from "./canonical.js";
import type { MatrixDtype } from "./module-plan.js";

export class AdapterDigest {
  readonly #hash: Hash = createHash("sha256");

  constructor(config: CanonicalConfig) {
    const sorted = Object.entries(config).sort(([left], [right]) => (left < right ? -1 : 1));
    this.#hash.update(`lorikeet adapter 1\n${JSON.stringify(sorted)}\n`);
  }

  /** What the outputs of a task model are called. */
  labels(labels: readonly string[]): void {
    this.#hash.update(`${JSON.stringify(["labels", labels])}\n`);
  }

  /** Which tokens' rows of a table follow. */
  tokens(path: string, ids: readonly number[]): void {
    this.#hash.update(`${JSON.stringify(["tokens", path, ids])}\n`);
  }

  /**
   * Call by rising module path, with PEFT's name: A before B, then E or M, then the bias of B; or the module's own weight before its
   * bias. Each is followed by all of its elements.
   */
  begin(name: string, dtype: MatrixDtype, shape: readonly number[]): void {
    this.#hash.update(`${JSON.stringify([name, dtype, shape])}\n`);
  }

  /** The next elements, in PEFT's layout. */
  update(elements: ArrayBufferView): void {
    this.#hash.update(bytesOf(elements));
  }

  /** `sha256:` and 64 hex digits. */
  finish(): string {
    return `sha256:${this.#hash.digest("hex")}`;
  }
}
