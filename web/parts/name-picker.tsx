/** A text field with the names that contain what is typed: it stays quick with thousands. */
import { useState } from "preact/hooks";
import { Fault } from "./fault.js";
import { meantBy } from "./names.js";

export interface NamePickerProps {
  /** Of the element that lists the names. */
  readonly id: string;
  readonly label: string;
  readonly name: string;
  readonly names: readonly string[];
  /** What stands beside a name. */
  readonly noteOf?: (name: string) => string | undefined;
  /** Whether a name that is not offered can be picked, because there is something to say of it. */
  readonly isKnown?: (name: string) => boolean;
  readonly onPick: (name: string) => void;
  /** Called when a name is refused: the names may be out of date. */
  readonly onRefuse?: () => void;
}

const mostOffered = 100;

/** Whether a name was chosen from the list. Browsers that do not say how a field has changed say so of that. */
const isChoice = (event: Event): boolean =>
  !(event instanceof InputEvent) || event.inputType === "" || event.inputType === "insertReplacementText";

export function NamePicker(props: NamePickerProps) {
  const { id, label, name, names, noteOf = () => undefined, isKnown = () => false, onPick, onRefuse } = props;
  const [typed, setTyped] = useState<string | null>(null);
  /** `at`: the name that stayed. */
  const [refusal, setRefusal] = useState<{ readonly at: string; readonly text: string } | null>(null);
  const refused = refusal?.at === name ? refusal.text : null;
  const wanted = typed?.toLowerCase() ?? "";
  const matching = wanted === "" ? names : names.filter((each) => each.toLowerCase().includes(wanted));
  const type = (value: string, isChoice: boolean): void => {
    setRefusal(null);
    setTyped(value);
    // What is typed may be the beginning of a longer name: it counts when the reader has finished.
    if (!isChoice || !names.includes(value)) return;
    onPick(value);
    setTyped(null);
  };
  /** The field then shows the name that was picked, in full, or the one before. */
  const end = (value: string): void => {
    setTyped(null);
    if (value === "") return;
    const meant = meantBy(value, names);
    const picked = meant.kind === "name" ? meant.name : isKnown(value) ? value : null;
    if (picked !== null) onPick(picked);
    else {
      const text = meant.kind === "several" ? `“${value}” fits several names.` : `There is no “${value}” here.`;
      setRefusal({ at: name, text });
      onRefuse?.();
    }
  };
  return (
    <div class="name-picker">
      <input
        class="picker"
        aria-label={label}
        aria-invalid={refused !== null}
        list={id}
        value={typed ?? name}
        spellcheck={false}
        onFocus={(event) => event.currentTarget.select()}
        onInput={(event) => type(event.currentTarget.value, isChoice(event))}
        onChange={(event) => end(event.currentTarget.value.trim())}
      />
      <datalist id={id}>
        {matching.slice(0, mostOffered).map((each) => (
          <option key={each} value={each} label={noteOf(each)} />
        ))}
      </datalist>
      <Fault text={refused} />
    </div>
  );
}
