/** The base models of a server, each behind its gateway, and which of them answers a name: its own, or that of one of its adapters. */

import { type AdapterCard, emptyCard, readCard } from "../adapter/card.js";
import type { AdapterRecord } from "../adapter/types.js";
import { LorikeetError } from "../base/errors.js";
import type { AdapterHolder, Adapters } from "./adapters.js";
import type { Model } from "./catalog.js";
import { asFault } from "./fault.js";
import type { Gateway } from "./gateway.js";
import type { ModelGateway, ModelNames } from "./model-gateway.js";
import { type GatewayObserver, ObserverSet, type Route, summaryOf } from "./observer.js";
import type { TaskGateway } from "./tasks/task-gateway.js";
import { unknownModel } from "./unknown-name.js";

/** What a base can answer; null: nothing of the kind. */
export interface Faces {
  /** Generates text. */
  readonly text: Gateway | null;
  /** Takes texts or pictures for its task. A decoder gives vectors of texts. */
  readonly task: TaskGateway | null;
  /** Takes tensors. An encoder-decoder's are tokens. */
  readonly tensors: TaskGateway | null;
  /** Answers Hugging Face's pipelines. */
  readonly pipeline: Gateway | TaskGateway | null;
  /** The same, of bases that take texts. */
  readonly textTask: TaskGateway | null;
}

export type Face = keyof Faces;

export interface Base extends Faces {
  readonly name: string;
  readonly models: ModelGateway;
  /** Of its files; null where nothing is known of them. */
  readonly folder: string | null;
}

/** The model that a request names, and the parameter that names it. */
export interface AskedName {
  /** null: none. */
  readonly name: string | null;
  readonly param: string;
}

/** Whether a gateway gives what a route answers. */
export type Fits<F extends Face> = (gateway: NonNullable<Faces[F]>) => boolean;

export const generatesText: Fits<"text"> = ({ generates }) => generates;

/** Answers chats: without a template none can be read. */
export const generatesChats: Fits<"text"> = ({ generates, tokenizer }) => generates && tokenizer?.chatTemplate != null;

interface Able<F extends Face> {
  readonly name: string;
  readonly gateway: NonNullable<Faces[F]>;
}

const deeds: Readonly<Record<Face, string>> = {
  text: "generates no text",
  task: "is not a task model",
  tensors: "takes no tensors",
  pipeline: "has no pipeline",
  textTask: "neither labels texts nor gives their vectors",
};

export class Bases {
  readonly all: readonly [Base, ...Base[]];
  /** Of all bases. */
  readonly adapters: Adapters;
  readonly models: ModelNames;
  readonly #observer = new ObserverSet();

  /** `adapters`: of several bases, over one store; of one base, its own by default. */
  constructor(
    all: readonly [Base, ...Base[]],
    adapters: (observer: GatewayObserver) => Adapters = () => all[0].models.adapters,
  ) {
    this.all = all;
    this.adapters = adapters(this.#observer);
    this.models = {
      list: () => basesFirst(all.flatMap(({ models }) => models.models.list())),
      get: (name) => this.#baseOf(name, "model").models.models.get(name),
      has: (name) => all.some(({ models }) => models.models.has(name)),
      adapterNamed: (name) => this.#baseOf(name, "model").models.models.adapterNamed(name),
    };
  }

  /** The gateways of the bases that have a face, in order. */
  with<F extends Face>(face: F): NonNullable<Faces[F]>[] {
    return this.all.flatMap((base) => base[face] ?? []) as NonNullable<Faces[F]>[];
  }

  /**
   * The gateway that answers a name. Without a name it is the only one that `fits`, by default the only one with the face. The one base of
   * a server answers everything, and refuses unknown names itself. Throws LorikeetError `model_not_found`, `model_unsupported`, or
   * `invalid_value` if several could, which counts as a request of the route, if one is given.
   */
  pick<F extends Face>(
    face: F,
    asked: AskedName,
    route: Route | null,
    fits: Fits<F> = () => true,
  ): NonNullable<Faces[F]> {
    const startedAt = performance.now();
    try {
      return this.#pick(face, asked, fits);
    } catch (error) {
      if (route !== null) this.#observer.ended(summaryOf(route, startedAt, null, asFault(error), null));
      throw error;
    }
  }

  #pick<F extends Face>(face: F, { name, param }: AskedName, fits: Fits<F>): NonNullable<Faces[F]> {
    const able = this.all.flatMap(({ name, [face]: gateway }): Able<F>[] => (gateway ? [{ name, gateway }] : []));
    const [only, ...others] = able;
    if (only && (this.all.length === 1 || (name === null && others.length === 0))) return only.gateway;
    const fitting = able.filter(({ gateway }) => fits(gateway));
    if (name === null) {
      const [first, ...more] = fitting;
      if (first && more.length === 0) return first.gateway;
      throw first ? unnamed(fitting, param) : unfit(able, param);
    }
    const base = this.#baseOf(name, param);
    const gateway = base[face];
    if (gateway !== null) {
      const own = gateway as NonNullable<Faces[F]>;
      // An adapter may bring what its base lacks.
      if (name === base.name && fitting.length > 0 && !fits(own)) throw misfit(name, fitting, param);
      return own;
    }
    throw unable(name, base, face, fitting.length > 0 ? fitting : able, param);
  }

