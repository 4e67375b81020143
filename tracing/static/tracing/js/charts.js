/**
 * The charts above the list, drawn by uPlot.
 *
 * Their numbers are those of the links of the plain drawing, which stays for whoever has no script.
 */

/** @import uPlot from "uplot" */
/** @typedef {typeof uPlot} UPlot */
/** @typedef {(ns: number) => string} Format */
/** @typedef {(count: number, noun: string) => string} Plural */

/**
 * @typedef {object} Tools
 * @property {UPlot} uPlot
 * @property {Format} formatDuration
 * @property {Plural} plural
 */

const NEAR = 14;

/**
 * Return a search narrowed to a time (in seconds) and further conditions.
 *
 * @param {string} query
 * @param {number} since
 * @param {number} until
 * @param {string} [more]
 */
export function narrow(query, since, until, more = "") {
  const rest = query.replace(/(^|\s)(since|until):\S+/g, "").trim();
  const time = `since:${Math.round(since * 1e6)} until:${Math.round(until * 1e6)}`;
  return [rest, time, more].filter(Boolean).join(" ");
}

/**
 * Return the powers of ten that the numbers lie between, from the lowest to the highest.
 *
 * @param {number[]} numbers
 */
export function powersAround(numbers) {
  const low = Math.floor(Math.log10(Math.min(...numbers)));
  const high = Math.max(Math.ceil(Math.log10(Math.max(...numbers))), low + 1);
  return Array.from({ length: high - low + 1 }, (_, at) => 10 ** (low + at));
}

/**
 * Return the place of the point that is closest, if it is near enough; else -1.
 *
 * @param {[number, number][]} points
 * @param {[number, number]} pointer
 */
export function nearest(points, [left, top]) {
  let found = -1;
  let best = NEAR ** 2;
  for (const [place, [x, y]] of points.entries()) {
    const distance = (x - left) ** 2 + (y - top) ** 2;
    if (distance < best) {
      best = distance;
      found = place;
    }
  }
  return found;
}

/** @param {string} name Of a colour of the style sheet. */
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/**
 * Go to the search of a chart, narrowed.
 *
 * @param {HTMLElement} figure
 * @param {number} since
 * @param {number} until
 * @param {string} [more]
 */
function search(figure, since, until, more) {
  const address = new URL(figure.dataset.brush ?? "", location.href);
  const query = address.searchParams.get("q") ?? "";
  address.searchParams.set("q", narrow(query, since, until, more));
  location.assign(address);
}

/**
 * @param {HTMLElement} figure
 * @param {UPlot} uPlot
 */
function timeOf(figure, uPlot) {
  const { first, last, zone = "UTC" } = figure.dataset;
  return {
    first: Number(first) / 1e9,
    last: Number(last) / 1e9,
    /** @param {number} seconds */
    date: (seconds) => uPlot.tzDate(new Date(seconds * 1e3), zone),
  };
}

/**
 * Return the axes of a chart: of time, and another.
 *
 * @param {UPlot} uPlot
 * @param {(seconds: number) => Date} date
 * @param {uPlot.Axis} other
 * @returns {uPlot.Axis[]}
 */
function axes(uPlot, date, other) {
  /** @type {[number, (date: Date) => string][]} */
  const formats = [
    [86400, uPlot.fmtDate("{D} {MMM}")],
    [60, uPlot.fmtDate("{HH}:{mm}")],
    [0, uPlot.fmtDate("{HH}:{mm}:{ss}")],
  ];
  const shared = {
    font: `11px ${getComputedStyle(document.body).fontFamily}`,
    stroke: () => colour("--quiet"),
    grid: { stroke: () => colour("--line"), width: 1 },
    ticks: { show: false },
  };
  return [
    {
      ...shared,
      size: 26,
      gap: 8,
      space: 70,
      grid: { show: false },
      values: (_plot, splits, _axis, _space, step) => {
        const format = formats.find(([size]) => step >= size)?.[1];
        return splits.map((at) => format?.(date(at)) ?? "");
      },
    },
    { ...shared, size: 46, gap: 4, space: 22, ...other },
  ];
}

/**
 * Return ``show(lines, left, top)``: the lines beside a point of the plot, or nothing.
 *
 * @param {uPlot} plot
 */
function createTip(plot) {
  const box = document.createElement("div");
  box.className = "chart-tip";
  box.hidden = true;
  plot.over.append(box);

  /** @param {string} text */
  const line = (text) => Object.assign(document.createElement("div"), { textContent: text });

  /**
   * @param {string[] | null} lines
   * @param {number} [left]
   * @param {number} [top]
   */
  return (lines, left = 0, top = 0) => {
    box.hidden = !lines;
    if (!lines) return;
    box.replaceChildren(...lines.map(line));
    const { clientWidth, clientHeight } = plot.over;
    const isRight = left > clientWidth / 2;
    box.style.left = isRight ? "" : `${left + 12}px`;
    box.style.right = isRight ? `${clientWidth - left + 12}px` : "";
    box.style.top = `${Math.max(0, Math.min(top, clientHeight - box.offsetHeight))}px`;
  };
}

