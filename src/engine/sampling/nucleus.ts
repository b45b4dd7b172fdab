/**
 * One random token at a temperature, under min-p and top-p: exact, without sorting the vocabulary or exponentiating it.
 *
 * Tokens are counted by bucket of 1/32 nat, which bounds every sum of weights from both sides within 3 %. A token is drawn
 * from those bounds and kept by rejection, which makes the distribution exact; whether it lies inside top-p is decided by
 * the bounds and, if they do not suffice (some 2 % of draws from a flat row), by summing all weights.
 */

import { assert } from "../../base/errors.js";
import { float32At, float64At, int32At } from "../../base/list.js";
import type { TokenField } from "./pool.js";
import type { RandomStream } from "./random.js";
import { eightAtMost } from "./scan.js";
import { deepest, depthsPerNat, edgeWeight, weightAt } from "./weight.js";

/** Sums of weights are compared to this share of their total: a prefix this close to p has reached it. */
const tolerance = 1e-12;
/** Tokens beyond this depth, 16 nats, are excluded from the candidates if that pays off. */
const tailDepth = 16 * depthsPerNat;
/** If a bucket holds at least 1/256 of many tokens, random probing finds one of them sooner than a scan. */
const probesAtMost = 256;

export interface NucleusCut {
  readonly temperature: number;
  readonly topP: number;
  readonly minP: number;
}

/** The largest depth that min-p allows: -ln(minP), at most the 40 nats beyond which nothing counts. */
function depthLimit(minP: number): number {
  return minP > 0 ? Math.min(deepest, -Math.log(minP) * depthsPerNat) : deepest;
}

/** Tokens at or below this logit may be excluded from the candidates. Slightly lower than necessary, so that rounding loses none. */
export function candidateFloor(best: number, { temperature, minP }: NucleusCut): number {
  const span = (Math.min(tailDepth, depthLimit(minP)) / depthsPerNat) * temperature;
  return best - span - 1e-12 * (Math.abs(best) + span) - 1e-30;
}

export class Nucleus {
  readonly #counts = new Int32Array(deepest + 1);
  /** Upper bound of the weight of buckets 0 to b. */
  readonly #reach = new Float64Array(deepest + 1);
  #best = 0;
  #scale = 1;
  #limit = deepest;
  #topP = 1;
  /** Every candidate up to bucket `#sure` is inside top-p; none past bucket `#last` is. */
  #sure = 0;
  #last = 0;
  /** Upper bound of the weight of the tokens that are not candidates, each at the largest weight of `tailDepth`. */
  #tail = 0;
  /** The best token known to be outside top-p. */
  #outValue = Number.NEGATIVE_INFINITY;
  #outId = 0;
  /** Tokens of its bucket that rank before the token that `#reaches` looked at. */
  #mates = 0;

