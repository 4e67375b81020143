"""The seven questions of the README, each with the page and the command that answer it here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from django.db.utils import Error
from django.urls import reverse

from tracing.models import HazardOccurrence, Trace

from .incidents import PHONE_SALE, PRICE_LIST

if TYPE_CHECKING:
    from collections.abc import Callable

    from tracing.spans import records

SALE_CALLS = 8
"""More receivers than that are called for an order that makes a sale, and for no other."""
CHECK_OUT = "POST /orders/<int:pk>/check-out/"


@dataclass(frozen=True, slots=True)
class Answer:
    """The place of an answer.

    Attributes:
        page: The path of the viewer's page.
        command: What to give to `manage.py` for the same in the terminal.
    """

    page: str
    command: str


@dataclass(frozen=True, slots=True)
class Question:
    """A question, and how its answer is found among the traces.

    Attributes:
        text: The question.
        hint: What one will see.
        find: Returns the answer; None while nothing has been recorded that gives it.
    """

    text: str
    hint: str
    find: Callable[[], Answer | None]

    def answer(self) -> Answer | None:
        """Return the answer; None without traces, also where their database has no tables yet."""
        try:
            return self.find()
        except Error:
            return None


def _order() -> Trace | None:
    """Return the newest order that was placed, as its request was recorded."""
    placed = Trace.objects.filter(label__name=CHECK_OUT, http_status=302)
    # An order of cars that are sold by now is answered in the same way, without a sale.
    return placed.filter(receiver_call_count__gt=SALE_CALLS).first()


def _page(trace: Trace, tab: str = "") -> str:
    """Return the path of a trace's page, or of one of its tabs."""
    if tab:
        return reverse("tracing:trace-tab", args=[trace.address, tab])
    return reverse("tracing:trace", args=[trace.address])


def _span(trace: Trace, number: int) -> Answer:
    """Return the page of one span of a trace."""
    return Answer(
        reverse("tracing:span", args=[trace.address, number]),
        f"tracing show {trace.root_span_id} --why {number}",
    )


def which_receivers() -> Answer | None:
    """Return the tree of an order."""
    trace = _order()
    return Answer(_page(trace), f"tracing show {trace.root_span_id}") if trace else None


def why_again() -> Answer | None:
    """Return the last call of the receiver that ran most often in an order."""
    if (trace := _order()) is None:
        return None
    calls: dict[str, list[records.ReceiverCall]] = {}
    for dispatch in trace.load().dispatches:
        for call in dispatch.receiver_calls:
            if call.receiver.name.startswith("core."):
                calls.setdefault(call.receiver.name, []).append(call)
    most = max(calls.values(), key=len, default=None)
    return _span(trace, most[-1].number) if most else None


def who_sent() -> Answer | None:
    """Return the dispatch that a receiver of an order sent first."""
    if (trace := _order()) is None:
        return None
    for dispatch in trace.load().dispatches:
        if dispatch.parent_number is not None and dispatch.callsite is not None:
            return _span(trace, dispatch.number)
    return None


def what_it_cost() -> Answer | None:
    """Return the receivers of an order, by what they cost."""
    trace = _order()
    if trace is None:
        return None
    return Answer(_page(trace, "receivers"), f"tracing show {trace.root_span_id} --totals --sql")


def _hazard(rule: str, name: str) -> Answer | None:
    """Return the newest trace of that name in which a rule found something."""
    found = HazardOccurrence.objects.filter(hazard__hazard=rule, trace__label__name=name)
    occurrence = found.select_related("trace").last()
    if occurrence is None:
        return None
    return Answer(
        _page(occurrence.trace, "hazards"), f"tracing show {occurrence.trace.root_span_id}"
    )


def what_was_undone() -> Answer | None:
    """Return the sale by telephone: rolled back, its mail sent."""
    return _hazard("rolled-back-side-effect", PHONE_SALE)


def what_was_skipped() -> Answer | None:
    """Return the price list that was written past the receivers."""
    return _hazard("bypassed-receivers", PRICE_LIST)


def what_changed() -> Answer | None:
    """Return the comparison of the two releases that were recorded last."""
    # Ordered anew: by id, which the model orders by, every row would be distinct.
    releases = Trace.objects.exclude(release="").order_by("release")
    names = list(releases.values_list("release", flat=True).distinct())
    if len(names) < 2:  # noqa: PLR2004 - it takes two to compare
        return None
    before, after = names[-2:]
    page = reverse("tracing:periods")
    return Answer(
        f"{page}?release_before={before}&release_after={after}",
        f"tracing compare --before {before} --after {after}",
    )


QUESTIONS: Final = (
    Question(
        "Which receivers ran, in what order, nested in what?",
        "An order as a tree: two signals, and all that their receivers sent in turn.",
        which_receivers,
    ),
    Question(
        "Why did this receiver run again?",
        "From the request down to the call, step by step.",
        why_again,
    ),
    Question("Who sent it?", "File, line and function, one click from your editor.", who_sent),
    Question(
        "What did it cost in time and SQL?",
        "One receiver takes most of the time: release 1.1 signs contracts while the buyer waits.",
        what_it_cost,
    ),
    Question(
        "What did it do in a transaction that rolled back?",
        "The bank refused to pay. The order is undone, its contract has been mailed.",
        what_was_undone,
    ),
    Question(
        "Which receivers did a bulk write skip?",
        "A price list was written with update(): whoever follows prices heard nothing.",
        what_was_skipped,
    ),
    Question(
        "What changed since yesterday's deploy?",
        "Release 1.1 beside 1.0: two receivers more, and what they add to each order.",
        what_changed,
    ),
)
