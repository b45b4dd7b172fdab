/**
 * Two seeded data sets for small adapters: `dates` (a dated sentence to JSON) and `commands` (a command in words to a JSON
 * call). Writes train.jsonl, valid.jsonl and test.jsonl with no sentence in two of them; the same seed writes the same bytes.
 *
 *     node scripts/generate-data.mjs dates data/dates [--seed 1] [--train 6000] [--valid 200] [--test 500]
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
    return [texts[below(2)], "set_light", { room, level }];
  },
  (below) => {
    const [room, degrees] = [rooms[below(rooms.length)], 8 + below(20)];
    const texts = [`warm the ${room} to ${degrees} degrees`, `let it be ${degrees} degrees in the ${room}`];
    return [texts[below(2)], "set_heat", { room, degrees }];
  },
  (below) => {
    const [who, hour, minute] = [persons[below(persons.length)], 1 + below(12), 5 * below(12)];
    const time = `${hour}:${String(minute).padStart(2, "0")}`;
    const texts = [`call ${who} at ${time}`, `at ${time} call ${who}`];
    return [texts[below(2)], "call", { who, time }];
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
  return { prompt: `${prompt}\n`, completion: JSON.stringify({ name, arguments: args }) };
}

const makers = { dates: date, commands: command };

/** Rows in lists of the sizes, each prompt in one of them only. Throws where the maker has not so many. */
export function generate(task, seed, sizes) {
  const below = randomOf(seed);
  const seen = new Set();
  const rows = [];
  const wanted = sizes.reduce((a, b) => a + b, 0);
  for (let tries = 0; rows.length < wanted; tries++) {
    if (tries > 100 * wanted) throw new RangeError(`${task} has no ${wanted} different rows`);
    const row = makers[task](below);
    if (seen.has(row.prompt)) continue;
    seen.add(row.prompt);
    rows.push(row);
  }
  let from = 0;
  return sizes.map((size) => {
    from += size;
    return rows.slice(from - size, from);
  });
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
      `usage: node scripts/generate-data.mjs ${Object.keys(makers).join("|")} <folder> [--seed n] [--train n]`,
    );
    process.exit(2);
  }
  const names = ["train", "valid", "test"];
  const lists = generate(
    task,
    Number(values.seed),
    names.map((name) => Number(values[name])),
  );
  mkdirSync(folder, { recursive: true });
  for (const [i, name] of names.entries()) {
    writeFileSync(join(folder, `${name}.jsonl`), lists[i].map((row) => `${JSON.stringify(row)}\n`).join(""));
  }
}

if (process.argv[1]?.endsWith("generate-data.mjs")) main();
