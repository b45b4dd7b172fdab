/** Reads what `lorikeet train` and authors write about a run, `lorikeet.json`, as a card has it. Untrusted: anything may be missing. */
import { fieldOf } from "../client/errors.js";

/** A figure of the base and of the result. */
export interface Score {
  /** As the record calls it. */
  readonly name: string;
  readonly before: number | null;
  readonly after: number | null;
}

/** What was answered to a held-out row. */
export interface AnsweredRow {
  readonly row: string;
  readonly expected: string;
  readonly before: string;
  readonly after: string;
}

/** Figures over rows that the run never saw. */
export interface TestScores {
  readonly rows: number | null;
  /** What a row is, in the plural. */
  readonly unit: string;
  readonly scores: readonly Score[];
}

/** A row that the run learned from. */
export interface SampleRow {
  readonly input: string;
  /** Whether the input is a picture, as a `data:` URL. */
  readonly isPicture: boolean;
  readonly output: string;
}

/** Where the data comes from. */
export interface Origin {
  readonly data: string;
  readonly license: string | null;
  /** A path in the author's repository. */
  readonly recipe: string | null;
  readonly commands: readonly string[];
  readonly rows: readonly SampleRow[];
  /** Why there are no rows to show. */
  readonly withheld: string | null;
}

/** A file of the job's owner. */
export interface JobFile {
  readonly name: string;
  readonly rows: number | null;
  readonly sha256: string | null;
}

/** The fine-tuning job that a run was, on whichever server. */
export interface RunJob {
  readonly id: string;
  /** In ISO's form. */
  readonly createdAt: string | null;
  readonly files: readonly JobFile[];
  /** Of a checkpoint on the way. */
  readonly checkpoint: number | null;
}

/** Which step's weights are kept. */
export interface KeptStep {
  readonly step: number;
  readonly steps: number;
  /** The one with the best validation; null without validation. */
  readonly best: number | null;
}

export interface TrainingRecord {
  readonly job: RunJob | null;
  readonly kept: KeptStep | null;
  readonly base: string | null;
  /** Names and values of what was chosen for the run. */
  readonly settings: readonly (readonly [name: string, value: string])[];
  /** In ISO's form. */
  readonly finishedAt: string | null;
  readonly samples: readonly AnsweredRow[];
  /** Over the rows that the run held out. */
  readonly scores: readonly Score[];
  readonly test: TestScores | null;
  readonly origin: Origin | null;
  /** What trains it again. */
  readonly command: string | null;
  readonly trainRows: number | null;
  readonly heldOutRows: number | null;
  readonly steps: number | null;
  readonly seconds: number | null;
}

/** null where there is nothing to show. */
export function readTraining(training: unknown): TrainingRecord | null {
  const [results, data] = [fieldOf(training, "results"), fieldOf(training, "data")];
  // `--token-accuracy`: a run that measures its rows has no such option, or has it off.
  const countsTokens = fieldOf(fieldOf(training, "settings"), "tokenAccuracy") === true;
  const scores = [
    { name: "loss", before: numberOf(results, "base_validation_loss"), after: numberOf(results, "validation_loss") },
    ...metricsOf(fieldOf(results, "base_validation_metrics"), fieldOf(results, "validation_metrics")),
  ]
    .filter(({ after }) => after !== null)
    .map((score) => (score.name === "accuracy" && countsTokens ? { ...score, name: "token_accuracy" } : score));
  const steps = numberOf(results, "steps");
  const keptStep = numberOf(results, "kept_step");
  const record = {
    job: jobOf(training),
    kept: keptStep === null || steps === null ? null : { step: keptStep, steps, best: numberOf(results, "best_step") },
    base: textOf(fieldOf(training, "base"), "name"),
    settings: settingsOf(training),
    finishedAt: textOf(results, "finished_at"),
    scores,
    samples: samplesOf(fieldOf(results, "samples")),
    test: testOf(fieldOf(training, "test")),
    origin: originOf(fieldOf(training, "origin")),
    command: textOf(training, "command"),
    trainRows: numberOf(data, "train_rows"),
    heldOutRows: numberOf(data, "validation_rows"),
    steps,
    seconds: numberOf(results, "seconds"),
  };
  const isEmpty =
    scores.length === 0 &&
    record.steps === null &&
    record.test === null &&
    record.origin === null &&
    record.job === null;
  return isEmpty ? null : record;
}

