/* The charts above the list: drawn by uPlot from the links of the plain drawing, which stays for whoever has no script. */
"use strict";

(() => {
  const root = document.documentElement;
  const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const plots = new Set();
  const moment = window.uPlot.fmtDate("{YYYY}-{MM}-{DD} {HH}:{mm}:{ss}");
  const formats = [
    [86400, window.uPlot.fmtDate("{D} {MMM}")],
    [60, window.uPlot.fmtDate("{HH}:{mm}")],
    [0, window.uPlot.fmtDate("{HH}:{mm}:{ss}")],
  ];

  function human(ns) {
    for (const [size, unit] of [[1e9, "s"], [1e6, "ms"], [1e3, "µs"]]) {
      if (ns >= size) return `${Number((ns / size).toPrecision(3))} ${unit}`;
    }
    return `${Math.round(ns)} ns`;
  }

  /** Go to the same search, narrowed to a time (in seconds) and further conditions. */
  function narrow(figure, since, until, more = "") {
    const address = new URL(figure.dataset.brush, location.href);
    const words = (address.searchParams.get("q") || "").replace(/(^|\s)(since|until):\S+/g, "").trim();
    address.searchParams.set("q", `${words} since:${Math.round(since * 1e6)} until:${Math.round(until * 1e6)} ${more}`.trim());
    location.href = address;
  }

  function axes(date, y) {
    const shared = {
      font: `11px ${getComputedStyle(document.body).fontFamily}`,
      stroke: () => colour("--quiet"),
      grid: { stroke: () => colour("--line"), width: 1 },
      ticks: { show: false },
    };
    const times = (u, splits, axis, space, step) => {
      const [, format] = formats.find(([size]) => step >= size);
      return splits.map((at) => format(date(at)));
    };
    return [
      { ...shared, size: 26, gap: 8, space: 70, grid: { show: false }, values: times },
      { ...shared, size: 46, gap: 4, space: 22, ...y },
    ];
  }

  function tooltip(plot) {
    const box = document.createElement("div");
    box.className = "chart-tip";
    box.hidden = true;
    plot.over.append(box);
    return (lines, left, top) => {
      box.hidden = !lines;
      if (!lines) return;
      box.replaceChildren(...lines.map((text) => Object.assign(document.createElement("div"), { textContent: text })));
      const right = left > plot.over.clientWidth / 2;
      box.style.left = right ? "" : `${left + 12}px`;
      box.style.right = right ? `${plot.over.clientWidth - left + 12}px` : "";
      box.style.top = `${Math.max(0, Math.min(top, plot.over.clientHeight - box.offsetHeight))}px`;
    };
  }

  function draw(figure, options, data) {
    const plain = figure.querySelector("svg");
    const place = plain.parentElement;
    place.classList.add("is-drawn");
    const plot = new window.uPlot({
      width: place.clientWidth,
      height: place.clientHeight,
      legend: { show: false },
      padding: [6, 18, 0, 0],
      tzDate: options.date,
      ...options,
    }, data, place);
    plot.root.setAttribute("role", "img");
    plot.root.setAttribute("aria-label", `${plain.getAttribute("aria-label")}. The list below has the same traces.`);
    plain.setAttribute("hidden", "");
    new ResizeObserver(() => {
      if (place.clientWidth) plot.setSize({ width: place.clientWidth, height: place.clientHeight });
    }).observe(place);
    plots.add(plot);
    return plot;
  }

  function shared(figure) {
    const seconds = (name) => Number(figure.dataset[name]) / 1e9;
    const zone = figure.dataset.zone;
    return {
      range: [seconds("first"), seconds("last")],
      date: (at) => window.uPlot.tzDate(new Date(at * 1e3), zone),
    };
  }

  function histogram(figure) {
    const columns = [...figure.querySelectorAll("a[data-since]")];
    if (!columns.length) return;
    const { range, date } = shared(figure);
    const width = (Number(columns[0].dataset.until) - Number(columns[0].dataset.since)) / 1e9;
    const [first, last] = range;
    const times = Array.from({ length: Math.round((last - first) / width) }, (_, at) => first + at * width);
    const place = new Map(columns.map((column) => [Math.round((Number(column.dataset.since) / 1e9 - first) / width), column]));
    const values = (name) => times.map((_, at) => Number(place.get(at)?.dataset[name] || 0));
    const bars = window.uPlot.paths.bars({ size: [0.9, 80], align: 1 });
    const series = (name, fill) => ({ label: name, paths: bars, points: { show: false }, fill: () => colour(fill), width: 0 });
    let tip;
    const plot = draw(figure, {
      date,
      scales: { x: { range: () => range }, y: { range: (u, low, high) => [0, Math.max(high, 1) * 1.06] } },
      axes: axes(date, { incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 1e6, 1e7] }),
      series: [{}, series("traces", "--app-1"), series("failed", "--bad")],
      cursor: { drag: { x: true, y: false, setScale: false }, y: false, points: { show: false } },
      hooks: {
        setCursor: [(u) => {
          const { left, top } = u.cursor;
          const at = left < 0 ? -1 : Math.floor((u.posToVal(left, "x") - first) / width);
          if (at < 0 || at >= times.length) return tip?.(null);
          const failed = u.data[2][at];
          const count = u.data[1][at];
          tip?.([moment(date(times[at])), `${count} ${count === 1 ? "trace" : "traces"}${failed ? `, ${failed} failed` : ""}`], left, top);
        }],
        setSelect: [(u) => {
          if (u.select.width > 3) narrow(figure, u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x"));
        }],
      },
    }, [times, values("count"), values("failed")]);
    tip = tooltip(plot);
    plot.over.addEventListener("click", (event) => {
      if (plot.select.width > 3) return;
      const frame = plot.over.getBoundingClientRect();
      const column = place.get(Math.floor((plot.posToVal(event.clientX - frame.left, "x") - first) / width));
      if (column) location.href = column.href.baseVal;
    });
  }

  function scatter(figure) {
    const points = [...figure.querySelectorAll("a[data-at]")].sort((a, b) => Number(a.dataset.at) - Number(b.dataset.at));
    if (!points.length) return;
    const { range, date } = shared(figure);
    const times = points.map((point) => Number(point.dataset.at) / 1e9);
    const took = points.map((point) => Math.max(1, Number(point.dataset.took)));
    const only = (failed) => took.map((value, at) => ("failed" in points[at].dataset === failed ? value : null));
    const low = 10 ** Math.floor(Math.log10(Math.min(...took)));
    const high = Math.max(10 ** Math.ceil(Math.log10(Math.max(...took))), low * 10);
    const powers = Array.from({ length: Math.round(Math.log10(high / low)) + 1 }, (_, at) => low * 10 ** at);
    const series = (name, fill, size) => ({
      label: name, paths: () => null, stroke: () => colour(fill),
      points: { show: true, size, width: 0, fill: () => colour(fill) },
    });
    let tip;
    let near = -1;
    const nearest = (u) => {
      let found = -1;
      let best = 14 ** 2;
      for (let at = 0; at < times.length; at += 1) {
        const distance = (u.valToPos(times[at], "x") - u.cursor.left) ** 2 + (u.valToPos(took[at], "y") - u.cursor.top) ** 2;
        if (distance < best) { best = distance; found = at; }
      }
      return found;
    };
    const plot = draw(figure, {
      date,
      scales: { x: { range: () => range }, y: { distr: 3, range: () => [low, high] } },
      axes: axes(date, { splits: () => powers, filter: (u, splits) => splits, space: 14, values: (u, splits) => splits.map(human) }),
      series: [{}, series("ok", "--app-1", 6), series("failed", "--bad", 8)],
      cursor: { drag: { x: true, y: true, setScale: false }, points: { show: false } },
      hooks: {
        setCursor: [(u) => {
          near = u.cursor.left < 0 ? -1 : nearest(u);
          u.over.classList.toggle("is-near", near >= 0);
          if (near < 0) return tip?.(null);
          const { dataset } = points[near];
          tip?.([dataset.name, `${human(took[near])}${"failed" in dataset ? ", failed" : ""}`, moment(date(times[near]))], u.valToPos(times[near], "x"), u.valToPos(took[near], "y"));
        }],
        setSelect: [(u) => {
          const { left, top, width, height } = u.select;
          if (width < 4 || height < 4) return;
          const micro = (at) => Math.max(0, Math.round(u.posToVal(at, "y") / 1e3));
          narrow(figure, u.posToVal(left, "x"), u.posToVal(left + width, "x"), `duration>=${micro(top + height)}us duration<=${micro(top)}us`);
        }],
      },
    }, [times, only(false), only(true)]);
    tip = tooltip(plot);
    plot.over.addEventListener("click", () => {
      if (near >= 0 && plot.select.width < 4) location.href = points[near].href.baseVal;
    });
  }

  const kinds = { histogram, scatter };
  function enhance(within) {
    for (const figure of within.querySelectorAll("figure[data-chart]")) {
      const kind = figure.dataset.chart;
      delete figure.dataset.chart;
      kinds[kind](figure);
    }
    for (const plot of plots) if (!plot.root.isConnected) { plot.destroy(); plots.delete(plot); }
  }

  const redraw = () => { for (const plot of plots) plot.redraw(true, true); };
  new MutationObserver(redraw).observe(root, { attributes: true, attributeFilter: ["data-theme"] });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  document.addEventListener("htmx:afterSwap", (event) => { if (event.detail.target?.isConnected) enhance(event.detail.target); });
  enhance(document);
})();
