import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { createAppearance, themeAfter } from "#js/appearance.js";

/** Appearance on a page with a name of each kind, and what it has said and kept. */
function appearance(kept = {}) {
  const places = { "[data-theme-name]": {}, "[data-density-name]": {} };
  const said = [];
  const page = { all: (selector) => [places[selector]], announce: (text) => said.push(text) };
  const memory = {
    read: () => kept,
    set(changes) {
      Object.assign(kept, changes);
    },
  };
  const names = () => Object.values(places).map((place) => place.textContent);
  return { ...createAppearance(page, memory), kept, names, said };
}

describe("appearance", () => {
  it("goes through the themes, round and round", () => {
    assert.deepEqual([undefined, "system", "light", "dark", "pink"].map(themeAfter), [
      "light",
      "light",
      "dark",
      "system",
      "system",
    ]);
  });

  it("keeps, shows and says the next theme", () => {
    const { kept, names, nextTheme, said } = appearance({ theme: "light" });
    nextTheme();
    assert.deepEqual([kept.theme, names(), said], ["dark", ["dark", "normal"], ["Theme: dark"]]);

    nextTheme();
    assert.deepEqual([kept.theme, names()], [undefined, ["system", "normal"]]);
  });

  it("is dense or not", () => {
    const { kept, names, nextDensity } = appearance();
    nextDensity();
    assert.deepEqual([kept.density, names()], ["dense", ["system", "dense"]]);

    nextDensity();
    assert.deepEqual([kept.density, names()], [undefined, ["system", "normal"]]);
  });
});
