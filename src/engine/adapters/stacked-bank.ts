/**
 * The active set on a card: adapters side by side in one stack, each with as many tiles of ranks as it needs, so that no large rank pads
 * the small ones. The stack grows with what is in use, up to a byte bound; an idle adapter stays until its tiles are wanted.
 */
import type { HostAdapter } from "../../adapter/types.js";
import { assert, LorikeetError } from "../../base/errors.js";
import type { TargetModule } from "../../model/blueprint.js";
import type { ModuleGroup } from "../../model/serving/adapters.js";
import { stackedInputs, tileRanks } from "../../model/serving/stacked-adapters.js";
import type { FloatType } from "../../model/serving/target.js";
import type { Device, DeviceTensor } from "../../runtime/device/device.js";
import { Tensor } from "../../runtime/tensor.js";
import type { BankHold } from "./bank.js";
import { gainBytes } from "./gain-stack.js";
import { pauser } from "./slices.js";
import { StackedGains } from "./stacked-gains.js";
import { TileStack, tileBytes } from "./tile-stack.js";

export interface StackedOptions {
  readonly groups: readonly ModuleGroup[];
  /** Adapters of a head that is tied to the embeddings are refused. Default: there is none. */
  readonly tiedHead?: TargetModule | null;
  readonly places: number;
  readonly maxBytes: number;
  readonly device: Device;
  /** Of the numbers in the stack: that of the activations. Default float32. */
  readonly type?: FloatType;
}

interface Resident {
  readonly own: HostAdapter;
  /** What rows name it by. */
  readonly place: number;
  /** Its tiles. */
  readonly count: number;
  first: number;
  users: number;
  lastUsed: number;
}

/** Of the first stack. */
const firstTiles = 8;
/** Of a tile that nobody has: no row's place. */
const nobody = -2;

let nextVersion = 1;

const tilesFor = (rank: number): number => Math.ceil(rank / tileRanks);

export class StackedBank implements AsyncDisposable {
  readonly #options: StackedOptions;
  readonly #device: Device;
  readonly #type: FloatType;
  readonly #gains: StackedGains;
  readonly #maxPlaces: number;
  #stack: TileStack | null = null;
  /** Of the stack, among those of all banks. */
  #version = 0;
  /** [tiles]: the place that each tile belongs to. */
  #owners: DeviceTensor | null = null;
  readonly #ownerViews = new Map<number, DeviceTensor>();
  /** By their first tile. */
  #residents: Resident[] = [];
  #clock = 0;
  /** Writes happen one after another. */
  #writing: Promise<unknown> = Promise.resolve();

  constructor(options: StackedOptions) {
    this.#options = options;
    this.#device = options.device;
    this.#type = options.type ?? "float32";
    this.#maxPlaces = 4 * options.places;
    this.#gains = new StackedGains(options.groups, this.#maxPlaces, this.#type, options.device);
  }

  async acquire(adapter: HostAdapter): Promise<BankHold | null> {
    // Who is resident need not wait for the copy of another.
    const known = this.#find(adapter.digest);
    return known ? this.#hold(known) : await this.#inOrder(() => this.#acquire(adapter));
  }

