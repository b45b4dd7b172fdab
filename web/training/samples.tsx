/** What the base and a job's adapter answer to the same prompts, as the training goes on. */
import { nameOf, type Run } from "./curves.js";
import { samplesOf } from "./sample-answers.js";

export function Samples({ job, events }: Run) {
  const samples = samplesOf(events);
  if (samples.length === 0) return null;
  return (
    <section aria-label={`Sample answers of ${nameOf(job)}`}>
      <h3>{nameOf(job)}: sample answers</h3>
      <ul class="samples">
        {samples.map(({ prompt, before, answers }) => (
          <li key={prompt}>
            <p class="answer">{prompt}</p>
            <dl>
              <dt>{job.model}</dt>
              <dd>{before}</dd>
              {answers.map(({ when, text }) => [<dt key={when}>{when}</dt>, <dd key={`${when}:`}>{text}</dd>])}
            </dl>
          </li>
        ))}
      </ul>
    </section>
  );
}
