/** The tree of a trace: lines that collapse and expand, and repetitions that open in place. */

/** @typedef {typeof import("./page.js")} Page */
/** @typedef {ReturnType<typeof import("./lines.js").createLines>} Lines */

/**
 * What folding knows of a line.
 *
 * @typedef {object} Line
 * @property {string} number Of its span.
 * @property {string[]} above The numbers of the lines it lies below.
 * @property {string} of The number of the line it repeats, or nothing.
 * @property {number} level 1 at the top.
 * @property {boolean} isParent
 */

/** Which lines of a tree are collapsed. */
export class Folding {
  /** @type {Set<string>} */
  #collapsed = new Set();

  /** @param {string} number */
  isCollapsed(number) {
    return this.#collapsed.has(number);
  }

  /** @param {Iterable<string>} numbers */
  collapse(numbers) {
    for (const number of numbers) this.#collapsed.add(number);
  }

  /** @param {Iterable<string>} numbers */
  expand(numbers) {
    for (const number of numbers) this.#collapsed.delete(number);
  }

  /** @param {Line[]} lines */
  collapseAll(lines) {
    this.collapse(lines.filter((line) => line.isParent).map((line) => line.number));
  }

  expandAll() {
    this.#collapsed.clear();
  }

  /**
   * Collapse the lowest level that is open.
   *
   * @param {Line[]} lines
   */
  collapseLevel(lines) {
    const open = this.#parentsInSight(lines).filter((line) => !this.isCollapsed(line.number));
    const lowest = Math.max(...open.map((line) => line.level));
    this.collapse(open.filter((line) => line.level === lowest).map((line) => line.number));
  }

  /**
   * Expand the highest level that is collapsed.
   *
   * @param {Line[]} lines
   */
  expandLevel(lines) {
    const closed = this.#parentsInSight(lines).filter((line) => this.isCollapsed(line.number));
    const highest = Math.min(...closed.map((line) => line.level));
    this.expand(closed.filter((line) => line.level === highest).map((line) => line.number));
  }

  /**
   * Return of each line whether it is hidden. A repetition goes with the line it repeats.
   *
   * @param {Line[]} lines
   * @returns {boolean[]}
   */
  hidden(lines) {
    /** @type {Map<string, boolean>} */
    const found = new Map();
    return lines.map(({ number, above, of }) => {
      if (of) return this.isCollapsed(of) || (found.get(of) ?? false);
      const isHidden = above.some((one) => this.isCollapsed(one));
      found.set(number, isHidden);
      return isHidden;
    });
  }

  /** @param {Line[]} lines */
  #parentsInSight(lines) {
    const hidden = this.hidden(lines);
    return lines.filter((line, place) => line.isParent && !hidden[place]);
  }
}

/**
 * Return what a row of the page says about its line.
 *
 * @param {HTMLElement} row
 * @returns {Line}
 */
export function readLine(row) {
  const { number = "", above = "", of = "" } = row.dataset;
  return {
    number,
    above: above.split(" ").filter(Boolean),
    of,
    level: Number(row.getAttribute("aria-level")),
    isParent: row.hasAttribute("aria-expanded"),
  };
}

/**
 * Return what folds the tree in *element*.
 *
 * @param {HTMLElement} element
 * @param {object} parts
 * @param {Page} parts.page
 * @param {Lines} parts.lines
 * @param {(rows: HTMLElement[]) => void} parts.added Called with rows that came later.
 */
export function createTree(element, { page, lines, added }) {
  const { all, one } = page;
  const folding = new Folding();

  const rows = () => all("[role=row][data-number], [role=row][data-of]", element);
  const read = () => rows().map(readLine);

  /** @param {string | undefined} number */
  const rowOf = (number) => one(`[role=row][data-number="${number}"]:not([data-of])`, element);

  /** Show the lines that the folding leaves. */
  function draw() {
    const all = rows();
    const hidden = folding.hidden(all.map(readLine));
    for (const [place, row] of all.entries()) {
      row.hidden = hidden[place];
      if (!row.hasAttribute("aria-expanded")) continue;
      const isOpen = !folding.isCollapsed(row.dataset.number ?? "");
      row.setAttribute("aria-expanded", String(isOpen));
      one(".twist", row)?.setAttribute("aria-label", isOpen ? "Collapse" : "Expand");
    }
  }

  /**
   * Collapse or expand one line.
   *
   * @param {HTMLElement | null} row
   * @param {boolean} isCollapsed
   */
  function fold(row, isCollapsed) {
    if (!row?.hasAttribute("aria-expanded")) return;
    const numbers = [row.dataset.number ?? ""];
    if (isCollapsed) folding.collapse(numbers);
    else folding.expand(numbers);
    draw();
  }

  /**
   * Collapse a line that is open, else go to the one above.
   *
   * @param {HTMLElement} row
   */
  function leave(row) {
    if (row.getAttribute("aria-expanded") === "true") fold(row, true);
    else lines.go(rowOf(readLine(row).above.at(-1)));
  }

  /**
   * Go to the match that is *by* matches further, round and round.
   *
   * @param {number} by
   */
  function match(by) {
    const found = rows().filter((row) => row.classList.contains("is-match"));
    if (!found.length) return;
    const now = lines.current();
    const at = now ? found.indexOf(now) : -1;
    const next = found[(at + by + found.length) % found.length];
    folding.expand(readLine(next).above);
    draw();
    lines.go(next);
  }

  /**
   * Show the repetitions of a line, or take them away where they are shown.
   *
   * @param {HTMLAnchorElement} link
   */
  async function repetitions(link) {
    const row = /** @type {HTMLElement} */ (link.closest("[role=row]"));
    const shown = all(`[data-of="${row.dataset.number}"]`, element);
    for (const one of shown) one.remove();
    if (!shown.length) await more(link, row);
  }

  /**
   * Put what the link leads to below a row, or in its place where it only led there.
   *
   * @param {HTMLAnchorElement} link
   * @param {HTMLElement} [row]
   */
  async function more(link, row = /** @type {HTMLElement} */ (link.closest("[role=row]"))) {
    const html = await page.fetchPart(link.href);
    if (html === null) {
      page.toast("These could not be loaded. Is the server running?");
      return;
    }
    const news = /** @type {HTMLElement[]} */ ([...page.parse(html).children]);
    row.after(...news);
    if (row.dataset.of && !row.dataset.number) row.remove();
    added(news);
  }

  return {
    draw,
    fold,
    leave,
    match,
    more,
    repetitions,
    /** @param {string | undefined} number */
    find: (number) => one(`[role=row][data-number="${number}"]`, element),
    /** @param {HTMLElement} row */
    toggle: (row) => fold(row, row.getAttribute("aria-expanded") === "true"),
    collapseAll() {
      folding.collapseAll(read());
      draw();
    },
    collapseLevel() {
      folding.collapseLevel(read());
      draw();
    },
    expandAll() {
      folding.expandAll();
      draw();
    },
    expandLevel() {
      folding.expandLevel(read());
      draw();
    },
  };
}
