/** A computation as data: values, nodes and initializers. */

/** A size, or the name of a size that is known only when the graph runs. */
export type Dim = number | string;
export type Shape = readonly Dim[];

export type ElementType =
  | "float32"
  | "float64"
  | "float16"
  | "bfloat16"
  | "int64"
  | "int32"
  | "int8"
  | "uint8"
  | "bool";

export interface Value {
  readonly name: string;
  readonly type: ElementType;
  readonly shape: Shape;
  /**
   * Only in graphs read from a file: what the file does not state. These fields hold placeholders. "shape": not
   * even the rank is known. "type": neither type nor shape is.
   */
  readonly unknown?: "shape" | "type";
}

export type Attribute =
  | { readonly kind: "int"; readonly value: number }
  | { readonly kind: "float"; readonly value: number }
  | { readonly kind: "string"; readonly value: string }
  | { readonly kind: "ints"; readonly value: readonly number[] }
  | { readonly kind: "floats"; readonly value: readonly number[] }
  | { readonly kind: "strings"; readonly value: readonly string[] }
  | { readonly kind: "tensor"; readonly value: TensorAttribute }
  /** A branch or a loop's body. It may read values of the graphs around it. */
  | { readonly kind: "graph"; readonly value: Graph };

export interface TensorAttribute {
  readonly type: ElementType;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

export interface Node {
  readonly name: string;
  readonly op: string;
  /** "" is the default ONNX domain. */
  readonly domain: string;
  /** null: an omitted optional input. */
  readonly inputs: readonly (Value | null)[];
  readonly outputs: readonly Value[];
  readonly attributes: Readonly<Record<string, Attribute>>;
  /** Paths of the modules that the exporter was in, outermost first, where a file states them. */
  readonly scopes?: readonly string[];
}

export type InitializerData =
  | { readonly kind: "inline"; readonly bytes: Uint8Array }
  /** Bytes in a file, which ONNX Runtime maps when it creates the session. */
  | { readonly kind: "external"; readonly file: string; readonly offset: number; readonly byteLength: number };

export interface Initializer {
  readonly value: Value;
  readonly data: InitializerData;
}

export interface Graph {
  readonly name: string;
  readonly inputs: readonly Value[];
  readonly outputs: readonly Value[];
  /** In topological order: every value is computed before it is used. */
  readonly nodes: readonly Node[];
  readonly initializers: readonly Initializer[];
}

export const elementBytes: Readonly<Record<ElementType, number>> = {
  float32: 4,
  float64: 8,
  float16: 2,
  bfloat16: 2,
  int64: 8,
  int32: 4,
  int8: 1,
  uint8: 1,
  bool: 1,
};

/** `name: type[shape]`, for messages. */
export function describeValue(value: Value): string {
  return `${value.name}: ${value.type}[${value.shape.join(", ")}]`;
}
