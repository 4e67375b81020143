/** One page of the viewer: finding its elements, and saying what happened. */

/**
 * Return the first element that matches, or null.
 *
 * @param {string} selector
 * @param {ParentNode} [within]
 * @returns {HTMLElement | null}
 */
export function one(selector, within = document) {
  return within.querySelector(selector);
}

/**
 * Return the elements that match, in their order.
 *
 * @param {string} selector
 * @param {ParentNode} [within]
 * @returns {HTMLElement[]}
 */
export function all(selector, within = document) {
  return [.../** @type {NodeListOf<HTMLElement>} */ (within.querySelectorAll(selector))];
}

/**
 * Return the closest element around an event's target that matches.
 *
 * @param {Event} event
 * @param {string} selector
 * @returns {HTMLElement | null}
 */
export function around(event, selector) {
  return event.target instanceof Element ? event.target.closest(selector) : null;
}

/**
 * Have a screen reader say the text.
 *
 * @param {string} text
 */
export function announce(text) {
  const place = one("#said");
  if (place) place.textContent = text;
}

/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;

/**
 * Show the text for five seconds.
 *
 * @param {string} text
 */
export function toast(text) {
  const box = one("#toast");
  if (!box) return;
  box.textContent = text;
  box.hidden = false;
  clearTimeout(timer);
  timer = setTimeout(() => {
    box.hidden = true;
  }, 5000);
}

/**
 * Return the part of a page that is at an address, or null where it cannot be had.
 *
 * @param {string | URL} address
 * @returns {Promise<string | null>}
 */
export async function fetchPart(address) {
  const answer = await fetch(address, { headers: { "HX-Request": "true" } }).catch(() => null);
  return answer?.ok ? answer.text() : null;
}

/**
 * Return the elements of some HTML of the server.
 *
 * @param {string} html
 * @returns {DocumentFragment}
 */
export function parse(html) {
  const box = document.createElement("template");
  box.innerHTML = html;
  return box.content;
}
