/** A checked adapter: on disk (a record) and in host memory (tensors in the layout that an engine copies). */

/** One adapted linear layer in host memory, in the layout of the engine's bank. */
export interface HostModule {
  /** 0: it has a trained bias alone. */
  readonly rank: number;
  readonly dtype: "F32" | "F16" | "BF16";
  /** [inFeatures, rank] row-major: PEFT's lora_A transposed. Uint16Array holds the raw bits of F16 and BF16. */
  readonly a: Float32Array | Uint16Array;
  /** [rank, outFeatures] row-major: PEFT's lora_B transposed. */
  readonly b: Float32Array | Uint16Array;
  /** The factor to multiply into B when it is copied: 1 for F32, where it is already folded in. */
  readonly scale: number;
  /** DoRA as read: the length m of each output's weights, [outFeatures]. The engine needs gains instead. */
  readonly magnitude?: Float32Array;
  /** DoRA as served: g - 1 of each output, [outFeatures]; g = m / |W + s B A| is already folded into B. */
  readonly gain?: Float32Array;
  /** `lora_bias`, times the scale, and how a trained bias differs from the base's: added to each output, [outFeatures]. */
  readonly shift?: Float32Array;
}

/** An adapter in host memory. Immutable; shared by every request that leases it. */
export interface HostAdapter {
  /** The `weightsDigest` of every version that shares it. */
  readonly digest: string;
  /** Largest rank of any module. */
  readonly rank: number;
  /** Bytes held. */
  readonly bytes: number;
  /** Whether modules have magnitudes (once prepared for the engine, gains) or shifts: more than a product. */
  readonly hasGains: boolean;
  /** Keyed by the path of the base's target module, or of a norm: such a one has rank 0, a gain and a shift. */
  readonly modules: ReadonlyMap<string, HostModule>;
  /** Whether norms are among the modules. Default: none is. */
  readonly changesNorms?: boolean;
  /** LoRA on the token embeddings; absent if they are the base's. */
  readonly embedding?: HostTable;
  /** Rows of single tokens that it replaces, of the embeddings, of the head or of both; absent if it replaces none. */
  readonly tokens?: readonly HostTokens[];
  /** A classification head, [labels, hidden], that classifies texts by their last token; absent if it has none. */
  readonly head?: HostHead;
}

/** What LoRA adds to the rows of a table: row t gets A[t] B. */
export interface HostTable {
  readonly rank: number;
  /** [rows, rank]: PEFT's lora_embedding_A transposed. */
  readonly a: Float32Array;
  /** [rank, dim], times the scale. */
  readonly b: Float32Array;
}

/** How trained rows of single tokens differ from the base's. */
export interface HostTokens {
  /** Ascending. */
  readonly ids: Int32Array<ArrayBuffer>;
  /** [tiles, dim, columns]: a row is a column, as a layer's A has it; columns behind the last row are zero. */
  readonly tiles: Float32Array<ArrayBuffer>;
  readonly inEmbeddings: boolean;
  readonly inHead: boolean;
}

export interface HostHead extends HostWhole {
  /** What its outputs are called; null if nothing says. */
  readonly labels: readonly string[] | null;
}

/** One module of a task model's adapter, in float32, not yet folded with the base. */
export interface HostTaskModule {
  /** 0: no product. */
  readonly rank: number;
  /** Linear layers [in, rank]; convolutions [rank, in, ...kernel], as PEFT has it; tables [rows, rank]. null with rank 0. */
  readonly a: Float32Array | null;
  /** Times the scale. Linear layers and tables [rank, out]; convolutions [out, rank], with zeros outside a group's own ranks. */
  readonly b: Float32Array | null;
  /** DoRA's m, the length of each output's weights, [out]. */
  readonly magnitude: Float32Array | null;
  /** `lora_bias`, times the scale, [out]. */
  readonly addedBias: Float32Array | null;
  /** A trained bias that replaces the base's, [out]. */
  readonly bias: Float32Array | null;
  /** A module that replaces the base's. */
  readonly whole: HostWhole | null;
  /** Rows of a table that replace the base's; absent if none do. */
  readonly tokens?: HostTaskTokens;
}

export interface HostTaskTokens {
  readonly ids: readonly number[];
  /** [tokens, dim], in the order of the ids. */
  readonly rows: Float32Array;
}

export interface HostWhole {
  /** As PyTorch has it: linear layers [out, in], convolutions [out, in / groups, ...kernel], tables [rows, dim]. */
  readonly weight: Float32Array;
  readonly outFeatures: number;
  readonly bias: Float32Array | null;
}

/** An adapter of a task model in host memory. Immutable; its arrays are views of one block. */
export interface HostTaskAdapter {
  /** The `weightsDigest` of every version that shares it. */
  readonly digest: string;
  /** Largest rank of any module. */
  readonly rank: number;
  readonly bytes: number;
  /** Keyed by the path of the base's target module. */
  readonly modules: ReadonlyMap<string, HostTaskModule>;
  /** What the outputs are called; null: as the base calls them. */
  readonly labels: readonly string[] | null;
}

/** The result of checking an adapter, without its tensors. */
export interface AdapterSummary {
  /** The version's digest: `sha256:` and 64 hex digits, over every kept file. Old versions have their `weightsDigest` here. */
  readonly digest: string;
  /** The digest of what it computes: the canonical config and every tensor's name, dtype, shape and bytes. Equal ones share memory. */
  readonly weightsDigest: string;
  readonly rank: number;
  /** The method's `hasGains`, as stored and as the API names it: weight-decomposed, with a magnitude for each output. */
  readonly dora: boolean;
  /** Number of adapted modules. */
  readonly modules: number;
  /** Bytes of the tensors in host memory: the file's, unless tensors are widened or folded. */
  readonly bytes: number;
  /** Bytes in the engine's active set: every target module of the base in fp32, at the largest rank, padded. */
  readonly activeBytes: number;
  readonly scales: { readonly min: number; readonly max: number };
  /**
   * Each module's alpha in the base's order, or one if all are equal, so that loading the adapter evaluates no expression. Absent in
   * older summaries.
   */
  readonly alphas?: readonly number[];
  /** How many labels the classification head has that it brings for a decoder; absent without one. */
  readonly labels?: number;
  readonly warnings: readonly string[];
  /** Files of the folder that are not kept. */
  readonly ignored: readonly string[];
}

export interface AdapterRecord extends AdapterSummary {
  readonly name: string;
  /** The served name of its base model; null where adapters are read without one. */
  readonly base: string | null;
  /** `store`: uploaded. `folder`: placed in the adapters folder by the operator, and `base`: in its base's folder; both read-only. */
  readonly source: "store" | "folder" | "base";
  /** The fine-tuning job of this server that trained it. */
  readonly job?: string;
  readonly createdAt: number;
}

/** A counted hold on an adapter in host memory. */
export interface AdapterLease<Held = HostAdapter> {
  readonly adapter: Held;
  /** Where it was when it was requested. */
  readonly from: "host" | "disk";
  readonly loadMs: number;
  release(): void;
}

/** The engine's view of the host tier. */
export interface AdapterSource<Held = HostAdapter> {
  /** Resolves with the adapter in host memory and keeps it there until released. Single-flight. Rejects with a LorikeetError. */
  acquire(digest: string): Promise<AdapterLease<Held>>;
  /** Starts loading if there is room; never throws. */
  prefetch(digest: string): void;
}
