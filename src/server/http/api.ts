/** The paths of the API, and what answers each of them. */

import type { Express, Request, RequestHandler, Response } from "express";
import { LorikeetError } from "../../base/errors.js";
import { isObject } from "../../base/json.js";
import { messagesProtocol } from "../../gateway/anthropic/protocol.js";
import { modelInBody } from "../../gateway/asked-name.js";
import { type Bases, type Fits, generatesChats, generatesText } from "../../gateway/bases.js";
import type { FineTuning } from "../../gateway/fine-tuning/fine-tuning.js";
import type { Gateway } from "../../gateway/gateway.js";
import type { Route } from "../../gateway/observer.js";
import { modelObject } from "../../gateway/openai/models.js";
import { openAiProtocols } from "../../gateway/openai/protocol.js";
import type { Protocol } from "../../gateway/protocol.js";
import type { GenerationRequest } from "../../gateway/requests.js";
import type { Responses } from "../../gateway/responses/responses.js";
import { type TextAnswer, textAnswers } from "../../gateway/tasks/answers.js";
import type { TaskGateway } from "../../gateway/tasks/task-gateway.js";
import { adapterIdInBody } from "../../gateway/tgi/asked-name.js";
import { type TgiProtocols, tgiProtocols } from "../../gateway/tgi/protocol.js";
import { answerOfPooling } from "../../gateway/vllm/pooling.js";
import type { Access } from "../access/access.js";
import type { ServerOptions } from "../options.js";
import type { ReaderBounds } from "../reader-pace.js";
import { adapterHandlers } from "./adapter-routes.js";
import { fineTuningHandlers } from "./fine-tuning-routes.js";
import { generateHandler } from "./generate-routes.js";
import { pictureBody } from "./json-body.js";
import { kserveHandlers, serverMetadata } from "./kserve-routes.js";
import { pipelineHandler, readPath, text2textHandler } from "./pipeline-routes.js";
import { queryOf } from "./request-target.js";
import { responsesHandlers } from "./responses-routes.js";
import { type Handlers, route } from "./route.js";
import { modelInPath, nameInPath, type RoutedOptions, routed, unlessNamed } from "./routed.js";
import { sendJson } from "./send.js";
import { taskHandlers } from "./task-routes.js";
import { teiHandlers, teiIfHas } from "./tei-routes.js";
import { tensorBody } from "./tensor-body.js";
import { textTokenHandlers, tokenizeHandlers } from "./tokenize-routes.js";

export interface ApiParts {
  readonly bases: Bases;
  /** null unless a base generates text. */
  readonly responses: Responses | null;
  /** null: off. */
  readonly fineTuning: FineTuning | null;
  readonly access: Access;
  readonly options: ServerOptions & ReaderBounds;
  readonly json: RequestHandler;
}

/** What handlers need that go to the base a request names. */
type RoutedParts = Pick<ApiParts, "bases" | "options">;

/** Registers every path that the bases can answer. */
export function addApi(app: Express, parts: ApiParts): void {
  const { bases, responses, options } = parts;
  const hasPipelines = bases.with("pipeline").length > 0;
  const named = hasPipelines ? { post: [pictureBody(options), pipelineOf(parts)] } : {};
  addModelApi(app, { ...parts, named });
  if (responses) addTextApi(app, { ...parts, responses });
  addTokenApi(app, parts);
  if (hasPipelines) route(app, "/hf-inference/models/*name", named);
  if (bases.with("task").length > 0) addTaskApi(app, parts);
  if (bases.with("tensors").length > 0) addTensorApi(app, parts);
  addFineTuningApi(app, parts);
}

/** Each path also without `/v1`, as in llama.cpp. */
const apiOf =
  (app: Express) =>
  (path: string, handlers: Handlers, first?: RequestHandler): void =>
    route(app, [`/v1${path}`, path], handlers, first);

/** What every model has: names and adapters. `named`: more handlers of a model by its name. */
function addModelApi(app: Express, { bases, options, json, named }: ApiParts & { readonly named: Handlers }): void {
  const { models } = bases;
  const adapters = adapterHandlers(bases, options);
  const api = apiOf(app);
  api("/models", {
    get: [(_req, res) => sendJson(res, { object: "list", data: models.list().map(modelObject) }, options)],
  });
  // A name may have slashes, so the longer path comes first.
  api("/models/*name/card", { get: [adapters.modelCard] }, unlessNamed(models, "card"));
  api("/models/*name", {
    get: [(req, res) => void res.json(modelObject(models.get(nameInPath(req))))],
    delete: [
      async (req, res) => {
        const name = nameInPath(req);
        await bases.adapters.remove(models.adapterNamed(name));
        res.json({ id: name, object: "model", deleted: true });
      },
    ],
    ...named,
  });
  api("/adapters", { get: [adapters.list] });
  api("/adapters/:name", {
    get: [adapters.get],
    put: [adapters.put],
    patch: [json, adapters.patch],
    delete: [adapters.remove],
  });
  api("/adapters/:name/card", { get: [adapters.card] });
  api("/adapters/:name/download", { get: [adapters.download] });
  api("/ws", { get: [askForHandshake] });
  api("/load_lora_adapter", { post: [json, adapters.load] });
  api("/unload_lora_adapter", { post: [json, adapters.unload] });
}

