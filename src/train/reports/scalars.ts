/** Scalar metrics of a run. */

/** Numbers by name. */
export type Scalars = Readonly<Record<string, number>>;

/** A log of scalars. Steps are in ascending order. */
export interface ScalarFile extends AsyncDisposable {
  add(step: number, scalars: Scalars): Promise<void>;
}
