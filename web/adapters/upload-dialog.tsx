/** Adds or replaces an adapter: what is sent, under which name, how far it is, and what the server found in it. */
import { useEffect, useRef, useState } from "preact/hooks";
import { ApiError } from "../client/errors.js";
import type { Stored } from "../client/types.js";
import { loadModels } from "../compare/models.js";
import { Dialog } from "../parts/dialog.js";
import { formatBytes } from "../parts/format.js";
import { Icon } from "../parts/icon.js";
import { summaryOf } from "../parts/summary.js";
import { client, noteFailure, server } from "../session.js";
import { type Parcel, readChosen } from "./dropped.js";
import { adapters, refresh } from "./live.js";
import { described, readmeOf, saysWhatItDoes, withReadme } from "./readme.js";
import { useTryLink } from "./try-link.js";
import { Losses, useCard } from "./upload-losses.js";
import { UploadRefusal } from "./upload-refusal.js";

type Progress =
  | { readonly kind: "choosing" }
  | { readonly kind: "sending"; readonly sent: number; readonly total: number }
  | { readonly kind: "stored"; readonly stored: Stored }
  | { readonly kind: "refused"; readonly message: string; readonly faults: readonly string[] };

export interface UploadDialogProps {
  /** What was dropped, before the dialog opened or since. */
  readonly parcel: Parcel | null;
  /** The adapter to replace; null adds one. */
  readonly replaced: string | null;
  readonly onClose: () => void;
}

export function UploadDialog({ parcel: dropped, replaced, onClose }: UploadDialogProps) {
  const [parcel, setParcel] = useState(dropped);
  const nameOf = (taken: Parcel | null): string => taken?.name ?? (taken ? freeName() : "");
  const [name, setName] = useState(() => replaced ?? nameOf(dropped));
  const [base, setBase] = useState<string | null>(null);
  const [progress, setProgress] = useState<Progress>({ kind: "choosing" });
  const [typed, setDescription] = useState<string | null>(null);
  const isSending = progress.kind === "sending";
  const take = (taken: Parcel | null): void => {
    if (!taken || isSending) return;
    setParcel(taken);
    setProgress({ kind: "choosing" });
    if (replaced === null) setName(nameOf(taken));
  };
  useEffect(() => (dropped === parcel ? undefined : take(dropped)), [dropped]);
  const present = adapters.value?.find((each) => each.name === name);
  const exists = present !== undefined;
  const isFixed = exists && present.source !== "store";
  const before = useCard(exists && !isFixed ? present : null);
  const isFit = parcel !== null && parcel.fault === null;
  const takesDescription = isFit && !parcel.isOpaque && !(parcel.readme !== null && saysWhatItDoes(parcel.readme));
  const description = typed ?? summaryOf(before?.readme ?? null) ?? "";
  const send = async (event: Event): Promise<void> => {
    event.preventDefault();
    if (!isFit) return;
    const isDescribed = takesDescription && description.trim() !== "";
    const readme = parcel.readme === null ? readmeOf(name, description) : described(parcel.readme, description);
    const content = isDescribed ? withReadme(parcel.files, readme) : parcel.content;
    const onProgress = (sent: number): void => setProgress({ kind: "sending", sent, total: content.size });
    onProgress(0);
    try {
      setProgress({
        kind: "stored",
        stored: await client.upload(name, content, { replace: exists, base, onProgress }),
      });
      await Promise.all([refresh(), loadModels()]);
    } catch (error) {
      const faults = error instanceof ApiError ? error.faults : [];
      setProgress({ kind: "refused", message: noteFailure(error), faults });
    }
  };
  return (
    <Dialog title={replaced === null ? "Add an adapter" : `Replace ${replaced}`} onClose={onClose}>
      {progress.kind === "stored" ? (
        <Result stored={progress.stored} />
      ) : (
        <form class="upload" onSubmit={send}>
          <div class="fields">
            <Chooser onTake={take} />
            {parcel && parcel.fault !== null ? <UploadRefusal message={parcel.fault} faults={[]} /> : null}
            {progress.kind === "refused" ? <UploadRefusal {...progress} /> : null}
            {parcel ? <Files parcel={parcel} /> : null}
            {replaced === null ? (
              <label>
                Name
                <input value={name} spellcheck={false} onInput={(event) => setName(event.currentTarget.value)} />
              </label>
            ) : null}
            {isFixed ? (
              <p class="notice" role="status">
                {name} {present.source === "base" ? "came with its base" : "is a folder on the server"} and cannot be
                replaced from here. Choose another name.
              </p>
            ) : null}
            {takesDescription ? (
              <label>
                What does it do?
                <input
                  value={description}
                  placeholder="One sentence, such as: Answers as a pirate would."
                  onInput={(event) => setDescription(event.currentTarget.value)}
                />
              </label>
            ) : null}
            {isFit && before ? <Losses name={name} parcel={parcel} card={before} /> : null}
            <BaseChooser base={base} onChoose={setBase} />
          </div>
          {isSending ? <Sending sent={progress.sent} total={progress.total} /> : null}
          <button type="submit" class="primary" disabled={!isFit || name === "" || isFixed || isSending}>
            <Icon name="upload" />
            {exists && !isFixed ? `Replace ${name}` : "Add"}
          </button>
        </form>
      )}
    </Dialog>
  );
}

