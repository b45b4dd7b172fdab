/** `lorikeet merge`: merges an adapter into its base model and saves a checkpoint. */

import type { Command } from "commander";
import { openCheckpoint } from "../../model/checkpoint/open.js";
import { taskTargetsOf } from "../../model/task/adapter-targets.js";
import { isTaskModel } from "../../model/task/folder.js";
import { openTaskModel } from "../../model/task/open.js";
import { mergeAdapter } from "../../train/files/merge.js";
import { mergeTaskAdapter } from "../../train/tasks/merge.js";
import { openNamedAdapter } from "../adapters/source.js";
import { addOptions, readOptions } from "../options/command-line.js";
import { requireGiven } from "../options/settings.js";
import { progressLine } from "../progress.js";
import { locateModel } from "../task-model.js";
import { printLine, type Terminal } from "../terminal.js";
import { UsageError } from "../usage.js";
import { mergeOptions } from "./merge-options.js";

export function addMerge(program: Command, terminal: Terminal): void {
  const command = program.command("merge").description("merge an adapter into its base model");
  addOptions(command, mergeOptions).action(async () => {
    const flags = readOptions(command, mergeOptions, terminal.environment);
    requireGiven(mergeOptions, flags, "model", "adapter", "outputDir");
    const { outputDir: out, outputDtype: dtype } = flags;
    const path = await locateModel(flags.model, terminal, flags);
    const place = { option: "--adapter", adapters: flags.adapters, model: path };
    await using adapter = await openNamedAdapter(flags.adapter, place, terminal);
    if (await isTaskModel(path)) {
      if (dtype !== "same")
        throw new UsageError([`--output-dtype ${dtype} is for decoders; the model is a task model.`]);
      const model = await openTaskModel(path);
      const targets = taskTargetsOf(model.modules);
      const merged = await mergeTaskAdapter({
        model,
        targets,
        adapter: adapter.folder,
        out,
        overwrite: flags.overwrite,
      });
      printLine(terminal.stdout, `saved ${out}: ${merged.changed} of ${merged.modules} modules changed`);
      return;
    }
    const progress = progressLine(terminal.stderr);
    const checkpoint = await openCheckpoint(path);
    const options = { ...flags, checkpoint, adapter: adapter.folder, out, dtype, progress: progress.report };
    const { changed, tensors } = await mergeAdapter(options).finally(() => progress.end());
    printLine(terminal.stdout, `saved ${out}: ${changed} of ${tensors} tensors changed`);
  });
}
