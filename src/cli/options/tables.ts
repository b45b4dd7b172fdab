/** The tables of options of all commands. */

import { benchOptions, benchTrainOptions } from "../bench/options.js";
import { evalOptions } from "../eval/options.js";
import { generateOptions } from "../generate/options.js";
import { serveOptions } from "../serve/options.js";
import { mergeOptions } from "../train/merge-options.js";
import { trainOptions } from "../train/options.js";

export const optionTables = [
  serveOptions,
  generateOptions,
  trainOptions,
  evalOptions,
  mergeOptions,
  benchOptions,
  benchTrainOptions,
] as const;
