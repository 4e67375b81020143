import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { formatAge, formatDuration, plural } from "#js/format.js";

describe("numbers", () => {
  it("has three digits and the largest unit", () => {
    const durations = [0, 999, 1_000, 1_234, 999_949, 1_500_000, 2e9, 61e9].map(formatDuration);

    assert.deepEqual(durations, [
      "0 ns",
      "999 ns",
      "1 µs",
      "1.23 µs",
      "1000 µs",
      "1.5 ms",
      "2 s",
      "61 s",
    ]);
  });

  it("counts whole units of age, and takes what is to come for now", () => {
    const second = 1_000;
    const ages = [-5, 0, 1, 59, 60, 3_599, 3_600, 86_400 * 3].map((n) => formatAge(n * second));

    assert.deepEqual(ages, [
      "now",
      "now",
      "1 s ago",
      "59 s ago",
      "1 min ago",
      "59 min ago",
      "1 h ago",
      "3 d ago",
    ]);
  });

  it("has one of one thing only", () => {
    const counts = [0, 1, 2].map((count) => plural(count, "line"));

    assert.deepEqual(counts, ["0 lines", "1 line", "2 lines"]);
  });
});
