/** Which routes report faults in a form of their own. Chosen before anything can fail, so a missing key is reported in it too. */
import type { Express, NextFunction, Request, RequestHandler, Response } from "express";
import { anthropicErrorForm } from "../../gateway/anthropic/errors.js";
import type { ErrorForm } from "../../gateway/fault.js";
import { huggingFaceErrorForm } from "../../gateway/huggingface/errors.js";
import { kserveErrorForm } from "../../gateway/kserve/infer.js";
import { teiErrorForm } from "../../gateway/tei/errors.js";
import { tgiErrorForm } from "../../gateway/tgi/errors.js";
import { vllmErrorForm } from "../../gateway/vllm/errors.js";
import { contextOf } from "./context.js";

/** By the start of their paths, which also work without `/v1`. */
const forms: readonly (readonly [paths: readonly string[], form: ErrorForm])[] = [
  [["/load_lora_adapter", "/unload_lora_adapter"], vllmErrorForm],
  [["/messages"], anthropicErrorForm],
  [["/generate", "/generate_stream"], tgiErrorForm],
  [["/v2/models"], kserveErrorForm],
  [["/embed", "/embed_all", "/embed_sparse", "/predict", "/similarity", "/decode", "/info"], teiErrorForm],
];

export function addErrorForms(app: Express): void {
  for (const [paths, form] of forms)
    app.use(
      paths.flatMap((path) => [path, `/v1${path}`]),
      reportingIn(form),
    );
  app.post("/", reportingIn(tgiErrorForm));
  app.post(["/models/*name", "/v1/models/*name", "/hf-inference/models/*name"], reportingIn(huggingFaceErrorForm));
  // Anthropic's clients read the request's id from a header of another name.
  app.use(["/messages", "/v1/messages"], (_req, res, next) => {
    res.setHeader("request-id", contextOf(res).id);
    next();
  });
}

function reportingIn(form: ErrorForm): RequestHandler {
  return (_req: Request, res: Response, next: NextFunction): void => {
    contextOf(res).errorForm = form;
    next();
  };
}
