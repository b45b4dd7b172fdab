/**
 * Three seeded data sets for small adapters: `dates` (a dated sentence to JSON), `commands` (a command in words to a JSON
 * call) and `butler` (a command in words to a call of one of the functions that a chat offers). Writes train.jsonl, valid.jsonl and test.jsonl. No sentence repeats, and no answer is in two files, so a model must read
 * the sentence to be right. Sentence forms, names, rooms and things are closed lists; days, years, times and numbers are drawn.
 * Deterministic by seed, byte for byte.
 *
 *     node tools/scripts/generate-data.mjs dates data/dates [--seed 1] [--train 6000] [--valid 200] [--test 500]
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";

/** xorshift32: whole numbers below a bound, the same on every machine. */
export function randomOf(seed) {
  let state = (Math.imul(seed, 0x9e3779b1) ^ 0x811c9dc5) >>> 0 || 1;
  return (bound) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return Math.floor((state / 2 ** 32) * bound);
  };
}

const months = [
  ...["January", "February", "March", "April", "May", "June"],
  ...["July", "August", "September", "October", "November", "December"],
];
const days = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

const ordinal = (day) => {
  const suffix = day % 100 >= 11 && day % 100 <= 13 ? "th" : (["th", "st", "nd", "rd"][day % 10] ?? "th");
  return `${day}${suffix}`;
};

const events = [
  ...["The letter was written", "The ship left the harbour", "My uncle was born", "The house was sold"],
  ...["We met at the inn", "The trial began", "She came to London", "The bridge was opened", "He was married"],
  ...["The fire broke out", "The doctor arrived", "The school was closed"],
];
const dateForms = [
  (event, day, month, year) => `${event} on the ${ordinal(day)} of ${month}, ${year}.`,
  (event, day, month, year) => `${event} on ${month} ${day}, ${year}.`,
  (event, day, month, year) => `On ${day} ${month} ${year} ${event.charAt(0).toLowerCase()}${event.slice(1)}.`,
  (event, day, month, year) => `${event} in ${month} of ${year}, on the ${ordinal(day)}.`,
];

function date(below) {
  const month = below(12);
  const day = 1 + below(days[month]);
  const year = 1700 + below(250);
  const prompt = dateForms[below(dateForms.length)](events[below(events.length)], day, months[month], year);
  return { prompt: `${prompt}\n`, completion: JSON.stringify({ day, month: month + 1, year }) };
}

const rooms = ["kitchen", "library", "hall", "parlour", "study", "garden", "stable", "nursery", "cellar", "attic"];
const persons = ["Mary", "John", "the doctor", "the captain", "my aunt", "the baker", "Mr. Brown", "Lady Jane"];
const things = ["candles", "apples", "letters", "horses", "chairs", "books", "bottles", "eggs"];

const commands = [
  (below) => {
    const [room, level] = [rooms[below(rooms.length)], 5 * (1 + below(20))];
    const texts = [
      `set the lamp in the ${room} to ${level} per cent`,
      `make the light of the ${room} ${level} per cent`,
    ];
    return [texts[below(2)], "light", { room, level }];
  },
  (below) => {
    const [room, degrees] = [rooms[below(rooms.length)], 8 + below(20)];
    const texts = [`warm the ${room} to ${degrees} degrees`, `let it be ${degrees} degrees in the ${room}`];
    return [texts[below(2)], "heat", { room, degrees }];
  },
  (below) => {
    const [who, hour, minute] = [persons[below(persons.length)], 1 + below(12), 5 * below(12)];
    const time = `${hour}:${String(minute).padStart(2, "0")}`;
    const texts = [`ring for ${who} at ${time}`, `at ${time} ring for ${who}`];
    return [texts[below(2)], "ring", { who, time }];
  },
  (below) => {
    const [count, item] = [2 + below(98), things[below(things.length)]];
    const texts = [`order ${count} ${item}`, `send for ${count} ${item}`, `bring me ${count} ${item}`];
    return [texts[below(3)], "order", { item, count }];
  },
  (below) => {
    const room = rooms[below(rooms.length)];
    const what = ["door", "window"][below(2)];
    const action = ["open", "close", "lock"][below(3)];
    return [`${action} the ${what} of the ${room}`, action, { room, what }];
  },
];
const manners = ["", "please ", "will you ", "be so good as to ", "now ", "Sir, "];
const ends = [".", "", "!", ", if you can.", ", and be quick."];

function command(below) {
  const [text, name, args] = commands[below(commands.length)](below);
  const prompt = manners[below(manners.length)] + text + ends[below(ends.length)];
  return { prompt: `${prompt}\n`, completion: JSON.stringify({ call: name, ...args }) };
}

