/** Completion of the search language, and of names in the filters. */

/** @typedef {{ text: string, hint: string }} Completion */

/**
 * What the server offers for the word at the caret, which stands from *start* to *end*.
 *
 * @typedef {{ start: number, end: number, completions: Completion[] }} Offer
 */

/**
 * Return a search with a completion taken, where the caret is then, and whether a value may follow.
 *
 * @param {string} query
 * @param {Offer} offer
 * @param {number} place
 * @returns {{ query: string, caret: number, isKey: boolean }}
 */
export function take(query, { start, end, completions }, place) {
  const { text } = completions[place];
  const isKey = /[:>]$/.test(text);
  const before = query.slice(0, start) + text;
  const after = query.slice(end);
  const needsSpace = !(isKey || text.endsWith(" "));
  return {
    query: before + (needsSpace && !/^\s/.test(after) ? " " : "") + after,
    caret: before.length + (needsSpace ? 1 : 0),
    isKey,
  };
}

/**
 * Call *act* once *wait* milliseconds have passed without another call.
 *
 * @param {() => void} act
 * @param {number} wait
 */
function after(act, wait) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const cancel = () => clearTimeout(timer);
  const call = () => {
    cancel();
    timer = setTimeout(act, wait);
  };
  return { call, cancel };
}

/**
 * @param {string} address
 * @param {Record<string, string>} parameters
 * @returns {Promise<Offer | null>}
 */
async function fetchOffer(address, parameters) {
  const answer = await fetch(`${address}?${new URLSearchParams(parameters)}`).catch(() => null);
  return answer?.ok ? answer.json() : null;
}

/** @param {HTMLInputElement} input */
function isReady(input) {
  const was = input.dataset.ready;
  input.dataset.ready = "yes";
  return Boolean(was);
}

/**
 * Let the browser offer the names that are stored.
 *
 * @param {HTMLInputElement} input
 * @param {string} address Where completions are asked for.
 */
export function completeName(input, address) {
  if (isReady(input)) return;
  const list = document.createElement("datalist");
  list.id = `${input.id}-names`;
  input.after(list);
  input.setAttribute("list", list.id);
  const ask = async () => {
    const offer = await fetchOffer(address, { key: input.dataset.completes ?? "", q: input.value });
    if (offer) list.replaceChildren(...offer.completions.map(({ text }) => new Option(text, text)));
  };
  const later = after(ask, 150);
  input.addEventListener("focus", ask, { once: true });
  input.addEventListener("input", later.call);
}

/**
 * Return the item of a list of options.
 *
 * @param {Completion} completion
 * @param {string} id
 */
function option({ text, hint }, id) {
  const item = document.createElement("li");
  item.id = id;
  item.setAttribute("role", "option");
  item.setAttribute("aria-selected", "false");
  for (const part of [text, hint]) {
    item.append(Object.assign(document.createElement("span"), { textContent: part }));
  }
  return item;
}

/**
 * Let the input of a search be a combobox of what the language knows.
 *
 * @param {HTMLInputElement} input
 */
export function complete(input) {
  const list = document.getElementById(`${input.id}-options`);
  if (!list || isReady(input)) return;
  /** @type {Offer} */
  let offer = { start: 0, end: 0, completions: [] };
  let chosen = -1;
  let asked = 0;
  input.setAttribute("role", "combobox");
  input.setAttribute("aria-autocomplete", "list");
  input.setAttribute("aria-controls", list.id);
  input.setAttribute("aria-expanded", "false");

  function close() {
    if (list) list.hidden = true;
    chosen = -1;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  }

  /** @param {number} place */
  function choose(place) {
    const count = offer.completions.length;
    chosen = (place + count) % count;
    for (const [number, item] of [...(list?.children ?? [])].entries()) {
      item.setAttribute("aria-selected", String(number === chosen));
      if (number !== chosen) continue;
      item.scrollIntoView({ block: "nearest" });
      input.setAttribute("aria-activedescendant", item.id);
    }
  }

  /** @param {number} place */
  function accept(place) {
    const { query, caret, isKey } = take(input.value, offer, place);
    input.value = query;
    input.setSelectionRange(caret, caret);
    close();
    if (isKey) ask();
  }

  async function ask() {
    asked += 1;
    const number = asked;
    const at = String(input.selectionStart ?? input.value.length);
    const found = await fetchOffer(input.dataset.complete ?? "", { q: input.value, at });
    if (!found || number !== asked || document.activeElement !== input) return;
    offer = found;
    draw();
  }

  function draw() {
    if (!list) return;
    const items = offer.completions.map((completion, place) => {
      const item = option(completion, `${list.id}-${place}`);
      // Not on click: the input would lose the focus first and close the list.
      item.addEventListener("mousedown", (event) => {
        event.preventDefault();
        accept(place);
      });
      return item;
    });
    list.replaceChildren(...items);
    list.hidden = items.length === 0;
    chosen = -1;
    input.setAttribute("aria-expanded", String(items.length > 0));
  }

  const later = after(ask, 120);

  /** Have an answer that is still to come open no list over the results. */
  function cancel() {
    later.cancel();
    asked += 1;
  }

  /** @param {KeyboardEvent} event */
  function pressed(event) {
    const isOpen = !list?.hidden && offer.completions.length > 0;
    if (event.key === "Enter" && !(isOpen && chosen >= 0)) {
      cancel();
      if (isOpen) close();
      return;
    }
    if (!isOpen) {
      if (event.key !== "ArrowDown") return;
      ask();
    } else if (event.key === "ArrowDown") choose(chosen + 1);
    else if (event.key === "ArrowUp") choose(Math.max(chosen, 0) - 1);
    else if (event.key === "Tab" && !event.shiftKey) accept(Math.max(chosen, 0));
    else if (event.key === "Enter") accept(chosen);
    else if (event.key === "Escape") {
      event.stopPropagation();
      close();
      return;
    } else return;
    event.preventDefault();
  }

  input.addEventListener("input", later.call);
  input.addEventListener("blur", close);
  input.addEventListener("keydown", pressed);
}
