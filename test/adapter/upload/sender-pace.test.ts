/** How slow the sender of an upload may be: pauses, bytes per second, total time; a slow disk does not count against it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type PaceLimits, SenderPace } from "../../../src/adapter/upload/sender-pace.js";

const limits: PaceLimits = { idleMs: 4_000, minRate: 100, rateWindowMs: 10_000, totalMs: 60_000 };

/** A sender's story: so many bytes after so many milliseconds, again and again; where it ends, or the whole time that it took. */
function play(bytes: number, everyMs: number, writtenInMs = 0, bounds = limits): string {
  let time = 0;
  const pace = new SenderPace(bounds, () => time);
  try {
    while (time < 200_000) {
      const ms = Math.min(everyMs, pace.patience(0));
      time += ms;
      pace.waited(ms, ms === everyMs ? 0 : ms);
      if (ms === everyMs) pace.received(bytes);
      time += writtenInMs;
    }
    return "never ends";
  } catch (error) {
    return `${time}: ${error instanceof Error ? error.message : error}`;
  }
}

test("a sender of one byte now and then is cut off after a window, whatever the pause", () => {
  assert.match(play(1, 1_000), /^10000: The upload sent 9 bytes in 10000 ms; at least 1000 are required\.$/);
  assert.match(play(1, 3_999), /^10000: The upload sent 2 bytes/);
});

test("a silent sender is cut off after the allowed pause", () => {
  assert.match(play(1, 5_000), /^4000: The upload sent no byte for 4000 ms/);
});

test("a fast enough sender is cut off at the total time limit", () => {
  assert.match(play(200, 1_000), /^60000: The upload took longer than 60000 ms\.$/);
  assert.match(play(1, 1_000, 0, { ...limits, minRate: 0 }), /^60000: /);
});

test("time in which the server is not reading does not count against the sender", () => {
  assert.match(play(200, 1_000, 4_000), /^60000: The upload took longer/);
});

test("the expected bytes are those of one window", () => {
  let time = 0;
  const pace = new SenderPace(limits, () => time);
  const wait = (ms: number): void => {
    time += ms;
    pace.waited(ms, 0);
  };
  pace.received(1_000_000);
  wait(10_000);
  pace.received(999);
  assert.throws(() => wait(10_000), /sent 999 bytes/, "much at first does not pay for later");
});
