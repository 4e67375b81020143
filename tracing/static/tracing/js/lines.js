/** The lines of a list or a tree, one of which is the current one. */

/** @typedef {typeof import("./page.js")} Page */

const LINES =
  "#tree [role=row]:not(.tree-header), #traces tbody tr, .spans-table tbody tr, main .table-frame tbody tr";

/**
 * Return the place that is *by* lines further, within *count* lines; -1 is before them all.
 *
 * @param {number} at
 * @param {number} by
 * @param {number} count
 * @returns {number}
 */
export function placeAfter(at, by, count) {
  if (at < 0) return by > 0 ? 0 : count - 1;
  return Math.min(Math.max(at + by, 0), count - 1);
}

/**
 * Return what walks the lines of the page.
 *
 * @param {Page} page
 */
export function createLines({ all, one }) {
  /** The current line, or null. */
  const current = () => one(".is-current");

  /**
   * Make a line the current one.
   *
   * @param {HTMLElement | null | undefined} line
   * @param {{ focus?: boolean }} [options]
   */
  function go(line, { focus = true } = {}) {
    if (!line) return;
    current()?.classList.remove("is-current");
    line.classList.add("is-current");
    line.scrollIntoView({ block: "nearest" });
    if (!focus) return;
    const target = line.getAttribute("role") === "row" ? line : one("a.open, a", line);
    target?.focus({ preventScroll: true });
  }

  /**
   * Go to the line that is *by* lines further.
   *
   * @param {number} by
   */
  function step(by) {
    const lines = all(LINES).filter((line) => line.offsetParent !== null && one("a", line));
    const now = current();
    if (lines.length) go(lines[placeAfter(now ? lines.indexOf(now) : -1, by, lines.length)]);
  }

  /** Follow the link of the current line; return whether there is one. */
  function open() {
    const line = current();
    const link = line && one("a.open", line);
    link?.click();
    return Boolean(link);
  }

  return { current, go, open, step };
}
