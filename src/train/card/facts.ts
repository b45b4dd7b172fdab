/** What the author of a card knows besides the record of the run. */

/** What a card says besides the record. */
export interface CardFacts {
  /** The base, as the run was given it: a folder or a name on the hub. */
  readonly model: string;
  /** As the run was given it. */
  readonly data: string;
  readonly outputDir: string;
  /** The author's words; null: the card says only how it was made. */
  readonly description: string | null;
  /** The adapter that it started from, as the run was given it. */
  readonly initFrom: string | null;
  /** What to try it with. */
  readonly examples: readonly CardExample[];
}

/** A text, or a picture that lies beside the card. */
export interface CardExample {
  readonly title?: string;
  readonly text?: string;
  readonly picture?: string;
  /** How its answer should be sampled; default: as whoever asks likes. */
  readonly temperature?: number;
}