  #inOrder<T>(write: () => Promise<T>): Promise<T> {
    const result = this.#writing.then(write);
    this.#writing = result.catch(() => undefined);
    return result;
  }

  async #acquire(adapter: HostAdapter): Promise<BankHold | null> {
    const known = this.#find(adapter.digest);
    if (known) return this.#hold(known);
    const count = tilesFor(adapter.rank);
    this.#assertFits(adapter, count);
    const first = await this.#makeRoom(adapter, count);
    if (first === null) return null;
    const place = this.#freePlace();
    assert(this.#stack, "there is a stack once there is room");
    await this.#stack.write(first, count, adapter, pauser());
    await this.#gains.write(place, adapter);
    const resident = { own: adapter, place, count, first, users: 0, lastUsed: 0 };
    await this.#change([...this.#residents, resident]);
    return this.#hold(resident);
  }

  #bytesOf({ hasGains }: HostAdapter, count: number): number {
    const { groups } = this.#options;
    return count * tileBytes(groups, this.#type) + (hasGains ? gainBytes(groups, this.#type) : 0);
  }

  #assertFits(adapter: HostAdapter, count: number): void {
    if (adapter.embedding) {
      const message = `The adapter adapts the embeddings, which only the CPU does; serve it with --device cpu.`;
      throw new LorikeetError("adapter_unsupported", message);
    }
    if (adapter.changesNorms) {
      const message =
        "The adapter replaces factors or biases of normalizations, which only the CPU does; serve it with --device cpu.";
      throw new LorikeetError("adapter_unsupported", message);
    }
    if (adapter.tokens) {
      const message = `The adapter replaces rows of the embeddings or the head (trainable_token_indices or modules_to_save), which only the CPU does; serve it with --device cpu.`;
      throw new LorikeetError("adapter_unsupported", message);
    }
    const { tiedHead = null } = this.#options;
    if (tiedHead && adapter.modules.has(tiedHead.path)) {
      const message = `The adapter adapts ${tiedHead.path}, which is tied to the embeddings, and only the CPU does that; serve it with --device cpu.`;
      throw new LorikeetError("adapter_unsupported", message);
    }
    if ([...adapter.modules.values()].some(({ shift }) => shift !== undefined)) {
      const message = `The adapter has biases (bias or lora_bias), which only the CPU adds; serve it with --device cpu.`;
      throw new LorikeetError("adapter_unsupported", message);
    }
    const bytes = this.#bytesOf(adapter, count);
    const { maxBytes } = this.#options;
    if (bytes <= maxBytes) return;
    throw new LorikeetError(
      "adapter_too_large",
      `The adapter takes ${bytes} bytes in the active set, which holds at most ${maxBytes} (--active-adapter-bytes).`,
      { found: bytes, allowed: maxBytes },
    );
  }

  /** The first of `count` free tiles. Drops idle adapters, the longest idle first, before the stack grows past the bound. */
  async #makeRoom(adapter: HostAdapter, count: number): Promise<number | null> {
    while (
      this.bytes + this.#bytesOf(adapter, count) > this.#options.maxBytes ||
      this.#residents.length >= this.#maxPlaces
    ) {
      if (!(await this.#dropIdle())) return null;
    }
    const largest = Math.floor(this.#options.maxBytes / tileBytes(this.#options.groups, this.#type));
    for (;;) {
      const first = this.#gapFor(count);
      const end = first + count;
      if (end <= (this.#stack?.tiles ?? 0)) return first;
      if (end <= largest) {
        await this.#grow(Math.min(largest, Math.max(firstTiles, 2 ** Math.ceil(Math.log2(end)))));
        return first;
      }
      // Room enough, but in pieces.
      if (!(await this.#dropIdle())) return null;
    }
  }

  /** The lowest tile with so many free ones after it; past the end if need be. */
  #gapFor(count: number): number {
    let first = 0;
    for (const resident of this.#residents) {
      if (resident.first - first >= count) return first;
      first = resident.first + resident.count;
    }
    return first;
  }

  async #dropIdle(): Promise<boolean> {
    const idle = this.#residents.filter(({ users }) => users === 0).sort((a, b) => a.lastUsed - b.lastUsed)[0];
    if (!idle) return false;
    await this.#change(this.#residents.filter((resident) => resident !== idle));
    return true;
  }

  #freePlace(): number {
    const taken = new Set(this.#residents.map(({ place }) => place));
    for (let place = 0; ; place++) if (!taken.has(place)) return place;
  }

  /** A longer stack with the same adapters in the same tiles. */
  async #grow(tiles: number): Promise<void> {
    const { groups } = this.#options;
    const next = await TileStack.create(groups, tiles, this.#type, this.#device);
    await this.#device.turn(async () => {
      let owners: DeviceTensor;
      try {
        if (this.#stack) await next.copyFrom(this.#stack);
        owners = this.#device.allocate("int32", [tiles]);
      } catch (error) {
        next[Symbol.dispose]();
        throw error;
      }
      this.#dispose();
      this.#stack = next;
      this.#owners = owners;
      this.#version = nextVersion++;
      await this.#uploadOwners(this.#residents);
    });
  }

  /** Changes who is resident where, for steps that begin from now on. */
  async #change(residents: readonly Resident[]): Promise<void> {
    const ordered = residents.toSorted((a, b) => a.first - b.first);
    await this.#device.turn(async () => {
      await this.#uploadOwners(ordered);
      this.#residents = ordered;
    });
  }

  async #uploadOwners(residents: readonly Resident[]): Promise<void> {
    assert(this.#owners, "there is a stack where something is resident");
    const owners = new Int32Array(this.#owners.shape[0] ?? 0).fill(nobody);
    for (const { first, count, place } of residents) owners.fill(place, first, first + count);
    await this.#device.upload([[Tensor.from("int32", [owners.length], owners), this.#owners]]);
  }

  #hold(resident: Resident): BankHold {
    resident.users++;
    resident.lastUsed = ++this.#clock;
    let isReleased = false;
    return {
      digest: resident.own.digest,
      rank: resident.own.rank,
      rankClass: 0,
      place: resident.place,
      gain: resident.own.hasGains ? resident.place : null,
      release: () => {
        assert(!isReleased, "a bank hold is released once");
        isReleased = true;
        resident.users--;
        resident.lastUsed = ++this.#clock;
      },
    };
  }

  #find(digest: string): Resident | null {
    return this.#residents.find(({ own }) => own.digest === digest) ?? null;
  }

  /** What a step with rows of these places binds: the stacks up to the last of their tiles. In the step's turn. */
  inputs(places: ReadonlySet<number>, hasGains: boolean): readonly (readonly [string, DeviceTensor])[] {
    assert(this.#stack, "a step with adapters has a stack");
    const tiles = this.#tilesUpTo(places);
    return [
      ...this.#stack.prefix(tiles),
      [stackedInputs.tilePlaces, this.#ownersUpTo(tiles)],
      ...(hasGains ? this.#gains.inputs() : []),
    ];
  }

  /** The whole stacks, for a step that picks tiles. In the step's turn. */
  stacks(hasGains: boolean): readonly (readonly [string, DeviceTensor])[] {
    assert(this.#stack, "a step with adapters has a stack");
    return [...this.#stack.prefix(this.#stack.tiles), ...(hasGains ? this.#gains.inputs() : [])];
  }

  /** Where the tiles of a place lie. In the step's turn: they may move between steps. */
  tilesOf(place: number): { readonly first: number; readonly count: number } {
    const resident = this.#residents.find((each) => each.place === place);
    assert(resident, "an adapter that is held is resident");
    return resident;
  }

  /** Of the stack's memory, among those of all banks. */
  get version(): number {
    return this.#version;
  }

  /** Names the tensors that `inputs` gives: another name, other tensors. */
  inputsKey(places: ReadonlySet<number>, hasGains: boolean): string {
    return `${this.#version} ${this.#tilesUpTo(places)} ${hasGains}`;
  }

  /** Tiles that a step with rows of these places reads. */
  #tilesUpTo(places: ReadonlySet<number>): number {
    const used = this.#residents.filter(({ place }) => places.has(place));
    const end = Math.max(1, ...used.map(({ first, count }) => first + count));
    // A few lengths, so that kernels are prepared for few shapes.
    return Math.min(this.#stack?.tiles ?? 1, 2 ** Math.ceil(Math.log2(end)));
  }

  #ownersUpTo(tiles: number): DeviceTensor {
    assert(this.#owners, "a step with adapters has a stack");
    const view = this.#ownerViews.get(tiles) ?? this.#owners.prefix(tiles);
    this.#ownerViews.set(tiles, view);
    return view;
  }

  get scattered(): boolean {
    return this.#findMove() !== null;
  }

  compact(): Promise<boolean> {
    return this.#inOrder(async () => {
      const move = this.#findMove();
      if (!move) return false;
      const { moving, first } = move;
      assert(this.#stack, "there is a stack where something is resident");
      const end = first + moving.count;
      const isInTheWay = (idle: Resident): boolean => idle.first < end && idle.first + idle.count > first;
      await this.#change(this.#residents.filter((resident) => resident.users > 0 || !isInTheWay(resident)));
      await this.#stack.write(first, moving.count, moving.own, pauser());
      moving.first = first;
      await this.#change(this.#residents);
      return true;
    });
  }

  /** The last adapter in use, where it fits into a hole below it and steps would then read half as much. */
  #findMove(): { readonly moving: Resident; readonly first: number } | null {
    const used = this.#residents.filter(({ users }) => users > 0);
    const moving = used.at(-1);
    if (!moving) return null;
    let first = 0;
    for (const resident of used) {
      if (resident.first - first >= moving.count) break;
      first = resident.first + resident.count;
    }
    const before = used.at(-2);
    const after = Math.max(before ? before.first + before.count : 0, first + moving.count);
    return first < moving.first && 2 * after <= moving.first + moving.count ? { moving, first } : null;
  }

  get bytes(): number {
    return this.#residents.reduce((sum, { own, count }) => sum + this.#bytesOf(own, count), 0);
  }

  get digests(): string[] {
    return this.#residents.map(({ own }) => own.digest);
  }

  get holds(): number {
    return this.#residents.reduce((sum, { users }) => sum + users, 0);
  }

  #dispose(): void {
    for (const view of this.#ownerViews.values()) view[Symbol.dispose]();
    this.#ownerViews.clear();
    this.#owners?.[Symbol.dispose]();
    this.#stack?.[Symbol.dispose]();
    this.#owners = null;
    this.#stack = null;
  }

  /** Waits for what is being written. Nothing may read the adapters any more. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writing;
    await this.#device.turn(async () => {
      this.#dispose();
      this.#gains[Symbol.dispose]();
    });
  }
}
