/** One adapter: what it is, what its author says about it, how its training went, and what can be done with it. */
import { useRef, useState } from "preact/hooks";
import type { AdapterInfo, AdapterCard as Card } from "../client/types.js";
import { Confirmation } from "../parts/confirmation.js";
import { Dialog } from "../parts/dialog.js";
import { Fault } from "../parts/fault.js";
import { formatAgo, formatBytes, formatCount, formatTime } from "../parts/format.js";
import { Icon } from "../parts/icon.js";
import { Picture } from "../parts/picture.js";
import { summaryOf } from "../parts/summary.js";
import { client } from "../session.js";
import { useAction } from "../use-action.js";
import { CardSections } from "./card-sections.js";
import { tryLinkOf } from "./compare-link.js";
import { adapters, refresh } from "./live.js";
import { exampleLinkOf } from "./try-link.js";
import { useCard } from "./use-card.js";
import { pinnedWith, sourceOf, tierWords } from "./words.js";

export interface AdapterCardProps {
  readonly adapter: AdapterInfo;
  readonly onReplace: () => void;
  readonly onClose: () => void;
}

export function AdapterCard({ adapter, onReplace, onClose }: AdapterCardProps) {
  const { card, fault: cardFault } = useCard(adapter);
  const [fault, setFault] = useState<string | null>(null);
  const shared = adapter.pinned ? pinnedWith(adapter, adapters.value ?? []) : "";
  return (
    <Dialog title={adapter.name} kind="drawer" onClose={onClose}>
      <Actions adapter={adapter} card={card} onReplace={onReplace} onDeleted={onClose} onFault={setFault} />
      {shared === "" ? null : <p class="muted">{shared}</p>}
      <Fault text={fault ?? cardFault} />
      {adapter.warnings.map((warning) => (
        <p key={warning} class="notice">
          {warning}
        </p>
      ))}
      {card ? (
        <>
          <Opening adapter={adapter} card={card} />
          <CardSections card={card} arrival={arrivalOf(adapter)} ownJob={adapter.job}>
            <Facts adapter={adapter} card={card} />
          </CardSections>
        </>
      ) : (
        <Facts adapter={adapter} card={null} />
      )}
    </Dialog>
  );
}

interface ActionsProps extends Pick<AdapterCardProps, "adapter" | "onReplace"> {
  readonly card: Card | null;
  /** Called after the list lacks it, when the card may be gone. */
  readonly onDeleted: () => void;
  readonly onFault: (fault: string | null) => void;
}

function Actions({ adapter, card, onReplace, onDeleted, onFault }: ActionsProps) {
  const [isDeleting, setDeleting] = useState(false);
  const deleteButton = useRef<HTMLButtonElement>(null);
  const { name, pinned, source, in_flight: inFlight } = adapter;
  const link = exampleLinkOf(adapter, card);
  const run = useAction(onFault);
  const pin = (): Promise<void> =>
    run(pinned ? "unpin" : "pin", async () => {
      await client.pin(name, !pinned);
      await refresh();
    });
  if (isDeleting) {
    // The row goes before the card does: the focus must not go back to a row that is about to leave.
    const remove = (): Promise<void> =>
      run("delete", async () => {
        await client.remove(name);
        await refresh();
        onDeleted();
      });
    const keep = (): void => {
      setDeleting(false);
      requestAnimationFrame(() => deleteButton.current?.focus());
    };
    return (
      <Confirmation label={`Delete ${name}`} keep="Keep" confirm="Delete" onKeep={keep} onConfirm={remove}>
        Delete <b>{name}</b> and its files for good? {inFlight > 0 ? "Running requests finish with it; new" : "New"}{" "}
        requests are refused.
      </Confirmation>
    );
  }
  return (
    <div class="actions">
      {link ? (
        <a class="button primary" href={link.href}>
          {link.isComparison ? "Compare" : "Try it"}
        </a>
      ) : null}
      <button type="button" aria-pressed={pinned} onClick={pin}>
        <Icon name="pin" />
        {pinned ? "Unpin" : "Pin"}
      </button>
      <button type="button" onClick={() => run("download", () => save(name))}>
        <Icon name="download" />
        Download
      </button>
      {source === "store" ? (
        <>
          <button type="button" onClick={onReplace}>
            <Icon name="upload" />
            Replace
          </button>
          <button type="button" class="danger" ref={deleteButton} onClick={() => setDeleting(true)}>
            <Icon name="trash" />
            Delete
          </button>
        </>
      ) : null}
    </div>
  );
}

