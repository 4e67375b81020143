import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { spanNumber } from "#js/span.js";

describe("the address of a span", () => {
  it("has its number", () => {
    assert.equal(spanNumber("/tracing/traces/00ff/spans/12/"), "12");
  });

  it("is no other page's", () => {
    const others = ["/tracing/traces/00ff/", "/tracing/traces/00ff/spans/", "/spans/12/json/"];

    assert.deepEqual(others.map(spanNumber), [undefined, undefined, undefined]);
  });
});
