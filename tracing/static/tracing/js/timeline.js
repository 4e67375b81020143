/** The part of a trace's time that is in view: of the tree's bars, of the flame graph, of the axis. */

/** @typedef {typeof import("./page.js")} Page */

const NARROWEST = 0.02;
const SVG = "http://www.w3.org/2000/svg";

/** @typedef {{ left: number, width: number }} Extent Percent of the whole. */

/** The part that is in view, in percent of the whole. */
export class View {
  left = 0;
  width = 100;

  get isWhole() {
    return this.width >= 100;
  }

  /**
   * Show what is asked for, as far as it is there.
   *
   * @param {number} left
   * @param {number} width
   */
  set(left, width) {
    this.width = Math.min(Math.max(width, NARROWEST), 100);
    this.left = Math.min(Math.max(left, 0), 100 - this.width);
  }

  /**
   * Show *factor* times as much; what is at *at* stays where it is.
   *
   * @param {number} factor
   * @param {number} [at]
   */
  zoom(factor, at = this.left + this.width / 2) {
    const width = Math.min(Math.max(this.width * factor, NARROWEST), 100);
    this.set(at - ((at - this.left) * width) / this.width, width);
  }

  /**
   * Return where something is drawn, in percent of the view.
   *
   * @param {Extent} extent
   * @returns {Extent}
   */
  place({ left, width }) {
    return {
      left: ((left - this.left) * 100) / this.width,
      width: (width * 100) / this.width,
    };
  }

  /**
   * Return whether just this is in view.
   *
   * @param {Extent} extent
   */
  shows({ left, width }) {
    return Math.abs(this.left - left) < 0.01 && Math.abs(this.width - width) < 0.01;
  }

  /** Return the view as an address has it. */
  toString() {
    return `${this.left.toFixed(3)}-${(this.left + this.width).toFixed(3)}`;
  }

  /**
   * Show what an address says; the whole where it says nothing.
   *
   * @param {string} text
   */
  read(text) {
    const match = /^([\d.]+)-([\d.]+)$/.exec(text);
    if (match) {
      this.left = Number(match[1]);
      this.width = Number(match[2]) - this.left;
    }
  }
}

/**
 * Return what a box that is too wide for its frame shows of itself; null out of sight.
 *
 * What begins further left is cut there, so that its label stays in sight.
 *
 * @param {Extent} extent In percent of the view.
 * @returns {Extent | null}
 */
export function clip({ left, width }) {
  if (left >= 100 || left + width <= 0) return null;
  const from = Math.max(left, 0);
  return { left: from, width: Math.min(left + width, 100) - from };
}

/**
 * Return the label of a box from its title.
 *
 * @param {string} title
 */
export function labelOf(title) {
  return title.split(" · ")[0].split(".").slice(-2).join(".");
}

/**
 * Return what draws a flame graph.
 *
 * @param {HTMLElement} element
 * @param {Page} page
 */
function createFlame(element, { all, one }) {
  const boxes = all("a > svg", element).map((box) => ({
    box,
    left: Number.parseFloat(box.getAttribute("x") ?? ""),
    width: Number.parseFloat(box.getAttribute("width") ?? ""),
  }));

  /** @param {Element} box */
  function addLabel(box) {
    const label = document.createElementNS(SVG, "text");
    label.setAttribute("x", "5");
    label.setAttribute("y", "16");
    label.textContent = labelOf(one("title", box)?.textContent ?? "");
    box.append(label);
    return label;
  }

  return {
    /** @param {View} view */
    draw(view) {
      for (const { box, ...extent } of boxes) {
        const shown = clip(view.place(extent));
        box.toggleAttribute("hidden", !shown);
        if (!shown) continue;
        box.setAttribute("x", `${shown.left}%`);
        box.setAttribute("width", `${shown.width}%`);
        const isWide = shown.width >= 3;
        const label = one("text", box) ?? (isWide ? addLabel(box) : null);
        label?.toggleAttribute("hidden", !isWide);
      }
    },
    /** @param {Element | null} box */
    extentOf: (box) => boxes.find((one) => one.box === box),
  };
}

/**
 * Return what moves the timeline.
 *
 * @param {object} elements
 * @param {HTMLElement | null} elements.tree
 * @param {HTMLElement | null} elements.flame
 * @param {HTMLElement | null} elements.minimap
 * @param {object} parts
 * @param {Page} parts.page
 * @param {(ns: number) => string} parts.formatDuration
 */
