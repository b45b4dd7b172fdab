// What axe-core finds in a view of the page.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { act } from "./page-actions.mjs";

export const loadAxe = (page) =>
  page.run(`${readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8")}; 0`);

/** The faults of a view in either theme. Themes differ in colours alone. */
export async function faultsOf(page, view) {
  const found = [];
  for (const theme of ["light", "dark"]) {
    const faults = await act(
      page,
      `document.documentElement.dataset.theme = ${JSON.stringify(theme)};
      const rules = ${JSON.stringify(theme)} === "light" ? {} : { runOnly: ["color-contrast"] };
      const { violations } = await axe.run(document, { resultTypes: ["violations"], ...rules });
      return violations.map(({ id, nodes }) => id + ": " + nodes.map(({ html, any }) => html.slice(0, 160) + " " + (any[0]?.message ?? "")).join("; "));`,
    );
    found.push(...faults.map((fault) => `${view}, ${theme}: ${fault}`));
  }
  return found;
}
