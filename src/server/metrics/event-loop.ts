/** How late the event loop is, as quantiles of the time since the last scrape. */
import { type IntervalHistogram, monitorEventLoopDelay } from "node:perf_hooks";
import { Gauge, type Registry, Summary } from "prom-client";

const resolutionMs = 10;

/** Quantiles that come from elsewhere, exposed as the summary that they are: prom-client's own would count them anew. */
class Quantiles extends Gauge<"quantile"> {
  readonly #form = new Summary({ name: "form", help: "Knows what a summary is called.", registers: [] });

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
    // The histogram holds whole intervals, of which the timer's own is no delay.
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