/**
 * Draw a plot in the place of the plain drawing.
 *
 * @param {HTMLElement} figure
 * @param {UPlot} uPlot
 * @param {Omit<uPlot.Options, "width" | "height">} options
 * @param {uPlot.AlignedData} data
 */
function draw(figure, uPlot, options, data) {
  const plain = /** @type {SVGElement} */ (figure.querySelector("svg"));
  const place = /** @type {HTMLElement} */ (plain.parentElement);
  place.classList.add("is-drawn");
  const size = () => ({ width: place.clientWidth, height: place.clientHeight });
  const shared = { legend: { show: false }, padding: /** @type {any} */ ([6, 18, 0, 0]) };
  const plot = new uPlot({ ...size(), ...shared, ...options }, data, place);
  const label = `${plain.getAttribute("aria-label")}. The list below has the same traces.`;
  plot.root.setAttribute("role", "img");
  plot.root.setAttribute("aria-label", label);
  plain.setAttribute("hidden", "");
  new ResizeObserver(() => {
    if (place.clientWidth) plot.setSize(size());
  }).observe(place);
  return plot;
}

/**
 * Return the links of a plain drawing.
 *
 * @param {HTMLElement} figure
 * @param {string} selector
 */
function links(figure, selector) {
  return [.../** @type {NodeListOf<SVGAElement>} */ (figure.querySelectorAll(selector))];
}

/**
 * Draw how many traces there were, and failed, in each part of the time.
 *
 * @param {HTMLElement} figure
 * @param {Tools} tools
 * @returns {uPlot | null}
 */
function histogram(figure, { uPlot, plural }) {
  const columns = links(figure, "a[data-since]");
  if (!columns.length) return null;
  const { first, last, date } = timeOf(figure, uPlot);
  const width = (Number(columns[0].dataset.until) - Number(columns[0].dataset.since)) / 1e9;
  const count = Math.round((last - first) / width);
  const times = Array.from({ length: count }, (_, at) => first + at * width);
  /** @param {SVGAElement} column */
  const placeOf = ({ dataset }) => Math.round((Number(dataset.since) / 1e9 - first) / width);
  const byPlace = new Map(columns.map((column) => [placeOf(column), column]));
  /** @param {string} name */
  const values = (name) => times.map((_, at) => Number(byPlace.get(at)?.dataset[name] || 0));
  const [counts, failures] = [values("count"), values("failed")];
  const paths = /** @type {any} */ (uPlot.paths).bars({ size: [0.9, 80], align: 1 });
  const moment = uPlot.fmtDate("{YYYY}-{MM}-{DD} {HH}:{mm}:{ss}");

  /**
   * @param {string} label
   * @param {string} fill
   * @returns {uPlot.Series}
   */
  const series = (label, fill) => ({
    label,
    paths,
    points: { show: false },
    fill: () => colour(fill),
    width: 0,
  });

  /**
   * @param {uPlot} plot
   * @param {number} left
   */
  const columnAt = (plot, left) => Math.floor((plot.posToVal(left, "x") - first) / width);

  /** @type {ReturnType<typeof createTip> | undefined} */
  let tip;

  /** @param {uPlot} plot */
  function pointed(plot) {
    const { left = -1, top } = plot.cursor;
    const at = left < 0 ? -1 : columnAt(plot, left);
    if (at < 0 || at >= times.length) {
      tip?.(null);
      return;
    }
    const failed = failures[at] ? `, ${failures[at]} failed` : "";
    tip?.([moment(date(times[at])), plural(counts[at], "trace") + failed], left, top);
  }

  const incrs = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 1e6, 1e7];
  const plot = draw(
    figure,
    uPlot,
    {
      tzDate: date,
      scales: {
        x: { range: () => [first, last] },
        y: { range: (_plot, _low, high) => [0, Math.max(high, 1) * 1.06] },
      },
      axes: axes(uPlot, date, { incrs }),
      series: [{}, series("traces", "--app-1"), series("failed", "--bad")],
      cursor: { drag: { x: true, y: false, setScale: false }, y: false, points: { show: false } },
      hooks: {
        setCursor: [pointed],
        setSelect: [
          ({ select, posToVal }) => {
            if (select.width <= 3) return;
            search(figure, posToVal(select.left, "x"), posToVal(select.left + select.width, "x"));
          },
        ],
      },
    },
    [times, counts, failures],
  );
  tip = createTip(plot);
  plot.over.addEventListener("click", (event) => {
    if (plot.select.width > 3) return;
    const frame = plot.over.getBoundingClientRect();
    const column = byPlace.get(columnAt(plot, event.clientX - frame.left));
    if (column) location.assign(column.href.baseVal);
  });
  return plot;
}

