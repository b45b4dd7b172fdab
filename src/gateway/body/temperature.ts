/** The temperature of protocols in which a request asks for sampling by several parameters. */

export interface SamplingAsked {
  readonly do_sample: boolean;
  readonly temperature?: number | undefined;
  readonly top_k?: number | undefined;
  readonly top_p?: number | undefined;
}

/** As in TGI an answer is greedy, which is the temperature 0, unless a parameter asks for sampling. */
export function temperatureOf({ do_sample, temperature = 1, top_k = 0, top_p = 1 }: SamplingAsked): number {
  const asksToSample = do_sample || temperature !== 1 || top_k > 0 || top_p < 1;
  return asksToSample ? temperature : 0;
}
