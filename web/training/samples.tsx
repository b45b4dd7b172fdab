/** What the base and a job's adapter answer to the same prompts. */
import { fieldOf } from "../client/errors.js";
import { nameOf, type Run } from "./curves.js";

interface Sample {
  readonly prompt: string;
  readonly before: string;
  readonly after: string;
}

export function Samples({ job, events }: Run) {
  const samples = samplesOf(events);
  if (samples.length === 0) return null;
  return (
    <section aria-label={`Sample answers of ${nameOf(job)}`}>
      <h3>{nameOf(job)}: sample answers</h3>
      <ul class="samples">
        {samples.map(({ prompt, before, after }) => (
          <li key={prompt}>
            <p class="answer">{prompt}</p>
            <dl>
              <dt>{job.model}</dt>
              <dd>{before}</dd>
              <dt>trained</dt>
              <dd>{after}</dd>
            </dl>
          </li>
        ))}
      </ul>
    </section>
  );
}

/** The last ones: a run that went on after a restart may have answered twice. */
function samplesOf(events: Run["events"]): readonly Sample[] {
  const found = events.findLast(({ data }) => Array.isArray(data.samples))?.data.samples;
  const text = (value: unknown, name: string): string => String(fieldOf(value, name) ?? "");
  return Array.isArray(found)
    ? found.map((each) => ({ prompt: text(each, "prompt"), before: text(each, "before"), after: text(each, "after") }))
    : [];
}
