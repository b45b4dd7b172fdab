/** The prompt and how it is sampled, with examples to begin with. */
import { CheckField } from "../parts/check-field.js";
import { Chips } from "../parts/chips.js";
import { CopyButton } from "../parts/copy-button.js";
import { Icon } from "../parts/icon.js";
import { NumberField } from "../parts/number-field.js";
import { TextArea } from "../parts/text-area.js";
import { basesOf, models, offeredPresets } from "./models.js";
import type { Preset } from "./opening.js";
import { change, hrefWith, settings } from "./settings.js";
import { isShaded, Legend } from "./shading.js";

export interface ComposerProps {
  readonly isRunning: boolean;
  readonly onRun: () => void;
  readonly onStop: () => void;
  readonly onPreset: (preset: Preset) => void;
}

export function Composer({ isRunning, onRun, onStop, onPreset }: ComposerProps) {
  const { isChat, prompt, system } = settings.value;
  return (
    <form
      class="composer card"
      onSubmit={(event) => {
        event.preventDefault();
        onRun();
      }}
    >
      <Presets onPreset={onPreset} />
      <div class="segments" role="group" aria-label="Kind of prompt">
        <button type="button" aria-pressed={!isChat} onClick={() => change({ isChat: false })}>
          Text
        </button>
        <button type="button" aria-pressed={isChat} onClick={() => change({ isChat: true })}>
          Chat
        </button>
      </div>
      {isChat ? (
        <TextArea label="System message" rows={1} value={system} onInput={(text) => change({ system: text })} />
      ) : null}
      <TextArea
        label={isChat ? "Message" : "Prompt"}
        kind="prompt"
        rows={Math.min(12, Math.max(3, prompt.split("\n").length))}
        value={prompt}
        onInput={(text) => change({ prompt: text })}
        onSend={onRun}
      />
      <div class="controls">
        <Sampling />
        <CheckField
          label="Shade by probability"
          isChecked={isShaded.value}
          onChange={(isChecked) => change({ isShaded: isChecked })}
        />
        <span class="grow" />
        <CopyButton text={hrefWith} label="Copy link" icon="link" />
        {isRunning ? (
          <button type="button" class="stop" onClick={onStop}>
            <Icon name="stop" />
            Stop all
          </button>
        ) : null}
        <span class="run-button">
          <button type="submit" class="primary" aria-keyshortcuts="Control+Enter">
            <Icon name="play" />
            Run
          </button>
          <kbd>Ctrl+Enter</kbd>
        </span>
      </div>
      {isShaded.value ? <Legend /> : null}
    </form>
  );
}

function Presets({ onPreset }: Pick<ComposerProps, "onPreset">) {
  return (
    <Chips
      chips={offeredPresets(basesOf(settings.value.targets)).map((preset) => ({
        key: `${preset.adapter} ${preset.text}`,
        help: preset.text,
        content: (
          <>
            <b>{preset.adapter}</b>
            {preset.title ?? preset.text}
          </>
        ),
        choose: () => onPreset(preset),
      }))}
    />
  );
}

function Sampling() {
  const { maxTokens, temperature, topP, seed } = settings.value;
  return (
    <>
      <NumberField
        label="Max tokens"
        value={maxTokens}
        min={1}
        max={models.value?.maxContext ?? 100_000}
        step={1}
        onChange={(value) => change({ maxTokens: value ?? 1 })}
      />
      <NumberField
        label="Temperature"
        value={temperature}
        min={0}
        max={2}
        step={0.1}
        onChange={(value) => change({ temperature: value ?? 0 })}
      />
      <NumberField
        label="Top p"
        value={topP}
        min={0}
        max={1}
        step={0.05}
        onChange={(value) => change({ topP: value ?? 1 })}
      />
      <span class="seed">
        <NumberField
          label="Seed"
          value={seed}
          min={0}
          max={Number.MAX_SAFE_INTEGER}
          step={1}
          placeholder="random"
          onChange={(value) => change({ seed: value })}
        />
        <button
          type="button"
          class="icon-button"
          aria-label="Another seed"
          title="Another seed"
          onClick={() => change({ seed: Math.floor(Math.random() * 100_000) })}
        >
          <Icon name="dice" />
        </button>
      </span>
    </>
  );
}
