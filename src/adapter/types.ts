/** What an adapter is once it has been checked: on disk (a record), in host memory (tensors in the layout the engine copies). */

/** One adapted linear layer in host memory, laid out as the engine's bank wants it. */
export interface HostModule {
  readonly rank: number;
  readonly dtype: "F32" | "F16" | "BF16";
  /** [inFeatures, rank] row-major: PEFT's lora_A transposed. Uint16Array holds the raw bits of F16 and BF16. */
  readonly a: Float32Array | Uint16Array;
  /** [rank, outFeatures] row-major: PEFT's lora_B transposed. */
  readonly b: Float32Array | Uint16Array;
  /** Still to be multiplied into B when it is copied: 1 for F32, where it is folded already. */
  readonly scale: number;
  /** DoRA, as it is read: the length m of each output's weights, [outFeatures]. An engine takes it with gains in its place. */
  readonly magnitude?: Float32Array;
  /** DoRA, as it is served: g - 1 of each output, [outFeatures], where g = m / |W + s B A| is in B already. */
  readonly gain?: Float32Array;
}

/** An adapter in host memory. Immutable; shared by every request that leases it. */
export interface HostAdapter {
  /** Of what it computes: `weightsDigest` of every version that shares it. */
  readonly digest: string;
  /** Largest rank of any module. */
  readonly rank: number;
  /** Bytes held. */
  readonly bytes: number;
  /** As its method has: every module has a magnitude or, once prepared for an engine, a gain for each output. */
  readonly hasGains: boolean;
  /** Keyed by the path of the base's target module. */
  readonly modules: ReadonlyMap<string, HostModule>;
}

/** What checking found out about an adapter, without its tensors. */
export interface AdapterSummary {
  /** The version's: `sha256:` and 64 hex digits, over every file that is kept. Versions from before are known by `weightsDigest`. */
  readonly digest: string;
  /** Of what it computes: over the canonical config and every tensor's name, dtype, shape and bytes. Memory is shared by it. */
  readonly weightsDigest: string;
  readonly rank: number;
  /** Weight-decomposed: a magnitude for each output beside the low-rank product. */
  readonly dora: boolean;
  /** Number of adapted linear layers. */
  readonly modules: number;
  /** Bytes of the tensors in host memory: the file's, unless dtypes that differ are widened, AdaLoRA is folded, or DoRA is. */
  readonly bytes: number;
  /** Bytes of its place in the engine's active set: every target module of the base in fp32, at the largest rank, padded. */
  readonly activeBytes: number;
  readonly scales: { readonly min: number; readonly max: number };
  /**
   * Of each module in the base's order, or one where all are equal: what alpha_pattern came to, so that loading the adapter reads no
   * expression. Absent in summaries that were stored before there was any.
   */
  readonly alphas?: readonly number[];
  readonly warnings: readonly string[];
  /** Files of the folder that were not kept. */
  readonly ignored: readonly string[];
}

export interface AdapterRecord extends AdapterSummary {
  readonly name: string;
  /** `store`: uploaded, ours. `folder`: put there by the operator, read-only for us. */
  readonly source: "store" | "folder";
  readonly createdAt: number;
}

/** A counted hold on an adapter in host memory. */
export interface AdapterLease {
  readonly adapter: HostAdapter;
  /** Where it was found when it was asked for. */
  readonly from: "host" | "disk";
  readonly loadMs: number;
  release(): void;
}

/** What the engine asks of the host tier. */
export interface AdapterSource {
  /** Resolves with the adapter in host memory and holds it there; single flight. Rejects with a LorikeetError. */
  acquire(digest: string): Promise<AdapterLease>;
  /** Starts loading if there is room; never throws. */
  prefetch(digest: string): void;
}
