/** Event loop delay since the last scrape, as quantiles. */
import { type IntervalHistogram, monitorEventLoopDelay } from "node:perf_hooks";
import { Gauge, type Registry, Summary } from "prom-client";

const resolutionMs = 10;

/** A summary whose quantiles are computed elsewhere, which prom-client's Summary cannot take. */
class Quantiles extends Gauge<"quantile"> {
  readonly #form = new Summary({ name: "form", help: "Gives the type name of a summary.", registers: [] });

  override async get() {
    const { type } = await this.#form.get();
    return { ...(await super.get()), type };
  }
}

export class EventLoopDelay {
  readonly #histogram: IntervalHistogram = monitorEventLoopDelay({ resolution: resolutionMs });

  constructor(registry: Registry) {
    const histogram = this.#histogram;
    histogram.enable();
    // The histogram records whole intervals; the timer's period is not delay.
    const seconds = (nanoseconds: number): number => Math.max(0, nanoseconds / 1e9 - resolutionMs / 1000) || 0;
    new Quantiles({
      name: "lorikeet_event_loop_delay_seconds",
      help: "Delay of the event loop since the last scrape.",
      labelNames: ["quantile"],
      registers: [registry],
      collect() {
        this.set({ quantile: "0.5" }, seconds(histogram.percentile(50)));
        this.set({ quantile: "0.99" }, seconds(histogram.percentile(99)));
        this.set({ quantile: "1" }, seconds(histogram.max));
        histogram.reset();
      },
    });
  }

  close(): void {
    this.#histogram.disable();
  }
}
