/** A text field with the names that contain what is typed: it stays quick with thousands. */
import { useState } from "preact/hooks";

export interface NamePickerProps {
  /** Of the element that lists the names. */
  readonly id: string;
  readonly label: string;
  readonly name: string;
  readonly names: readonly string[];
  /** What stands beside a name. */
  readonly noteOf?: (name: string) => string | undefined;
  /** Called with any text, which may be the name of something that is not listed. */
  readonly onPick: (name: string) => void;
}

const mostOffered = 100;

export function NamePicker({ id, label, name, names, noteOf = () => undefined, onPick }: NamePickerProps) {
  const [typed, setTyped] = useState<string | null>(null);
  const wanted = typed?.toLowerCase() ?? "";
  const matching = wanted === "" ? names : names.filter((each) => each.toLowerCase().includes(wanted));
  const pick = (value: string): void => {
    setTyped(value);
    if (names.includes(value)) {
      onPick(value);
      setTyped(null);
    }
  };
  return (
    <>
      <input
        class="picker grow"
        aria-label={label}
        list={id}
        value={typed ?? name}
        spellcheck={false}
        onFocus={(event) => event.currentTarget.select()}
        onInput={(event) => pick(event.currentTarget.value)}
        onChange={(event) => {
          if (event.currentTarget.value.trim() !== "") onPick(event.currentTarget.value.trim());
          setTyped(null);
        }}
      />
      <datalist id={id}>
        {matching.slice(0, mostOffered).map((each) => (
          <option key={each} value={each} label={noteOf(each)} />
        ))}
      </datalist>
    </>
  );
}
