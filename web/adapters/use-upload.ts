/** An upload while it runs. It ends with the dialog that shows it. */
import { useRef, useState } from "preact/hooks";
import { ApiError } from "../client/errors.js";
import type { Stored } from "../client/types.js";
import { loadModels } from "../compare/models.js";
import { useLifetime } from "../parts/lifetime.js";
import { client, noteFailure } from "../session.js";
import { refresh } from "./live.js";

export type Progress =
  | { readonly kind: "choosing" }
  | { readonly kind: "sending"; readonly sent: number; readonly total: number }
  | { readonly kind: "stored"; readonly stored: Stored }
  | { readonly kind: "refused"; readonly message: string; readonly faults: readonly string[] };

export interface Upload {
  readonly progress: Progress;
  /** Now, not when the component was rendered. */
  readonly isSending: () => boolean;
  send(
    name: string,
    content: Blob,
    options: { readonly replace: boolean; readonly base: string | null },
  ): Promise<void>;
  /** Back to the choice of files. An upload that runs goes on. */
  chooseAgain(): void;
}

export function useUpload(): Upload {
  const [progress, setProgress] = useState<Progress>({ kind: "choosing" });
  const isSending = useRef(false);
  const lifetime = useLifetime();
  const send: Upload["send"] = async (name, content, options) => {
    if (isSending.current) return;
    isSending.current = true;
    const onProgress = (sent: number): void => setProgress({ kind: "sending", sent, total: content.size });
    onProgress(0);
    try {
      const stored = await client.upload(name, content, { ...options, onProgress, signal: lifetime });
      setProgress({ kind: "stored", stored });
    } catch (error) {
      const faults = error instanceof ApiError ? error.faults : [];
      if (!lifetime.aborted) setProgress({ kind: "refused", message: noteFailure(error), faults });
      return;
    } finally {
      isSending.current = false;
    }
    await Promise.all([refresh(), loadModels()]);
  };
  const chooseAgain = (): void => {
    if (!isSending.current) setProgress({ kind: "choosing" });
  };
  return { progress, isSending: () => isSending.current, send, chooseAgain };
}