/** What task models have besides. */
function addTaskApi(app: Express, { bases, options, json }: ApiParts): void {
  const api = apiOf(app);
  const task = (name: "classify" | "pooling" | "score" | "rerank" | "embeddings", of: AnswerOf): RequestHandler =>
    routed(bases, faceOfTexts(bases), (gateway) => taskHandlers(gateway, options)[name], {
      ...{ route: name, fits: answering(of) },
    });
  const tei = teiOf({ bases, options });
  const inQuery = (req: Request) => ({ name: queryOf(req).get("model"), param: "model" });
  const info = routed(bases, faceOfTexts(bases), (gateway) => teiHandlers(gateway, options).info, {
    ...{ route: null, asked: inQuery },
  });
  const ranked = {
    post: [json, teiIfHas("texts", tei("rerank", "rerank", "pairScores"), task("rerank", "pairScores"))],
  };
  api("/classify", { post: [json, task("classify", "labels")] });
  api("/score", { post: [json, task("score", "pairScores")] });
  api("/pooling", { post: [json, task("pooling", answerOfPooling)] });
  api("/rerank", ranked);
  route(app, "/v2/rerank", ranked);
  api("/embeddings", { post: [json, task("embeddings", "vectors")] });
  route(app, "/embed", { post: [json, tei("embed", "embed", "vectors")] });
  route(app, "/embed_all", { post: [json, tei("embedAll", "embed", "tokenVectors")] });
  route(app, "/embed_sparse", { post: [json, tei("embedSparse", "embed", "sparseVectors")] });
  route(app, "/predict", { post: [json, tei("predict", "predict", "labels")] });
  route(app, "/similarity", { post: [json, tei("similarity", "similarity", "pairScores")] });
  route(app, "/decode", { post: [json, tei("decode", "detokenize")] });
  route(app, "/info", { get: [info] });
}

/** The Open Inference Protocol. */
function addTensorApi(app: Express, { bases, options }: ApiParts): void {
  const { version } = bases.with("tensors")[0] ?? { version: "" };
  const about = { route: null, asked: modelInPath };
  const inPath = { route: "infer", asked: modelInPath } as const;
  const kserve = (name: "model" | "ready" | "infer", asked: RoutedOptions<"tensors">) =>
    routed(bases, "tensors", (gateway) => kserveHandlers(gateway, options)[name], asked);
  route(app, "/v2", { get: [serverMetadata(version)] });
  // A name may have slashes, so the longer paths come first.
  for (const path of ["/v2/models/*name/versions/:version", "/v2/models/*name"]) {
    route(app, `${path}/ready`, { get: [kserve("ready", about)] }, unlessNamed(bases.models, "ready"));
    route(app, `${path}/infer`, { post: [tensorBody(options), kserve("infer", inPath)] });
    route(app, path, { get: [kserve("model", about)] });
  }
}

/** Of bases that take texts; where none does, each says what it takes. */
const faceOfTexts = (bases: Bases): "textTask" | "task" => (bases.with("textTask").length > 0 ? "textTask" : "task");

/** What a route answers with, or what its body asks for; null: anything of texts. */
type AnswerOf = TextAnswer | ((body: unknown) => TextAnswer | null);

const answering =
  (of: AnswerOf) =>
  ({ texts }: TaskGateway, body: unknown): boolean => {
    const answer = typeof of === "string" ? of : of(body);
    return answer === null ? textAnswers.some((each) => texts.answers(each)) : texts.answers(answer);
  };

/** The handlers of text-embeddings-inference. `of`: null for those that run no model. */
const teiOf =
  ({ bases, options }: RoutedParts) =>
  (name: keyof ReturnType<typeof teiHandlers>, counted: Route, of: TextAnswer | null = null): RequestHandler =>
    routed(bases, faceOfTexts(bases), (gateway) => teiHandlers(gateway, options)[name], {
      ...{ route: counted, ...(of && { fits: answering(of) }) },
    });

/** Whether a chat is to be tokenized. */
const hasMessages = (body: unknown): boolean => isObject(body) && body.messages !== undefined;

