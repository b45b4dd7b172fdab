/**
 * Generated rows that teach the embedded base what its books do not: to answer in turns and stop, to copy digits and words, to
 * write dates and JSON. Deterministic by seed. No sentence here is one of `generate-data.mjs`.
 *
 *     import { baseRows } from "./base-rows.mjs";   // { messages } or { prompt, completion }, as training data has them
 */
import { randomOf } from "./generate-data.mjs";

const names = [
  ...["Anna", "Arthur", "Clara", "Edmund", "Ellen", "Frank", "George", "Grace", "Harriet", "Henry", "Hugh", "Ida"],
  ...["Jack", "Julia", "Kate", "Laura", "Lucy", "Martin", "Nora", "Oliver", "Paul", "Rose", "Ruth", "Thomas", "Walter"],
];
const towns = ["Bath", "York", "Dover", "Oxford", "Leeds", "Paris", "Bristol", "Exeter", "Cork", "Lincoln", "Rome"];
const trades = ["sailor", "tailor", "teacher", "miller", "clerk", "farmer", "painter", "nurse", "smith", "cook"];
const nouns = [
  ...["apple", "basket", "bell", "boat", "bottle", "box", "bridge", "candle", "chair", "clock", "coat", "cup", "dog"],
  ...["door", "fire", "flower", "garden", "hat", "horse", "house", "key", "lamp", "letter", "moon", "pen", "plate"],
  ...["ring", "river", "road", "rose", "ship", "stone", "table", "tree", "wall", "watch", "window", "wood"],
];
const colours = ["red", "blue", "green", "white", "black", "brown", "grey", "yellow"];
const kinds = ["old", "new", "small", "large", "heavy", "pretty", "broken", "clean"];
const months = [
  ...["January", "February", "March", "April", "May", "June"],
  ...["July", "August", "September", "October", "November", "December"],
];
const days = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

const of = (below, list) => list[below(list.length)];
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
const digits = (below, count) => Array.from({ length: count }, (_, i) => (i === 0 ? 1 + below(9) : below(10))).join("");
const two = (n) => String(n).padStart(2, "0");

function ordinal(n) {
  if (n % 100 >= 11 && n % 100 <= 13) return `${n}th`;
  return `${n}${["th", "st", "nd", "rd"][n % 10] ?? "th"}`;
}

/** Two different items. */
function different(below, list) {
  const first = below(list.length);
  return [list[first], list[(first + 1 + below(list.length - 1)) % list.length]];
}

function several(below, list, least, most) {
  return Array.from({ length: least + below(most - least + 1) }, () => of(below, list));
}

function anyDate(below) {
  const month = below(12);
  return { day: 1 + below(days[month]), month: month + 1, name: months[month], year: 1600 + below(450) };
}

/** Each returns a question and its only right answer. */
const copies = [
  (below) => {
    const number = digits(below, 1 + below(8));
    return [of(below, [`Say ${number}`, `Repeat the number ${number}`, `Copy: ${number}`, `Write ${number}`]), number];
  },
  (below) => {
    const list = Array.from({ length: 2 + below(6) }, () => digits(below, 1 + below(4)));
    return [`Repeat: ${list.join(" ")}`, list.join(" ")];
  },
  (below) => {
    const list = several(below, nouns, 1, 6).join(" ");
    return [of(below, [`Repeat: ${list}`, `Copy: ${list}`, `Say ${list}`]), list];
  },
  (below) => {
    const [letters, count] = ["abcdefghijklmnopqrstuvwxyz", 2 + below(7)];
    const word = Array.from({ length: count }, () => letters[below(26)]).join("");
    return [`Copy: ${word}`, word];
  },
  (below) => {
    const list = several(below, nouns, 2, 5);
    const end = below(2);
    return [`Which word is the ${["first", "last"][end]}: ${list.join(", ")}?`, end === 0 ? list[0] : list.at(-1)];
  },
  (below) => {
    const [from, count] = [below(90), 3 + below(6)];
    const list = Array.from({ length: count }, (_, i) => from + i);
    return [`Count from ${from} to ${from + count - 1}`, list.join(" ")];
  },
];

const lookUps = [
  (below) => {
    const [name, number, town] = [of(below, names), digits(below, 1 + below(4)), of(below, towns)];
    const told = `${name} lives at number ${number} in ${town}.`;
    return [
      [`${told} Which number?`, number],
      [`${told} Which town?`, town],
      [`${told} Who lives there?`, name],
    ][below(3)];
  },
  (below) => {
    const [thing, other] = different(below, nouns);
    const [first, second] = different(below, names);
    const [a, b] = [digits(below, 1 + below(3)), digits(below, 1 + below(3))];
    return [`${first} has a ${thing} of ${a} pounds and ${second} a ${other} of ${b}. What costs the ${thing}?`, a];
  },
  (below) => {
    const [kind, colour, thing] = [of(below, kinds), of(below, colours), of(below, nouns)];
    const told = `There is ${kind === "old" ? "an" : "a"} ${kind} ${colour} ${thing} here.`;
    return [
      [`${told} What is it?`, `A ${thing}.`],
      [`${told} Which colour?`, capital(colour)],
    ][below(2)];
  },
  (below) => {
    const [key, value] = [of(below, nouns), digits(below, 1 + below(4))];
    const [other, rest] = [`${of(below, kinds)}_${of(below, nouns)}`, of(below, towns)];
    return [`${JSON.stringify({ [other]: rest, [key]: Number(value) })} What is ${key}?`, value];
  },
];

