/** Asks for the server's key. The browser keeps it until the tab is closed, and nowhere else. */
import { useEffect, useRef, useState } from "preact/hooks";
import { Fault } from "./parts/fault.js";
import { passFocusOn } from "./parts/focus.js";
import { useKey } from "./session.js";

export function KeyForm({ isRefused }: { readonly isRefused: boolean }) {
  const [key, setKey] = useState("");
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => {
    field.current?.focus();
    return () => passFocusOn();
  }, []);
  const submit = (event: Event): void => {
    event.preventDefault();
    if (key.trim() !== "") void useKey(key.trim());
  };
  return (
    <form class="key-form card" onSubmit={submit}>
      <h1>This server needs a key</h1>
      <p>Ask the server's operator for one. This tab keeps it until you close it.</p>
      <Fault text={isRefused ? "This is not one of the server's keys. Check it, or ask the operator for one." : null} />
      <label>
        API key
        <input
          ref={field}
          type="password"
          autocomplete="off"
          spellcheck={false}
          value={key}
          onInput={(event) => setKey(event.currentTarget.value)}
        />
      </label>
      <button type="submit" class="primary">
        Continue
      </button>
    </form>
  );
}