/** The functions that the commands call, with their parameters. */
const functions = {
  light: { room: "string", level: "integer" },
  heat: { room: "string", degrees: "integer" },
  ring: { who: "string", time: "string" },
  order: { item: "string", count: "integer" },
  open: { room: "string", what: "string" },
  close: { room: "string", what: "string" },
  lock: { room: "string", what: "string" },
};
const kinds = Object.keys(functions);

function toolOf(name) {
  const properties = Object.fromEntries(Object.entries(functions[name]).map(([key, type]) => [key, { type }]));
  const parameters = { type: "object", properties, required: Object.keys(properties) };
  return { type: "function", function: { name, parameters } };
}

/** A chat that offers two or three functions, or, in one row of eight, none. */
function butler(below) {
  const [text, kind, args] = commands[below(commands.length)](below);
  const prompt = manners[below(manners.length)] + text + ends[below(ends.length)];
  const others = kinds.filter((each) => each !== kind);
  for (let i = others.length - 1; i > 0; i--) {
    const j = below(i + 1);
    [others[i], others[j]] = [others[j], others[i]];
  }
  const offered = others.slice(0, 1 + below(2)).map(toolOf);
  // As in `commands`, so that the test rows of one are not trained on by the other.
  const answer = JSON.stringify({ call: kind, ...args });
  const user = { role: "user", content: prompt };
  if (below(8) === 0) {
    const refusal = { role: "assistant", content: "I have no means to do that." };
    return { prompt, answer, row: { messages: [user, refusal] } };
  }
  const tool = toolOf(kind);
  offered.splice(below(offered.length + 1), 0, tool);
  const call = {
    id: "call_1",
    type: "function",
    function: { name: tool.function.name, arguments: JSON.stringify(args) },
  };
  return {
    prompt,
    answer,
    row: { messages: [user, { role: "assistant", content: null, tool_calls: [call] }], tools: offered },
  };
}

/** The rest of a maker's row is its own; a row of text is one of a prompt and a completion. */
const ofText = (maker) => (below) => {
  const row = maker(below);
  return { prompt: row.prompt, answer: row.completion, row };
};
const makers = { dates: ofText(date), commands: ofText(command), butler };

/** The split of an answer by its hash: one tenth for testing, one tenth for validation. */
function shareOf(answer, seed) {
  let hash = 0x811c9dc5 ^ seed;
  for (let i = 0; i < answer.length; i++) hash = Math.imul(hash ^ answer.charCodeAt(i), 0x01000193);
  hash ^= hash >>> 15;
  return (Math.imul(hash, 0x2c1b3c6d) >>> 0) % 10;
}

/** Rows for training, validation and test: no prompt repeats, and no answer is in two lists. Throws if there are too few. */
export function generate(task, seed, { train, valid, test }) {
  const below = randomOf(seed);
  const seen = new Set();
  const lists = { train: [], valid: [], test: [] };
  const sizes = { train, valid, test };
  const wanted = train + valid + test;
  for (let tries = 0, rows = 0; rows < wanted; tries++) {
    if (tries > 100 * wanted) throw new RangeError(`${task} has no ${wanted} different rows`);
    const { prompt, answer, row } = makers[task](below);
    const name = ["test", "valid"][shareOf(answer, seed)] ?? "train";
    if (seen.has(prompt) || lists[name].length === sizes[name]) continue;
    seen.add(prompt);
    lists[name].push(row);
    rows++;
  }
  return lists;
}

/** The lists as files by name. */
export function writeLists(lists) {
  const write = (rows) => rows.map((row) => `${JSON.stringify(row)}\n`).join("");
  return Object.fromEntries(Object.entries(lists).map(([name, rows]) => [`${name}.jsonl`, write(rows)]));
}

function main() {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: {
      seed: { type: "string", default: "1" },
      train: { type: "string", default: "6000" },
      valid: { type: "string", default: "200" },
      test: { type: "string", default: "500" },
    },
  });
  const [task, folder] = positionals;
  if (!Object.hasOwn(makers, task ?? "") || folder === undefined) {
    console.error(
      `usage: node tools/scripts/generate-data.mjs ${Object.keys(makers).join("|")} <folder> [--seed n] [--train n]`,
    );
    process.exit(2);
  }
  const { train, valid, test, seed } = values;
  const lists = generate(task, Number(seed), { train: Number(train), valid: Number(valid), test: Number(test) });
  mkdirSync(folder, { recursive: true });
  for (const [name, content] of Object.entries(writeLists(lists))) writeFileSync(join(folder, name), content);
}

if (process.argv[1]?.endsWith("generate-data.mjs")) main();
