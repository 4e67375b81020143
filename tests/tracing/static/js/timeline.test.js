import assert from "node:assert/strict";
import { beforeEach, describe, it } from "node:test";

import { clip, labelOf, View } from "#js/timeline.js";

describe("the view of a timeline", () => {
  let view;
  const shown = () => [view.left, view.width].map((number) => Number(number.toFixed(3)));

  beforeEach(() => {
    view = new View();
  });

  it("is the whole at first", () => {
    assert.deepEqual([shown(), view.isWhole], [[0, 100], true]);
  });

  it("stays within the whole", () => {
    view.set(-20, 50);
    assert.deepEqual(shown(), [0, 50]);
    view.set(80, 50);
    assert.deepEqual(shown(), [50, 50]);
    view.set(10, 500);
    assert.deepEqual(shown(), [0, 100]);
    view.set(50, 0);
    assert.deepEqual(shown(), [50, 0.02]);
  });

  it("zooms about its middle, or about what is pointed at", () => {
    view.zoom(0.5);
    assert.deepEqual(shown(), [25, 50]);
    view.zoom(0.5, 25);
    assert.deepEqual(shown(), [25, 25]);
    view.zoom(0.5, 50);
    assert.deepEqual(shown(), [37.5, 12.5]);
  });

  it("zooms no further than there is something to see, and back to the whole", () => {
    for (let times = 0; times < 100; times += 1) view.zoom(0.5, 90);
    assert.equal(view.width, 0.02);
    for (let times = 0; times < 100; times += 1) view.zoom(2);
    assert.deepEqual(shown(), [0, 100]);
  });

  it("goes into an address and comes back", () => {
    view.set(15, 70);
    assert.equal(String(view), "15.000-85.000");

    const other = new View();
    other.read(String(view));
    assert.deepEqual([other.left, other.width], [15, 70]);
  });

  it("takes nothing from an address that says nothing", () => {
    for (const text of ["", "15", "a-b", "-", "15-85; x"]) view.read(text);

    assert.deepEqual(shown(), [0, 100]);
  });

  it("places boxes, cuts them at the edges and leaves out what is beyond", () => {
    view.set(50, 25);

    assert.deepEqual(view.place({ left: 50, width: 25 }), { left: 0, width: 100 });
    assert.deepEqual(clip(view.place({ left: 40, width: 20 })), { left: 0, width: 40 });
    assert.deepEqual(clip(view.place({ left: 70, width: 30 })), { left: 80, width: 20 });
    assert.equal(clip(view.place({ left: 0, width: 50 })), null);
    assert.equal(clip(view.place({ left: 75, width: 5 })), null);
  });

  it("knows what it shows", () => {
    view.set(33.333, 10);

    assert.equal(view.shows({ left: 33.3331, width: 10.0001 }), true);
    assert.equal(view.shows({ left: 33.4, width: 10 }), false);
  });

  it("labels a box with the end of its name", () => {
    assert.equal(labelOf("core.sales.receivers.make_sale · 3 ms"), "receivers.make_sale");
    assert.equal(labelOf("post_save"), "post_save");
  });
});
