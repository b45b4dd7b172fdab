/**
 * Models and pictures that mean harm, in a process of their own: each is served or refused in order, and native code survives all of them.
 * `npm run fuzz:serve` tries 5,000 models and 2,000 pictures; FUZZ_SEED and FUZZ_RUNS choose others.
 */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { test } from "node:test";

const runs = Number(process.env.FUZZ_RUNS ?? 25);
const seed = Number(process.env.FUZZ_SEED ?? 1);
/** A process for so many, so that what one leaves behind does not add up. */
const portion = 250;

async function serve(kind: "models" | "pictures", count: number): Promise<{ served: number; refused: number }> {
  const sum = { served: 0, refused: 0 };
  for (let begin = 0; begin < count; begin += portion) {
    const own = [kind, String(seed + begin), String(Math.min(portion, count - begin))];
    const child = spawn(process.execPath, ["dist/test/support/serve-hostile.js", ...own]);
    const [output, faults, [code, signal]] = await Promise.all([
      text(child.stdout),
      text(child.stderr),
      once(child, "exit"),
    ]);
    const lines = output.trim().split("\n");
    const where = `serve-hostile ${own.join(" ")}, number ${lines.at(-1)}`;
    assert.deepEqual([code, signal], [0, null], `${where}: ${faults.slice(-2000)}`);
    const { served, refused } = JSON.parse(lines.at(-1) ?? "{}");
    sum.served += served;
    sum.refused += refused;
  }
  return sum;
}

test("hostile models are served or refused, and end no process", async () => {
  const { served, refused } = await serve("models", runs);
  assert.ok(served > runs / 20 && refused > runs / 4, `${served} served, ${refused} refused`);
});

test("damaged pictures are answered or refused over HTTP", async () => {
  const count = Math.ceil(runs * 0.4);
  const { served, refused } = await serve("pictures", count);
  assert.equal(served + refused, count);
  assert.ok(refused > count / 4, `${served} served, ${refused} refused`);
});
