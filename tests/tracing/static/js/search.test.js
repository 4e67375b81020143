import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { take } from "#js/search.js";

/** Take the completion *text* for what stands at the bar in *query*. */
function taken(query, text) {
  const [before, word, rest] = query.split("|");
  const offer = { start: before.length, end: before.length + word.length };
  const completions = [
    { text: "another", hint: "" },
    { text, hint: "" },
  ];
  const found = take(before + word + rest, { ...offer, completions }, 1);
  return [`${found.query.slice(0, found.caret)}|${found.query.slice(found.caret)}`, found.isKey];
}

describe("taking a completion", () => {
  it("goes on to the value after a key", () => {
    assert.deepEqual(taken("|recei|", "receiver:"), ["receiver:|", true]);
    assert.deepEqual(taken("kind:request |rec|", "receivers>"), ["kind:request receivers>|", true]);
  });

  it("puts a space after a value", () => {
    assert.deepEqual(taken("kind:|re|", "request"), ["kind:request |", false]);
  });

  it("uses the space that is there", () => {
    assert.deepEqual(taken("kind:|re| name:x", "request"), ["kind:request |name:x", false]);
  });

  it("adds none after a completion that ends with one", () => {
    assert.deepEqual(taken("kind:request |O|", "OR "), ["kind:request OR |", false]);
  });

  it("parts a value from the word that follows", () => {
    assert.deepEqual(taken("kind:|re|name:x", "request"), ["kind:request |name:x", false]);
  });
});
