/** Phrases in several languages, as Node's own `Intl` writes them: dates, spans of time, amounts, countries and lists. */
import { Draws } from "../../../src/train/random.js";

export type Language = "en" | "de" | "fr";
const languages: readonly Language[] = ["en", "de", "fr"];

/** One meaning in each language. */
export type Phrase = Readonly<Record<Language, string>>;

const regions = [
  ..."DE FR IT ES CH AT NL BE DK SE NO FI PL CZ HU GR PT IE GB US CA MX BR AR CL".split(" "),
  ..."JP CN IN KR TR EG MA ZA NG KE AU NZ TH VN ID UA RO BG HR RS".split(" "),
];
const units = [
  ...["kilometer", "meter", "liter", "hour", "minute", "day", "week", "month", "year", "kilogram", "gram"],
  ...["celsius", "percent", "kilometer-per-hour"],
];
const spans = ["day", "week", "month", "year", "hour", "minute"] as const;

type Say = (language: Language) => string;

const region = (language: Language, code: string): string =>
  new Intl.DisplayNames(language, { type: "region" }).of(code) ?? code;

class PhraseDraws {
  readonly #draws: Draws;

  constructor(seed: number) {
    this.#draws = new Draws(seed, 1);
  }

  next(): Say {
    const kinds = [this.#date, this.#span, this.#amount, this.#country, this.#countries, this.#visit];
    return this.#pick(kinds).call(this);
  }

  #pick<T>(list: readonly T[]): T {
    return list[this.#draws.below(list.length)] as T;
  }

  #date(): Say {
    const draws = this.#draws;
    const date = Date.UTC(1950 + draws.below(100), draws.below(12), 1 + draws.below(28));
    const dateStyle = this.#pick(["full", "long"] as const);
    return (language) => new Intl.DateTimeFormat(language, { dateStyle, timeZone: "UTC" }).format(date);
  }

  #span(): Say {
    const count = 1 + this.#draws.below(30);
    const sign = this.#pick([-1, 1]);
    const unit = this.#pick(spans);
    return (language) => new Intl.RelativeTimeFormat(language).format(sign * count, unit);
  }

  #amount(): Say {
    const count = 1 + this.#draws.below(200);
    const unit = this.#pick(units);
    return (language) => new Intl.NumberFormat(language, { style: "unit", unit, unitDisplay: "long" }).format(count);
  }

  #country(): Say {
    const code = this.#pick(regions);
    return (language) => region(language, code);
  }

  #countries(): Say {
    const codes = Array.from({ length: 2 + this.#draws.below(2) }, () => this.#pick(regions));
    return (language) => new Intl.ListFormat(language).format(codes.map((code) => region(language, code)));
  }

  #visit(): Say {
    const [where, when] = [this.#country(), this.#span()];
    return (language) => `${where(language)}, ${when(language)}`;
  }
}

/** `count` phrases that differ in English. Intl's spaces that do not break become plain ones. */
export function drawPhrases(count: number, seed: number): Phrase[] {
  const draws = new PhraseDraws(seed);
  const found = new Map<string, Phrase>();
  while (found.size < count) {
    const say = draws.next();
    const said = languages.map((language) => [language, say(language).replace(/[\u00a0\u202f]/g, " ")] as const);
    const phrase = Object.fromEntries(said) as Phrase;
    if (!found.has(phrase.en)) found.set(phrase.en, phrase);
  }
  return [...found.values()];
}
