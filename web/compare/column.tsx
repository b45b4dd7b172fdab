/** One column: what it asks, its answer, and how fast it comes. */
import { useCallback, useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { baseSummary } from "../about-bases.js";
import { tryLinkOf } from "../adapters/compare-link.js";
import { CopyButton } from "../parts/copy-button.js";
import { passFocusOn } from "../parts/focus.js";
import { formatNumber } from "../parts/format.js";
import { Icon } from "../parts/icon.js";
import { NamePicker } from "../parts/name-picker.js";
import type { Answer } from "./answer.js";
import { CopyAs } from "./copy-as-menu.js";
import { MixtureEditor } from "./mixture-editor.js";
import { type AdapterOfTask, loadModels, models, summaries, wantSummary } from "./models.js";
import { formatTarget, modelTarget, type Target } from "./target.js";
import { Tokens } from "./tokens.js";

export interface ColumnProps {
  readonly index: number;
  readonly target: Target;
  readonly answer: Answer;
  readonly onTarget: (target: Target) => void;
  /** null: the only column. */
  readonly onRemove: (() => void) | null;
}

export function Column({ index, target, answer, onTarget, onRemove }: ColumnProps) {
  const name = formatTarget(target);
  const [isCopying, setCopying] = useState(false);
  const summary = summaries.value.get(name) ?? baseSummary(name) ?? "";
  const other = models.value?.others.get(name);
  useEffect(() => void wantSummary(name), [name, models.value]);
  return (
    <section class={`column card c${index}`} aria-label={`Column ${index + 1}: ${name}`}>
      <header>
        <span class="dot" aria-hidden="true" />
        {target.kind === "model" ? (
          <ModelPicker index={index} name={target.name} onPick={(picked) => onTarget(modelTarget(picked))} />
        ) : (
          <strong class="grow">Mixture</strong>
        )}
        <button
          type="button"
          class="icon-button"
          aria-expanded={isCopying}
          aria-label={`Copy column ${index + 1} as a program`}
          title="Copy as a program"
          onClick={() => setCopying(!isCopying)}
        >
          <Icon name="code" />
        </button>
        {onRemove ? (
          <button
            type="button"
            class="icon-button"
            aria-label={`Remove column ${index + 1}`}
            title="Remove the column"
            onClick={onRemove}
          >
            <Icon name="close" />
          </button>
        ) : null}
      </header>
      {other ? <OtherTask adapter={other} /> : null}
      {summary === "" ? null : <p class="muted summary">{summary}</p>}
      <MixtureEditor target={target} onTarget={onTarget} />
      {isCopying ? <CopyAs target={target} /> : null}
      <Tokens answer={answer} label={`Answer of ${name}`} />
      <Ending answer={answer} />
      <footer>
        <Speed answer={answer} />
        {answer.isRunning ? <StopButton onStop={() => answer.stop()} /> : null}
        <CopyAnswer answer={answer} />
      </footer>
    </section>
  );
}

/** There while there is something to copy. */
function CopyAnswer({ answer }: { readonly answer: Answer }) {
  const text = useCallback(() => answer.text, [answer]);
  return answer.blocks.value.length === 0 ? null : <CopyButton text={text} label="Copy the answer" isCompact />;
}

/** It leaves when the answer ends. If it has the focus then, Run gets it. */
function StopButton({ onStop }: { readonly onStop: () => void }) {
  const button = useRef<HTMLButtonElement>(null);
  useLayoutEffect(() => {
    const own = button.current;
    return () => {
      if (own === document.activeElement) passFocusOn(document.querySelector(".run-button button"));
    };
  }, []);
  return (
    <button type="button" class="stop" ref={button} onClick={onStop}>
      <Icon name="stop" />
      Stop
    </button>
  );
}

/** Says of an adapter that an address or a reader named what it is for instead of writing. */
function OtherTask({ adapter }: { readonly adapter: AdapterOfTask }) {
  const link = tryLinkOf(adapter);
  return (
    <p class="notice">
      {adapter.name} was not trained to write, but for {adapter.tasks[0]}.{" "}
      {link ? <a href={link.href}>Open it under Tasks</a> : null}
    </p>
  );
}

function ModelPicker({ index, name, onPick }: { index: number; name: string; onPick: (name: string) => void }) {
  const { names = [], adapters = [] } = models.value ?? {};
  const isBase = (each: string): boolean => names.includes(each) && !adapters.includes(each);
  return (
    <>
      <NamePicker
        id={`models-${index}`}
        label={`Model of column ${index + 1}`}
        name={name}
        names={names}
        noteOf={(each) => (isBase(each) ? "the base, without an adapter" : undefined)}
        isKnown={(each) => models.value?.others.has(each) === true}
        onPick={onPick}
        onRefuse={loadModels}
      />
      {isBase(name) ? <span class="tag">base</span> : null}
    </>
  );
}

function Ending({ answer }: { readonly answer: Answer }) {
  const state = answer.state.value;
  if (state.kind === "failed") {
    return (
      <div class="fault" role="alert">
        {state.message}
        {state.faults.length > 0 ? (
          <ul>
            {state.faults.map((fault) => (
              <li key={fault}>{fault}</li>
            ))}
          </ul>
        ) : null}
      </div>
    );
  }
  return null;
}

const endings: Readonly<Record<string, string>> = {
  stop: "finished",
  length: "stopped at max tokens",
  tool_calls: "finished with a call",
};

function Speed({ answer }: { readonly answer: Answer }) {
  const { firstTokenMs, tokens, tokensPerSecond } = answer.pace.value;
  const state = answer.state.value;
  const word =
    state.kind === "done"
      ? (endings[state.reason] ?? state.reason)
      : { idle: "", waiting: "waiting", streaming: "", stopped: "stopped", failed: "" }[state.kind];
  return (
    <div class="speed">
      <dl>
        <Figure name="First token" value={firstTokenMs === null ? "–" : `${Math.round(firstTokenMs)} ms`} />
        <Figure name="Tokens/s" value={tokensPerSecond === null ? "–" : formatNumber(tokensPerSecond)} />
        <Figure name="Tokens" value={tokens === 0 ? "–" : String(tokens)} />
      </dl>
      <span class="ending">{word}</span>
    </div>
  );
}

function Figure({ name, value }: { readonly name: string; readonly value: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{value}</dd>
    </div>
  );
}
