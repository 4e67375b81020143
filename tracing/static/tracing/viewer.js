/* The viewer's behaviour: everything here is comfort. Without it the pages can still be read. */
"use strict";

(() => {
  const preferences = window.tracingPreferences;
  const $ = (selector, within = document) => within.querySelector(selector);
  const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];
  const base = new URL($(".brand").href).pathname;

  function say(text) {
    $("#said").textContent = text;
  }

  let toastTimer = 0;
  function toast(text) {
    const box = $("#toast");
    box.textContent = text;
    box.hidden = false;
    clearTimeout(toastTimer);
    toastTimer = setTimeout(() => { box.hidden = true; }, 5000);
  }

  // -- What needs a script is shown, and again in what htmx brings ------------------------------

  function prepare(within) {
    for (const element of $$("[data-needs-script][hidden], button[data-action][hidden]:not(#waiting)", within)) {
      element.hidden = false;
    }
    for (const input of $$("input[data-complete]", within)) complete(input);
    for (const input of $$("input[data-completes]", within)) completeName(input);
    for (const menu of $$("[data-columns]", within)) columnMenu(menu);
    for (const drawing of $$("svg.map", within)) hover(drawing);
    for (const field of $$("[data-save-search] input[name=query]", within)) field.value = listParameters();
    names();
  }

  function listParameters() {
    const parameters = new URLSearchParams(location.search);
    for (const name of ["before", "after", "last", "size"]) parameters.delete(name);
    return parameters.toString();
  }

  // -- Preferences ------------------------------------------------------------------------------

  function names() {
    const kept = preferences.read();
    for (const element of $$("[data-theme-name]")) element.textContent = kept.theme || "system";
    for (const element of $$("[data-density-name]")) element.textContent = kept.density || "normal";
  }

  function nextTheme() {
    const order = ["system", "light", "dark"];
    const now = preferences.read().theme || "system";
    const next = order[(order.indexOf(now) + 1) % order.length];
    preferences.set({ theme: next === "system" ? undefined : next });
    names();
    say(`Theme: ${next}`);
  }

  function nextDensity() {
    const next = preferences.read().density === "dense" ? undefined : "dense";
    preferences.set({ density: next });
    names();
  }

  function columnMenu(menu) {
    if (menu.childElementCount) return;
    const hidden = new Set(preferences.read().hide || []);
    for (const head of $$("#traces thead th")) {
      const name = [...head.classList].find((one) => one.startsWith("col-"))?.slice(4);
      if (!name || name === "name" || name === "choose") continue;
      const label = document.createElement("label");
      const box = document.createElement("input");
      box.type = "checkbox";
      box.checked = !hidden.has(name);
      box.addEventListener("change", () => {
        if (box.checked) hidden.delete(name); else hidden.add(name);
        preferences.set({ hide: [...hidden] });
      });
      label.append(box, ` ${head.textContent.replace(/[↓↑]/, "").trim()}`);
      menu.append(label);
    }
  }

  // -- Completion -------------------------------------------------------------------------------

  function completeName(input) {
    if (input.dataset.ready) return;
    input.dataset.ready = "yes";
    const list = document.createElement("datalist");
    list.id = `${input.id}-names`;
    input.after(list);
    input.setAttribute("list", list.id);
    const ask = async () => {
      const parameters = new URLSearchParams({ key: input.dataset.completes, q: input.value });
      const answer = await fetch(`${base}complete.json?${parameters}`).catch(() => null);
      if (!answer?.ok) return;
      const found = await answer.json();
      list.replaceChildren(...found.completions.map(({ text }) => new Option(text, text)));
    };
    let timer = 0;
    input.addEventListener("focus", ask, { once: true });
    input.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(ask, 150); });
  }

  function complete(input) {
    if (input.dataset.ready) return;
    input.dataset.ready = "yes";
    const list = document.getElementById(`${input.id}-options`);
    let found = { start: 0, end: 0, completions: [] };
    let chosen = -1;
    let timer = 0;
    let asked = 0;
    input.setAttribute("role", "combobox");
    input.setAttribute("aria-autocomplete", "list");
    input.setAttribute("aria-controls", list.id);
    input.setAttribute("aria-expanded", "false");

    function close() {
      list.hidden = true;
      chosen = -1;
      input.setAttribute("aria-expanded", "false");
      input.removeAttribute("aria-activedescendant");
    }

    function choose(place) {
      chosen = place;
      [...list.children].forEach((item, number) => {
        item.setAttribute("aria-selected", String(number === place));
        if (number === place) {
          item.scrollIntoView({ block: "nearest" });
          input.setAttribute("aria-activedescendant", item.id);
        }
      });
    }

    function take(place) {
      const { text } = found.completions[place];
      const isKey = /[:>]$/.test(text);
      const before = input.value.slice(0, found.start) + text;
      const after = input.value.slice(found.end);
      input.value = before + (isKey || /^\s/.test(after) || text.endsWith(" ") ? "" : " ") + after;
      const at = before.length + (isKey || text.endsWith(" ") ? 0 : 1);
      input.setSelectionRange(at, at);
      close();
      if (isKey) ask();
    }

    async function ask() {
      const number = ++asked;
      const parameters = new URLSearchParams({ q: input.value, at: String(input.selectionStart ?? input.value.length) });
      const answer = await fetch(`${input.dataset.complete}?${parameters}`).catch(() => null);
      if (!answer?.ok || number !== asked || document.activeElement !== input) return;
      found = await answer.json();
      list.replaceChildren(...found.completions.map(({ text, hint }, place) => {
        const item = document.createElement("li");
        item.id = `${list.id}-${place}`;
        item.setAttribute("role", "option");
        item.setAttribute("aria-selected", "false");
        const word = document.createElement("span");
        word.textContent = text;
        const meaning = document.createElement("span");
        meaning.textContent = hint;
        item.append(word, meaning);
        // Not on click: the input would lose the focus first and close the list.
        item.addEventListener("mousedown", (event) => { event.preventDefault(); take(place); });
        return item;
      }));
      const has = found.completions.length > 0;
      list.hidden = !has;
      chosen = -1;
      input.setAttribute("aria-expanded", String(has));
    }

    input.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(ask, 120); });
    input.addEventListener("blur", close);
    input.addEventListener("keydown", (event) => {
      const count = found.completions.length;
      if (list.hidden || !count) {
        if (event.key === "ArrowDown") { event.preventDefault(); ask(); }
        else if (event.key === "Enter") { clearTimeout(timer); asked += 1; }
        return;
      }
      if (event.key === "ArrowDown") { event.preventDefault(); choose((chosen + 1) % count); }
      else if (event.key === "ArrowUp") { event.preventDefault(); choose((chosen - 1 + count) % count); }
      else if (event.key === "Tab" && !event.shiftKey) { event.preventDefault(); take(Math.max(chosen, 0)); }
      else if (event.key === "Enter" && chosen >= 0) { event.preventDefault(); take(chosen); }
      else if (event.key === "Enter") { clearTimeout(timer); asked += 1; close(); }
      else if (event.key === "Escape") { event.stopPropagation(); close(); }
    });
  }

  // -- Lines: j, k and Enter --------------------------------------------------------------------

  function lines() {
    return $$("#tree [role=row]:not(.tree-header), #traces tbody tr, .spans-table tbody tr, main .table-frame tbody tr")
      .filter((line) => line.offsetParent !== null && $("a", line));
  }

  function current() {
    return $(".is-current");
  }

  function go(line, focus = true) {
    if (!line) return;
    current()?.classList.remove("is-current");
    line.classList.add("is-current");
    line.scrollIntoView({ block: "nearest" });
    if (!focus) return;
    if (line.getAttribute("role") === "row") line.focus({ preventScroll: true });
    else $("a.open, a", line)?.focus({ preventScroll: true });
  }

  function step(by) {
    const all = lines();
    if (!all.length) return;
    const at = all.indexOf(current());
    go(all[Math.min(Math.max(at < 0 ? (by > 0 ? 0 : all.length - 1) : at + by, 0), all.length - 1)]);
  }

  // -- The tree: collapse and expand ------------------------------------------------------------

  const tree = $("#tree");
  const collapsed = new Set();

  function rows() {
    return tree ? $$("[role=row][data-number]", tree) : [];
  }

  function redraw() {
    for (const row of rows()) {
      const above = (row.dataset.of ? [row.dataset.of] : row.dataset.above.split(" ")).filter(Boolean);
      let hide = above.some((number) => collapsed.has(number));
      if (row.dataset.of && !hide) {
        const parent = $(`[role=row][data-number="${row.dataset.of}"]:not([data-of])`, tree);
        hide = parent?.hidden ?? false;
      }
      row.hidden = hide;
      if (row.hasAttribute("aria-expanded")) {
        const open = !collapsed.has(row.dataset.number);
        row.setAttribute("aria-expanded", String(open));
        $(".twist", row)?.setAttribute("aria-label", open ? "Collapse" : "Expand");
      }
    }
  }

  function parents() {
    return rows().filter((row) => row.hasAttribute("aria-expanded"));
  }

  function collapse(row, closed) {
    if (!row?.hasAttribute("aria-expanded")) return;
    if (closed) collapsed.add(row.dataset.number); else collapsed.delete(row.dataset.number);
    redraw();
  }

  function collapseLevel() {
    const open = parents().filter((row) => !row.hidden && !collapsed.has(row.dataset.number));
    const deepest = Math.max(...open.map((row) => Number(row.ariaLevel)));
    for (const row of open) if (Number(row.ariaLevel) === deepest) collapsed.add(row.dataset.number);
    redraw();
  }

  function expandLevel() {
    const closed = parents().filter((row) => !row.hidden && collapsed.has(row.dataset.number));
    const shallowest = Math.min(...closed.map((row) => Number(row.ariaLevel)));
    for (const row of closed) if (Number(row.ariaLevel) === shallowest) collapsed.delete(row.dataset.number);
    redraw();
  }

  async function repetitions(link) {
    const row = link.closest("[role=row]");
    const number = row.dataset.number;
    const shown = $$(`[data-of="${number}"]`, tree);
    if (shown.length) {
      for (const one of shown) one.remove();
      return;
    }
    await more(link, row);
  }

  async function more(link, row) {
    const answer = await fetch(link.href, { headers: { "HX-Request": "true" } }).catch(() => null);
    if (!answer?.ok) {
      toast("These could not be loaded. Is the server running?");
      return;
    }
    const box = document.createElement("template");
    box.innerHTML = await answer.text();
    const added = [...box.content.children];
    row.after(...added);
    if (row.dataset.of && !row.dataset.number) row.remove();
    applyZoom();
    say(`${added.length} ${added.length === 1 ? "line" : "lines"} added`);
  }

  // -- The timeline: zoom and pan ---------------------------------------------------------------

  const view = { left: 0, width: 100 };
  const narrowest = 0.02;

  function readZoom() {
    const match = /^([\d.]+)-([\d.]+)$/.exec(tree?.dataset.zoom || "");
    if (match) {
      view.left = Number(match[1]);
      view.width = Number(match[2]) - view.left;
    }
  }

  function human(ns) {
    for (const [size, unit] of [[1e9, "s"], [1e6, "ms"], [1e3, "µs"]]) {
      if (ns >= size) return `${Number((ns / size).toPrecision(3))} ${unit}`;
    }
    return `${Math.round(ns)} ns`;
  }

  function applyZoom() {
    if (flame) drawFlame();
    if (!tree) return;
    const box = `${view.left} 0 ${view.width} 10`;
    for (const drawing of $$("svg.bars", tree)) drawing.setAttribute("viewBox", box);
    const whole = Number(tree.dataset.whole);
    $$("[data-tick]", tree).forEach((tick, place, all) => {
      tick.textContent = human((view.left + (view.width * place) / (all.length - 1)) / 100 * whole);
    });
    const lens = $("#minimap .lens");
    if (lens) {
      lens.toggleAttribute("hidden", view.width >= 100);
      lens.setAttribute("x", view.left);
      lens.setAttribute("width", view.width);
    }
  }

  const flame = $("#flame");
  const boxes = flame ? $$("a > svg", flame).map((box) => ({
    box, left: Number.parseFloat(box.getAttribute("x")), width: Number.parseFloat(box.getAttribute("width")),
  })) : [];

  function drawFlame() {
    for (const { box, left, width } of boxes) {
      const x = ((left - view.left) * 100) / view.width;
      const shown = (width * 100) / view.width;
      const isSeen = x < 100 && x + shown > 0;
      box.toggleAttribute("hidden", !isSeen);
      if (!isSeen) continue;
      // What begins further left is cut there, so that its label stays in sight.
      const from = Math.max(x, 0);
      const to = Math.min(x + shown, 100);
      box.setAttribute("x", `${from}%`);
      box.setAttribute("width", `${to - from}%`);
      let label = $("text", box);
      if (!label && to - from >= 3) {
        label = document.createElementNS("http://www.w3.org/2000/svg", "text");
        label.setAttribute("x", "5");
        label.setAttribute("y", "16");
        label.textContent = $("title", box).textContent.split(" · ")[0].split(".").slice(-2).join(".");
        box.append(label);
      }
      label?.toggleAttribute("hidden", to - from < 3);
    }
  }

  function zoomFlame(box) {
    const found = boxes.find((one) => one.box === box);
    if (!found) return;
    const isThere = Math.abs(view.left - found.left) < 0.01 && Math.abs(view.width - found.width) < 0.01;
    if (isThere) setView(0, 100); else setView(found.left, found.width);
  }

  flame?.addEventListener("dblclick", (event) => zoomFlame(event.target.closest("svg")));
  flame?.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    const frame = flame.getBoundingClientRect();
    zoom(event.deltaY > 0 ? 1.2 : 1 / 1.2, view.left + ((event.clientX - frame.left) / frame.width) * view.width);
  }, { passive: false });

  let stateTimer = 0;
  function setView(left, width) {
    view.width = Math.min(Math.max(width, narrowest), 100);
    view.left = Math.min(Math.max(left, 0), 100 - view.width);
    applyZoom();
    clearTimeout(stateTimer);
    stateTimer = setTimeout(() => {
      if (!tree) return;
      const address = new URL(location.href);
      if (view.width >= 100) address.searchParams.delete("zoom");
      else address.searchParams.set("zoom", `${view.left.toFixed(3)}-${(view.left + view.width).toFixed(3)}`);
      history.replaceState(history.state, "", address);
    }, 300);
  }

  function zoom(factor, at = view.left + view.width / 2) {
    const width = Math.min(Math.max(view.width * factor, narrowest), 100);
    setView(at - ((at - view.left) * width) / view.width, width);
  }

  function minimap(box) {
    const place = (event) => {
      const frame = box.getBoundingClientRect();
      return Math.min(Math.max(((event.clientX - frame.left) / frame.width) * 100, 0), 100);
    };
    let from = null;
    box.addEventListener("pointerdown", (event) => {
      from = place(event);
      box.setPointerCapture(event.pointerId);
    });
    box.addEventListener("pointermove", (event) => {
      if (from === null) return;
      const to = place(event);
      if (Math.abs(to - from) > 0.5) setView(Math.min(from, to), Math.abs(to - from));
    });
    box.addEventListener("pointerup", (event) => {
      if (from !== null && Math.abs(place(event) - from) <= 0.5 && view.width < 100) {
        setView(from - view.width / 2, view.width);
      }
      from = null;
    });
    box.addEventListener("dblclick", () => setView(0, 100));
    box.addEventListener("keydown", (event) => {
      const keys = {
        ArrowUp: () => zoom(0.7), ArrowDown: () => zoom(1 / 0.7),
        ArrowLeft: () => setView(view.left - view.width / 5, view.width),
        ArrowRight: () => setView(view.left + view.width / 5, view.width),
      };
      if (keys[event.key]) { event.preventDefault(); keys[event.key](); }
    });
  }

  function match(by) {
    const found = rows().filter((row) => row.classList.contains("is-match"));
    if (!found.length) return;
    const at = found.indexOf(current());
    const next = found[(at + by + found.length) % found.length];
    for (const number of next.dataset.above.split(" ")) collapsed.delete(number);
    redraw();
    go(next);
  }

  // -- The panel of a span ----------------------------------------------------------------------

  const panel = $("#panel");
  let cameFrom = null;
  let panelTimer = 0;

  async function openPanel(href, push = true) {
    const address = new URL(href, location.href);
    const answer = await fetch(address, { headers: { "HX-Request": "true" } }).catch(() => null);
    if (!answer?.ok) {
      location.href = address;
      return;
    }
    panel.innerHTML = await answer.text();
    panel.hidden = false;
    $("#with-panel").classList.add("has-panel");
    prepare(panel);
    if (push) {
      cameFrom = document.activeElement;
      const kept = new URL(location.href);
      address.search = kept.search;
      history.pushState({ panel: true }, "", address);
    }
    panel.focus({ preventScroll: true });
    panel.scrollTop = 0;
    const number = /spans\/(\d+)\//.exec(address.pathname)?.[1];
    const row = number && tree ? $(`[role=row][data-number="${number}"]`, tree) : null;
    if (row) go(row, false);
  }

  function closePanel(push = true) {
    if (!panel || panel.hidden) return false;
    panel.hidden = true;
    panel.replaceChildren();
    $("#with-panel").classList.remove("has-panel");
    if (push) {
      const address = new URL(panel.dataset.trace, location.href);
      address.search = location.search;
      history.pushState({ panel: true }, "", address);
    }
    (current() || cameFrom)?.focus?.({ preventScroll: true });
    return true;
  }

  addEventListener("popstate", () => {
    if (!panel) return;
    if (/\/spans\/\d+\/$/.test(location.pathname)) openPanel(location.href, false);
    else closePanel(false);
  });

  // -- Live -------------------------------------------------------------------------------------

  const live = { timer: 0, waiting: [], last: 0 };

  function liveButton() {
    return $("[data-action=live]");
  }

  function setLive(on) {
    const button = liveButton();
    if (!button) return;
    button.setAttribute("aria-pressed", String(on));
    clearTimeout(live.timer);
    if (on) {
      live.last = Number(button.dataset.row);
      poll();
    }
    say(on ? "Live: new traces are added as they come" : "Live is off");
  }

  async function poll() {
    const button = liveButton();
    if (!button || button.getAttribute("aria-pressed") !== "true") return;
    if (!document.hidden) {
      const address = new URL(button.dataset.live, location.href);
      address.searchParams.set("row", live.last);
      const answer = await fetch(address, { headers: { "HX-Request": "true" } }).catch(() => null);
      if (answer?.ok) arrived(await answer.text());
      button.classList.toggle("is-lost", !answer?.ok);
      if (!answer?.ok) say("The server does not answer; trying again");
    }
    live.timer = setTimeout(poll, 2000);
  }

  function arrived(text) {
    const box = document.createElement("template");
    // A row of a table is parsed as one only within a table.
    box.innerHTML = `<table><tbody>${text.replace(/<template[^>]*><\/template>/, "")}</tbody></table>`;
    const mark = /data-row="(\d+)"/.exec(text);
    if (mark) {
      live.last = Number(mark[1]);
      liveButton().dataset.row = mark[1];
    }
    const added = $$("tr", box.content);
    if (!added.length) return;
    live.waiting.unshift(...added);
    // Whoever reads further down keeps the place and is told; the others see them slide in.
    const table = $("#traces");
    const reads = table && (table.getBoundingClientRect().top < 0 || $("#rows").contains(document.activeElement));
    if (reads) tellWaiting(); else showWaiting();
  }

  function tellWaiting() {
    const button = $("#waiting");
    const count = live.waiting.length;
    button.hidden = count === 0;
    button.textContent = count === 1 ? "1 new trace" : `${count} new traces`;
  }

  function showWaiting() {
    const body = $("#rows");
    if (!body) return;
    const added = live.waiting.splice(0);
    const ids = new Set($$("tr", body).map((row) => row.dataset.trace));
    const fresh = added.filter((row) => !ids.has(row.dataset.trace));
    for (const row of fresh) row.classList.add("is-new");
    body.prepend(...fresh);
    prepare(body);
    ago();
    for (const extra of $$("tr", body).slice(500)) extra.remove();
    tellWaiting();
    if (fresh.length) say(fresh.length === 1 ? "1 new trace" : `${fresh.length} new traces`);
  }

  // -- Choosing two traces ----------------------------------------------------------------------

  function chosen() {
    return $$(".col-choose input:checked");
  }

  function countChosen() {
    const button = $("[data-action=compare]");
    if (!button) return;
    const count = chosen().length;
    $("[data-chosen]", button).textContent = String(count);
    button.disabled = count !== 2;
  }

  function compareChosen() {
    // The list is newest first: the lower one is the earlier.
    const [after, before] = chosen().map((box) => box.value);
    const address = new URL($("#traces").dataset.compare, location.href);
    address.search = new URLSearchParams({ a: before, b: after });
    location.href = address;
  }

  // -- The map: what is under the pointer, and what it is tied to -------------------------------

  function hover(drawing) {
    const edges = $$(".edge", drawing);
    const light = (key) => {
      const keys = new Set([key]);
      for (const edge of edges) {
        const lit = key && (edge.dataset.from === key || edge.dataset.to === key);
        edge.classList.toggle("is-lit", Boolean(lit));
        if (lit) keys.add(edge.dataset.from).add(edge.dataset.to);
      }
      for (const node of $$(".map-node", drawing)) node.classList.toggle("is-lit", Boolean(key) && keys.has(node.dataset.node));
      drawing.classList.toggle("is-hovering", Boolean(key));
    };
    const over = (event) => light(event.target.closest(".map-node")?.dataset.node);
    drawing.addEventListener("pointerover", over);
    drawing.addEventListener("pointerleave", () => light(undefined));
    drawing.addEventListener("focusin", over);
    drawing.addEventListener("focusout", () => light(undefined));
  }

  function scaleMap(factor) {
    const drawing = $("svg.map");
    if (!drawing) return;
    const frame = drawing.parentElement;
    const [, , width, height] = drawing.getAttribute("viewBox").split(" ").map(Number);
    const room = frame.clientWidth - 16;
    // Fit: the whole of it in the frame, readable or not; the other steps go on from what is shown.
    const fit = Math.min(1, (innerHeight * 0.8 - 20) / (height * room / width));
    const shown = drawing.getBoundingClientRect().width / room;
    const scale = factor ? Math.min(Math.max(shown * factor, Math.min(fit, 0.3)), 3) : fit;
    drawing.classList.add("is-scaled");
    const x = (frame.scrollLeft + frame.clientWidth / 2) / drawing.clientWidth;
    const y = (frame.scrollTop + frame.clientHeight / 2) / drawing.clientHeight;
    drawing.style.width = `${room * scale}px`;
    frame.scrollLeft = x * drawing.clientWidth - frame.clientWidth / 2;
    frame.scrollTop = y * drawing.clientHeight - frame.clientHeight / 2;
  }

  // -- Times ------------------------------------------------------------------------------------

  function ago() {
    for (const element of $$("time[data-ago]")) {
      const seconds = Math.max(0, Math.floor((Date.now() - Date.parse(element.dateTime)) / 1000));
      const [length, unit] = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]].find(([size]) => seconds >= size) || [1, ""];
      element.textContent = unit ? `${Math.floor(seconds / length)} ${unit} ago` : "now";
    }
  }

  // -- Pointer ----------------------------------------------------------------------------------

  const actions = {
    theme: nextTheme,
    density: nextDensity,
    help: () => $("#keys").showModal(),
    live: () => setLive(liveButton().getAttribute("aria-pressed") !== "true"),
    waiting: () => { scrollTo({ top: 0 }); showWaiting(); },
    compare: compareChosen,
    twist: (button) => {
      const row = button.closest("[role=row]");
      collapse(row, !collapsed.has(row.dataset.number));
    },
    "collapse-all": () => { for (const row of parents()) collapsed.add(row.dataset.number); redraw(); },
    "expand-all": () => { collapsed.clear(); redraw(); },
    "collapse-level": collapseLevel,
    "expand-level": expandLevel,
    "zoom-in": () => zoom(0.5),
    "zoom-out": () => zoom(2),
    "zoom-reset": () => setView(0, 100),
    "map-in": () => scaleMap(1.25),
    "map-out": () => scaleMap(0.8),
    "map-fit": () => scaleMap(0),
    "close-panel": () => closePanel(),
  };

  document.addEventListener("click", (event) => {
    if (event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    const button = event.target.closest("[data-action]");
    if (button && actions[button.dataset.action]) {
      event.preventDefault();
      actions[button.dataset.action](button);
      return;
    }
    const link = event.target.closest("a");
    if (link && "span" in link.dataset && panel) {
      event.preventDefault();
      clearTimeout(panelTimer);
      const href = link.href.baseVal ?? link.href;
      // A second click may follow in the flame graph: it zooms.
      if (!flame?.contains(link)) openPanel(href);
      else if (event.detail < 2) panelTimer = setTimeout(openPanel, 250, href);
    } else if (link && "repetitions" in link.dataset && tree) {
      event.preventDefault();
      repetitions(link);
    } else if (link && "repetitionsMore" in link.dataset && tree) {
      event.preventDefault();
      more(link, link.closest("[role=row]"));
    } else {
      const copy = event.target.closest(".copyable, .name[data-whole]");
      if (copy && !link && navigator.clipboard && !String(getSelection())) {
        navigator.clipboard.writeText(copy.dataset.whole || copy.textContent).then(() => toast("Copied"), () => {});
      }
    }
  });
  document.addEventListener("change", (event) => { if (event.target.closest(".col-choose")) countChosen(); });
  document.addEventListener("submit", (event) => {
    // Empty controls say nothing: the address stays readable.
    if (event.target.method === "get" && event.target.id !== "search-form") {
      for (const field of event.target.elements) if (field.name && !field.value) field.disabled = true;
    }
  });
  addEventListener("pageshow", () => { for (const field of $$("form[method=get] [disabled][name]")) field.disabled = false; });

  // -- Keys -------------------------------------------------------------------------------------

  const pages = { t: "", m: "map/", s: "statistics/", c: "compare/", h: "hazards/", r: "recorder/" };
  let wantsPage = 0;

  const keys = {
    "?": () => $("#keys").showModal(),
    "/": () => { const box = $("#q") || $("#find"); if (box) { box.focus(); box.select(); } else location.href = base; },
    j: () => step(1),
    k: () => step(-1),
    Enter: (event) => {
      if (event.target.closest("a, button, input, select, textarea, summary")) return false;
      const link = current() && $("a.open", current());
      if (!link) return false;
      link.click();
    },
    l: () => { if (!liveButton()) return false; actions.live(); },
    g: () => { wantsPage = Date.now(); },
    "[": () => { if (!tree) return false; collapse(current(), true); },
    "]": () => { if (!tree) return false; collapse(current(), false); },
    o: () => { if (!tree) return false; collapseLevel(); },
    p: () => { if (!tree) return false; expandLevel(); },
    w: () => { if (!tree && !flame) return false; zoom(0.7); },
    s: () => { if (!tree && !flame) return false; zoom(1 / 0.7); },
    a: () => { if (!tree && !flame) return false; setView(view.left - view.width / 5, view.width); },
    d: () => { if (!tree && !flame) return false; setView(view.left + view.width / 5, view.width); },
    0: () => { if (!tree && !flame) return false; setView(0, 100); },
    f: () => { if (!tree) return false; match(1); },
    b: () => { if (!tree) return false; match(-1); },
    Escape: () => {
      if (closePanel()) return true;
      if (document.activeElement?.matches("input, select, textarea")) document.activeElement.blur();
      else return false;
    },
  };
  const treeKeys = {
    ArrowDown: () => step(1),
    ArrowUp: () => step(-1),
    ArrowRight: (row) => collapse(row, false),
    ArrowLeft: (row) => {
      if (row.getAttribute("aria-expanded") === "true") collapse(row, true);
      else go($(`[role=row][data-number="${row.dataset.above?.split(" ").pop()}"]`, tree));
    },
  };

  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    if ($("dialog[open]")) return;
    const typing = event.target.closest("input:not([type=checkbox]):not([type=radio]), select, textarea");
    if (typing && event.key !== "Escape") return;
    if (Date.now() - wantsPage < 1500 && event.key in pages) {
      event.preventDefault();
      wantsPage = 0;
      location.href = base + pages[event.key];
      return;
    }
    const row = event.target.closest?.("#tree [role=row][data-number]");
    if (row && event.target === row && treeKeys[event.key]) {
      event.preventDefault();
      treeKeys[event.key](row);
      return;
    }
    const act = Object.hasOwn(keys, event.key) ? keys[event.key] : null;
    if (act && act(event) !== false) event.preventDefault();
  });
  document.addEventListener("focusin", (event) => {
    const line = event.target.closest?.("#tree [role=row][data-number]");
    if (line && line !== current()) go(line, false);
  });

  // -- htmx -------------------------------------------------------------------------------------

  document.addEventListener("htmx:configRequest", (event) => {
    // Empty controls say nothing: the address stays readable.
    const { parameters, verb } = event.detail;
    if (verb !== "get") return;
    for (const name of [...parameters.keys()]) {
      if (parameters.get(name) === "" || name === "last" && parameters.get(name) === parameters.get("q")) parameters.delete(name);
    }
  });
  document.addEventListener("htmx:afterSwap", (event) => {
    const { target } = event.detail;
    if (!target) return;
    prepare(target);
    if (tree && tree.contains(target.isConnected ? target : tree)) {
      // Further lines of the tree: they are drawn and folded like those that are there.
      prepare(tree);
      applyZoom();
      redraw();
    }
    if (target.id !== "results") return;
    countChosen();
    const invalid = $("#search-problem:not([hidden])");
    $("#q")?.toggleAttribute("aria-invalid", Boolean(invalid));
    const charts = $("#charts");
    if (charts) window.htmx.ajax("GET", `${base}charts/${new URL(event.detail.xhr.responseURL).search}`, { target: charts, swap: "innerHTML" });
    $(".examples")?.toggleAttribute("hidden", true);
    if (liveButton()) setLive(false);
  });
  document.addEventListener("htmx:beforeSwap", (event) => {
    // What is wrong with a name is said beside it.
    if (event.detail.target?.id === "saved-searches" && event.detail.xhr.getResponseHeader("Content-Type")?.startsWith("text/html") && event.detail.serverResponse.includes("field-error")) {
      event.detail.shouldSwap = true;
      event.detail.isError = false;
    }
  });
  for (const name of ["htmx:responseError", "htmx:sendError", "htmx:timeout"]) {
    document.addEventListener(name, (event) => {
      const target = event.detail.target;
      // A short answer in plain text says itself what was wrong.
      const said = event.detail.xhr?.getResponseHeader("Content-Type")?.startsWith("text/plain") ? event.detail.xhr.responseText : "";
      toast(said.slice(0, 200) || "This part could not be loaded. The rest of the page is as it was.");
      if (target && (target.id === "charts" || target.classList.contains("charts"))) target.textContent = "The charts could not be loaded.";
    });
  }

  prepare(document);
  if (tree) {
    readZoom();
    if (view.width < 100) applyZoom();
    const map = $("#minimap");
    if (map) minimap(map);
    const open = /\/spans\/(\d+)\/$/.exec(location.pathname)?.[1];
    const row = open ? $(`[role=row][data-number="${open}"]`, tree) : $(".is-match", tree);
    if (row) go(row, false);
  }
  setInterval(ago, 15000);
})();
