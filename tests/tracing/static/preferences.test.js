import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { describe, it } from "node:test";
import { createContext, runInContext } from "node:vm";

const file = new URL("../../../tracing/static/tracing/preferences.js", import.meta.url);
const source = await readFile(file, "utf-8");

/** Run the script as a browser does whose storage holds *kept*; null forbids storage. */
function preferences(kept) {
  const storage = new Map(kept === undefined ? [] : [["tracing.viewer", kept]]);
  const localStorage = {
    getItem: (key) => storage.get(key) ?? null,
    setItem: (key, value) => storage.set(key, value),
  };
  const dataset = {};
  const forbidden = () => {
    throw new Error("The operation is insecure.");
  };
  const context = createContext({
    document: { documentElement: { dataset } },
    localStorage: kept === null ? { getItem: forbidden, setItem: forbidden } : localStorage,
  });
  runInContext(source, context);
  return { ...runInContext("tracingPreferences", context), dataset, storage };
}

describe("preferences", () => {
  it("are on the page before it is painted", () => {
    const kept = '{"theme": "dark", "density": "dense", "hide": ["user", "sql"]}';
    const { dataset } = preferences(kept);

    assert.deepEqual(dataset, { theme: "dark", density: "dense", hide: "user sql" });
  });

  it("are kept and taken back", () => {
    const { dataset, set, storage } = preferences();
    set({ theme: "light", hide: ["sql"] });
    assert.deepEqual(dataset, { theme: "light", hide: "sql" });
    assert.equal(storage.get("tracing.viewer"), '{"theme":"light","hide":["sql"]}');

    set({ theme: undefined });
    assert.deepEqual(dataset, { hide: "sql" });
  });

  it("are none where what is kept is damaged", () => {
    for (const kept of ["{", "null", "7", '{"theme": "pink", "hide": "all"}']) {
      assert.deepEqual(preferences(kept).dataset, { hide: "" });
    }
  });

  it("last as long as the page where storage is forbidden", () => {
    const { dataset, set } = preferences(null);
    set({ density: "dense" });

    assert.deepEqual(dataset, { density: "dense", hide: "" });
  });
});
