/** A button that opens the browser's choice of files. */
import { useEffect, useRef } from "preact/hooks";

export interface FileButtonProps {
  readonly label: string;
  readonly help?: string;
  /** One file, several, or all of a folder. Default: one. */
  readonly kind?: "file" | "files" | "folder";
  /** Media types or endings of names, as HTML has them. */
  readonly accept?: string;
  readonly onChoose: (files: FileList) => void;
}

export function FileButton({ label, help, kind = "file", accept, onChoose }: FileButtonProps) {
  const input = useRef<HTMLInputElement>(null);
  useEffect(() => {
    if (input.current) input.current.webkitdirectory = kind === "folder";
  }, [kind]);
  return (
    <>
      <input
        ref={input}
        type="file"
        hidden
        multiple={kind === "files"}
        accept={accept}
        onChange={({ currentTarget }) => {
          if (currentTarget.files) onChoose(currentTarget.files);
        }}
        // The same file can be chosen again: it may have changed.
        onClick={({ currentTarget }) => {
          currentTarget.value = "";
        }}
      />
      <button type="button" title={help} onClick={() => input.current?.click()}>
        {label}
      </button>
    </>
  );
}
