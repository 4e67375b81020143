/** The keyboard. */

/** @typedef {typeof import("./page.js")} Page */

/**
 * What a key does. False leaves the key to the browser.
 *
 * @typedef {(event: KeyboardEvent) => unknown} Act
 */

const PAGES = new Map([
  ["t", ""],
  ["m", "map/"],
  ["s", "statistics/"],
  ["c", "compare/"],
  ["h", "hazards/"],
  ["r", "recorder/"],
]);
const PATIENCE = 1500;
const TREE_ROW = "#tree [role=row][data-number]";

/** The two keys that lead to a page: g, and soon after it a letter. */
export class Going {
  #began = Number.NEGATIVE_INFINITY;

  /** @param {number} now In milliseconds. */
  begin(now) {
    this.#began = now;
  }

  /**
   * Return the page that a key leads to, below the viewer's address; undefined for none.
   *
   * @param {string} key
   * @param {number} now
   * @returns {string | undefined}
   */
  next(key, now) {
    const page = now - this.#began < PATIENCE ? PAGES.get(key) : undefined;
    if (page !== undefined) this.#began = Number.NEGATIVE_INFINITY;
    return page;
  }
}

/**
 * Return whether the key belongs to a field that is being filled in.
 *
 * @param {KeyboardEvent} event
 * @param {Page} page
 */
function isTyped(event, { around }) {
  const field = around(event, "input:not([type=checkbox]):not([type=radio]), select, textarea");
  return field !== null && event.key !== "Escape";
}

/**
 * Listen to the keyboard.
 *
 * @param {object} parts
 * @param {Page} parts.page
 * @param {string} parts.base The viewer's address.
 * @param {Record<string, Act>} parts.keys
 * @param {Record<string, (row: HTMLElement) => void>} parts.treeKeys For a row of the tree.
 */
export function listen({ page, base, keys, treeKeys }) {
  const going = new Going();

  /**
   * @param {KeyboardEvent} event
   * @returns {unknown} False if the key does nothing here.
   */
  function act(event) {
    const { key, timeStamp } = event;
    const address = going.next(key, timeStamp);
    if (address !== undefined) {
      location.assign(base + address);
      return true;
    }
    const row = page.around(event, TREE_ROW);
    if (row && event.target === row && Object.hasOwn(treeKeys, key)) {
      treeKeys[key](row);
      return true;
    }
    if (key === "g") {
      going.begin(timeStamp);
      return true;
    }
    return Object.hasOwn(keys, key) && keys[key](event);
  }

  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    if (page.one("dialog[open]") || isTyped(event, page)) return;
    if (act(event) !== false) event.preventDefault();
  });
}
