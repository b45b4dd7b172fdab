/** Weights of convolutions in the order that ONNX Runtime's blocked kernels read. */

/** Sizes as the kernels see them, with channels padded to whole blocks. */
export interface FilterLayout {
  /** Channels of a block. */
  readonly block: number;
  readonly outputs: number;
  /** Channels that one filter reads. */
  readonly inputs: number;
  /** Whether the channels that a filter reads lie in blocks too. */
  readonly splitsInputs: boolean;
  /** Positions of the kernel. */
  readonly window: number;
}

/** Next multiple of a block. */
export const padded = (channels: number, block: number): number => Math.ceil(channels / block) * block;

/** Writes filters [outputs, inputs, window] as [outputs/block, inputs/block, window, block, block], or without blocks of inputs. Padding stays as it is. */
export function writeFilters(
  to: Float32Array,
  { block, inputs, splitsInputs, window }: FilterLayout,
  from: Float32Array,
  own: { readonly outputs: number; readonly inputs: number },
): void {
  // Neighbours of an input: along the kernel, and from input to input within a block and across blocks.
  const alongKernel = splitsInputs ? block * block : block;
  let at = 0;
  for (let output = 0; output < own.outputs; output++) {
    const first = Math.floor(output / block) * inputs * window * block + (output % block);
    for (let input = 0; input < own.inputs; input++) {
      const start = splitsInputs
        ? first + Math.floor(input / block) * window * block * block + (input % block) * block
        : first + input * window * block;
      for (let k = 0; k < window; k++) to[start + k * alongKernel] = from[at++] as number;
    }
  }
}
