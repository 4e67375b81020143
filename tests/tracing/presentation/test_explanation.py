"""Tests of explanations as lines: numbers, sentences and notes."""

from __future__ import annotations

import pytest

from tests.tracing.analysis.building import MS, SIGNALS, TraceBuilder, label
from tracing.analysis.explain.merging import Merging
from tracing.analysis.explain.question import Question
from tracing.analysis.explain.steps import Step
from tracing.analysis.explain.wired import add_connected
from tracing.analysis.wiring import Route, WiredReceiver
from tracing.presentation.explanation import tell
from tracing.presentation.mermaid import MOST_NODES, flowchart
from tracing.spans.records import Outcome, TransactionOutcome

POST_SAVE = SIGNALS["post_save"]
SAVED = Question(POST_SAVE, "orders.Order")


def found(*builders):
    merging = Merging(SAVED)
    for number, build in enumerate(builders):
        build.trace.started_ns += number * 86_400_000_000_000
        merging.add(build.build())
    return merging.explanation()


def saved(*, outcome=Outcome.RETURNED, **options):
    build = TraceBuilder()
    dispatch = build.dispatch(**options)
    build.call(
        dispatch, "shop.receivers.index", own_ns=MS, query_count=2, outcome=outcome,
        exception_type="shop.errors.Gone" if outcome is Outcome.RAISED else "",
    )  # fmt: skip
    return build


def notes(told):
    return [note.text + note.bad for line in told.lines for note in line.notes]


def test_numbers_are_written_for_people():
    told = tell(found(saved(), saved()))

    index = told.lines[1]
    assert (index.label, index.level, index.share, index.times, index.p50, index.queries) == (
        "index", 1, "100 %", "2", "1.00 ms", "2",
    )  # fmt: skip
    assert (told.lines[0].share, index.parent, index.level) == ("", 1, 1)


def test_of_more_steps_than_are_shown_the_commonest_are():
    def heard_by(*names):
        build = TraceBuilder()
        dispatch = build.dispatch()
        for name in names:
            build.call(dispatch, f"shop.receivers.{name}")
        return build

    explanation = found(heard_by("index", "seldom", "always"), heard_by("index", "always"))
    unseen = Step("receiver", "shop.receivers.never", is_connected=True)
    explanation.roots[0].children.append(unseen)

    def labels(most):
        return [line.label for line in tell(explanation, most=most).lines]

    every = tell(explanation).lines
    assert labels(5) == [line.label for line in every]
    assert labels(4) == [line.label for line in every if line.label != "seldom"]
    assert labels(2) == ["post_save of orders.Order", "index"]
    assert tell(explanation, most=4).sentences[-1] == "1 rarer step is not shown."
    assert tell(explanation, most=3).sentences[-1] == "2 rarer steps are not shown."
    assert tell(explanation, most=5).sentences == tell(explanation).sentences


@pytest.mark.parametrize(
    ("count", "share"), [(1_000, "100 %"), (999, ">99 %"), (500, "50 %"), (1, "<1 %")]
)
def test_share_never_says_all_or_nothing_of_nearly(count, share):
    explanation = found(saved())
    explanation.roots[0].count = 1_000
    explanation.roots[0].children[0].asked_count = count

    assert tell(explanation).lines[1].share == share


def test_sentences_say_how_much_was_read_of_what():
    explanation = found(saved(), saved())
    explanation.has_more, explanation.passed_over = True, 1
    explanation.roots[0].recorded = 12_345

    assert tell(explanation).sentences == [
        "From the newest 2 traces with 2 dispatches, 2023-11-14 22:13 to 2023-11-15 22:13.",
        "In all, 12,345 dispatches were recorded.",
        "1 trace was passed over for being too large.",
    ]
    explanation.roots[0].recorded = None
    assert tell(explanation).sentences[1] == "Older traces hold it, too."


def test_wiring_alone_is_told_from_traces_that_were_not_found_in_time():
    explanation = Merging(SAVED).explanation()
    explanation.roots = [Step("dispatch", POST_SAVE, "orders.Order")]

    assert tell(explanation).sentences[0].startswith("No trace holds it: ")
    explanation.has_more = True
    assert tell(explanation).sentences[0].startswith("No trace that holds it was found in a moment")


def test_notes_tell_failures_transactions_and_what_was_left_for_later():
    explanation = found(
        saved(transaction=TransactionOutcome.ROLLED_BACK, is_detached=True),
        saved(outcome=Outcome.RAISED),
        saved(outcome=Outcome.SKIPPED),
    )

    assert notes(tell(explanation)) == [
        "2 in no transaction, 1 rolled back",
        "1 sent on commit, in a thread or in a task",
        "raised once: Gone",
        "skipped once, because an earlier receiver raised",
    ]


def test_notes_tell_what_is_connected_and_was_not_called():
    explanation = found(saved())
    first, second = label("shop.receivers.first"), label("shop.receivers.second")
    routes = [Route(POST_SAVE, "orders.Order", [WiredReceiver(first), WiredReceiver(second)])]
    recorded = {(POST_SAVE, "orders.Order", first.name): 7}

    add_connected(explanation, routes, recorded=recorded)

    assert notes(tell(explanation)) == [
        "not connected in this process",
        "connected, called 7 times in all and in none of these traces",
        "connected, not called",
    ]


def test_diagram_stops_where_nobody_could_read_it():
    build = TraceBuilder()
    dispatch = build.dispatch()
    for number in range(MOST_NODES + 5):
        build.call(dispatch, f"shop.receivers.of_{number}")

    chart = flowchart(tell(found(build)))

    assert 'more["6 more steps"]' in chart
    assert f"s{MOST_NODES}(" in chart
    assert f"s{MOST_NODES + 1}(" not in chart
