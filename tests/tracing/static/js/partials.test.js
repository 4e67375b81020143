import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";

import { dropEmpty, failureText, isFaultyForm, listen } from "#js/partials.js";

describe("parts of a page", () => {
  const seen = { toasts: [], swapped: [], searched: [] };

  beforeEach(() => {
    globalThis.document = new EventTarget();
    for (const list of Object.values(seen)) list.length = 0;
    listen({
      page: { toast: (text) => seen.toasts.push(text) },
      swapped: (target) => seen.swapped.push(target.id),
      searched: (search) => seen.searched.push(search),
    });
  });

  afterEach(() => {
    delete globalThis.document;
  });

  /** Say to the page what htmx says. */
  function htmx(name, detail) {
    document.dispatchEvent(new CustomEvent(`htmx:${name}`, { detail }));
    return detail;
  }

  /** An answer of the server. */
  const answer = (type, responseText = "", responseURL = "") => ({
    getResponseHeader: () => type,
    responseText,
    responseURL,
  });

  it("are asked for without parameters that say nothing", () => {
    const parameters = new FormData();
    for (const [name, value] of [
      ["q", "kind:request"],
      ["last", "kind:request"],
      ["kind", ""],
      ["size", "50"],
    ]) {
      parameters.append(name, value);
    }

    dropEmpty(parameters);
    assert.deepEqual([...parameters.keys()], ["q", "size"]);
  });

  it("keep an empty parameter that is posted", () => {
    const parameters = new FormData();
    parameters.append("note", "");
    htmx("configRequest", { verb: "post", parameters });
    assert.deepEqual([...parameters.keys()], ["note"]);

    htmx("configRequest", { verb: "get", parameters });
    assert.deepEqual([...parameters.keys()], []);
  });

  it("are set up when they have come, and new results bring their charts", () => {
    const xhr = answer("text/html", "", "http://site/tracing/?q=kind%3Acommand");
    htmx("afterSwap", { target: { id: "charts" }, xhr });
    htmx("afterSwap", { target: { id: "results" }, xhr });
    htmx("afterSwap", { xhr });

    assert.deepEqual(seen.swapped, ["charts", "results"]);
    assert.deepEqual(seen.searched, ["?q=kind%3Acommand"]);
  });

  it("are shown with what is wrong in a form of saved searches, and there alone", () => {
    const html = '<p class="field-error">';
    const detail = { xhr: answer("text/html; charset=utf-8"), serverResponse: html };

    const saved = htmx("beforeSwap", { ...detail, target: { id: "saved-searches" } });
    assert.deepEqual([saved.shouldSwap, saved.isError], [true, false]);
    const other = htmx("beforeSwap", { ...detail, target: { id: "results" } });
    assert.equal(other.shouldSwap, undefined);
    assert.equal(isFaultyForm("text/html", "<p>"), false);
    assert.equal(isFaultyForm(null, html), false);
  });

  it("say why they could not be loaded", () => {
    const charts = { matches: () => true };
    htmx("responseError", { target: charts, xhr: answer("text/plain", "The store is locked.") });
    htmx("sendError", {});

    assert.equal(charts.textContent, "The charts could not be loaded.");
    assert.deepEqual(seen.toasts, ["The store is locked.", failureText(null, undefined)]);
    assert.match(failureText("text/html", "<h1>Server Error"), /could not be loaded/);
    assert.equal(failureText("text/plain", "x".repeat(300)).length, 200);
    assert.match(failureText("text/plain", ""), /could not be loaded/);
  });
});
