/** The routes of OpenAI's files and fine-tuning API. */
import type { Request, Response } from "express";
import { LorikeetError } from "../../base/errors.js";
import { type FineTuning, fineTuningOff } from "../../gateway/fine-tuning/fine-tuning.js";
import type { Access } from "../access/access.js";
import type { ServerOptions } from "../options.js";
import type { ReaderBounds } from "../reader-pace.js";
import { contextOf } from "./context.js";
import { queryOf } from "./request-target.js";
import { sendJson, sendPieces } from "./send.js";

export interface FineTuningRouteParts {
  readonly fineTuning: FineTuning | null;
  readonly access: Access;
  readonly options: ServerOptions & ReaderBounds;
}

/** The options whose limits these routes meet, by the names that errors use. */
const limits: ReadonlySet<string> = new Set([
  ...["max-uploads", "max-uploads-per-address"],
  ...["upload-idle-timeout", "min-upload-rate", "upload-timeout"],
  ...["max-training-queue", "max-jobs", "max-files", "max-total-file-bytes"],
]);

type Call = (fineTuning: FineTuning, owner: string, req: Request, res: Response) => unknown;

export function fineTuningHandlers({ fineTuning, access, options }: FineTuningRouteParts) {
  /** Calls what is on, and counts limits. */
  const calling =
    (call: Call) =>
    async (req: Request, res: Response): Promise<void> => {
      if (fineTuning === null) throw fineTuningOff();
      try {
        await call(fineTuning, access.ownerOf(req), req, res);
      } catch (error) {
        const limit = error instanceof LorikeetError ? error.param : undefined;
        if (limit !== undefined && limits.has(limit)) options.onLimit?.(limit);
        throw error;
      }
    };
  const answering = (call: (...args: Parameters<Call>) => object | Promise<object>) =>
    calling(async (...args) => {
      const [, , , res] = args;
      await sendJson(res, await call(...args), options);
    });
  const changing = (what: "cancel" | "pause" | "resume") =>
    answering((tuning, owner, req) => tuning.changeJob(owner, idOf(req), what));
  return {
    files: {
      list: answering((tuning, owner, req) => tuning.listFiles(owner, queryOf(req))),
      create: answering((tuning, owner, req, res) => {
        const { client, signal } = contextOf(res);
        const contentType = req.headers["content-type"] ?? null;
        const length = req.headers["content-length"];
        const contentLength = length === undefined ? null : Number(length);
        return tuning.upload(owner, { body: req, contentType, contentLength, client }, signal);
      }),
      get: answering((tuning, owner, req) => tuning.file(owner, idOf(req))),
      remove: answering((tuning, owner, req) => tuning.removeFile(owner, idOf(req))),
      content: calling(async (tuning, owner, req, res) => {
        const { bytes, content } = tuning.content(owner, idOf(req));
        // Never shown as a page: it is what a client has sent.
        res.setHeader("content-type", "application/octet-stream");
        res.setHeader("content-disposition", "attachment");
        res.setHeader("content-length", bytes);
        await sendPieces(res, content, options);
      }),
    },
    jobs: {
      list: answering((tuning, owner, req) => tuning.listJobs(owner, queryOf(req))),
      create: answering((tuning, owner, req) => tuning.createJob(owner, req.body)),
      get: answering((tuning, owner, req) => tuning.job(owner, idOf(req))),
      cancel: changing("cancel"),
      pause: changing("pause"),
      resume: changing("resume"),
      events: answering((tuning, owner, req) => tuning.events(owner, idOf(req), queryOf(req))),
      checkpoints: answering((tuning, owner, req) => tuning.checkpoints(owner, idOf(req), queryOf(req))),
    },
  };
}

function idOf(req: Request): string {
  const { id } = req.params;
  return typeof id === "string" ? id : "";
}
