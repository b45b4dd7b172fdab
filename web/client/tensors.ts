/** Tensors as models take and give them, by the protocol of KServe. */

/** What a model takes or gives; -1 is any size. */
export interface TensorSpec {
  readonly name: string;
  readonly datatype: string;
  readonly shape: readonly number[];
}

export interface ModelMetadata {
  readonly name: string;
  readonly inputs: readonly TensorSpec[];
  readonly outputs: readonly TensorSpec[];
}

export interface Tensor extends TensorSpec {
  /** In rows. */
  readonly data: readonly (number | boolean)[];
}

/** A request of the WebSocket for what a model makes of tensors. */
export interface Infer {
  readonly model: string;
  readonly inputs: readonly Tensor[];
}

export const countOf = (shape: readonly number[]): number => shape.reduce((count, size) => count * size, 1);

/** The shape of a tensor of so many values: the first size that may be any takes them, the others are 1. null: none fits. */
export function shapeFor({ shape }: TensorSpec, count: number): readonly number[] | null {
  const open = shape.indexOf(-1);
  const known = countOf(shape.filter((size) => size !== -1));
  if (open === -1) return count === known ? shape : null;
  if (known === 0 || count === 0 || count % known !== 0) return null;
  return shape.map((size, index) => (size !== -1 ? size : index === open ? count / known : 1));
}

const integers: ReadonlySet<string> = new Set([
  "INT8",
  "INT16",
  "INT32",
  "INT64",
  "UINT8",
  "UINT16",
  "UINT32",
  "UINT64",
]);

/** Reads the values of a tensor from numbers with spaces, commas or brackets between them; none: zeros. Throws an Error that says what is wrong. */
export function readTensor(spec: TensorSpec, text: string): Tensor {
  const words = text.split(/[\s,;[\]]+/).filter((word) => word !== "");
  if (words.length === 0) {
    const shape = spec.shape.map((size) => (size === -1 ? 1 : size));
    const zero = spec.datatype === "BOOL" ? false : 0;
    return { ...spec, shape, data: Array.from({ length: countOf(shape) }, () => zero) };
  }
  const shape = shapeFor(spec, words.length);
  if (shape === null)
    throw new Error(`${spec.name} has ${words.length} values, which do not fill ${shapeText(spec.shape)}.`);
  return { ...spec, shape, data: words.map((word) => numberIn(spec, word)) };
}

function numberIn({ name, datatype }: TensorSpec, word: string): number | boolean {
  if (datatype === "BOOL" && /^(true|false)$/i.test(word)) return word.toLowerCase() === "true";
  const value = Number(word);
  if (!Number.isFinite(value)) throw new Error(`${name} has "${word.slice(0, 40)}", which is not a number.`);
  if (integers.has(datatype) && !Number.isInteger(value))
    throw new Error(`${name} has ${value}; ${datatype} takes whole numbers.`);
  return datatype === "BOOL" ? value !== 0 : value;
}

/** `any` for a size that may be any. */
export const shapeText = (shape: readonly number[]): string =>
  `[${shape.map((size) => (size === -1 ? "any" : String(size))).join(", ")}]`;

/** The first values, at most so many, a line for each of the last axis, and how many more there are. */
export function shownValues({ shape, data }: Tensor, most: number): string {
  const perRow = shape.at(-1) ?? 1;
  const first = data.slice(0, most);
  const lines: string[] = [];
  for (let at = 0; at < first.length; at += perRow) {
    const row = first.slice(at, at + perRow);
    lines.push(row.map(shownValue).join("  "));
  }
  const rest = data.length - first.length;
  return [...lines, ...(rest > 0 ? [`and ${rest} more`] : [])].join("\n");
}

const shownValue = (value: number | boolean): string =>
  typeof value === "number" && !Number.isInteger(value) ? value.toPrecision(5) : String(value);