/** For files that name nothing: never the name of another adapter, which they would replace. */
function freeName(): string {
  const taken = new Set(adapters.value?.map(({ name }) => name.toLowerCase()));
  for (let count = 1; ; count++) {
    const name = count === 1 ? "my-adapter" : `my-adapter-${count}`;
    if (!taken.has(name)) return name;
  }
}

/** Asked only where there is a choice. An adapter usually names its base, or fits one alone. */
function BaseChooser({ base, onChoose }: { base: string | null; onChoose: (base: string | null) => void }) {
  const bases = server.value?.bases ?? [];
  if (bases.length < 2) return null;
  return (
    <label>
      Base
      <select value={base ?? ""} onChange={({ currentTarget }) => onChoose(currentTarget.value || null)}>
        <option value="">Detect from the adapter</option>
        {bases.map(({ name }) => (
          <option key={name} value={name}>
            {name}
          </option>
        ))}
      </select>
    </label>
  );
}

/** What is dropped reaches the view around the dialog, wherever on the page it is let go. */
function Chooser({ onTake }: { readonly onTake: (parcel: Parcel | null) => void }) {
  const files = useRef<HTMLInputElement>(null);
  const folder = useRef<HTMLInputElement>(null);
  useEffect(() => {
    if (folder.current) folder.current.webkitdirectory = true;
  }, []);
  const take = ({ currentTarget }: { readonly currentTarget: HTMLInputElement }): void => {
    if (currentTarget.files) void readChosen(currentTarget.files).then(onTake);
  };
  return (
    <div class="drop" role="group" aria-label="Files of the adapter">
      <Icon name="upload" />
      <p>Drop a PEFT folder, its files or a tar here, or choose</p>
      <input ref={folder} type="file" hidden onChange={take} />
      <input ref={files} type="file" hidden multiple onChange={take} />
      <button type="button" onClick={() => folder.current?.click()}>
        a folder
      </button>
      <button type="button" onClick={() => files.current?.click()}>
        files
      </button>
    </div>
  );
}

function Files({ parcel }: { readonly parcel: Parcel }) {
  return (
    <ul class="files">
      {parcel.files.map(({ name, content }) => (
        <li key={name}>
          <code>{name}</code> <span>{formatBytes(content.size)}</span>
        </li>
      ))}
    </ul>
  );
}

function Sending({ sent, total }: { readonly sent: number; readonly total: number }) {
  const isSent = sent >= total;
  return (
    <div>
      <progress max={total} value={sent} aria-label="Upload" />
      <p role="status">
        {isSent ? "The server checks it against its base." : `${formatBytes(sent)} of ${formatBytes(total)}`}
      </p>
    </div>
  );
}

const outcomes = {
  created: "is added and can be used at once.",
  replaced: "is replaced. Requests that were running finish with the version before.",
  identical: "is stored already, byte for byte.",
} as const;

function Result({ stored }: { readonly stored: Stored }) {
  const { name, outcome, warnings, ignored } = stored;
  const link = useTryLink(stored);
  const next = useRef<HTMLAnchorElement>(null);
  // The button that was pressed is gone.
  useEffect(() => next.current?.focus(), [link === null]);
  return (
    <div class="upload">
      <p role="status">
        <b>{name}</b> {outcomes[outcome]}
      </p>
      {warnings.map((warning) => (
        <p key={warning} class="notice">
          {warning}
        </p>
      ))}
      {ignored.length > 0 ? (
        <p class="muted">Not kept, because serving does not need it: {ignored.join(", ")}</p>
      ) : null}
      {link ? (
        <a class="button primary" href={link.href} ref={next}>
          {link.isComparison ? "Compare it with the base" : "Try it"}
        </a>
      ) : null}
    </div>
  );
}
