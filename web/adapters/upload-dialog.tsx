/** Adds or replaces an adapter: what is sent, under which name, how far it is, and what the server found in it. */
import { useEffect, useRef, useState } from "preact/hooks";
import type { Stored } from "../client/types.js";
import { AnswerOrder } from "../parts/answer-order.js";
import { Dialog } from "../parts/dialog.js";
import { FileButton } from "../parts/file-button.js";
import { formatBytes } from "../parts/format.js";
import { Icon } from "../parts/icon.js";
import { summaryOf } from "../parts/summary.js";
import { server } from "../session.js";
import { type Parcel, readChosen } from "./dropped.js";
import { adapters } from "./live.js";
import { described, readmeOf, saysWhatItDoes, withReadme } from "./readme.js";
import { useTryLink } from "./try-link.js";
import { Losses } from "./upload-losses.js";
import { UploadRefusal } from "./upload-refusal.js";
import { useCard } from "./use-card.js";
import { type Upload, useUpload } from "./use-upload.js";

export interface UploadDialogProps {
  /** What was dropped, before the dialog opened or since. */
  readonly parcel: Parcel | null;
  /** The adapter to replace; null adds one. */
  readonly replaced: string | null;
  readonly onClose: () => void;
}

export function UploadDialog({ parcel, replaced, onClose }: UploadDialogProps) {
  const upload = useUpload();
  // What is dropped on the result of one upload begins another.
  useEffect(() => upload.chooseAgain(), [parcel]);
  return (
    <Dialog title={replaced === null ? "Add an adapter" : `Replace ${replaced}`} onClose={onClose}>
      {upload.progress.kind === "stored" ? (
        <Result stored={upload.progress.stored} />
      ) : (
        <UploadForm dropped={parcel} replaced={replaced} upload={upload} />
      )}
    </Dialog>
  );
}

/** What is sent, and under which name. */
function useChosen(dropped: Parcel | null, replaced: string | null, { isSending, chooseAgain }: Upload) {
  const [parcel, setParcel] = useState(dropped);
  const nameOf = (taken: Parcel | null): string => taken?.name ?? (taken ? freeName() : "");
  const [name, setName] = useState(() => replaced ?? nameOf(dropped));
  const take = (taken: Parcel | null): void => {
    if (!taken || isSending()) return;
    setParcel(taken);
    chooseAgain();
    if (replaced === null) setName(nameOf(taken));
  };
  useEffect(() => (dropped === parcel ? undefined : take(dropped)), [dropped]);
  return { parcel, name, setName, take };
}

interface UploadFormProps {
  readonly dropped: Parcel | null;
  readonly replaced: string | null;
  readonly upload: Upload;
}

function UploadForm({ dropped, replaced, upload }: UploadFormProps) {
  const { parcel, name, setName, take } = useChosen(dropped, replaced, upload);
  const [base, setBase] = useState<string | null>(null);
  const [typed, setDescription] = useState<string | null>(null);
  const { progress } = upload;
  const present = adapters.value?.find((each) => each.name === name);
  const exists = present !== undefined;
  const isFixed = exists && present.source !== "store";
  const before = useCard(exists && !isFixed ? present : null).card;
  const fit = parcel?.fault === null ? parcel : null;
  const description = typed ?? summaryOf(before?.readme ?? null) ?? "";
  const send = (event: Event): void => {
    event.preventDefault();
    if (fit) void upload.send(name, contentOf(fit, name, description), { replace: exists, base });
  };
  return (
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
        {fit && takesDescription(fit) ? (
          <label>
            What does it do?
            <input
              value={description}
              placeholder="One sentence, such as: Answers as a pirate would."
              onInput={(event) => setDescription(event.currentTarget.value)}
            />
          </label>
        ) : null}
        {fit && before ? <Losses name={name} parcel={fit} card={before} /> : null}
        <BaseChooser base={base} onChoose={setBase} />
      </div>
      {progress.kind === "sending" ? <Sending sent={progress.sent} total={progress.total} /> : null}
      <button type="submit" class="primary" disabled={!fit || name === "" || isFixed || progress.kind === "sending"}>
        <Icon name="upload" />
        {exists && !isFixed ? `Replace ${name}` : "Add"}
      </button>
    </form>
  );
}

/** A README that says what the adapter does needs nothing more, and that of a tar that cannot be read is left alone. */
const takesDescription = ({ isOpaque, readme }: Parcel): boolean =>
  !isOpaque && !(readme !== null && saysWhatItDoes(readme));

/** The tar that is sent, with the description in its README. */
function contentOf(parcel: Parcel, name: string, description: string): Blob {
  if (!takesDescription(parcel) || description.trim() === "") return parcel.content;
  const { readme, files } = parcel;
  return withReadme(files, readme === null ? readmeOf(name, description) : described(readme, description));
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
  const order = useRef(new AnswerOrder());
  const take = async (files: FileList): Promise<void> => {
    const counts = order.current.ask();
    const parcel = await readChosen(files);
    if (counts()) onTake(parcel);
  };
  return (
    <div class="drop" role="group" aria-label="Files of the adapter">
      <Icon name="upload" />
      <p>Drop a PEFT folder, its files or a tar here, or choose</p>
      <FileButton label="a folder" kind="folder" onChoose={take} />
      <FileButton label="files" kind="files" onChoose={take} />
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
        {isSent
          ? "The server checks it against its base."
          : `${formatBytes(sent)} of ${formatBytes(total)}. Closing cancels it.`}
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
