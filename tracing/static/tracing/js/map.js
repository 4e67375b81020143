/** The drawn map: what is tied to the node under the pointer, and its scale. */

/** @typedef {typeof import("./page.js")} Page */
/** @typedef {{ from?: string, to?: string }} Ends */

/**
 * Return which edges touch a node, and the nodes at their ends, itself included.
 *
 * @param {Ends[]} edges
 * @param {string | undefined} key Nothing is tied to none.
 * @returns {{ edges: boolean[], nodes: Set<string | undefined> }}
 */
export function tiedTo(edges, key) {
  /** @type {Set<string | undefined>} */
  const nodes = new Set(key ? [key] : []);
  const touching = edges.map(({ from, to }) => {
    const touches = Boolean(key) && (from === key || to === key);
    if (touches) nodes.add(from).add(to);
    return touches;
  });
  return { edges: touching, nodes };
}

/**
 * Return the scale at which the map is drawn next; 1 fills the width.
 *
 * Fit: the whole of it in the frame, readable or not; the other steps go on from what is shown.
 *
 * @param {number} factor 0 to fit.
 * @param {number} shown The scale now.
 * @param {number} fit The scale that shows the whole.
 */
export function nextScale(factor, shown, fit) {
  return factor ? Math.min(Math.max(shown * factor, Math.min(fit, 0.3)), 3) : fit;
}

/**
 * Light up what is tied to the node that is pointed at or has the focus.
 *
 * @param {HTMLElement} drawing
 * @param {Page} page
 */
export function lightUp(drawing, { all, around }) {
  const edges = all(".edge", drawing);
  const nodes = all(".map-node", drawing);
  const ends = edges.map(({ dataset }) => ({ from: dataset.from, to: dataset.to }));

  /** @param {string} [key] */
  const light = (key) => {
    const tied = tiedTo(ends, key);
    for (const [place, edge] of edges.entries()) edge.classList.toggle("is-lit", tied.edges[place]);
    for (const node of nodes) node.classList.toggle("is-lit", tied.nodes.has(node.dataset.node));
    drawing.classList.toggle("is-hovering", Boolean(key));
  };
  /** @param {Event} event */
  const over = (event) => light(around(event, ".map-node")?.dataset.node);
  drawing.addEventListener("pointerover", over);
  drawing.addEventListener("pointerleave", () => light());
  drawing.addEventListener("focusin", over);
  drawing.addEventListener("focusout", () => light());
}

/**
 * Draw the map larger or smaller, about the middle of what is in sight.
 *
 * @param {HTMLElement | null} drawing
 * @param {number} factor 0 to fit.
 */
export function scale(drawing, factor) {
  const frame = drawing?.parentElement;
  if (!drawing || !frame) return;
  const box = drawing.getAttribute("viewBox") ?? "";
  const [, , width, height] = box.split(" ").map(Number);
  const room = frame.clientWidth - 16;
  const fit = Math.min(1, (innerHeight * 0.8 - 20) / ((height * room) / width));
  const shown = drawing.getBoundingClientRect().width / room;
  const x = (frame.scrollLeft + frame.clientWidth / 2) / drawing.clientWidth;
  const y = (frame.scrollTop + frame.clientHeight / 2) / drawing.clientHeight;
  drawing.classList.add("is-scaled");
  drawing.style.width = `${room * nextScale(factor, shown, fit)}px`;
  frame.scrollLeft = x * drawing.clientWidth - frame.clientWidth / 2;
  frame.scrollTop = y * drawing.clientHeight - frame.clientHeight / 2;
}
