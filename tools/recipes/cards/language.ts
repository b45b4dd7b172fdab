/** What is known of the adapters of bookworm-7m. */
import type { CardExample } from "../../../src/train/card/facts.js";
import type { Shipped } from "./card.js";

const generated = {
  license: "Apache-2.0, like the rest of the repository",
  of: (rows: string, script = "tools/scripts/generate-data.mjs") => `${rows} ${script} writes them from seed 1.`,
};

const reviews = {
  data: 'The sentence polarity dataset v1.0: film reviews by Bo Pang and Lillian Lee ("Seeing stars", ACL 2005).',
  license: "CC BY 4.0",
  withheld: "Its rows are not shown: the reviews are not part of this repository.",
};

const steps = (name: string, source = ""): string[] => [
  `node tools/recipes/prepare.mjs ${name}${source}`,
  `npx lorikeet train --config tools/recipes/${name}.yaml`,
];

const judged = (name: string, data = name, more = ""): string[] => [
  `npx lorikeet eval --model models/bookworm-7m --dtype fp32 --data tools/recipes/data/${data}${more}`,
  `npx lorikeet eval --model models/bookworm-7m --dtype fp32 --data tools/recipes/data/${data}${more} --adapter adapters/${name}`,
];

const placed = (name: string, data = name) => ({
  ...{ model: "models/bookworm-7m", data: `tools/recipes/data/${data}`, outputDir: `adapters/${name}`, initFrom: null },
});

const greedy = (title: string, text: string): CardExample => ({ title, text, temperature: 0 });
const kind = "a warm and funny film with a wonderful cast .";
const unkind = "a dull and lifeless mess that wastes its cast .";
const command = "<|im_start|>user\nPlease warm the study to 18 degrees.<|im_end|>\n<|im_start|>assistant\n";

export const languageAdapters: Readonly<Record<string, Shipped>> = {
  plays: {
    ...placed("plays"),
    description: "Makes bookworm-7m write scenes in the manner of Shakespeare.",
    examples: [
      { title: "A scene at night", text: "ROMEO:" },
      { title: "A queen speaks", text: "QUEEN MARGARET:" },
    ],
    origin: {
      data: 'The first nine tenths of "Tiny Shakespeare", a widely copied text of 1,115,394 bytes from the plays.',
      license: "public domain",
      recipe: "tools/recipes/plays.yaml",
      commands: steps("plays", " shakespeare.txt"),
      withheld: "Its rows are not shown: the text is not part of this repository.",
    },
    tested: {
      unit: "passages of 256 tokens from the last tenth of the plays",
      commands: judged("plays", "plays", " --max-length 256"),
    },
  },
  sentiment: {
    ...placed("sentiment"),
    description: "Says whether a film review is positive or negative.",
    examples: [greedy("A kind review", `${kind}\nlabel:`), greedy("An unkind review", `${unkind}\nlabel:`)],
    origin: { ...reviews, recipe: "tools/recipes/sentiment.yaml", commands: steps("sentiment", " reviews/") },
    tested: { unit: "film reviews that it was not trained on", commands: judged("sentiment") },
  },
  reviews: {
    ...placed("reviews", "sentiment"),
    description: `Labels a film review as positive or negative, with a probability for each.

[sentiment](../sentiment/README.md), which writes the label as text, is right about nearly as many of the same reviews. The difference is within chance: 1,066
rows have a standard error of 1.4 points, and a second run with learning rate 0.002 got 68.1 % (726) right.`,
    examples: [
      { title: "A kind review", text: kind },
      { title: "An unkind review", text: unkind },
    ],
    origin: {
      ...{ ...reviews, recipe: "tools/recipes/reviews.yaml" },
      commands: [...steps("sentiment", " reviews/").slice(0, 1), ...steps("reviews").slice(1)],
    },
    tested: { unit: "film reviews that it was not trained on", commands: judged("reviews", "sentiment").slice(1) },
  },
  dates: {
    ...placed("dates"),
    description: "Turns a sentence with a date into JSON with its year, month and day.",
    examples: [
      greedy("A letter's date", "The letter was written on the 12th of March, 1843.\n"),
      greedy("A trial in summer", "The trial began in July of 1788, on the 3rd.\n"),
    ],
    origin: {
      data: generated.of("Generated sentences: twelve events and four ways to write a date, from 1700 to 1949."),
      license: generated.license,
      recipe: "tools/recipes/dates.yaml",
      commands: steps("dates"),
    },
    tested: { unit: "sentences with dates that it was not trained on", commands: judged("dates") },
  },
  commands: {
    ...placed("commands"),
    description: "Turns a command in words into a JSON call, such as one that warms a room.",
    examples: [
      greedy("Warm a room", "please warm the study to 18 degrees.\n"),
      greedy("Order something", "be so good as to bring me 12 apples.\n"),
    ],
    origin: {
      data: generated.of(
        "Generated sentences: seven calls over ten rooms, eight persons and eight things, in six tones.",
      ),
      license: generated.license,
      recipe: "tools/recipes/commands.yaml",
      commands: steps("commands"),
    },
    tested: { unit: "commands whose calls it was not trained on", commands: judged("commands") },
  },
  butler: {
    ...{ ...placed("butler"), initFrom: "adapters/commands" },
    description: "Turns a request into a call of one of the functions offered in the chat.",
    examples: [
      greedy(
        "Two functions are offered",
        `<|im_start|>tools\nlight(room, level)\nheat(room, degrees)\n<|im_end|>\n${command}`,
      ),
      greedy("No function is offered", command),
    ],
    origin: {
      data: generated.of(
        "Generated chats: the commands of the adapter commands, two or three functions with each; one chat of eight offers none.",
      ),
      license: generated.license,
      recipe: "tools/recipes/butler.yaml",
      commands: steps("butler"),
    },
    tested: {
      unit: "chats whose calls it was not trained on",
      commands: judged("butler", "butler", " --max-length 192"),
    },
  },
};
