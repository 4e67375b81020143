"""Tests of rules switched, configured and added, and of findings as JSON."""

from __future__ import annotations

import pytest

from tests.tracing.analysis.building import MS, TRACE_ID, TraceBuilder
from tracing import checks
from tracing.analysis import hazards
from tracing.analysis.hazards import BUILT_IN, Rule, as_dict, configure, diagnose, find
from tracing.instrumentation import failures
from tracing.spans.records import Outcome, span_id
from tracing.store.columns import hazard_fingerprint


@hazards.rule(
    "too-many-orders",
    severity="info",
    summary="More orders than the project likes.",
    why="They cost.",
    remedy="Sell less.",
    orders=3,
)
def too_many_orders(facts, options):
    orders = [dispatch for dispatch in facts.trace.dispatches if dispatch.sender == "orders.Order"]
    if len(orders) > options["orders"]:
        yield hazards.finding(f"{len(orders)} orders.", dispatch=orders[0], spans=orders)


@hazards.rule("broken", severity="error", summary="It fails.", why="It is broken.", remedy="None.")
def broken(facts, options):
    raise ZeroDivisionError


@hazards.rule("fatal", severity="fatal", summary="It ends.", why="It ends.", remedy="None.")
def fatal(facts, options):
    yield hazards.finding("It ended.")


@hazards.rule("slow-receiver", severity="info", summary="It.", why="It.", remedy="None.")
def another(facts, options):
    yield hazards.finding("Another.")


NOT_A_RULE = len
HERE = "tests.tracing.analysis.hazards.test_ruleset"


def slow_trace(times=1):
    build = TraceBuilder()
    for number in range(times):
        build.call(build.dispatch(at=f"core.views.v:{number}"), own_ns=200 * MS)
    return build.build()


def test_every_built_in_rule_says_what_why_and_how():
    assert len({rule.id for rule in BUILT_IN}) == 19
    for rule in BUILT_IN:
        assert rule.severity in hazards.SEVERITIES
        assert all(text.endswith(".") for text in (rule.summary, rule.why, rule.remedy))
        assert rule.find.__doc__


def test_rule_is_switched_off_by_false():
    chosen = configure({"HAZARDS": {"slow-receiver": False}})

    assert find(slow_trace(), chosen) == []
    assert chosen.problems == []


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ({"cold": {}}, "HAZARDS: there is no rule 'cold'"),
        ({"slow-receiver": True}, "HAZARDS: 'slow-receiver' must be False or a dictionary"),
        (
            {"slow-receiver": {"treshold_ms": 1}},
            (
                "HAZARDS: 'slow-receiver' has no option 'treshold_ms' (it has severity, "
                "threshold_ms)"
            ),
        ),
        (
            {"slow-receiver": {"threshold_ms": "1"}},
            "HAZARDS: 'slow-receiver' cannot have threshold_ms = '1'",
        ),
        (
            {"slow-receiver": {"severity": "fatal"}},
            "HAZARDS: 'slow-receiver' cannot have severity = 'fatal'",
        ),
    ],
)
def test_wrong_setting_is_a_problem_and_the_rule_keeps_its_defaults(setting, problem):
    chosen = configure({"HAZARDS": setting})

    assert chosen.problems == [problem]
    assert [hazard.severity for hazard in find(slow_trace(), chosen)] == ["warning"]


def test_rule_of_the_project_is_added_by_its_path():
    chosen = configure(
        {
            "HAZARD_RULES": [f"{HERE}.too_many_orders"],
            "HAZARDS": {"too-many-orders": {"orders": 1}, "slow-receiver": False},
        }
    )
    (hazard,) = find(slow_trace(2), chosen)

    assert (hazard.hazard, hazard.severity, hazard.message) == (
        "too-many-orders",
        "info",
        "2 orders.",
    )
    assert hazard.remedy == "Sell less."
    assert isinstance(too_many_orders, Rule)


def test_rule_of_another_package_is_added_by_its_entry_point(tmp_path, monkeypatch):
    metadata = tmp_path / "others-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: rules-of-others\nVersion: 1.0\n"
    )
    (metadata / "entry_points.txt").write_text(
        f"[tracing.hazards]\ntoo-many = {HERE}:too_many_orders\ngone = nowhere:rule\n"
        f"none = {HERE}:NOT_A_RULE\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(failures, "counts", failures.counts.copy())

    chosen = configure({"HAZARDS": {"too-many-orders": {"orders": 0}, "slow-receiver": False}})

    assert [hazard.hazard for hazard in find(slow_trace(), chosen)] == ["too-many-orders"]
    assert failures.counts["hazard rule gone: ModuleNotFoundError"] == 1
    assert sorted(chosen.problems) == [
        (
            "Entry point 'gone' of tracing.hazards: 'nowhere:rule' cannot be imported: "
            "No module named 'nowhere'"
        ),
        (
            f"Entry point 'none' of tracing.hazards: '{HERE}:NOT_A_RULE' is not a Rule; "
            "use the rule() decorator"
        ),
    ]


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        (f"{HERE}.fatal", "has the severity 'fatal'; there are error, warning, info"),
        (f"{HERE}.another", "has the id 'slow-receiver', which another rule has"),
        (f"{HERE}.NOT_A_RULE", "is not a Rule; use the rule() decorator"),
        ("nowhere.rule", "cannot be imported: No module named 'nowhere'"),
    ],
)
def test_wrong_rule_path_is_a_problem(path, problem):
    assert configure({"HAZARD_RULES": [path]}).problems == [f"HAZARD_RULES: {path!r} {problem}"]


