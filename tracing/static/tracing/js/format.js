/** Numbers as a person reads them. */

/** @type {[number, string][]} */
const DURATIONS = [
  [1e9, "s"],
  [1e6, "ms"],
  [1e3, "µs"],
];

/** @type {[number, string][]} */
const AGES = [
  [86400, "d"],
  [3600, "h"],
  [60, "min"],
  [1, "s"],
];

/**
 * Return nanoseconds with three digits and a unit.
 *
 * @param {number} ns
 * @returns {string}
 */
export function formatDuration(ns) {
  for (const [size, unit] of DURATIONS) {
    if (ns >= size) return `${Number((ns / size).toPrecision(3))} ${unit}`;
  }
  return `${Math.round(ns)} ns`;
}

/**
 * Return how long ago something was, in the largest unit that fits.
 *
 * @param {number} milliseconds
 * @returns {string}
 */
export function formatAge(milliseconds) {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  const found = AGES.find(([size]) => seconds >= size);
  return found ? `${Math.floor(seconds / found[0])} ${found[1]} ago` : "now";
}

/**
 * Return a count with its noun.
 *
 * @param {number} count
 * @param {string} noun
 * @returns {string}
 */
export function plural(count, noun) {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}
