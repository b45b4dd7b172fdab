/** The runs that made the adapters of this server: their scores, and the charts of two beside each other. */
import { useState } from "preact/hooks";
import { RunSize, Scores } from "../adapters/scores.js";
import { TrainingChart } from "../adapters/training-chart.js";
import { CheckField } from "../parts/check-field.js";
import { hrefOf } from "../route.js";
import { adapterOf } from "./adapter-name.js";
import { jobs } from "./jobs.js";
import { type TrainedRun, trainedRuns } from "./runs.js";

const mostShown = 2;

export function Runs() {
  const [chosen, setChosen] = useState<readonly string[] | null>(null);
  const ofJobs = (jobs.value ?? []).map(adapterOf);
  const runs = (trainedRuns.value ?? []).filter(({ adapter }) => !ofJobs.some((name) => adapter.name.startsWith(name)));
  if (runs.length === 0) return null;
  const withCharts = runs.filter(({ chart }) => chart !== null);
  const shown = chosen ?? withCharts.slice(0, mostShown).map(({ adapter }) => adapter.name);
  const toggle = (name: string): void =>
    setChosen(shown.includes(name) ? shown.filter((each) => each !== name) : [name, ...shown].slice(0, mostShown));
  return (
    <section class="trained" aria-label="Runs">
      <h2>Runs that made this server's adapters</h2>
      <div class="run-charts">
        {withCharts.map(({ adapter, chart }) =>
          shown.includes(adapter.name) && chart !== null ? (
            <figure key={adapter.name} class="card">
              <figcaption>{adapter.name}</figcaption>
              <TrainingChart svg={chart} name={adapter.name} />
            </figure>
          ) : null,
        )}
      </div>
      <ul class="runs">
        {runs.map((run) => (
          <RunCard
            key={run.adapter.name}
            run={run}
            isShown={shown.includes(run.adapter.name)}
            onToggle={() => toggle(run.adapter.name)}
          />
        ))}
      </ul>
    </section>
  );
}

interface RunCardProps {
  readonly run: TrainedRun;
  readonly isShown: boolean;
  readonly onToggle: () => void;
}

function RunCard({ run: { adapter, record, chart }, isShown, onToggle }: RunCardProps) {
  const { name, base } = adapter;
  return (
    <li class="card">
      <h3>
        <a href={hrefOf("adapters", new URLSearchParams({ name }))}>{name}</a> <span class="tag">{base}</span>
      </h3>
      {record ? (
        <>
          <Scores record={record} />
          <RunSize record={record} />
        </>
      ) : null}
      {chart === null ? null : <CheckField label="Show its chart" of={name} isChecked={isShown} onChange={onToggle} />}
    </li>
  );
}
