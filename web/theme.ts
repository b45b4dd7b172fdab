/** Light, dark, or as the system has it. The choice is kept in this browser. */
import { signal } from "@preact/signals";

const themes = ["auto", "light", "dark"] as const;
type Theme = (typeof themes)[number];

const name = "lorikeet-theme";

export const theme = signal<Theme>(themes.find((each) => each === localStorage.getItem(name)) ?? "auto");

export function applyTheme(): void {
  document.documentElement.dataset.theme = theme.value;
}

export function nextTheme(): void {
  theme.value = themes[(themes.indexOf(theme.value) + 1) % themes.length] ?? "auto";
  localStorage.setItem(name, theme.value);
  applyTheme();
}
