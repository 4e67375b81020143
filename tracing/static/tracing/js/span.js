/** The panel of one span, which opens beside the tree and has an address of its own. */

/** @typedef {typeof import("./page.js")} Page */
/** @typedef {ReturnType<typeof import("./lines.js").createLines>} Lines */

/**
 * Return the number of the span that an address is of; undefined for another page.
 *
 * @param {string} pathname
 */
export function spanNumber(pathname) {
  return /\/spans\/(\d+)\/$/.exec(pathname)?.[1];
}

/**
 * Return what opens and closes the panel.
 *
 * @param {HTMLElement} panel
 * @param {object} parts
 * @param {Page} parts.page
 * @param {Lines} parts.lines
 * @param {(number: string | undefined) => HTMLElement | null} parts.findRow
 * @param {(within: HTMLElement) => void} parts.prepare
 */
export function createSpanPanel(panel, { page, lines, findRow, prepare }) {
  const frame = page.one("#with-panel");
  /** @type {Element | null} */
  let cameFrom = null;

  /** @param {URL} address */
  function push(address) {
    address.search = location.search;
    history.pushState({ panel: true }, "", address);
  }

  /**
   * Open the span at an address; go there if it cannot be had.
   *
   * @param {string} href
   * @param {{ isNew?: boolean }} [options]
   */
  async function open(href, { isNew = true } = {}) {
    const address = new URL(href, location.href);
    const html = await page.fetchPart(address);
    if (html === null) {
      location.assign(address);
      return;
    }
    panel.innerHTML = html;
    panel.hidden = false;
    frame?.classList.add("has-panel");
    prepare(panel);
    if (isNew) {
      cameFrom = document.activeElement;
      push(address);
    }
    panel.focus({ preventScroll: true });
    panel.scrollTop = 0;
    lines.go(findRow(spanNumber(address.pathname)), { focus: false });
  }

  /**
   * Close the panel; return whether it was open.
   *
   * @param {{ isNew?: boolean }} [options]
   */
  function close({ isNew = true } = {}) {
    if (panel.hidden) return false;
    panel.hidden = true;
    panel.replaceChildren();
    frame?.classList.remove("has-panel");
    if (isNew) push(new URL(panel.dataset.trace ?? "", location.href));
    const before = lines.current() ?? cameFrom;
    if (before instanceof HTMLElement || before instanceof SVGElement) {
      before.focus({ preventScroll: true });
    }
    return true;
  }

  addEventListener("popstate", () => {
    if (spanNumber(location.pathname)) open(location.href, { isNew: false });
    else close({ isNew: false });
  });

  return { open, close };
}
