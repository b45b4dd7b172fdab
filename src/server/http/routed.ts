/** Sends each request to the base that it names: handlers know one gateway, and each base that can answer has its own. */
import type { Request, RequestHandler, Response } from "express";
import { assert } from "../../base/errors.js";
import { modelInBody } from "../../gateway/asked-name.js";
import type { AskedName, Bases, Face, Faces, Fits } from "../../gateway/bases.js";
import type { ModelNames } from "../../gateway/model-gateway.js";
import type { Route } from "../../gateway/observer.js";

export interface RoutedOptions<F extends Face> {
  /** What a request counts as that reaches no base; null: it is not counted. */
  readonly route: Route | null;
  /** Finds the name in a request. Default: its body's `model`. */
  readonly asked?: (req: Request) => AskedName;
  /** Whether a gateway gives what a request of the route is answered with. Default: every one with the face. */
  readonly fits?: (gateway: NonNullable<Faces[F]>, body: unknown) => boolean;
}

type Handler = (req: Request, res: Response) => void | Promise<void>;

/** The handlers of the bases with one face, as one. `build` runs once for each base. */
export function routed<F extends Face>(
  bases: Bases,
  face: F,
  build: (gateway: NonNullable<Faces[F]>) => Handler,
  { route, asked = (req) => modelInBody(req.body), fits = () => true }: RoutedOptions<F>,
): RequestHandler {
  const handlers = new Map(bases.with(face).map((gateway) => [gateway, build(gateway)] as const));
  return (req, res) => {
    const fitsBody: Fits<F> = (gateway) => fits(gateway, req.body);
    const handler = handlers.get(bases.pick(face, asked(req), route, fitsBody));
    assert(handler, "every base that can answer has a handler");
    return handler(req, res);
  };
}

/** The name in the path, which may have slashes. */
export const modelInPath = (req: Request): AskedName => ({ name: nameInPath(req), param: "model" });

export const nameInPath = (req: Request): string => [req.params.name ?? ""].flat().join("/");

/**
 * Goes on to the next path if the ending of this one is part of a name: `/models/org/card` describes `org/card` unless there is a model
 * `org`, whose card it is. `org%2Fcard` is always the name.
 */
export function unlessNamed(models: Pick<ModelNames, "has">, ending: string): RequestHandler {
  return (req, _res, next) => {
    const name = nameInPath(req);
    next(!models.has(name) && models.has(`${name}/${ending}`) ? "route" : undefined);
  };
}