function jobOf(training: unknown): RunJob | null {
  const job = fieldOf(training, "job");
  const id = textOf(job, "id");
  if (id === null) return null;
  const digests = listOf(fieldOf(fieldOf(training, "data"), "files"));
  const files = listOf(fieldOf(job, "files")).flatMap((file): JobFile[] => {
    const name = textOf(file, "name");
    const same = digests.find((each) => fieldOf(each, "split") === fieldOf(file, "split"));
    return name === null ? [] : [{ name, rows: numberOf(file, "rows"), sha256: textOf(same, "sha256") }];
  });
  return { id, createdAt: textOf(job, "created_at"), files, checkpoint: numberOf(job, "checkpoint") };
}

function settingsOf(training: unknown): (readonly [string, string])[] {
  const [settings, job] = [fieldOf(training, "settings"), fieldOf(training, "job")];
  const [rows, parts] = [numberOf(settings, "batchSize"), numberOf(settings, "gradientAccumulationSteps")];
  const factor = numberOf(fieldOf(job, "hyperparameters"), "learning_rate_multiplier");
  const named = [
    ["epochs", numberOf(settings, "maxSteps") === null ? numberOf(settings, "epochs") : null],
    ["rows of a step", rows === null ? null : rows * (parts ?? 1)],
    [
      factor === null || factor === 1 ? "learning rate" : `learning rate (times ${factor})`,
      numberOf(settings, "learningRate"),
    ],
    ["rank", numberOf(settings, "loraR")],
    ["alpha", numberOf(settings, "loraAlpha")],
    ["seed", numberOf(settings, "seed")],
  ] as const;
  return named.flatMap(([name, value]) => (value === null ? [] : [[name, formatSetting(value)] as const]));
}

const formatSetting = (value: number): string => String(Number.isInteger(value) ? value : Number(value.toPrecision(4)));

const mostListed = 8;
const mostCharacters = 4000;

const listOf = (value: unknown): unknown[] => (Array.isArray(value) ? value.slice(0, mostListed) : []);

function samplesOf(samples: unknown): AnsweredRow[] {
  const text = (value: unknown, name: string): string => String(fieldOf(value, name) ?? "");
  return listOf(samples).map((each) => ({
    ...{ row: text(each, "prompt"), expected: text(each, "expected") },
    ...{ before: text(each, "before"), after: text(each, "after") },
  }));
}

function testOf(test: unknown): TestScores | null {
  const scores = metricsOf(fieldOf(test, "base_metrics"), fieldOf(test, "metrics")).filter(
    ({ after }) => after !== null,
  );
  if (scores.length === 0) return null;
  return { rows: numberOf(test, "rows"), unit: textOf(test, "unit") ?? "rows", scores };
}

function originOf(origin: unknown): Origin | null {
  const data = textOf(origin, "data");
  if (data === null) return null;
  return {
    data,
    license: textOf(origin, "license"),
    recipe: textOf(origin, "recipe"),
    commands: listOf(fieldOf(origin, "commands")).filter((each) => typeof each === "string"),
    rows: listOf(fieldOf(origin, "rows")).flatMap((row) => {
      const [input, output] = [textOf(row, "input"), textOf(row, "output")];
      return input === null || output === null ? [] : [{ input, isPicture: isPicture(input), output }];
    }),
    withheld: textOf(origin, "withheld"),
  };
}

/** Whether it is a picture that a browser can read, in base64 of whole groups. */
function isPicture(text: string): boolean {
  const [, content] = /^data:image\/(?:png|jpeg|webp);base64,([A-Za-z0-9+/]+={0,2})$/.exec(text) ?? [];
  return content !== undefined && content.length % 4 === 0;
}

function metricsOf(before: unknown, after: unknown): Score[] {
  if (typeof after !== "object" || after === null) return [];
  return Object.keys(after)
    .slice(0, mostListed)
    .map((name) => ({ name, before: numberOf(before, name), after: numberOf(after, name) }));
}

function numberOf(value: unknown, name: string): number | null {
  const found = fieldOf(value, name);
  return typeof found === "number" && Number.isFinite(found) ? found : null;
}

/** null for no text, or one that is longer than anybody reads. */
function textOf(value: unknown, name: string): string | null {
  const found = fieldOf(value, name);
  return typeof found === "string" && found !== "" && found.length <= mostCharacters ? found : null;
}