def test_failing_rule_costs_only_its_own_findings(monkeypatch):
    monkeypatch.setattr(failures, "counts", failures.counts.copy())
    chosen = configure({"HAZARD_RULES": [f"{HERE}.broken"]})

    assert [hazard.hazard for hazard in find(slow_trace(), chosen)] == ["slow-receiver"]
    assert failures.counts["hazard rule broken: ZeroDivisionError"] == 1


def test_diagnose_follows_the_settings(settings):
    settings.TRACING = {"HAZARDS": {"slow-receiver": {"threshold_ms": 500}}}
    before = diagnose(slow_trace())
    settings.TRACING = {"HAZARDS": {"slow-receiver": {"threshold_ms": 50}}}
    after = diagnose(slow_trace())

    assert before == []
    assert [hazard.hazard for hazard in after] == ["slow-receiver"]
    assert hazards.active_rules()[0].id == "duplicate-receiver"


def test_findings_come_worst_first():
    build = TraceBuilder()
    dispatch = build.dispatch()
    build.call(dispatch, own_ns=200 * MS, outcome=Outcome.RAISED, exception_type="ValueError")
    build.call(dispatch, "core.search.index", outcome=Outcome.SKIPPED)
    found = find(build.build())

    assert [hazard.hazard for hazard in found] == ["skipped-receivers", "slow-receiver"]


def test_finding_as_json_has_what_machines_need():
    trace = slow_trace()
    (hazard,) = find(trace)

    assert as_dict(hazard) == {
        "hazard": "slow-receiver",
        "trace_id": TRACE_ID,
        "root_span_id": trace.root_span_id,
        "severity": "warning",
        "message": hazard.message,
        "signal": "django.db.models.signals.post_save",
        "sender": "orders.Order",
        "receiver": "core.orders.receivers.make_sale",
        "file": "/app/core/orders/receivers.py",
        "line": hazard.line,
        "span_ids": [span_id(trace.root_span_id, 2)],
        "evidence": ["self time 200 ms, in all 200 ms, 0 queries in 0 ns"],
        "remedy": "Move the work to a task enqueued in on_commit, or make it cheaper.",
        "known": "",
    }


def test_finding_without_a_trace_has_a_null_trace_id():
    hazard = find(slow_trace())[0]
    hazard.trace_id = None

    assert (as_dict(hazard)["trace_id"], as_dict(hazard)["span_ids"]) == (None, [])


def test_evidence_is_bounded():
    hazard = find(slow_trace(80))[0]

    assert len(hazard.numbers) == 50
    assert len(hazard.evidence) == 13
    assert hazard.evidence[-1] == "and 68 more"


def test_fingerprint_is_the_same_for_the_same_thing():
    first, second = find(slow_trace(1)), find(slow_trace(3))

    assert first[0].fingerprint == second[0].fingerprint
    assert len(first[0].fingerprint) == 32


def test_findings_about_whole_traces_are_told_apart_by_what_they_say():
    chosen = configure({"BUDGETS": [{"dispatches": 0}]})

    def exceeded(name, times):
        build = TraceBuilder(name=name)
        for _ in range(times):
            build.call(build.dispatch())
        found = find(build.build(), chosen)
        return next(hazard for hazard in found if hazard.hazard == "budget-exceeded")

    twice, often = exceeded("load_cars", 2), exceeded("load_cars", 1_200)
    other = exceeded("simulate", 2)

    assert twice.message != often.message
    assert twice.fingerprint == often.fingerprint
    assert twice.fingerprint != other.fingerprint
    assert hazard_fingerprint(twice) == hazard_fingerprint(often) != hazard_fingerprint(other)


def test_a_harmless_trace_has_no_hazards():
    build = TraceBuilder()
    for number in range(4):
        placed = build.dispatch(instance=f"orders.Order:{number}", created=True)
        call = build.call(placed, query_count=2, statements=[("SELECT 1", 1, 1)])
        build.call(
            build.dispatch(sender="sales.Sale", instance=f"sales.Sale:{number}", under=call),
            "core.sales.receivers.count",
        )
    build.call(
        build.dispatch("order_placed", "None", named=("order",)), "core.sales.receivers.notify"
    )

    assert find(build.build()) == []


def test_wrong_setting_is_reported_by_the_system_check(settings):
    settings.TRACING = {**settings.TRACING, "HAZARDS": {"slow": {}}}

    (message,) = checks.check_hazards()
    assert message.id == "tracing.W008"
    assert message.msg == "TRACING: HAZARDS: there is no rule 'slow'."
    settings.TRACING = {**settings.TRACING, "HAZARDS": {}}
    assert checks.check_hazards() == []
