"""Pairs of receivers that are one: moved to another module, or renamed."""

from __future__ import annotations

from collections import Counter, defaultdict
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Final

from tracing.analysis.review.sides import Names, Side, function_name, moved

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_Spot = tuple[str, str, str]
"""(test, signal, sender)."""
_MODEL_DOTS: Final = 2
"""A dotted path has so many dots at the least; the label of a model has one."""
_ALIKE: Final = 0.6
"""How alike two names are if one was made of the other."""


def pair_names(base: Side, head: Side) -> tuple[Names, dict[str, str]]:
    """Return the names of the base as the head has them, and those renamed.

    A function in another module is the same function. One that stands in the place of another, in the
    same tests, is that one under another name.
    """
    (signals, senders), (new_signals, new_senders) = (
        [{pair[index] for pair in side.sent()} for index in (0, 1)] for side in (base, head)
    )
    names = Names(
        signals=dict(moved(signals, new_signals)),
        senders=dict(moved(senders, new_senders, least_dots=_MODEL_DOTS)),
    )
    pairing = _Pairing(base, head, names)
    pairing.pair_moved()
    return names, pairing.pair_renamed()


class _Pairing:
    def __init__(self, base: Side, head: Side, names: Names) -> None:
        self._base, self._head, self._names = base, head, names
        self._before, self._orders_before = _spots(base, names)
        self._after, self._orders_after = _spots(head, Names())
        self._gone = {name for name in self._before if name not in self._after}
        self._new = {name for name in self._after if name not in self._before}

    def _pair(self, before: str, after: str) -> None:
        self._names.receivers[before] = after
        self._gone.discard(before)
        self._new.discard(after)

    def pair_moved(self) -> None:
        """Pair functions of two modules, those first that share most spots."""
        candidates = [
            (len(self._before[before] & self._after[after]), before, after)
            for before in self._gone
            for after in self._new
            if function_name(before) == function_name(after)
        ]
        for _shared, before, after in sorted(candidates, key=lambda each: (-each[0], each[1:])):
            if before in self._gone and after in self._new:
                self._pair(before, after)
        # What was never called is connected somewhere, maybe.
        wired = moved(self._base.wiring, self._head.wiring)
        for before, after in wired.items():
            if before not in self._before and after not in self._after:
                self._names.receivers.setdefault(before, after)

    def pair_renamed(self) -> dict[str, str]:
        """Pair what stands where another stood; return old names by new ones."""
        renamed: dict[str, str] = {}
        ranked = sorted(self._candidates(), key=lambda each: (-each[0], each[1:]))
        for _rank, before, after in ranked:
            if before in self._gone and after in self._new:
                self._pair(before, after)
                renamed[after] = before
        return renamed

    def _candidates(self) -> Iterator[tuple[float, str, str]]:
        """Yield (how sure it is, name before, name after)."""
        votes = Counter(self._votes())
        for before in self._gone:
            body = self._base.recording.functions.get(before)
            for after in self._new:
                same_body = bool(body) and body == self._head.recording.functions.get(after)
                tests_before = {test for test, *_ in self._before[before]}
                tests_after = {test for test, *_ in self._after[after]}
                same_spots = self._are_same(self._before[before], self._after[after])
                if same_spots and (same_body or votes[before, after]):
                    names = function_name(before), function_name(after)
                    alike = SequenceMatcher(None, *names).ratio()
                    yield 1.0 + same_body + alike, before, after
                elif same_body and tests_before & tests_after:
                    yield 0.0, before, after

    def _are_same(self, before: set[_Spot], after: set[_Spot]) -> bool:
        """Return whether two sets are the same spots, where both sides got."""
        return not any(
            (spot in self._orders_before and spot in self._orders_after) or not self._is_cut(spot)
            for spot in before ^ after
        )

    def _is_cut(self, spot: _Spot) -> bool:
        """Return whether the test of a spot failed on one side alone."""
        test = spot[0]
        return self._base.tests[test].failed != self._head.tests[test].failed

    def _votes(self) -> Iterator[tuple[str, str]]:
        """Yield (before, after) where one stands between the same as the other."""
        for spot, order in self._orders_before.items():
            later = self._orders_after.get(spot)
            if later is None:
                continue
            ours = [self._names.receiver(name) for name in order]
            matcher = SequenceMatcher(None, ours, later, autojunk=False)
            for what, i1, i2, j1, j2 in matcher.get_opcodes():
                if what == "replace":
                    yield from self._in_gap(order[i1:i2], later[j1:j2])

    def _in_gap(self, before: Sequence[str], after: Sequence[str]) -> Iterator[tuple[str, str]]:
        gone = [name for name in before if name in self._gone]
        new = [name for name in after if name in self._new]
        if len(gone) == len(new):
            yield from zip(gone, new, strict=True)
            return
        for old in gone:
            for name in new:
                if SequenceMatcher(None, function_name(old), function_name(name)).ratio() >= _ALIKE:
                    yield old, name


def _spots(side: Side, names: Names) -> tuple[dict[str, set[_Spot]], dict[_Spot, list[str]]]:
    """Return where each receiver was called, and in which order at each spot."""
    spots: dict[str, set[_Spot]] = defaultdict(set)
    orders: dict[_Spot, list[str]] = defaultdict(list)
    for test, group, calls in side.calls():
        spot = (test.test, *names.place(group.signal, group.sender))
        name = side.identity(calls)
        spots[name].add(spot)
        if name not in orders[spot]:
            orders[spot].append(name)
    return dict(spots), dict(orders)
