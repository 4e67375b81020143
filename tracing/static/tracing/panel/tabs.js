/** The tabs of the panel. */

/**
 * Return the place that a key leads to from a tab; undefined for another key.
 *
 * @param {string} key
 * @param {number} at
 * @param {number} count
 */
export function tabAfter(key, at, count) {
  const places = new Map([
    ["ArrowRight", (at + 1) % count],
    ["ArrowLeft", (at - 1 + count) % count],
    ["Home", 0],
    ["End", count - 1],
  ]);
  return places.get(key);
}

/** @param {HTMLElement} tab */
const nameOf = (tab) => tab.id.replace("tab-", "");

/** The tabs and their views. */
export class Tabs {
  current = "tree";
  #root;
  #changed;
  #buttons;

  /**
   * @param {ShadowRoot} root
   * @param {(name: string) => void} changed Called with the tab that a person chose.
   */
  constructor(root, changed) {
    this.#root = root;
    this.#changed = changed;
    this.#buttons = /** @type {HTMLElement[]} */ ([...root.querySelectorAll("[role=tab]")]);
    for (const button of this.#buttons) {
      button.addEventListener("click", () => this.choose(nameOf(button)));
      button.addEventListener("keydown", (event) => this.#pressed(event, button));
    }
  }

  /**
   * Show a tab; the tree where there is none of this name.
   *
   * @param {string} name
   */
  show(name) {
    this.current = this.#buttons.some((button) => nameOf(button) === name) ? name : "tree";
    for (const button of this.#buttons) {
      const isCurrent = nameOf(button) === this.current;
      button.setAttribute("aria-selected", String(isCurrent));
      button.tabIndex = isCurrent ? 0 : -1;
      const view = this.#root.getElementById(`view-${nameOf(button)}`);
      if (view) view.hidden = !isCurrent;
    }
  }

  /** @param {string} name */
  choose(name) {
    this.show(name);
    this.#changed(this.current);
  }

  /**
   * @param {KeyboardEvent} event
   * @param {HTMLElement} button
   */
  #pressed(event, button) {
    const buttons = this.#buttons;
    const next = tabAfter(event.key, buttons.indexOf(button), buttons.length);
    if (next === undefined) return;
    event.preventDefault();
    this.choose(nameOf(buttons[next]));
    buttons[next].focus();
  }
}
