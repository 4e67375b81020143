"""Cycles: dispatches that nest in their like, found in one walk."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tracing.analysis.index import Index
    from tracing.spans.records import Dispatch, ReceiverCall

Key: TypeAlias = "tuple[object, ...]"
"""What makes two dispatches the same."""

Cycle: TypeAlias = "tuple[int, list[Dispatch], list[ReceiverCall]]"
"""(levels, dispatches from the outer one to the inner one, calls between them)."""


def has_identity(instance: str) -> bool:
    """Return whether *instance* names one row; unsaved ones look the same."""
    return ":" in instance and not instance.endswith(":None")


def instance_identity(dispatch: Dispatch) -> str | int | None:
    """Return the identity of the instance of *dispatch* in its trace, or None.

    An object without a primary key is told by the outermost dispatch about it.
    """
    instance = dispatch.instance
    if ":" in instance and not instance.endswith(":None"):  # As has_identity, without the call.
        return instance
    if instance:
        return dispatch.same_instance_as or dispatch.number
    return None


def identity(dispatch: Dispatch) -> Key | None:
    """Return what makes two dispatches the same; None if that cannot be told."""
    instance = instance_identity(dispatch)
    if instance is not None:
        return (dispatch.signal, dispatch.sender, instance, dispatch.action, dispatch.using)
    if dispatch.signal.startswith("django."):
        return None
    if not dispatch.named:
        return (dispatch.signal, dispatch.sender)
    if len(dispatch.values) == len(dispatch.named):
        return (dispatch.signal, dispatch.sender, *sorted(dispatch.values.items()))
    return None


class Cycles:
    """The cycles of a trace, each once, with its deepest levels.

    In one walk, on which it is known what is open of each kind: looking up from each dispatch would
    cost as much as it is deep.
    """

    def __init__(
        self,
        index: Index,
        labels: Mapping[int, int],
        every: list[Dispatch],
        times: Mapping[tuple[str, str], int],
    ) -> None:
        self._index, self._labels = index, labels
        self.found: dict[frozenset[int], Cycle] = {}
        """By its receivers: a cycle through two models is the same one wherever it is entered."""
        self.levels: dict[int, int] = {}
        """Levels of the dispatches that nest in their like, by number; the outermost has none."""
        self._deepest: dict[Key, int] = {}
        self._last: tuple[int | None, int] = (None, 0)
        """(parent of the inner dispatch, levels) of the last one: those beside it are alike."""
        self._walk(every, times)

    def _walk(self, every: list[Dispatch], times: Mapping[tuple[str, str], int]) -> None:
        keys = {
            each.number: key
            for each in every
            if times[each.signal, each.instance] > 1 and (key := identity(each)) is not None
        }
        below: defaultdict[int, list[Dispatch]] = defaultdict(list)
        roots = []
        for dispatch in every:
            parent = dispatch.parent_number
            if parent is None or self._index.call(parent) is None:
                roots.append(dispatch)
            else:
                below[parent].append(dispatch)
        levels = self.levels
        open_now: dict[Key, Dispatch] = {}
        # A dispatch to enter; what was open of a key before and then the key, to leave it.
        todo: list[Any] = roots[::-1]
        while todo:
            dispatch = todo.pop()
            if type(dispatch) is tuple:
                before = todo.pop()
                if before is None:
                    del open_now[dispatch]
                else:
                    open_now[dispatch] = before
                continue
            key = keys.get(dispatch.number)
            if key is not None:
                before = open_now.get(key)
                if before is not None:
                    level = levels[dispatch.number] = levels.get(before.number, 1) + 1
                    self._note(level, before, dispatch)
                open_now[key] = dispatch
                todo.append(before)
                todo.append(key)
            for call in reversed(dispatch.receiver_calls):
                inside = below.get(call.number)
                if inside is not None:
                    todo += reversed(inside)

    def _note(self, levels: int, outer: Dispatch, inner: Dispatch) -> None:
        """Keep the cycle from *outer* to *inner*, unless one as deep is known."""
        parent, deepest = self._last
        if parent == inner.parent_number and levels <= deepest:
            return
        self._last = (inner.parent_number, levels)
        call = self._index.call(inner.parent_number)
        if call is None:
            return
        above = self._index.dispatch_of(call)
        # Of the same length and with the same last step it is the same: no need to walk it.
        alike = (
            inner.depth - outer.depth,
            (inner.signal, inner.sender),
            self._labels[id(call.receiver)],
            (above.signal, above.sender),
        )
        if self._deepest.get(alike, 0) >= levels:
            return
        self._deepest[alike] = levels
        calls, dispatches = [call], [inner]
        while above is not outer:
            dispatches.append(above)
            call = self._index.call(above.parent_number)
            if call is None:
                return
            calls.append(call)
            above = self._index.dispatch_of(call)
        dispatches.append(outer)
        shape = frozenset(self._labels[id(each.receiver)] for each in calls)
        if shape not in self.found or self.found[shape][0] < levels:
            self.found[shape] = (levels, dispatches[::-1], calls[::-1])
