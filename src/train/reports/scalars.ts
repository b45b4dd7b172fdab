/** Numbers of a run over its steps, as other programs are told them. */

/** Numbers by name. */
export type Scalars = Readonly<Record<string, number>>;

/** A file of scalars over steps; steps rise. */
export interface ScalarFile extends AsyncDisposable {
  add(step: number, scalars: Scalars): Promise<void>;
}
