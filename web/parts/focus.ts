/** Where the keyboard goes on when the element that had the focus is gone. */

export const focusContent = (): void => document.getElementById("content")?.focus();

/** Called while an element leaves the page. If the focus leaves with it, `preferred` gets it, or the content of the page. */
export function passFocusOn(preferred: Element | null = null): void {
  queueMicrotask(() => {
    if (document.activeElement !== null && document.activeElement !== document.body) return;
    if (preferred instanceof HTMLElement && preferred.isConnected && preferred !== document.body) preferred.focus();
    else focusContent();
  });
}
