/** A message of the protocol: JSON, and after it the bytes of the tensors that it announces (Triton's binary tensor data extension). */

/** A request with bytes after its JSON, or an answer. */
export class BinaryMessage {
  constructor(
    readonly json: unknown,
    /** One tensor after the other, in the order of the JSON: little-endian, row-major, without padding. */
    readonly tensors: readonly Uint8Array[],
  ) {}
}
