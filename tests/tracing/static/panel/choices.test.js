import assert from "node:assert/strict";
import { afterEach, describe, it } from "node:test";

import { cookieIn, createMemory, readCookie, writeCookie } from "#panel/choices.js";

describe("what was chosen in the panel", () => {
  const storage = (kept) => {
    const values = new Map(kept === undefined ? [] : [["tracing.panel", kept]]);
    return {
      getItem: (key) => values.get(key) ?? null,
      setItem: (key, value) => values.set(key, value),
    };
  };
  const forbidden = () => {
    throw new Error("The operation is insecure.");
  };

  afterEach(() => {
    delete globalThis.document;
  });

  it("is kept, each choice beside the others", () => {
    const kept = storage();
    const memory = createMemory(() => kept);
    memory.write({ tab: "hazards" });
    memory.write({ order: "name" });

    assert.deepEqual(memory.read(), { tab: "hazards", order: "name" });
  });

  it("is nothing at first, where it is damaged, or where storage is forbidden", () => {
    for (const kept of [undefined, "{", "null"]) {
      const place = storage(kept);
      assert.deepEqual(createMemory(() => place).read(), {});
    }
    const memory = createMemory(forbidden);
    memory.write({ tab: "hazards" });
    assert.deepEqual(memory.read(), {});
  });

  it("is read from the cookie of its whole name", () => {
    const cookies = "tracing_show=everything; show=mine; flag=";

    assert.equal(cookieIn(cookies, "show"), "mine");
    assert.equal(cookieIn(cookies, "tracing_show"), "everything");
    assert.deepEqual([cookieIn(cookies, "flag"), cookieIn(cookies, "how")], ["", ""]);
  });

  it("goes into a cookie, or nowhere where cookies are forbidden", () => {
    globalThis.document = {};
    writeCookie("show", "mine", "/shop/");
    assert.equal(document.cookie, "show=mine; path=/shop/; max-age=31536000; samesite=lax");
    assert.equal(readCookie("show"), "mine");

    globalThis.document = Object.defineProperty({}, "cookie", { get: forbidden, set: forbidden });
    writeCookie("show", "mine", "/");
    assert.equal(readCookie("show"), "");
  });
});