  /**
   * Which of two faces answers a name; a base with both answers with the first. Without a name it is that of the only base that fits.
   * Throws LorikeetError `invalid_value` if bases of both could, which counts as a request of the route.
   */
  faceOf<F extends Face, G extends Face>(
    asked: AskedName,
    route: Route,
    [first, fitsFirst]: readonly [F, Fits<F>],
    [second, fitsSecond]: readonly [G, Fits<G>],
  ): F | G {
    const startedAt = performance.now();
    const usual = this.has(first, asked) ? first : second;
    if (asked.name !== null || this.all.length === 1) return usual;
    const fitting = this.all.filter(
      ({ [first]: gateway }) => gateway !== null && fitsFirst(gateway as NonNullable<Faces[F]>),
    );
    const others = this.all.filter(
      ({ [first]: own, [second]: gateway }) =>
        own === null && gateway !== null && fitsSecond(gateway as NonNullable<Faces[G]>),
    );
    if (others.length === 0) return usual;
    if (fitting.length === 0) return second;
    const error = unnamed([...fitting, ...others], asked.param);
    this.#observer.ended(summaryOf(route, startedAt, null, asFault(error), null));
    throw error;
  }

  /** Whether the base that answers a name has a face; without a name, or for one that no base knows, whether any base has it. */
  has(face: Face, { name }: AskedName): boolean {
    const base = name === null ? undefined : this.all.find(({ models }) => models.models.has(name));
    return base ? base[face] !== null : this.with(face).length > 0;
  }

  /** What the author of a base or an adapter wrote. Throws LorikeetError `model_not_found`. */
  async card(name: string): Promise<AdapterCard> {
    const { folder, models } = this.#baseOf(name, "model");
    const isBase = models.models.get(name).parent === null;
    if (!isBase) return this.adapters.card(this.models.adapterNamed(name));
    return folder === null ? emptyCard : readCard(folder);
  }

  /** Reports uploads to several bases, and requests that reached none. Each base reports its own requests. */
  observe(observer: GatewayObserver): void {
    this.#observer.add(observer);
  }

  /** Refuses new requests, lets running ones end for `graceMs`, then ends the rest. */
  async drain(graceMs: number): Promise<void> {
    await Promise.all(this.all.map(({ models }) => models.drain(graceMs)));
  }

  #baseOf(name: string, param: string): Base {
    const base = this.all.find(({ models }) => models.models.has(name));
    if (base) return base;
    const known = this.models.list().map((model) => model.name);
    throw unknownModel(name, known, param);
  }
}

/** A server with one base. */
export function basesOf(name: string, gateway: Gateway | TaskGateway, folder: string | null = null): Bases {
  return new Bases([baseOf(name, gateway, folder)]);
}

const taskFacesOf = (task: TaskGateway | null): Pick<Faces, "task" | "textTask" | "tensors"> => ({
  ...{ task, tensors: task },
  textTask: task?.texts.hasTokenizer ? task : null,
});

export function baseOf(name: string, gateway: Gateway | TaskGateway, folder: string | null = null): Base {
  const shared = { name, models: gateway, folder };
  if (!("complete" in gateway)) return { ...shared, text: null, pipeline: gateway, ...taskFacesOf(gateway) };
  const { tasks, sourceTask } = gateway;
  if (sourceTask === null) return { ...shared, text: gateway, pipeline: tasks, ...taskFacesOf(tasks) };
  return { ...shared, text: gateway, pipeline: gateway, ...taskFacesOf(null), tensors: tasks };
}

/** The holder of each adapter, by the name of its base. */
export function holdersOf(all: readonly [Base, ...Base[]]): (record: Pick<AdapterRecord, "base">) => AdapterHolder {
  const holders = new Map(all.map(({ name, models }) => [name, models.holder]));
  return ({ base }) => (base === null ? undefined : holders.get(base)) ?? all[0].models.holder;
}

function basesFirst(models: readonly Model[]): Model[] {
  const isBase = ({ parent }: Model): boolean => parent === null;
  const adapters = models.filter((model) => !isBase(model));
  return [...models.filter(isBase), ...adapters.sort((left, right) => (left.name < right.name ? -1 : 1))];
}

type Named = Pick<Base, "name">;

const listed = (bases: readonly Named[]): string => bases.map(({ name }) => `\`${name}\``).join(", ");

function unnamed(able: readonly Named[], param: string): LorikeetError {
  const message = `\`${param}\` is missing, and several bases could answer: ${listed(able)}; name one of them, or one of their adapters.`;
  return new LorikeetError("invalid_value", message, { param, allowed: able.map(({ name }) => name) });
}

function unfit(able: readonly Named[], param: string): LorikeetError {
  const message = `\`${param}\` is missing, and none of the bases ${listed(able)} gives what this route returns; name an adapter that does.`;
  return new LorikeetError("model_unsupported", message, { param });
}

const useOf = (able: readonly Named[]): string =>
  `use ${listed(able)} or one of ${able.length === 1 ? "its" : "their"} adapters on this route`;

function misfit(name: string, able: readonly Named[], param: string): LorikeetError {
  const message = `\`${name}\` does not give what this route returns; ${useOf(able)}.`;
  return new LorikeetError("model_unsupported", message, { param, found: name, allowed: namesOf(able) });
}

const namesOf = (able: readonly Named[]): string[] => able.map(({ name }) => name);

function unable(name: string, base: Base, face: Face, able: readonly Named[], param: string): LorikeetError {
  const which = name === base.name ? `\`${name}\`` : `The base \`${base.name}\` of \`${name}\``;
  const message = `${which} ${deeds[face]}; ${useOf(able)}.`;
  return new LorikeetError("model_unsupported", message, { param, found: name, allowed: namesOf(able) });
}
