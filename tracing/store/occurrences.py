"""Occurrences of a plain word: the names that hold it, and their traces.

The names are few, since each is kept once: they are asked first. What is then looked for are their ids.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django.db.models import Exists, OuterRef, Q

from tracing.store.digits import LEAST_DIGITS, begins_with_digits
from tracing.store.generics import all_of

if TYPE_CHECKING:
    from collections.abc import Sequence

LISTED: Final = 500
"""Ids of a table up to which they are listed in a statement; more are asked for in it."""
_DIGITS: Final = re.compile(rf"[0-9a-f]{{{LEAST_DIGITS},32}}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one table that hold a word."""

    model: Any
    text: str
    keys: Sequence[int]
    """Their ids; of very many the first ones."""

    def __bool__(self) -> bool:
        return bool(self.keys)

    @property
    def are_many(self) -> bool:
        """Return whether there are more than the keys."""
        return len(self.keys) > LISTED

    def condition(self, column: str) -> Q:
        """Return the condition that *column* refers to one of them."""
        if self.are_many:
            return Q(**{f"{column}__in": self.model.filter(name__icontains=self.text).values("pk")})
        return Q(**{f"{column}__in": self.keys})


def _names(label: str, text: str, using: str) -> Names:
    model = all_of(label, using)
    holding = model.filter(name__icontains=text)
    return Names(model, text, list(holding.values_list("pk", flat=True)[: LISTED + 1]))


@dataclass(frozen=True, slots=True)
class Occurrences:
    """The names that hold a word, as conditions on traces."""

    text: str
    using: str
    traces: Names
    signals: Names
    senders: Names
    receivers: Names
    callsites: Names
    """Functions that sent; those of receivers that hold the word are left out."""

    @property
    def in_calls(self) -> bool:
        """Return whether a name of a dispatch or a call holds the word."""
        return any((self.signals, self.senders, self.receivers, self.callsites))

    @property
    def in_names(self) -> bool:
        """Return whether any name holds the word."""
        return self.in_calls or bool(self.traces)

    @property
    def condition(self) -> Q:
        """Return the condition on a trace's row, its calls included."""
        return self.of_trace | self.of_calls if self.in_calls else self.of_trace

    @property
    def of_trace(self) -> Q:
        """Return the condition that the trace itself holds the word.

        A path is no name. It is looked into where the word has a slash, or no name holds it.
        """
        condition = self.traces.condition("label")
        if self.begins_ids:
            condition |= begins_with_digits(self.text)
        if "/" in self.text or not self.in_names:
            condition |= Q(http_path__icontains=self.text)
        return condition

    @property
    def begins_ids(self) -> bool:
        """Return whether the word may be the beginning of an id."""
        return _DIGITS.fullmatch(self.text) is not None

    @property
    def of_calls(self) -> Q:
        """Return the condition that a dispatch or call of the trace holds it."""
        condition = self.of_dispatch
        if self.receivers:
            # The ids of calls follow that of their dispatch.
            calls = self._rows("ReceiverCall").filter(
                self.receivers.condition("receiver"),
                pk__gt=OuterRef("pk"),
                pk__lte=OuterRef("pk") + OuterRef("receiver_call_count"),
            )
            condition |= Q(Exists(calls))
        dispatches = self._rows("Dispatch").filter(condition, trace=OuterRef("pk"))
        return Q(Exists(dispatches))

    @property
    def of_dispatch(self) -> Q:
        """Return the condition that a dispatch itself holds it.

        It is one that none fits, if no name can hold the word.
        """
        return (
            self.signals.condition("signal")
            | self.senders.condition("sender")
            | self.callsites.condition("callsite")
        )

    def _rows(self, model: str) -> Any:
        return all_of(model, self.using).order_by()


def occurrences(text: str, using: str) -> Occurrences:
    """Return where *text* occurs; case does not matter."""
    traces, signals, senders, receivers, callsites = (
        _names(label, text, using)
        for label in ("TraceLabel", "SignalLabel", "SenderLabel", "ReceiverLabel", "CallsiteLabel")
    )
    if receivers and callsites and not (receivers.are_many or callsites.are_many):
        callsites = _without_receivers(callsites, receivers)
    return Occurrences(text, using, traces, signals, senders, receivers, callsites)


def _without_receivers(callsites: Names, receivers: Names) -> Names:
    """Return *callsites* without those inside one of *receivers*.

    Of dispatches there is no index by their callsite; most words that hold one hold its receiver, too.
    """
    functions = {
        (file, ending)
        for name, file in receivers.model.filter(pk__in=receivers.keys).values_list("name", "file")
        for ending in (name.rpartition(".")[2], ".".join(name.rsplit(".", 2)[1:]))
    }
    found = callsites.model.filter(pk__in=callsites.keys).values_list("pk", "name", "file")
    left = [key for key, name, file in found if (file, name) not in functions]
    return Names(callsites.model, callsites.text, left)
