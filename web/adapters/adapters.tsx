/** The adapters of this server, live; new ones by drop. */
import { useEffect, useRef, useState } from "preact/hooks";
import type { AdapterInfo } from "../client/types.js";
import { loadModels } from "../compare/models.js";
import { AnswerOrder } from "../parts/answer-order.js";
import { DropArea } from "../parts/drop-area.js";
import { Fault } from "../parts/fault.js";
import { formatCount } from "../parts/format.js";
import { Icon } from "../parts/icon.js";
import { goOn, hrefOf, route } from "../route.js";
import { canAddAdapters, connection } from "../session.js";
import { AdapterCard } from "./adapter-card.js";
import { checkpointCounts } from "./checkpoints.js";
import { type Parcel, readDrop } from "./dropped.js";
import { adapters, listFault, watchAdapters } from "./live.js";
import { AdapterTable, NoAdapters } from "./table.js";
import { UploadDialog } from "./upload-dialog.js";

interface Upload {
  readonly parcel: Parcel | null;
  readonly replaced: string | null;
}

export function Adapters() {
  const [wanted, setWanted] = useState("");
  const [upload, setUpload] = useState<Upload | null>(null);
  const isReady = connection.value.state === "ready";
  useEffect(() => {
    if (!isReady) return;
    void loadModels();
    return watchAdapters();
  }, [isReady]);
  const listed = adapters.value;
  const here = route.value;
  const asked = here.parameters.get("name");
  const shown = listed?.find(({ name }) => name === asked);
  const drops = useRef(new AnswerOrder());
  const drop = async (transfer: DataTransfer): Promise<void> => {
    const counts = drops.current.ask();
    const parcel = await readDrop(transfer);
    if (parcel && counts()) setUpload((open) => ({ parcel, replaced: open?.replaced ?? null }));
  };
  const add = (): void => setUpload({ parcel: null, replaced: null });
  return (
    <DropArea label="Adapters of this server" canDrop={canAddAdapters.value} onDrop={drop}>
      <div class="toolbar">
        <h1>Adapters</h1>
        <span class="muted">{listed === null ? "" : countsOf(listed)}</span>
        <span class="grow" />
        <input
          type="search"
          placeholder="Filter by name"
          aria-label="Filter by name"
          value={wanted}
          onInput={(event) => setWanted(event.currentTarget.value)}
        />
        {canAddAdapters.value ? (
          <button type="button" class="primary" onClick={add}>
            <Icon name="plus" />
            Add an adapter
          </button>
        ) : null}
      </div>
      <Fault text={listFault.value} />
      {listed !== null && asked !== null && !shown ? (
        <p class="notice" role="status">
          There is no adapter {asked}. It may have been deleted or renamed.
        </p>
      ) : null}
      {listed === null ? null : listed.length === 0 ? (
        <NoAdapters onAdd={canAddAdapters.value ? add : null} />
      ) : (
        <AdapterTable adapters={listed} wanted={wanted} />
      )}
      {shown ? (
        <AdapterCard
          key={shown.name}
          adapter={shown}
          onReplace={() => setUpload({ parcel: null, replaced: shown.name })}
          onClose={() => goOn(here, hrefOf("adapters"))}
        />
      ) : null}
      {upload ? <UploadDialog {...upload} onClose={() => setUpload(null)} /> : null}
    </DropArea>
  );
}

/** Checkpoints are folded, so they are counted by themselves. */
function countsOf(listed: readonly AdapterInfo[]): string {
  const folded = [...checkpointCounts(listed).values()].reduce((sum, count) => sum + count, 0);
  const rest = formatCount(listed.length - folded);
  return folded === 0 ? rest : `${rest} and ${folded === 1 ? "1 checkpoint" : `${formatCount(folded)} checkpoints`}`;
}
