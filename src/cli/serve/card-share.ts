/** Which of several bases a graphics card runs: one, for a base may take all memory that it finds there. */

import { UsageError } from "../usage.js";
import type { BaseSettings } from "./options.js";

/**
 * The bases with the devices that they may look for: the card is for the first that names one, else for the first decoder, which gains most
 * from it, else for the first base. `--device auto` means the CPU for the others. Throws a UsageError for a second base that names a card.
 */
export function shareCard(bases: readonly BaseSettings[], areTasks: readonly boolean[]): BaseSettings[] {
  const possible = bases.filter(({ device }) => device !== "cpu");
  const named = possible.find(({ device }) => device !== "auto");
  const onCard = named ?? possible.find((base) => areTasks[bases.indexOf(base)] === false) ?? possible[0];
  return bases.map((base) => {
    if (base === onCard || base.device === "cpu") return base;
    if (base.device === "auto") return { ...base, device: "cpu" };
    throw new UsageError([
      `--device ${base.device} runs one base, which is ${onCard?.model}; give the others \`device: cpu\` in the config file's \`models\`.`,
    ]);
  });
}
