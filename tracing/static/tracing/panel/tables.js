/** Tables that a click on a heading sorts. */

/** @typedef {"ascending" | "descending"} Direction */

/**
 * Return the direction after a click; numbers begin with the largest.
 *
 * @param {string | null} before
 * @param {boolean} isNumber
 * @returns {Direction}
 */
export function directionAfter(before, isNumber) {
  const first = isNumber ? "descending" : "ascending";
  const second = isNumber ? "ascending" : "descending";
  return before === first ? second : first;
}

const collator = new Intl.Collator(undefined, { numeric: true });

/**
 * Return rows in the order of their values; equal ones stay as they are.
 *
 * @template Row
 * @param {Row[]} rows
 * @param {(row: Row) => string | number} read
 * @param {Direction} direction
 */
export function sorted(rows, read, direction) {
  const sign = direction === "ascending" ? 1 : -1;
  return [...rows].sort((a, b) => {
    const [left, right] = [read(a), read(b)];
    if (typeof left === "number" && typeof right === "number") return sign * (left - right);
    return sign * collator.compare(String(left), String(right));
  });
}

/**
 * @param {HTMLTableElement} table
 * @param {HTMLTableCellElement} heading
 */
function sort(table, heading) {
  const isNumber = heading.dataset.sort === "number";
  const direction = directionAfter(heading.getAttribute("aria-sort"), isNumber);
  for (const other of table.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", direction);
  /** @param {HTMLTableRowElement} row */
  const read = (row) => {
    const cell = row.cells[heading.cellIndex];
    return isNumber ? Number(cell.dataset.value) : (cell.textContent ?? "").trim();
  };
  const [body] = table.tBodies;
  body.append(...sorted([...body.rows], read, direction));
}

/**
 * Make buttons of a table's headings.
 *
 * @param {HTMLTableElement} table
 */
export function makeSortable(table) {
  const headings = /** @type {NodeListOf<HTMLTableCellElement>} */ (
    table.querySelectorAll("th[data-sort]")
  );
  for (const heading of headings) {
    const button = Object.assign(document.createElement("button"), { type: "button" });
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => sort(table, heading));
  }
}
