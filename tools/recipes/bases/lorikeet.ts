/** Runs the command line. Recipes train only through it. */
import { spawn } from "node:child_process";
import { once } from "node:events";

export const program = new URL("../../../src/cli/main.js", import.meta.url).pathname;

/** Runs `lorikeet` with a command's words and its options by name, and returns what it printed. Throws if it fails. */
export async function lorikeet(
  command: readonly string[],
  options: Readonly<Record<string, string | number | boolean>>,
): Promise<string> {
  const flags = Object.entries(options).flatMap(([name, value]) => (value === true ? [name] : [name, String(value)]));
  const child = spawn(process.execPath, [program, ...command, ...flags], { stdio: ["ignore", "pipe", "inherit"] });
  const parts: string[] = [];
  child.stdout.setEncoding("utf8").on("data", (part: string) => parts.push(part));
  const [code]: (number | null)[] = await once(child, "close");
  const printed = parts.join("");
  if (code !== 0) throw new Error(`lorikeet ${command.join(" ")} ended with ${code}: ${printed.slice(-2000)}`);
  return printed;
}

/** Options of `train` that the recipes over pictures share. */
export const pictureOptions = {
  "--gradient-accumulation-steps": 1,
  "--min-lr-rate": 0.01,
  "--validation-split": 0,
  "--save-total-limit": 1,
  "--threads": 1,
} as const;