  /**
   * The id of a random token of `all`, whose best token is `bestId` with logit `best`. `candidates` are `all`, or those of
   * `all` above `candidateFloor`. min-p keeps weights of at least minP times the best's; of what is left top-p
   * keeps the shortest prefix, in the sampler's order, that weighs topP of the total, and never less than one token.
   */
  draw(
    candidates: TokenField,
    all: TokenField,
    best: number,
    bestId: number,
    cut: NucleusCut,
    random: RandomStream,
  ): number {
    this.#best = best;
    this.#scale = depthsPerNat / cut.temperature;
    this.#limit = depthLimit(cut.minP);
    this.#topP = cut.topP;
    this.#outValue = Number.NEGATIVE_INFINITY;
    const partial = candidates.count < all.count && this.#limit > tailDepth;
    this.#tail = partial ? all.count * float64At(edgeWeight, tailDepth) : 0;
    this.#bound(this.#count(candidates));
    for (let attempt = 0; attempt < 100_000; attempt++) {
      const within = float64At(this.#reach, this.#last);
      const u = random.next() * (within + this.#tail);
      const from = u < within ? candidates : all;
      const at =
        u < within
          ? this.#drawBucket(candidates, u, random)
          : this.#drawTail(all, (u - within) / this.#tail, candidates.floor);
      if (at < 0) continue;
      const id = from.ids === null ? at : int32At(from.ids, at);
      const value = float32At(from.values, at);
      if (id === bestId || cut.topP >= 1) return id;
      const bucket = this.#depth(value) | 0;
      if ((u < within && bucket <= this.#sure) || this.#reaches(all, value, id, bucket)) return id;
      this.#tighten(value, id, bucket);
    }
    assert(false, "a draw is accepted with a probability of at least one half");
  }

  #depth(value: number): number {
    return (this.#best - value) * this.#scale;
  }

  /** Counts the candidates within the limit by bucket; returns how many they are. */
  #count({ values, count }: TokenField): number {
    const counts = this.#counts.fill(0);
    const best = this.#best;
    const scale = this.#scale;
    const limit = this.#limit;
    let counted = 0;
    const whole = count & ~3;
    let i = 0;
    for (; i < whole; i += 4) {
      const d0 = (best - float32At(values, i)) * scale;
      const d1 = (best - float32At(values, i + 1)) * scale;
      const d2 = (best - float32At(values, i + 2)) * scale;
      const d3 = (best - float32At(values, i + 3)) * scale;
      if (d0 <= limit && d1 <= limit && d2 <= limit && d3 <= limit) {
        counts[d0 | 0] = int32At(counts, d0 | 0) + 1;
        counts[d1 | 0] = int32At(counts, d1 | 0) + 1;
        counts[d2 | 0] = int32At(counts, d2 | 0) + 1;
        counts[d3 | 0] = int32At(counts, d3 | 0) + 1;
        counted += 4;
      } else {
        for (let j = i; j < i + 4; j++) counted += this.#countOne(float32At(values, j));
      }
    }
    for (; i < count; i++) counted += this.#countOne(float32At(values, i));
    return counted;
  }

  #countOne(value: number): number {
    const depth = this.#depth(value);
    if (!(depth <= this.#limit)) return 0;
    this.#counts[depth | 0] = int32At(this.#counts, depth | 0) + 1;
    return 1;
  }

  /**
   * Bounds every prefix of buckets. With `before` the weight of the tokens that rank before a token and `after` the rest,
   * the token is inside top-p where before < p (before + after), that is before (1 - p) < p after.
   */
  #bound(counted: number): void {
    const counts = this.#counts;
    let upper = 0;
    let lower = 0;
    let end = 0;
    for (let seen = 0; seen < counted; end++) {
      const count = int32At(counts, end);
      seen += count;
      upper += count * float64At(edgeWeight, end);
      lower += count * float64At(edgeWeight, end + 1);
    }
    const p = this.#topP;
    const doubt = 2 * tolerance * (upper + this.#tail);
    let most = 0;
    let least = 0;
    let sure = true;
    this.#sure = end - 1;
    this.#last = end - 1;
    for (let b = 0; b < end; b++) {
      const count = int32At(counts, b);
      const weight = float64At(edgeWeight, b);
      const floor = float64At(edgeWeight, b + 1);
      if (p < 1 && count > 0) {
        if (least * (1 - p) >= p * (upper - most + this.#tail) + doubt) {
          this.#last = b - 1;
          this.#tail = 0;
          break;
        }
        const mates = count - 1;
        if (sure && (most + mates * weight) * (1 - p) + doubt >= p * (lower - least - mates * floor)) {
          sure = false;
          this.#sure = b - 1;
        }
      }
      most += count * weight;
      least += count * floor;
      this.#reach[b] = most;
    }
    this.#sure = Math.min(this.#sure, this.#last);
  }

  /** The place of a token drawn by weight, from the bucket where `u` falls; -1 when rejected. */
  #drawBucket(candidates: TokenField, u: number, random: RandomStream): number {
    let bucket = 0;
    for (let high = this.#last; bucket < high; ) {
      const middle = (bucket + high) >>> 1;
      if (float64At(this.#reach, middle) > u) high = middle;
      else bucket = middle + 1;
    }
    const weight = float64At(edgeWeight, bucket);
    const count = int32At(this.#counts, bucket);
    const cell = (u - (bucket > 0 ? float64At(this.#reach, bucket - 1) : 0)) / weight;
    const mate = Math.min(Math.floor(cell), count - 1);
    const at = this.#find(candidates, bucket, mate, count, random);
    return (cell - mate) * weight < weightAt(edgeWeight, this.#depth(float32At(candidates.values, at))) ? at : -1;
  }

  /** The place of a token outside the candidates, at position `u` in [0, 1) of all; -1 when rejected or a candidate. */
  #drawTail({ values, count }: TokenField, u: number, floor: number): number {
    const cell = u * count;
    const at = Math.min(Math.floor(cell), count - 1);
    const value = float32At(values, at);
    const depth = this.#depth(value);
    if (value > floor || !(depth <= this.#limit) || value < this.#outValue) return -1;
    return (cell - at) * float64At(edgeWeight, tailDepth) < weightAt(edgeWeight, depth) ? at : -1;
  }

  /** A uniformly chosen token of the bucket, its `mate`-th of `count` or one met by probing. */
  #find(candidates: TokenField, bucket: number, mate: number, count: number, random: RandomStream): number {
    if (candidates.count > 16 * probesAtMost && count * probesAtMost >= candidates.count) {
      for (let probe = 0; probe < 32 * probesAtMost; probe++) {
        const at = Math.floor(random.next() * candidates.count);
        if (this.#isMember(candidates, at, bucket)) return at;
      }
    }
    const { values } = candidates;
    // Just below the bucket: most tokens fall short of it, and need no division into buckets.
    const edge = this.#best - (bucket + 1) / this.#scale;
    const below = edge - 1e-12 * Math.abs(edge);
    const whole = candidates.count - 7;
    for (let at = 0, left = mate; at < candidates.count; at++) {
      while (at < whole && eightAtMost(values, at, below)) at += 8;
      if (at < candidates.count && this.#isMember(candidates, at, bucket) && left-- === 0) return at;
    }
    assert(false, `bucket ${bucket} holds ${count} tokens`);
  }

  #isMember({ values, ids }: TokenField, at: number, bucket: number): boolean {
    const value = float32At(values, at);
    const depth = (this.#best - value) * this.#scale;
    if (!(depth <= this.#limit) || (depth | 0) !== bucket || value < this.#outValue) return false;
    return value > this.#outValue || (ids === null ? at : int32At(ids, at)) < this.#outId;
  }

  /** Whether the token is inside top-p, by the weights of all. */
  #reaches({ values, ids, count }: TokenField, value: number, id: number, bucket: number): boolean {
    const edges = edgeWeight;
    const best = this.#best;
    const scale = this.#scale;
    const limit = this.#limit;
    let before = 0;
    let after = 0;
    let mates = 0;
    for (let i = 0; i < count; i++) {
      const x = float32At(values, i);
      const depth = (best - x) * scale;
      if (!(depth <= limit)) continue;
      const weight = weightAt(edges, depth);
      if (x > value || (x === value && (ids === null ? i : int32At(ids, i)) < id)) {
        before += weight;
        if ((depth | 0) === bucket) mates++;
      } else {
        after += weight;
      }
    }
    this.#mates = mates;
    return before * (1 - this.#topP) < this.#topP * after - tolerance * (before + after);
  }

  /** Excludes a token outside top-p and all that rank after it. */
  #tighten(value: number, id: number, bucket: number): void {
    this.#outValue = value;
    this.#outId = id;
    if (bucket > this.#last) return;
    this.#last = bucket;
    this.#counts[bucket] = this.#mates;
    const below = bucket > 0 ? float64At(this.#reach, bucket - 1) : 0;
    this.#reach[bucket] = below + this.#mates * float64At(edgeWeight, bucket);
    this.#tail = 0;
  }
}