/** Calls about tokens, which differ between models that generate text, whose calls know chats, and others. */
function addTokenApi(app: Express, { bases, options, json }: ApiParts): void {
  const calls = (name: "tokenize" | "detokenize"): RequestHandler => {
    const ofText = (gateway: Gateway, body: unknown): boolean =>
      hasMessages(body) ? gateway.tokenizer?.chatTemplate != null : gateway.tokenizer !== null;
    const text = routed(bases, "text", (gateway) => tokenizeHandlers(gateway, options)[name], {
      ...{ route: name, fits: ofText },
    });
    const build = (gateway: TaskGateway) => textTokenHandlers(gateway, options)[name];
    const task = routed(bases, faceOfTexts(bases), build, { route: name });
    return (req, res, next) => {
      const face = bases.faceOf(
        modelInBody(req.body),
        name,
        ["text", (gateway) => ofText(gateway, req.body)],
        [faceOfTexts(bases), ({ texts }) => texts.hasTokenizer && !hasMessages(req.body)],
      );
      return (face === "text" ? text : task)(req, res, next);
    };
  };
  const tei = teiOf({ bases, options })("tokenize", "tokenize");
  const api = apiOf(app);
  api("/tokenize", { post: [json, teiIfHas("inputs", tei, calls("tokenize"))] });
  api("/detokenize", { post: [json, calls("detokenize")] });
}

/** Hugging Face's handler of a model by its name. */
function pipelineOf({ bases, options }: RoutedParts): RequestHandler {
  const asked = (req: Request) => ({ name: readPath(req).name, param: "model" });
  const build = (gateway: Gateway | TaskGateway) =>
    "complete" in gateway ? text2textHandler(gateway, options) : pipelineHandler(gateway, options);
  return routed(bases, "pipeline", build, { route: "pipeline", asked });
}

/** TGI's handlers. */
export function generateOf({ bases, options }: RoutedParts) {
  const handler = (name: keyof TgiProtocols): RequestHandler => {
    const build = (gateway: Gateway) => generateHandler(tgiProtocols(gateway)[name], gateway, options);
    const asked = (req: Request) => adapterIdInBody(req.body);
    return routed(bases, "text", build, { route: "generate", asked, fits: generatesText });
  };
  return { either: handler("either"), generate: handler("generate"), generateStream: handler("generateStream") };
}

/** What models that generate text have besides. */
function addTextApi(
  app: Express,
  { bases, responses, access, options, json }: ApiParts & { readonly responses: Responses },
): void {
  const generating = <Request extends GenerationRequest>(
    name: Route,
    protocolOf: (gateway: Gateway) => Protocol<Request>,
    fits: Fits<"text">,
  ): RequestHandler =>
    routed(bases, "text", (gateway) => generateHandler(protocolOf(gateway), gateway, options), { route: name, fits });
  const countTokens = routed(bases, "text", (gateway) => tokenizeHandlers(gateway, options).countTokens, {
    ...{ route: "count_tokens", fits: generatesChats },
  });
  const { generate, generateStream } = generateOf({ bases, options });
  const stored = responsesHandlers({ bases, responses, access, options });
  const api = apiOf(app);
  const completions = generating("completions", (gateway) => openAiProtocols(gateway).completions, generatesText);
  const chat = generating("chat", (gateway) => openAiProtocols(gateway).chat, generatesChats);
  api("/completions", { post: [json, completions] });
  api("/chat/completions", { post: [json, chat] });
  api("/messages", { post: [json, generating("messages", messagesProtocol, generatesChats)] });
  api("/messages/count_tokens", { post: [json, countTokens] });
  api("/generate", { post: [json, generate] });
  api("/generate_stream", { post: [json, generateStream] });
  api("/responses", { get: [askForHandshake], post: [json, stored.create] });
  api("/responses/:id", { get: [stored.get], delete: [stored.remove] });
  api("/responses/:id/cancel", { post: [stored.cancel] });
  api("/responses/:id/input_items", { get: [stored.inputItems] });
}

/** OpenAI's files and fine-tuning jobs, whether they are on or off. */
function addFineTuningApi(app: Express, { fineTuning, access, options, json }: ApiParts): void {
  const { files, jobs } = fineTuningHandlers({ fineTuning, access, options });
  const api = apiOf(app);
  api("/files", { get: [files.list], post: [files.create] });
  api("/files/:id", { get: [files.get], delete: [files.remove] });
  api("/files/:id/content", { get: [files.content] });
  api("/fine_tuning/jobs", { get: [jobs.list], post: [json, jobs.create] });
  api("/fine_tuning/jobs/:id", { get: [jobs.get] });
  api("/fine_tuning/jobs/:id/cancel", { post: [jobs.cancel] });
  api("/fine_tuning/jobs/:id/pause", { post: [jobs.pause] });
  api("/fine_tuning/jobs/:id/resume", { post: [jobs.resume] });
  api("/fine_tuning/jobs/:id/events", { get: [jobs.events] });
  api("/fine_tuning/jobs/:id/checkpoints", { get: [jobs.checkpoints] });
}

function askForHandshake(_req: Request, res: Response): void {
  res.setHeader("upgrade", "websocket");
  res.setHeader("connection", "upgrade");
  throw new LorikeetError("upgrade_required", "This path speaks WebSocket: send its handshake.");
}