const dates = [
  (below) => {
    const { day, month, name, year } = anyDate(below);
    const text = of(below, [
      `${day} ${name} ${year}`,
      `${name} ${day}, ${year}`,
      `the ${ordinal(day)} of ${name} ${year}`,
    ]);
    return [`Write as numbers: ${text}`, `${year}-${two(month)}-${two(day)}`];
  },
  (below) => {
    const { day, month, name, year } = anyDate(below);
    return [`Write in words: ${year}-${two(month)}-${two(day)}`, `${day} ${name} ${year}`];
  },
  (below) => {
    const month = below(12);
    return of(below, [
      [`Which number has ${months[month]}?`, `${month + 1}`],
      [`Which is month ${month + 1}?`, months[month]],
      [`What comes after ${months[month]}?`, months[(month + 1) % 12]],
    ]);
  },
  (below) => {
    const { day, month, name, year } = anyDate(below);
    const who = of(below, names);
    const told = `${who} wrote from ${of(below, towns)} on the ${ordinal(day)} of ${name}, ${year}.`;
    return of(below, [
      [`${told} Which year?`, `${year}`],
      [`${told} Which day?`, `${day}`],
      [`${told} Which month?`, `${month}`],
      [`${told} When?`, JSON.stringify({ year, month, day })],
    ]);
  },
  (below) => {
    const [hour, minute] = [1 + below(12), below(60)];
    return [`Write as JSON: ${hour}:${two(minute)}`, JSON.stringify({ hour, minute })];
  },
];

const records = [
  (below) => {
    const [name, age, trade] = [of(below, names), 8 + below(80), of(below, trades)];
    const told = of(below, [
      `${name} is a ${trade} of ${age} years`,
      `${name}, ${age} years old, is a ${trade}`,
      `The ${trade} ${name} is ${age}`,
    ]);
    return [`Write as JSON: ${told}.`, JSON.stringify({ name, age, trade })];
  },
  (below) => {
    const [thing, colour, price] = [of(below, nouns), of(below, colours), 1 + below(999)];
    return [`Write as JSON: a ${colour} ${thing} for ${price} pounds.`, JSON.stringify({ thing, colour, price })];
  },
  (below) => {
    const list = several(below, nouns, 1, 5);
    return [`Write as a list: ${list.join(" and ")}.`, JSON.stringify(list)];
  },
  (below) => {
    const list = Array.from({ length: 1 + below(5) }, () => Number(digits(below, 1 + below(4))));
    return [`Write as a list: ${list.join(" and ")}.`, JSON.stringify(list)];
  },
  (below) => {
    const [from, to, hour] = [of(below, towns), of(below, towns), 1 + below(12)];
    const call = { name: "travel", arguments: { from, to, hour } };
    return [`Write as a call: travel from ${from} to ${to} at ${hour}.`, JSON.stringify(call)];
  },
  (below) => {
    const [name, thing, count] = [of(below, names), of(below, nouns), 2 + below(98)];
    const call = { name: "give", arguments: { to: name, thing, count } };
    return [`Write as a call: give ${name} ${count} of the ${thing}s.`, JSON.stringify(call)];
  },
];

const manners = [
  (below) => [of(below, ["Good morning.", "Good day.", "Hello.", "Good evening, sir."]), "Good day to you."],
  (below) => {
    const name = of(below, names);
    return [`My name is ${name}.`, `I am glad to meet you, ${name}.`];
  },
  (below) => [of(below, ["Thank you.", "I thank you.", "Many thanks."]), "You are very welcome."],
  (below) => [of(below, ["Good bye.", "Farewell.", "I must go now."]), "Farewell, and come again."],
  (below) => {
    const [one, other] = [of(below, nouns), of(below, kinds)];
    return [`Tell me of a ${other} ${one}.`, `There was once a ${other} ${one}, and it was never seen again.`];
  },
];

const systems = ["You are a polite clerk.", "Answer shortly.", "You answer in few words.", "You are a careful reader."];

function question(below) {
  const share = below(100);
  const list = share < 35 ? copies : share < 50 ? lookUps : share < 70 ? dates : share < 93 ? records : manners;
  return of(below, list)(below);
}

/** A chat of one to three turns, every second one under a system message. */
function chat(below) {
  const messages = below(2) === 0 ? [] : [{ role: "system", content: of(below, systems) }];
  for (let turns = 1 + Math.floor(below(6) / 3) + Math.floor(below(6) / 5); turns > 0; turns--) {
    const [content, answer] = question(below);
    messages.push({ role: "user", content }, { role: "assistant", content: answer });
  }
  return { messages };
}

/** Endless rows: two chats for every three prompts with a completion. */
export function* baseRows(seed) {
  const below = randomOf(seed);
  for (;;) {
    if (below(5) < 2) yield chat(below);
    else {
      const [prompt, completion] = question(below);
      yield { prompt: `${prompt}\n`, completion };
    }
  }
}
