/** One prompt, answered side by side by the base, adapters and mixtures of them. */
import { effect } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import { AboutBases } from "../about-bases.js";
import { Icon } from "../parts/icon.js";
import { type Route, route } from "../route.js";
import { connection } from "../session.js";
import { Answer } from "./answer.js";
import { Column } from "./column.js";
import { Composer } from "./composer.js";
import { adaptersOf, baseOf, basesOf, loadModels, models, presets, settingsFor } from "./models.js";
import { openingOf, type Preset, writesFreely } from "./opening.js";
import { askOf, change, fromParameters, mostColumns, samplingOf, settings } from "./settings.js";
import { formatTarget, modelTarget, type Target } from "./target.js";

/** Kept while the reader looks at another view. */
const answers = Array.from({ length: mostColumns }, () => new Answer());
const fallbackPrompt = "It was a dark night";

// Whatever changes the columns, also an address: no answer stands under another name.
effect(() => {
  const { targets } = settings.value;
  for (const [index, answer] of answers.entries()) {
    const target = targets[index];
    answer.keepFor(target ? formatTarget(target) : null);
  }
});

export function Compare() {
  const isReady = connection.value.state === "ready";
  const { targets } = settings.value;
  const running = answers.slice(0, targets.length).filter((answer) => answer.isRunning).length;
  useEffect(() => {
    if (isReady) void begin();
  }, [isReady, route.value]);
  useEffect(() => {
    const stopAll = ({ key }: KeyboardEvent): void => {
      if (key === "Escape") stop();
    };
    addEventListener("keydown", stopAll);
    return () => removeEventListener("keydown", stopAll);
  }, []);
  const setTarget = (index: number, target: Target): void =>
    change({ targets: settings.value.targets.map((each, at) => (at === index ? target : each)) });
  return (
    <div class="compare">
      <h1 class="hidden">Compare</h1>
      <p class="intro">
        Lorikeet keeps <b>base</b> models in memory and swaps small <b>adapters</b> over each, every one trained for one
        task. Choose an example to see what an adapter changes.
      </p>
      <AboutBases names={basesOf(targets)} />
      <Composer isRunning={running > 0} onRun={run} onStop={stop} onPreset={runPreset} />
      <div class={`columns n${targets.length}`}>
        {targets.map((target, index) => {
          const answer = answers[index];
          return answer ? (
            <Column
              key={answer.id}
              index={index}
              target={target}
              answer={answer}
              onTarget={(next) => setTarget(index, next)}
              onRemove={targets.length > 1 ? () => remove(index) : null}
            />
          ) : null;
        })}
        {targets.length > 0 && targets.length < mostColumns ? (
          <button type="button" class="add-column" onClick={addColumn}>
            <Icon name="plus" />
            Add a column
          </button>
        ) : null}
      </div>
      <Announcer />
    </div>
  );
}

/** The address that the settings were taken from. What the reader has changed since then outlives a restart of the server. */
let applied: Route | null = null;

/** Takes the comparison from the address or, on the first visit, sets up one that shows a difference. */
async function begin(): Promise<void> {
  const asked = route.value;
  if (asked !== applied) {
    applied = asked;
    if (asked.parameters.has("prompt")) settings.value = fromParameters(asked.parameters);
  }
  await loadModels();
  // Meanwhile the reader may have gone to another view, or to another comparison, which begins by itself.
  if (models.value === null || route.value !== asked) return;
  if (settings.value.targets.length > 0) {
    change({});
    return;
  }
  const { base } = models.value;
  const { example, adapters } = openingOf(adaptersOf(base), presets.value);
  const { prompt } = settings.value;
  change({
    ...(prompt === "" && example ? { prompt: example.text, ...samplingOf(example.parameters) } : {}),
    ...(prompt === "" && !example ? { prompt: fallbackPrompt } : {}),
    targets: [base, ...adapters].map(modelTarget),
  });
}

function run(): void {
  const { targets } = settings.value;
  for (const [index, target] of targets.entries()) {
    answers[index]?.start(formatTarget(target), askOf(target, settingsFor(target, settings.value)));
  }
}

function stop(): void {
  for (const answer of answers) answer.stop();
}

/** An example of an adapter shows that adapter beside its base, in as many columns as there were; of the others, those that write freely stay. */
function runPreset({ adapter, text, parameters }: Preset): void {
  const { targets } = settings.value;
  const isShown = targets.some((target) => formatTarget(target) === adapter);
  const base = models.value?.parents.get(adapter) ?? models.value?.base ?? "";
  const others = targets.filter((target) => formatTarget(target) !== base && baseOf(target) === base);
  const isFree = (target: Target): boolean => writesFreely(formatTarget(target), presets.value);
  others.sort((a, b) => Number(isFree(b)) - Number(isFree(a)));
  const shown = [...[base, adapter].map(modelTarget), ...others].slice(0, Math.max(2, targets.length));
  change({ isChat: false, prompt: text, ...samplingOf(parameters), targets: isShown ? targets : shown });
  run();
}

function addColumn(): void {
  const { targets } = settings.value;
  const names = targets.map(formatTarget);
  const { base = "", names: known = [] } = models.value ?? {};
  const next = known.find((name) => !names.includes(name)) ?? base;
  change({ targets: [...targets, modelTarget(next)] });
}

/** The answers move with their columns. */
function remove(index: number): void {
  const [removed] = answers.splice(index, 1);
  removed?.stop();
  answers.push(new Answer());
  change({ targets: settings.value.targets.filter((_, at) => at !== index) });
}

/** Says once for each answer that it has ended, not token by token, and not again when the reader comes back to the view. */
function Announcer() {
  const [said, setSaid] = useState("");
  const kinds = answers.map((answer) => [answer, answer.state.value.kind] as const);
  const before = useRef<ReadonlyMap<Answer, string>>(new Map(kinds));
  useEffect(() => {
    const ended = kinds.flatMap(([answer, kind]) => {
      const isNew = before.current.get(answer) !== kind && (kind === "done" || kind === "stopped");
      return isNew ? [`${answer.asked}: ${answer.pace.peek().tokens} tokens, ${kind}.`] : [];
    });
    before.current = new Map(kinds);
    if (ended.length > 0) setSaid(ended.join(" "));
    // What was said of an answer that is gone would be read as said of the next one.
    else if (kinds.every(([, kind]) => kind === "idle")) setSaid("");
  });
  return (
    <p class="hidden" role="status">
      {said}
    </p>
  );
}