/** A link cannot carry the key, so the page reads the tar and then saves it. */
async function save(name: string): Promise<void> {
  const address = URL.createObjectURL(await client.download(name));
  const link = document.createElement("a");
  link.href = address;
  link.download = `${name.replaceAll("/", "_")}.tar`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

/** How an adapter came to this server. */
function arrivalOf({ base, source, job, created }: AdapterInfo): string {
  const at = formatTime(created);
  if (job !== null) return `A job of this server trained it and published it on ${at}.`;
  if (source === "store") return `It was uploaded on ${at}.`;
  if (source === "base") return `It came with its base${base === null ? "" : `, ${base}`}.`;
  return "It is in the adapters folder that the server was started with.";
}

interface Fact {
  readonly name: string;
  readonly value: string;
  /** What the name means. */
  readonly hint: string;
}

function Facts({ adapter, card }: { readonly adapter: AdapterInfo; readonly card: Card | null }) {
  const { base, rank, dora, modules, bytes, tier, counts, last_used: lastUsed } = adapter;
  const facts: readonly Fact[] = [
    { name: "Base", value: base ?? "", hint: "The model that it changes" },
    { name: "Task", value: adapter.tasks[0] ?? "", hint: "What it does, by Hugging Face's name" },
    { name: "Method", value: dora ? "DoRA" : "LoRA", hint: "How it changes the base's weights" },
    { name: "Rank", value: String(rank), hint: "Width of the matrices that it adds: wider ones can learn more" },
    { name: "Adapted layers", value: formatCount(modules), hint: "Layers of the base that it changes" },
    { name: "Size", value: formatBytes(bytes), hint: "Bytes of its weights" },
    { name: "Tier", value: tierWords[tier], hint: "Where it is, and so how soon it answers" },
    { name: "Source", value: sourceOf(adapter), hint: "How it came to this server" },
    { name: "Requests", value: formatCount(counts.requests), hint: "Since the server started" },
    {
      name: "Tokens",
      value: `${formatCount(counts.prompt_tokens)} read, ${formatCount(counts.completion_tokens)} written`,
      hint: "Since the server started",
    },
    { name: "Last used", value: formatAgo(lastUsed), hint: "When the last request for it began" },
  ];
  return (
    <section aria-label="Details" class="details">
      <h3>Details</h3>
      <dl class="facts">
        {facts.map(({ name, value, hint }) => (
          <div key={name} title={hint}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      <Tags title="Target modules" hint="Names of the layers that it changes" values={card?.target_modules ?? []} />
      <Tags title="Labels" hint="What it may answer" values={card?.labels ?? []} />
      <p class="digest" title="A fingerprint of its files: it changes when any of them does">
        Digest <code>{adapter.digest}</code>
      </p>
    </section>
  );
}

interface TagsProps {
  readonly title: string;
  readonly hint: string;
  readonly values: readonly string[];
}

function Tags({ title, hint, values }: TagsProps) {
  if (values.length === 0) return null;
  return (
    <p class="tags" title={hint}>
      <span>{title}</span>
      {values.map((value) => (
        <code key={value} class="tag">
          {value}
        </code>
      ))}
    </p>
  );
}

/** What it does, and what to try it with, in its author's words. */
function Opening({ adapter, card }: { readonly adapter: AdapterInfo; readonly card: Card }) {
  const examples = card.examples.flatMap((example, index) => {
    const link = tryLinkOf(adapter, { ...example, index });
    return link ? [{ ...example, href: link.href }] : [];
  });
  return (
    <>
      <p>{summaryOf(card.readme)}</p>
      {examples.length > 0 ? (
        <section aria-label="Examples">
          <h3>Try it</h3>
          <p class="tags">
            {examples.map(({ title, text, picture, href }) => (
              <a key={href} class="chip button" href={href}>
                {picture === null ? null : <Picture url={picture} />}
                {title ?? text ?? "A picture"}
              </a>
            ))}
          </p>
        </section>
      ) : null}
    </>
  );
}
