/** Shows a column's request as a program, and copies it. */
import { useState } from "preact/hooks";
import { CopyButton } from "../parts/copy-button.js";
import { needsKey } from "../session.js";
import { type Language, languageNames, languages, program } from "./copy-as.js";
import { models, settingsFor } from "./models.js";
import { settings } from "./settings.js";
import type { Target } from "./target.js";

export function CopyAs({ target }: { readonly target: Target }) {
  const [language, setLanguage] = useState<Language>("curl");
  const address = new URL(".", location.href).href.replace(/\/$/, "");
  const place = { address, base: models.value?.base ?? "", needsKey: needsKey() };
  const text = program(language, target, settingsFor(target, settings.value), place);
  return (
    <div class="copy-as">
      <div class="segments" role="group" aria-label="Language of the program">
        {languages.map((each) => (
          <button key={each} type="button" aria-pressed={each === language} onClick={() => setLanguage(each)}>
            {languageNames[each]}
          </button>
        ))}
      </div>
      {place.needsKey ? (
        <p class="muted">
          Set the environment variable <code>LORIKEET_API_KEY</code> to your key first.
        </p>
      ) : null}
      <pre tabIndex={0}>{text}</pre>
      <CopyButton text={text} label="Copy" />
    </div>
  );
}