/**
 * Draw when each trace began and how long it took.
 *
 * @param {HTMLElement} figure
 * @param {Tools} tools
 * @returns {uPlot | null}
 */
function scatter(figure, { uPlot, formatDuration }) {
  const points = links(figure, "a[data-at]");
  if (!points.length) return null;
  points.sort((a, b) => Number(a.dataset.at) - Number(b.dataset.at));
  const { first, last, date } = timeOf(figure, uPlot);
  const times = points.map(({ dataset }) => Number(dataset.at) / 1e9);
  const took = points.map(({ dataset }) => Math.max(1, Number(dataset.took)));
  const failed = points.map(({ dataset }) => "failed" in dataset);
  const powers = powersAround(took);
  const moment = uPlot.fmtDate("{YYYY}-{MM}-{DD} {HH}:{mm}:{ss}");
  /** @param {boolean} which */
  const only = (which) => took.map((value, at) => (failed[at] === which ? value : null));

  /**
   * @param {string} label
   * @param {string} fill
   * @param {number} size
   * @returns {uPlot.Series}
   */
  const series = (label, fill, size) => ({
    label,
    paths: () => null,
    stroke: () => colour(fill),
    points: { show: true, size, width: 0, fill: () => colour(fill) },
  });

  /** @type {ReturnType<typeof createTip> | undefined} */
  let tip;
  let near = -1;

  /** @param {uPlot} plot */
  function pointed(plot) {
    const { left = -1, top = -1 } = plot.cursor;
    /** @type {(at: number) => [number, number]} */
    const position = (at) => [plot.valToPos(times[at], "x"), plot.valToPos(took[at], "y")];
    const positions = left < 0 ? [] : times.map((_, at) => position(at));
    near = nearest(positions, [left, top]);
    plot.over.classList.toggle("is-near", near >= 0);
    if (near < 0) {
      tip?.(null);
      return;
    }
    const said = `${formatDuration(took[near])}${failed[near] ? ", failed" : ""}`;
    const name = points[near].dataset.name ?? "";
    tip?.([name, said, moment(date(times[near]))], ...position(near));
  }

  /** @param {uPlot} plot */
  function selected({ select: { left, top, width, height }, posToVal }) {
    if (width < 4 || height < 4) return;
    /** @param {number} at */
    const micro = (at) => Math.max(0, Math.round(posToVal(at, "y") / 1e3));
    const durations = `duration>=${micro(top + height)}us duration<=${micro(top)}us`;
    search(figure, posToVal(left, "x"), posToVal(left + width, "x"), durations);
  }

  const plot = draw(
    figure,
    uPlot,
    {
      tzDate: date,
      scales: {
        x: { range: () => [first, last] },
        y: { distr: 3, range: () => [powers[0], powers[powers.length - 1]] },
      },
      axes: axes(uPlot, date, {
        splits: () => powers,
        filter: (_plot, splits) => splits,
        space: 14,
        values: (_plot, splits) => splits.map(formatDuration),
      }),
      series: [{}, series("ok", "--app-1", 6), series("failed", "--bad", 8)],
      cursor: { drag: { x: true, y: true, setScale: false }, points: { show: false } },
      hooks: { setCursor: [pointed], setSelect: [selected] },
    },
    [times, only(false), only(true)],
  );
  tip = createTip(plot);
  plot.over.addEventListener("click", () => {
    if (near >= 0 && plot.select.width < 4) location.assign(points[near].href.baseVal);
  });
  return plot;
}

/** @type {Record<string, (figure: HTMLElement, tools: Tools) => uPlot | null>} */
const KINDS = { histogram, scatter };

/**
 * Return what draws the charts within an element, and draws them anew when the theme changes.
 *
 * @param {Tools} tools
 */
export function createCharts(tools) {
  /** @type {Set<uPlot>} */
  const plots = new Set();
  const redraw = () => {
    for (const plot of plots) plot.redraw(true, true);
  };
  new MutationObserver(redraw).observe(document.documentElement, {
    attributeFilter: ["data-theme"],
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);

  /** @param {ParentNode} within */
  return (within) => {
    for (const plot of plots) {
      if (plot.root.isConnected) continue;
      plot.destroy();
      plots.delete(plot);
    }
    const selector = "figure[data-chart]";
    const figures = /** @type {NodeListOf<HTMLElement>} */ (within.querySelectorAll(selector));
    for (const figure of figures) {
      const kind = figure.dataset.chart ?? "";
      delete figure.dataset.chart;
      const plot = KINDS[kind](figure, tools);
      if (plot) plots.add(plot);
    }
  };
}