export function createTimeline({ tree, flame, minimap }, { page, formatDuration }) {
  const { all, around, one } = page;
  const view = new View();
  const graph = flame && createFlame(flame, page);

  /** @param {HTMLElement} element */
  function drawTree(element) {
    const box = `${view.left} 0 ${view.width} 10`;
    for (const bars of all("svg.bars", element)) bars.setAttribute("viewBox", box);
    const whole = Number(element.dataset.whole);
    const ticks = all("[data-tick]", element);
    for (const [place, tick] of ticks.entries()) {
      const at = view.left + (view.width * place) / (ticks.length - 1);
      tick.textContent = formatDuration((at / 100) * whole);
    }
    const lens = one("#minimap .lens");
    lens?.toggleAttribute("hidden", view.isWhole);
    lens?.setAttribute("x", String(view.left));
    lens?.setAttribute("width", String(view.width));
  }

  function draw() {
    graph?.draw(view);
    if (tree) drawTree(tree);
  }

  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;

  /** Draw, and put the view into the address as soon as it rests. */
  function changed() {
    draw();
    clearTimeout(timer);
    timer = setTimeout(() => {
      if (!tree) return;
      const address = new URL(location.href);
      if (view.isWhole) address.searchParams.delete("zoom");
      else address.searchParams.set("zoom", String(view));
      history.replaceState(history.state, "", address);
    }, 300);
  }

  /**
   * @param {number} left
   * @param {number} width
   */
  function set(left, width) {
    view.set(left, width);
    changed();
  }

  /**
   * @param {number} factor
   * @param {number} [at]
   */
  function zoom(factor, at) {
    view.zoom(factor, at);
    changed();
  }

  /** @param {number} by Fifths of what is in view. */
  const move = (by) => set(view.left + (by * view.width) / 5, view.width);
  const reset = () => set(0, 100);

  /**
   * Fill the width with a box of the flame graph, or go back to the whole.
   *
   * @param {Element | null} box
   */
  function fill(box) {
    const extent = graph?.extentOf(box);
    if (!extent) return;
    if (view.shows(extent)) reset();
    else set(extent.left, extent.width);
  }

  flame?.addEventListener("dblclick", (event) => fill(around(event, "svg")));
  flame?.addEventListener(
    "wheel",
    (event) => {
      if (!event.ctrlKey) return;
      event.preventDefault();
      const frame = flame.getBoundingClientRect();
      const at = view.left + ((event.clientX - frame.left) / frame.width) * view.width;
      zoom(event.deltaY > 0 ? 1.2 : 1 / 1.2, at);
    },
    { passive: false },
  );

  if (tree) {
    view.read(tree.dataset.zoom ?? "");
    if (!view.isWhole) draw();
    if (minimap) listenToMinimap(minimap, { view, set, zoom, move, reset });
  }
  return { draw, zoom, move, reset };
}

/**
 * Let the minimap choose by dragging, move by a click and by keys.
 *
 * @param {HTMLElement} box
 * @param {object} timeline
 * @param {View} timeline.view
 * @param {(left: number, width: number) => void} timeline.set
 * @param {(factor: number) => void} timeline.zoom
 * @param {(by: number) => void} timeline.move
 * @param {() => void} timeline.reset
 */
function listenToMinimap(box, { view, set, zoom, move, reset }) {
  /** @param {PointerEvent} event */
  const place = (event) => {
    const frame = box.getBoundingClientRect();
    return Math.min(Math.max(((event.clientX - frame.left) / frame.width) * 100, 0), 100);
  };
  /** @type {Record<string, () => void>} */
  const keys = {
    ArrowUp: () => zoom(0.7),
    ArrowDown: () => zoom(1 / 0.7),
    ArrowLeft: () => move(-1),
    ArrowRight: () => move(1),
  };
  /** @type {number | null} */
  let from = null;
  box.addEventListener("pointerdown", (event) => {
    from = place(event);
    box.setPointerCapture(event.pointerId);
  });
  box.addEventListener("pointermove", (event) => {
    if (from === null) return;
    const to = place(event);
    if (Math.abs(to - from) > 0.5) set(Math.min(from, to), Math.abs(to - from));
  });
  box.addEventListener("pointerup", (event) => {
    if (from !== null && Math.abs(place(event) - from) <= 0.5 && !view.isWhole) {
      set(from - view.width / 2, view.width);
    }
    from = null;
  });
  box.addEventListener("dblclick", reset);
  box.addEventListener("keydown", (event) => {
    if (!Object.hasOwn(keys, event.key)) return;
    event.preventDefault();
    keys[event.key]();
  });
}
