/** The filter of the panel: words, a shortest time, and what is mine. */

/**
 * What the filter asks of an element.
 *
 * @typedef {object} Filter
 * @property {string[]} words
 * @property {number} threshold In nanoseconds; 0 is none.
 * @property {boolean} everything Also what is not mine.
 */

/**
 * What the filter knows of an element.
 *
 * @typedef {object} Subject
 * @property {string} text In small letters.
 * @property {number | null} total Nanoseconds; null where it has no time.
 * @property {boolean} isOther Not mine.
 */

/**
 * @param {string} text
 * @returns {string[]}
 */
export function wordsOf(text) {
  return text.toLowerCase().split(/\s+/).filter(Boolean);
}

/**
 * Return what an element of the page says about itself.
 *
 * @param {HTMLElement} element
 * @returns {Subject}
 */
export function readSubject({ dataset, textContent }) {
  return {
    text: dataset.search ?? (textContent ?? "").toLowerCase(),
    total: dataset.total === undefined ? null : Number(dataset.total),
    isOther: dataset.other !== undefined,
  };
}

/**
 * @param {Filter} filter
 * @param {Pick<Subject, "isOther">} subject
 */
export function isInView({ everything }, { isOther }) {
  return everything || !isOther;
}

/**
 * @param {Filter} filter
 * @param {Subject} subject
 */
export function fits(filter, subject) {
  return (
    isInView(filter, subject) &&
    filter.words.every((word) => subject.text.includes(word)) &&
    (!filter.threshold || subject.total === null || subject.total >= filter.threshold)
  );
}

/** @param {Filter} filter */
export function isActive({ words, threshold }) {
  return words.length > 0 || threshold > 0;
}

/**
 * Return how many rows the filter left; nothing where it left all.
 *
 * @param {number} found
 * @param {number} all
 */
export function countText(found, all) {
  return found === all ? "" : `${found} of ${all} ${all === 1 ? "row" : "rows"}`;
}
