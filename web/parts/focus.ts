/** Where the keyboard goes on when the element that had the focus is gone. */

export const focusContent = (): void => document.getElementById("content")?.focus();

/** Called while an element leaves the page. If the focus leaves with it, `preferred` gets it, or the content of the page. */
export function passFocusOn(preferred: Element | null = null): void {
  queueMicrotask(() => {
    if (!isLost()) return;
    if (preferred instanceof HTMLElement && preferred.isConnected && preferred !== document.body) preferred.focus();
    else focusContent();
  });
}

const isLost = (): boolean => document.activeElement === null || document.activeElement === document.body;

/** Where the focus was: the element, what is around it, and what comes before it, nearest first. */
interface Place {
  readonly element: Element;
  readonly around: readonly Element[];
  readonly before: readonly Element[];
}

/**
 * Keeps the focus on the page when a button leaves it or is disabled because it was used: what took its place gets the focus, or else what
 * comes before it.
 */
export function keepFocus(): void {
  let last: Place | null = null;
  addEventListener("focusin", ({ target }) => {
    last = target instanceof Element ? placeOf(target) : null;
  });
  addEventListener("focusout", ({ target }) => {
    // Who leaves an element that is still there, by a click beside it, wants no other.
    queueMicrotask(() => {
      if (last && last.element === target && canFocus(last.element)) last = null;
    });
  });
  const goOn = (): void => {
    if (!last || canFocus(last.element) || !(isLost() || document.activeElement === last.element)) return;
    nextOf(last)?.focus();
  };
  // Later than the views themselves, which may know better.
  const observer = new MutationObserver(() => {
    if (last && !canFocus(last.element)) setTimeout(goOn, 0);
  });
  observer.observe(document.body, { subtree: true, childList: true, attributeFilter: ["disabled", "hidden"] });
}

function placeOf(element: Element): Place {
  const around: Element[] = [];
  for (let each = element.parentElement; each && each !== document.body; each = each.parentElement) around.push(each);
  const all = stopsIn(document.body);
  return { element, around, before: all.slice(0, all.indexOf(element)).reverse() };
}

/** In the nearest element around it that is still there and has something to focus; a view that is gone leaves the content. */
function nextOf({ around, before }: Place): HTMLElement | null {
  const content = document.getElementById("content");
  for (const each of around) {
    if (each === content) break;
    if (!each.isConnected) continue;
    const stops = stopsIn(each);
    const known = before.find((stop) => stops.includes(stop));
    const at = known ? stops.indexOf(known) : -1;
    const next = stops[at + 1] ?? stops[at];
    if (next instanceof HTMLElement) return next;
  }
  return content;
}

const canFocus = (element: Element): boolean =>
  element.isConnected && !element.matches(":disabled") && element.checkVisibility();

const stopsIn = (element: Element): Element[] =>
  [...element.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex='0']")].filter(canFocus);
