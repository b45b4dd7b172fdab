/** Which of several bases a graphics card runs: one, for a base may take all memory that it finds there. */

import { UsageError } from "../usage.js";
import type { BaseSettings } from "./options.js";

/** "task": a task model of one graph. */
export type BaseKind = "decoder" | "task" | "encoder-decoder";

/**
 * The bases with the devices that they may look for: the card is for the first that names one, else for the first decoder, which gains most
 * from it, else for the first task model of one graph. `--device auto` means the CPU for the others; an encoder-decoder keeps it, and never
 * takes a card. Throws a UsageError for a second base that names a card.
 */
export function shareCard(bases: readonly BaseSettings[], kinds: readonly BaseKind[]): BaseSettings[] {
  const possible = bases.filter(({ device }) => device !== "cpu");
  const named = possible.find(({ device }) => device !== "auto");
  const firstOf = (kind: BaseKind) => possible.find((base) => kinds[bases.indexOf(base)] === kind);
  const onCard = named ?? firstOf("decoder") ?? firstOf("task");
  return bases.map((base, index) => {
    if (base === onCard || base.device === "cpu") return base;
    if (base.device === "auto" && kinds[index] === "encoder-decoder") return base;
    if (base.device === "auto") return { ...base, device: "cpu" };
    throw new UsageError([
      `--device ${base.device} runs one base, which is ${onCard?.model}; give the others \`device: cpu\` in the config file's \`models\`.`,
    ]);
  });
}
