/** A score from 0 to 1, as it is read. */
export const percent = (score: number): string => `${(100 * score).toFixed(1)} %`;
